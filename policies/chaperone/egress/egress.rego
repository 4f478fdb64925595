# METADATA
# description: |
#   What may leave to where. `deny_kinds` goes to the gateway, which scans path, query, headers and body before they
#   leave; kinds that it found already are refused here. A destination that is not in the table may receive no identifier.
package chaperone.egress

output := {"effect": "deny", "reasons": deny, "egress": rule} if {
	input.operation.egress.kinds[0]
	some _ in deny
}

else := known if known := data.egress.destinations[input.operation.egress.destination]

else := data.egress.unknown

rule := known.egress if known := data.egress.destinations[input.operation.egress.destination]

else := data.egress.unknown.egress

# METADATA
# title: The request carries {kind}, which may not go to {destination}
# custom:
#   id: egress_identifiers
#   severity: critical
#   controls: ["45 CFR 164.312(e)(1)", "45 CFR 164.502(a)"]
#   remediation: Remove or mask the identifiers before sending, or use a destination that is allowed to hold them.
deny contains {"code": "egress_identifiers", "args": {"kind": kind, "destination": input.operation.egress.destination}} if {
	some kind in input.operation.egress.kinds
	kind in rule.deny_kinds
}

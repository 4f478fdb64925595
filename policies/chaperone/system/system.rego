# METADATA
# description: |
#   Guard rails that no other layer can open: what was not understood, what nobody stands behind, and questions whose
#   answer leaks an identifier even when every column of the result is masked.
package chaperone.system

# `some _ in deny` and not `count(deny) > 0`: numbers are slow in WASM.
output := {"effect": "deny", "reasons": deny} if some _ in deny

# What a layer says most of the time is data: building the object costs more than looking it up.
else := data.quiet

# METADATA
# title: The gateway could not resolve every part of this operation
# custom:
#   id: unresolved
#   severity: high
#   controls: ["45 CFR 164.312(a)(1)"]
#   remediation: Ask only for routes, parameters and columns that the catalogue knows, or have the policy owner add them.
deny contains {"code": "unresolved", "args": {}} if {
	input.operation.unresolved
}

# METADATA
# title: Operations of class {class} are not for agents
# custom:
#   id: class_forbidden
#   severity: high
#   controls: ["45 CFR 164.308(a)(4)(ii)(B)", "45 CFR 164.312(c)(1)"]
#   remediation: Have a person make schema and administration changes outside the gateway, by the change process.
deny contains {"code": "class_forbidden", "args": {"class": input.operation.class}} if {
	data.forbidden[input.operation.class]
}

# METADATA
# title: Filtering by {class} lets the answer reveal an identifier although the result is masked
# custom:
#   id: inference_filter
#   severity: high
#   controls: ["45 CFR 164.514(a)", "45 CFR 164.502(b)"]
#   remediation: Filter by a record id, a code or a category instead of an identifier.
deny contains {"code": "inference_filter", "args": {"class": class}} if {
	some class in input.operation.filters_classes
	data.identifiers[class]
}

# METADATA
# title: No enrolled person stands behind this agent
# custom:
#   id: no_human
#   severity: high
#   controls: ["45 CFR 164.312(a)(2)(i)", "45 CFR 164.312(d)"]
#   remediation: Get a token that names the person on whose behalf the agent acts, and have that person enrolled in the people map.
deny contains {"code": "no_human", "args": {"agent": input.session.agent.kind}} if {
	input.session.agent.kind == "ai_agent"
	not input.session.human.type == "enrolled"
}

# METADATA
# title: The chain of this agent holds an actor that nobody vouches for
# custom:
#   id: agent_unverified
#   severity: high
#   controls: ["45 CFR 164.312(d)"]
#   remediation: Get a token whose whole chain of actors is signed by a configured issuer.
deny contains {"code": "agent_unverified", "args": {}} if {
	not input.session.agent.attested
}

# METADATA
# title: The sign-in behind this session has expired
# custom:
#   id: session_expired
#   severity: high
#   controls: ["45 CFR 164.312(a)(2)(iii)"]
#   remediation: Get a new token and send the request again.
deny contains {"code": "session_expired", "args": {}} if {
	input.session.auth.age_band == "expired"
}

# METADATA
# description: |
#   Bulk extraction. Two things must be true before rows leave in bulk: the script that asks was reviewed for exactly
#   this run, and a person of the privacy office approved exactly this statement.
package chaperone.export

output := data.quiet if not data.bulk[input.facts.rows_band]

else := {"effect": "deny", "reasons": deny} if some _ in deny

else := {"effect": "approve", "reasons": approve, "approval": data.approval} if some _ in approve

else := data.quiet

# METADATA
# title: A bulk export needs a reviewed script, and none is attested for this run
# custom:
#   id: script_not_reviewed
#   severity: high
#   controls: ["45 CFR 164.308(a)(8)", "45 CFR 164.312(b)"]
#   remediation: Have a reviewer run `chaperone script attest` for the digest of the script that this run executes, then send the request again.
deny contains {"code": "script_not_reviewed", "args": {}} if {
	data.bulk[input.facts.rows_band]
	not reviewed
}

# METADATA
# title: A person of {approvers} must approve this bulk export
# custom:
#   id: bulk_export
#   severity: high
#   controls: ["45 CFR 164.502(b)", "45 CFR 164.514(d)(3)"]
#   remediation: Wait for the approval with `chaperone approvals wait <id>`, then send the identical request again.
approve contains {"code": "bulk_export", "args": {"approvers": data.approval.approvers}} if {
	data.bulk[input.facts.rows_band]
	reviewed
	not granted
}

reviewed if {
	input.session.ci.reviewed == true
	input.session.ci.script_digest != ""
}

# The gateway verified signatures, fingerprint and expiry before it put the grant into the input.
granted if {
	some grant in input.approvals
	grant.code == data.approval.code
	grant.expires_band != "expired"
}

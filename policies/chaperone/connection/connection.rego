# METADATA
# description: |
#   Who may do what on which connection: a table lookup, so that a new connection is data and not a rule. Only this layer
#   allows. A connection that is not in the table is denied by default.
package chaperone.connection

output := permission if {
	permission := data.permissions[input.connection.name][input.operation.class][input.session.agent.kind]
}

else := {"effect": "deny", "reasons": deny} if some _ in deny

else := data.quiet

# METADATA
# title: An agent of kind {agent} may not {class} on {connection}
# custom:
#   id: not_permitted
#   severity: medium
#   controls: ["45 CFR 164.308(a)(4)(ii)(B)", "45 CFR 164.312(a)(1)"]
#   remediation: Use a connection that permits this operation, or ask the owner of the connection for the permission.
deny contains {"code": "not_permitted", "args": args} if {
	data.permissions[input.connection.name]
	args := {"agent": input.session.agent.kind, "class": input.operation.class, "connection": input.connection.name}
	not data.permissions[args.connection][args.class][args.agent]
}

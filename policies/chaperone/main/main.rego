# METADATA
# description: |
#   The one entrypoint. Each layer gives one object; the gateway merges them natively (a lattice, not Rego), so a layer
#   can only tighten what another one said. The order names the layers: system, org, team, connection.
package chaperone.main

layers := [
	data.chaperone.system.output,
	data.chaperone.org.output,
	data.chaperone.export.output,
	data.chaperone.egress.output,
	data.chaperone.connection.output,
]

# METADATA
# description: |
#   What the whole organisation says about PHI. It allows nothing. A class that is PHI in the catalogue is redacted by the
#   gateway itself unless a layer names it, so this table holds the exceptions that Safe Harbor permits, and no more.
package chaperone.org

# Writes to production wait until every in-sync replica has the record: a lost disk must not lose who changed a patient.
output := {"effect": "abstain", "masks": data.org.masks, "evidence": "replicated"} if {
	data.replicated[input.connection.env][input.operation.class]
}

else := data.org

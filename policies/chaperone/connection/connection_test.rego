package chaperone.connection_test

import data.chaperone.connection
import data.chaperone.fixtures

test_an_agent_may_read_the_clinic_within_limits if {
	output := connection.output with input as fixtures.read
	output.effect == "allow"
	output.limits.rows > 0
}

test_an_agent_may_post_to_analytics_but_not_read_it if {
	posted := connection.output with input as fixtures.post
	posted.effect == "allow"
	read := connection.output with input as fixtures.replaced(fixtures.post, "/operation/class", "read")
	read.effect == "deny"
}

test_only_a_service_may_write_to_the_clinic if {
	write := fixtures.replaced(fixtures.read, "/operation/class", "write")
	denied := connection.output with input as write
	denied.reasons == {{
		"code": "not_permitted",
		"args": {"agent": "ai_agent", "class": "write", "connection": "clinic"},
	}}
	allowed := connection.output with input as fixtures.replaced(write, "/session/agent/kind", "service")
	allowed.effect == "allow"
	allowed.limits.rows == 500
}

test_a_connection_that_is_not_in_the_table_is_left_to_the_default_deny if {
	output := connection.output with input as fixtures.replaced(fixtures.read, "/connection/name", "payroll")
	output == {"effect": "abstain"}
}

test_every_permission_has_limits if {
	every permissions in data.permissions {
		every kinds in permissions {
			every permission in kinds {
				permission.effect == "allow"
				permission.limits.rows > 0
			}
		}
	}
}

package chaperone.system_test

import data.chaperone.fixtures
import data.chaperone.system

test_a_plain_read_passes_the_guard_rails if {
	system.output == {"effect": "abstain"} with input as fixtures.read
}

test_unresolved_is_denied if {
	codes(fixtures.replaced(fixtures.read, "/operation/unresolved", true)) == {"unresolved"}
}

test_ddl_and_admin_are_denied if {
	every class in ["ddl", "admin"] {
		codes(fixtures.replaced(fixtures.read, "/operation/class", class)) == {"class_forbidden"}
	}
}

test_a_filter_on_an_identifier_is_denied_and_named if {
	output := system.output with input as fixtures.replaced(
		fixtures.read,
		"/operation/filters_classes",
		["clinical", "ssn"],
	)
	output.reasons == {{"code": "inference_filter", "args": {"class": "ssn"}}}
}

test_a_filter_on_a_clinical_code_passes if {
	codes(fixtures.replaced(fixtures.read, "/operation/filters_classes", ["clinical", "record_id"])) == set()
}

test_an_agent_without_a_person_is_denied if {
	codes(fixtures.replaced(fixtures.read, "/session/human", null)) == {"no_human"}
}

test_an_agent_of_a_person_outside_the_people_map_is_denied if {
	codes(fixtures.replaced(fixtures.read, "/session/human/type", "unknown")) == {"no_human"}
}

test_a_service_needs_no_person if {
	codes(fixtures.patched(fixtures.read, [
		{"op": "replace", "path": "/session/agent/kind", "value": "service"},
		{"op": "replace", "path": "/session/human", "value": null},
	])) == set()
}

test_an_unverified_chain_is_denied if {
	codes(fixtures.replaced(fixtures.read, "/session/agent/attested", false)) == {"agent_unverified"}
}

test_an_expired_sign_in_is_denied if {
	codes(fixtures.replaced(fixtures.read, "/session/auth/age_band", "expired")) == {"session_expired"}
}

codes(document) := found if {
	reasons := system.deny with input as document
	found := {reason.code | some reason in reasons}
}

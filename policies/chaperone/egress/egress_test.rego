package chaperone.egress_test

import data.chaperone.egress
import data.chaperone.fixtures

test_each_destination_gets_its_own_list if {
	analytics := egress.output with input as fixtures.post
	analytics == data.egress.destinations.analytics
	clinic := egress.output with input as fixtures.read
	clinic == data.egress.destinations.clinic
}

test_an_unknown_destination_may_receive_no_identifier if {
	output := egress.output with input as carrying("elsewhere", [])
	output == data.egress.unknown
	every kind in ["ssn", "phone", "email", "mrn", "name", "date", "card", "unknown", "unreadable"] {
		kind in output.egress.deny_kinds
	}
}

test_every_list_of_kinds_is_complete_for_what_nobody_may_receive if {
	every table in [layer.egress | some layer in data.egress.destinations] {
		"card" in table.deny_kinds
		"unknown" in table.deny_kinds
		"unreadable" in table.deny_kinds
		table.action == "block"
	}
}

test_identifiers_for_analytics_are_denied_and_named if {
	output := egress.output with input as carrying("analytics", ["email", "ssn"])
	output.effect == "deny"
	output.egress == data.egress.destinations.analytics.egress
	output.reasons == {reason("email", "analytics"), reason("ssn", "analytics")}
}

test_identifiers_may_go_to_the_clinic_but_card_numbers_may_not if {
	allowed := egress.output with input as carrying("clinic", ["date", "ssn"])
	allowed.effect == "abstain"
	denied := egress.output with input as carrying("clinic", ["card", "ssn"])
	denied.reasons == {reason("card", "clinic")}
}

test_identifiers_for_an_unknown_destination_are_denied if {
	output := egress.output with input as carrying("elsewhere", ["ssn"])
	output.reasons == {reason("ssn", "elsewhere")}
}

carrying(destination, kinds) := fixtures.replaced(
	fixtures.post,
	"/operation/egress",
	{"kinds": kinds, "destination": destination},
)

reason(kind, destination) := {"code": "egress_identifiers", "args": {"kind": kind, "destination": destination}}

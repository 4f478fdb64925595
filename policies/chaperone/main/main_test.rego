package chaperone.main_test

import data.chaperone.fixtures
import data.chaperone.main

test_a_plain_read_is_allowed_by_the_connection_alone if {
	layers := main.layers with input as fixtures.read
	[layer.effect | some layer in layers] == ["abstain", "abstain", "abstain", "abstain", "allow"]
}

test_there_is_one_output_for_each_name_in_the_manifest if {
	count(main.layers) == 5 with input as fixtures.read
}

test_an_empty_input_allows_nothing if {
	layers := main.layers with input as {}
	every layer in layers { layer.effect != "allow" }
}

test_every_reason_of_the_bundle_is_a_word_with_arguments if {
	layers := main.layers with input as fixtures.hopeless
	reasons := {reason.code | some layer in layers; some reason in layer.reasons}
	reasons == {
		"agent_unverified",
		"class_forbidden",
		"egress_identifiers",
		"inference_filter",
		"no_human",
		"not_permitted",
		"script_not_reviewed",
		"session_expired",
		"unresolved",
	}
}

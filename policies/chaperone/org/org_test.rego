package chaperone.org_test

import data.chaperone.fixtures
import data.chaperone.org

test_the_organisation_allows_nothing_and_sets_the_exceptions_of_safe_harbor if {
	org.output == {"effect": "abstain", "masks": {"date": "partial", "zip": "partial"}} with input as fixtures.read
}

test_no_exception_lets_a_value_pass if {
	every strength in data.org.masks { strength != "none" }
}

test_writes_to_production_wait_for_the_replicas if {
	output := org.output with input as fixtures.replaced(fixtures.post, "/connection/env", "production")
	output.evidence == "replicated"
}

test_reads_of_production_and_writes_elsewhere_do_not if {
	every document in [fixtures.replaced(fixtures.read, "/connection/env", "production"), fixtures.post] {
		output := org.output with input as document
		not output.evidence
	}
}

package chaperone.export_test

import data.chaperone.export
import data.chaperone.fixtures

test_what_is_not_bulk_is_none_of_its_business if {
	export.output == {"effect": "abstain"} with input as fixtures.read
}

test_without_a_reviewed_script_it_is_denied if {
	export.output == unreviewed with input as fixtures.export
}

test_a_review_of_no_script_is_no_review if {
	export.output == unreviewed with input as fixtures.replaced(fixtures.export, "/session/ci/reviewed", true)
}

test_outside_of_ci_it_is_denied if {
	export.output == unreviewed with input as fixtures.replaced(fixtures.export, "/session/ci", null)
}

test_with_a_reviewed_script_a_privacy_officer_is_asked if {
	output := export.output with input as fixtures.reviewed_export
	output.effect == "approve"
	output.approval == {
		"code": "bulk_export",
		"approvers": ["privacy-officers"],
		"quorum": 1,
		"ttl_s": 900,
		"scope": "statement",
		"justify": true,
	}
	output.reasons == {{"code": "bulk_export", "args": {"approvers": ["privacy-officers"]}}}
}

test_a_valid_grant_opens_it if {
	export.output == {"effect": "abstain"} with input as granted("bulk_export", "later")
}

test_a_grant_for_something_else_or_an_expired_one_does_not if {
	every document in [granted("other", "later"), granted("bulk_export", "expired")] {
		output := export.output with input as document
		output.effect == "approve"
	}
}

unreviewed := {"effect": "deny", "reasons": {{"code": "script_not_reviewed", "args": {}}}}

granted(code, band) := fixtures.replaced(fixtures.reviewed_export, "/approvals", [{
	"code": code,
	"by": "pat",
	"scope": "statement",
	"expires_band": band,
}])

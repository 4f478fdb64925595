# METADATA
# description: Policies for tests of the engine; each rule is an entrypoint that misbehaves in its own way, or speaks OPA's usual forms.
package odd

# Allocates without end, as far as the input says.
runaway := count([x | some i in numbers.range(1, input.n); some j in numbers.range(1, input.n); x := i + j])

# Two rules that disagree.
conflict := {"effect": "allow"} if input.n > 0

conflict := {"effect": "deny"} if input.n > 1

undefined_below_two := {"effect": "allow"} if input.n > 1

yes := input.n > 0

usual := {"allow": input.n > 0}

unknown_field := {"effect": "allow", "efect": "deny"}

echo := input

# One layer for each member of the input, as it is.
layers := [layer | some layer in input.layers]

text := data.words[input.n]

# The same with the input of a gateway.
conflict_always := {"effect": "allow"} if input.v == 1

conflict_always := {"effect": "deny"} if input.v > 0

usual_for_reads := {"allow": input.operation.class == "read"}

obliging := [{"effect": "allow", "obligations": [input.operation.verb]}]

asking := [{
	"effect": "approve",
	"approval": {"code": "x", "approvers": ["g"], "quorum": 1, "ttl_s": 60, "scope": "statement"},
}]

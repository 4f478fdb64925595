import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { MASK_STRENGTHS, type Effect, type VerdictLimits } from '../contract/verdict.ts';
import { BOTTOM, join, lift, type Merged } from './lattice.ts';
import type { LayerOutput } from './layer-output.ts';

const SCALE = Number(process.env['CHAPERONE_TEST_SCALE'] ?? '1');
const runs = { numRuns: 300 * SCALE };
const EFFECTS: readonly Effect[] = ['abstain', 'allow', 'approve', 'deny'];
const SCOPES = ['session', 'fingerprint', 'statement'] as const;

const word = fc.constantFrom('a', 'b', 'c', '__proto__', 'ssn');
const count = fc.integer({ min: 0, max: 5 });
const wordsArb = fc.array(word, { maxLength: 4 });
const approvalArb = fc.record({
  code: word,
  approvers: fc.array(word, { minLength: 1, maxLength: 3 }),
  quorum: fc.integer({ min: 1, max: 3 }),
  ttlS: fc.integer({ min: 1, max: 9 }),
  scope: fc.constantFrom(...SCOPES),
  justify: fc.boolean(),
});
const limitsArb = fc.record(
  { rows: count, bytes: count, rowsPerSession: count, timeoutMs: count },
  { requiredKeys: [] },
) as fc.Arbitrary<VerdictLimits>;

const outputArb: fc.Arbitrary<LayerOutput> = fc
  .record({
    effect: fc.constantFrom(...EFFECTS),
    reasons: fc.array(fc.record({ code: word, args: fc.dictionary(word, word, { maxKeys: 2 }) }), { maxLength: 3 }),
    approval: approvalArb,
    masks: fc.dictionary(word, fc.constantFrom(...MASK_STRENGTHS), { maxKeys: 3 }),
    egress: fc.option(fc.record({ denyKinds: wordsArb, action: fc.constantFrom('block' as const, 'mask' as const) })),
    limits: limitsArb,
    obligations: wordsArb,
    evidence: fc.constantFrom('local' as const, 'replicated' as const),
    cacheTtlS: fc.option(count),
  })
  .map((output) => ({ ...output, approval: output.effect === 'approve' ? output.approval : null }));
const mergedArb = fc
  .array(fc.tuple(outputArb, fc.constantFrom('system', 'org', 'team')), { minLength: 1, maxLength: 3 })
  .map((layers) => layers.map(([output, layer]) => lift(output, layer)).reduce(join, BOTTOM));

describe('the lattice of layers', () => {
  test('join is commutative, also in the order of every list', () => {
    fc.assert(
      fc.property(mergedArb, mergedArb, (a, b) => deepEqual(plain(join(a, b)), plain(join(b, a)))),
      runs,
    );
  });
  test('join is associative', () => {
    fc.assert(
      fc.property(mergedArb, mergedArb, mergedArb, (a, b, c) =>
        deepEqual(plain(join(join(a, b), c)), plain(join(a, join(b, c)))),
      ),
      runs,
    );
  });
  test('join is idempotent, and the neutral element is neutral', () => {
    fc.assert(
      fc.property(mergedArb, (a) => {
        deepEqual(plain(join(a, a)), plain(a));
        deepEqual(plain(join(a, BOTTOM)), plain(a));
      }),
      runs,
    );
  });
  test('join is monotone: one more layer never loosens anything', () => {
    fc.assert(
      fc.property(mergedArb, mergedArb, (a, b) => ok(isNotLooser(join(a, b), a), 'the join loosened a field')),
      runs,
    );
  });
  test('the check for looser does find a looser one', () => {
    const strict = lift({ ...outputOf('deny'), masks: { ssn: 'drop' }, limits: { rows: 1 } }, 'org');
    equal(isNotLooser(lift(outputOf('allow'), 'org'), strict), false);
    equal(isNotLooser({ ...strict, masks: { ssn: 'redact' } }, strict), false);
    equal(isNotLooser({ ...strict, limits: { rows: 2 } }, strict), false);
  });
  test('two sets of approvers are two approvals, one set with two opinions is the stricter one', () => {
    const approval = { code: 'x', quorum: 1, ttlS: 60, scope: 'session', justify: false } as const;
    const one = lift({ ...outputOf('approve'), approval: { ...approval, approvers: ['b', 'a'] } }, 'org');
    const same = { ...approval, approvers: ['a', 'b'], quorum: 2, ttlS: 9, scope: 'statement', justify: true } as const;
    const other = lift({ ...outputOf('approve'), approval: { ...approval, approvers: ['c'] } }, 'team');
    const merged = join(join(one, lift({ ...outputOf('approve'), approval: same }, 'team')), other);
    deepEqual(merged.approvals, [same, { ...approval, approvers: ['c'] }]);
  });
});

function outputOf(effect: Effect): LayerOutput {
  return {
    effect,
    reasons: [],
    approval: null,
    masks: {},
    egress: null,
    limits: {},
    obligations: [],
    evidence: 'local',
    cacheTtlS: null,
  };
}

function isNotLooser(joined: Merged, one: Merged): boolean {
  const strength = (merged: Merged, name: string): number =>
    Object.hasOwn(merged.masks, name) ? MASK_STRENGTHS.indexOf(merged.masks[name] ?? 'none') : -1;
  const bound = (value: number | null | undefined): number => value ?? Infinity;
  const names = Object.keys(one.limits) as (keyof VerdictLimits)[];
  return (
    EFFECTS.indexOf(joined.effect) >= EFFECTS.indexOf(one.effect) &&
    Object.keys(one.masks).every((name) => strength(joined, name) >= strength(one, name)) &&
    one.denyKinds.every((kind) => joined.denyKinds.includes(kind)) &&
    (one.egressAction !== 'block' || joined.egressAction === 'block') &&
    names.every((name) => bound(joined.limits[name]) <= bound(one.limits[name])) &&
    one.obligations.every((name) => joined.obligations.includes(name)) &&
    one.reasons.length <= joined.reasons.length &&
    (one.evidence !== 'replicated' || joined.evidence === 'replicated') &&
    bound(joined.cacheTtlS) <= bound(one.cacheTtlS) &&
    one.approvals.every((asked) =>
      joined.approvals.some(
        (kept) =>
          kept.code === asked.code &&
          kept.approvers.join() === asked.approvers.join() &&
          kept.quorum >= asked.quorum &&
          kept.ttlS <= asked.ttlS &&
          SCOPES.indexOf(kept.scope) >= SCOPES.indexOf(asked.scope) &&
          (kept.justify || !asked.justify),
      ),
    )
  );
}

/** Members in one order and with one prototype: what is compared is the content. */
function plain(merged: Merged): unknown {
  const sorted = (fields: object): unknown => Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    ...merged,
    masks: sorted(merged.masks),
    limits: sorted(merged.limits),
    reasons: merged.reasons.map(({ args, ...reason }) => ({ ...reason, args: sorted(args) })),
  };
}

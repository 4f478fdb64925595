import { deepEqual, equal } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseLayerOutput } from './layer-output.ts';

const APPROVAL = { code: 'c', approvers: ['g'], quorum: 1, ttl_s: 60, scope: 'statement' };

const ACCEPTED: readonly unknown[] = [
  { effect: 'abstain' },
  { effect: 'deny', reasons: [{ code: 'x' }, { code: 'y', args: { a: 'b', n: 1, t: true, l: ['p', 'q'] } }] },
  { effect: 'approve', approval: APPROVAL },
  { effect: 'approve', approval: { ...APPROVAL, justify: true } },
  { effect: 'allow', masks: { ssn: 'redact', zip: 'none' } },
  { effect: 'allow', egress: { deny_kinds: ['ssn'], action: 'mask' } },
  { effect: 'allow', egress: { deny_kinds: [] } },
  { effect: 'allow', limits: { rows: 0, bytes: 1, rows_per_session: 2, timeout_ms: 3 } },
  { effect: 'allow', obligations: ['record_full'], evidence: 'replicated', cache: { ttl_s: 0 } },
  { effect: 'allow', reasons: [{ code: 'c'.repeat(128) }] },
];

const REFUSED: readonly (readonly [string, unknown])[] = [
  ['null', null],
  ['a number', 1],
  ['a string', 'allow'],
  ['an array', []],
  ['nothing', {}],
  ['an unknown effect', { effect: 'permit' }],
  ['an unknown field', { effect: 'allow', efect: 'deny' }],
  ['a misspelt mask', { effect: 'allow', masks: { ssn: 'redacted' } }],
  ['masks in a list', { effect: 'allow', masks: ['ssn'] }],
  ['a limit with another name', { effect: 'allow', limits: { row: 1 } }],
  ['a limit that is a prototype name', { effect: 'allow', limits: { constructor: 1 } }],
  ['a negative limit', { effect: 'allow', limits: { rows: -1 } }],
  ['a limit with a fraction', { effect: 'allow', limits: { rows: 1.5 } }],
  ['a limit that is text', { effect: 'allow', limits: { rows: '1' } }],
  ['an approval without approve', { effect: 'allow', approval: APPROVAL }],
  ['approve without an approval', { effect: 'approve' }],
  ['an approval by nobody', { effect: 'approve', approval: { ...APPROVAL, approvers: [] } }],
  ['a quorum of zero', { effect: 'approve', approval: { ...APPROVAL, quorum: 0 } }],
  ['an approval for ever', { effect: 'approve', approval: { ...APPROVAL, ttl_s: 0 } }],
  ['an unknown scope', { effect: 'approve', approval: { ...APPROVAL, scope: 'all' } }],
  ['an unknown approval field', { effect: 'approve', approval: { ...APPROVAL, uses: 9 } }],
  ['a reason without a code', { effect: 'deny', reasons: [{ args: {} }] }],
  ['a reason with more', { effect: 'deny', reasons: [{ code: 'x', message: 'm' }] }],
  ['a reason code that is too long', { effect: 'deny', reasons: [{ code: 'c'.repeat(129) }] }],
  ['an argument that could be a payload', { effect: 'deny', reasons: [{ code: 'x', args: { a: 'p'.repeat(129) } }] }],
  ['an argument that is an object', { effect: 'deny', reasons: [{ code: 'x', args: { a: {} } }] }],
  ['an unknown egress action', { effect: 'allow', egress: { deny_kinds: [], action: 'pass' } }],
  ['an unknown egress field', { effect: 'allow', egress: { deny_kinds: [], allow_kinds: [] } }],
  ['egress without kinds', { effect: 'allow', egress: { action: 'block' } }],
  ['obligations that are not words', { effect: 'allow', obligations: [1] }],
  ['unknown evidence', { effect: 'allow', evidence: 'none' }],
  ['a cache time that is not one', { effect: 'allow', cache: { ttl: 1 } }],
  ['allow that is not a boolean', { allow: 1 }],
  ['allow with something beside it', { allow: true, masks: {} }],
];

describe('parseLayerOutput', () => {
  for (const [index, value] of ACCEPTED.entries()) {
    test(`takes valid output ${index + 1}`, () => {
      equal(parseLayerOutput(value)?.effect, (value as { effect: string }).effect);
    });
  }
  for (const [what, value] of REFUSED) {
    test(`refuses ${what}`, () => {
      equal(parseLayerOutput(value), null);
    });
  }
  test('takes the usual forms of OPA for allow and deny', () => {
    const effects = [true, { allow: true }, false, { allow: false }].map((value) => parseLayerOutput(value)?.effect);
    deepEqual(effects, ['allow', 'allow', 'deny', 'deny']);
  });
  test('arguments of a reason become text', () => {
    const output = parseLayerOutput({ effect: 'deny', reasons: [{ code: 'y', args: { n: 1, l: ['p', 'q'] } }] });
    deepEqual(output?.reasons, [{ code: 'y', args: { n: '1', l: 'p, q' } }]);
  });
});

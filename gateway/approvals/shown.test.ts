import { deepEqual, equal } from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { MASK_STRENGTHS } from '../contract/verdict.ts';
import type { Shown } from './desk-port.ts';
import { grantCovers, shownOf, shownSchema, shownText } from './shown.ts';
import { REQUIREMENT, shown } from './testing/cast.ts';

const runs = 300 * Number(process.env['CHAPERONE_TEST_SCALE'] ?? 1);

describe('grantCovers', () => {
  const covered: readonly (readonly [string, Partial<Shown>])[] = [
    ['the same verdict', {}],
    ['a verdict that needs no approval any more', { approvals: [] }],
    ['stronger masks', { masks: { ssn: 'drop', name: 'redact' } }],
    ['a mask that was not there', { masks: { ssn: 'redact', name: 'none', phone: 'redact' } }],
    ['no mask where none was shown', { masks: { ssn: 'redact' } }],
    ['a lower limit', { limits: { rows: 10 } }],
    ['another limit on top', { limits: { rows: 50_000, bytes: 1 } }],
    ['more kinds that may not leave', { egress: { denyKinds: ['mrn', 'ssn'], action: 'block' } }],
    ['more obligations', { obligations: ['record_full', 'terminate_session'] }],
    ['stronger evidence', { evidence: 'replicated' }],
    ['the approvers in another order', { approvals: [{ ...REQUIREMENT, ttlS: 60 }] }],
  ];
  for (const [name, changes] of covered) {
    test(`lets through ${name}`, () => {
      equal(grantCovers(shown(), shown(changes)), true);
    });
  }

  const refused: readonly (readonly [string, Partial<Shown>])[] = [
    ['another approval', { approvals: [REQUIREMENT, { ...REQUIREMENT, code: 'egress' }] }],
    ['the same code with other approvers', { approvals: [{ ...REQUIREMENT, approvers: ['security'] }] }],
    ['the same code with fewer approvers', { approvals: [{ ...REQUIREMENT, approvers: [] }] }],
    ['a larger quorum', { approvals: [{ ...REQUIREMENT, quorum: 2 }] }],
    ['another scope', { approvals: [{ ...REQUIREMENT, scope: 'session' }] }],
    ['a reason that was not asked for', { approvals: [{ ...REQUIREMENT, justify: true }] }],
    ['a weaker mask', { masks: { ssn: 'partial', name: 'none' } }],
    ['a mask that is gone', { masks: { name: 'none' } }],
    ['a class that was not shown in clear', { masks: { ssn: 'redact', name: 'none', phone: 'none' } }],
    ['a higher limit', { limits: { rows: 50_001 } }],
    ['no limit', { limits: { bytes: 1 } }],
    ['a kind that may leave now', { egress: { denyKinds: [], action: 'block' } }],
    ['egress that is masked, not blocked', { egress: { denyKinds: ['ssn'], action: 'mask' } }],
    ['an obligation less', { obligations: [] }],
    ['another connection', { connection: 'other' }],
  ];
  for (const [name, changes] of refused) {
    test(`does not let through ${name}`, () => {
      equal(grantCovers(shown(), shown(changes)), false);
    });
  }

  test('does not let weaker evidence pass', () => {
    equal(grantCovers(shown({ evidence: 'replicated' }), shown()), false);
  });

  test('is reflexive, and transitive along tightening: what covers a verdict covers a stricter one', () => {
    const strengths = fc.dictionary(fc.constantFrom('a', 'b', 'c'), fc.constantFrom(...MASK_STRENGTHS));
    const limits = fc.dictionary(fc.constantFrom('rows', 'bytes'), fc.nat(5));
    const one = fc.record({ masks: strengths, limits }).map((part) => shown(part));
    let covers = 0;
    fc.assert(
      fc.property(one, one, one, (a, b, c) => {
        equal(grantCovers(a, b) && grantCovers(b, c) ? grantCovers(a, c) : true, true);
        covers += grantCovers(a, b) ? 1 : 0;
        // Reflexive only where every class is listed: an absent one counts for the worse on either side.
        equal(grantCovers(a, a), true);
      }),
      { numRuns: runs },
    );
    equal(covers > 0, true, 'a property that saw no covering pair says nothing');
  });
});

test('shownOf leaves out what is absent, so its text is canonical and parses', () => {
  const verdict = {
    effect: 'approve',
    code: '',
    reasons: [],
    approvals: [REQUIREMENT],
    masks: { ssn: 'redact' },
    egress: { denyKinds: [], action: 'block' },
    limits: { rows: 5 },
    obligations: [],
    evidence: 'local',
    cacheTtlS: 0,
  } as const;
  const operation = {
    class: 'read',
    verb: 'GET',
    text: '/x',
    fingerprint: 'f',
    objects: [{ type: 'table', id: 't', labels: [] }],
    classes: ['ssn'],
    outputsClasses: [],
    filtersClasses: [],
    kinds: [],
    egress: { kinds: [], destination: '' },
    unresolved: false,
    safe: true,
    facts: { hasWhere: false, hasLimit: false, multi: false, functionCalls: [], lineage: 'exact', rowsBand: 'bulk' },
  } as const;
  const made = shownOf({ name: 'c', kind: 'http', env: 'e', database: '', labels: {} }, operation, verdict);
  deepEqual(made.limits, { rows: 5 });
  deepEqual(made.operation.objects, ['table:t']);
  deepEqual(shownSchema.parse(JSON.parse(shownText(made))), made);
});

import { deepEqual, equal, notDeepEqual, throws } from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { MaskOperatorName, MaskProfile } from '../contract/shape.ts';
import type { MaskStrength } from '../contract/verdict.ts';
import { mediaKindOf } from './media-kind.ts';
import { compileMaskPlan, compileScanPlan } from './plan.ts';
import { CLASSES, MASKS, PROFILE, maskBody, planOf, shapeOf } from './testing/mask-bodies.ts';

type Masks = Readonly<Record<string, MaskStrength>>;

/** What becomes of `{"v":"123-45-6789"}` when `v` has this class. */
function masked(className: string, masks: Masks, profile: MaskProfile = PROFILE): string {
  const plan = compileMaskPlan({ shape: shapeOf({ v: className }), masks, classes: CLASSES, profile });
  return maskBody(plan, 'json', Buffer.from('{"v":"123-45-6789"}')).masked.toString();
}

const REDACTED = '{"v":"[REDACTED]"}';
const RAW = '{"v":"123-45-6789"}';

describe('compileMaskPlan', () => {
  test('a PHI class without an entry is redacted, another class passes', () => {
    equal(masked('phi.ssn', {}), REDACTED);
    equal(masked('public', {}), RAW);
    equal(masked('public+scan', {}), '{"v":"[SSN]"}');
  });

  test('a class that the catalogue does not explain is withheld', () => {
    equal(masked('nobody.knows', {}), '{"v":"[WITHHELD]"}');
    equal(masked('constructor', {}), '{"v":"[WITHHELD]"}');
  });

  test('the strongest of the entries for class and kind wins', () => {
    equal(masked('phi.ssn', { 'phi.ssn': 'none' }), RAW);
    equal(masked('phi.ssn', { 'phi.ssn': 'none', ssn: 'null' }), '{"v":null}');
    equal(masked('phi.ssn', { 'phi.ssn': 'null', ssn: 'redact' }), '{"v":null}');
    equal(masked('phi.ssn', { 'phi.ssn': 'drop', ssn: 'null' }), '{}');
    equal(masked('public', { public: 'redact' }), REDACTED);
  });

  test('a strength without an operator redacts, and a strength that nobody knows too', () => {
    for (const strength of ['partial', 'pseudonym', 'token', 'redact', 'whatever' as MaskStrength] as const) {
      equal(masked('phi.ssn', { 'phi.ssn': strength }), REDACTED);
    }
  });

  test('an operator of the profile is found by class, then by kind; pass is no mask', () => {
    const profile = (operators: MaskProfile['operators']): MaskProfile => ({ name: 'expert', operators });
    const byKind = profile({ ssn: { redact: 'fixed' } });
    equal(masked('phi.ssn', {}, byKind), '{"v":"***********"}');
    equal(masked('phi.ssn', {}, profile({ ...byKind.operators, 'phi.ssn': { redact: 'null' } })), '{"v":null}');
    equal(masked('phi.ssn', {}, profile({ ssn: { redact: 'pass' } })), REDACTED);
  });

  test('egress masking takes the denied kinds out whatever the masks say', () => {
    const shape = shapeOf({ v: 'public+scan' });
    const masks = { ssn: 'none' } as const;
    const base = { shape, masks, classes: CLASSES, profile: PROFILE };
    const body = Buffer.from(RAW);
    equal(maskBody(compileMaskPlan(base), 'json', body).masked.toString(), RAW);
    const egress = { denyKinds: ['ssn'], action: 'mask' } as const;
    equal(maskBody(compileMaskPlan({ ...base, egress }), 'json', body).masked.toString(), '{"v":"[SSN]"}');
  });

  test('names are padded to buckets', () => {
    const fill = (name: string): string =>
      maskBody(
        planOf({ v: 'phi.name' }, null, { 'phi.name': 'partial' }),
        'json',
        Buffer.from(`{"v":"${name}"}`),
      ).masked.toString();
    equal(fill('Jo'), `{"v":"${'*'.repeat(8)}"}`);
    equal(fill('Maximilian'), `{"v":"${'*'.repeat(16)}"}`);
  });

  test('the digest is that of the decision: equal for equal input, another for any change', () => {
    const fields = { a: 'phi.ssn', b: 'public+scan' };
    const base = planOf(fields);
    deepEqual(planOf(fields).digest, base.digest);
    equal(base.digest.length, 32);
    const others = [
      planOf({ ...fields, c: 'public' }),
      planOf({ a: 'phi.ssn', b: 'public' }),
      planOf(fields, { class: 'public', scan: true }),
      planOf(fields, null, { ...MASKS, 'phi.ssn': 'null' }),
      planOf(fields, null, { ...MASKS, phone: 'none' }),
      compileScanPlan(),
    ];
    for (const other of others) {
      notDeepEqual(other.digest, base.digest);
    }
  });

  test('an output is called Safe Harbor only when it is', () => {
    const profileOf = (fields: Record<string, string>, masks: Masks = {}): string =>
      planOf(fields, null, masks).profile;
    equal(planOf({ a: 'phi.ssn', b: 'public' }, { class: 'public', scan: false }).profile, 'safe-harbor');
    equal(planOf({ a: 'phi.ssn' }, { class: 'public', scan: false }, { 'phi.ssn': 'none' }).profile, 'unclassified');
    equal(profileOf({ a: 'public+scan' }), 'unclassified');
    equal(profileOf({ a: 'phi.zip' }, { 'phi.zip': 'partial' }), 'safe-harbor');
    const ssnAsZip: MaskProfile = { name: 'safe-harbor', operators: { 'phi.ssn': { redact: 'zip3' } } };
    const shape = shapeOf({ a: 'phi.ssn' });
    equal(compileMaskPlan({ shape, masks: {}, classes: CLASSES, profile: ssnAsZip }).profile, 'unclassified');
    const dated = shapeOf({ a: 'phi.birthdate' });
    const masks = { 'phi.birthdate': 'partial' } as const;
    const undated = compileMaskPlan({ shape: dated, masks, classes: CLASSES, profile: PROFILE });
    equal(undated.profile, 'unclassified');
  });

  test('Safe Harbor refuses derived operators, every profile refuses unknown ones', () => {
    const bad = (name: MaskProfile['name'], operator: string): MaskProfile => ({
      name,
      operators: { ssn: { partial: operator as MaskOperatorName } },
    });
    for (const operator of ['pseudonym', 'ff1', 'date-shift', 'partial']) {
      throws(() => masked('phi.ssn', {}, bad('safe-harbor', operator)), { code: 'bundle_invalid', message: /derived/ });
    }
    throws(() => masked('phi.ssn', {}, bad('expert', 'rot13')), {
      code: 'bundle_invalid',
      message: /unknown operator/,
    });
  });
});

describe('mediaKindOf', () => {
  const KINDS = [
    ['application/json', 'json'],
    ['Application/JSON; charset=UTF-8', 'json'],
    ['application/fhir+json', 'json'],
    ['application/x-ndjson', 'ndjson'],
    ['text/csv; header=present', 'csv'],
    ['text/csv; header=absent', null],
    ['text/plain;charset="utf-8"', 'text'],
    ['text/plain; charset=utf-16', null],
    ['text/html', null],
    ['application/octet-stream', null],
    ['', null],
  ] as const;
  for (const [type, kind] of KINDS) {
    test(`${type} is ${kind}`, () => equal(mediaKindOf(type), kind));
  }
});

import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { canonicalJson, type JsonValue } from '../../core/kernel/canonical-json.ts';
import { SeededRandom } from '../../core/kernel/testing/seeded-random.ts';
import { InputWriter, pickReads } from './input-writer.ts';
import { ageBand, clientNet, hourFacts, inputDocument, type PolicyRequest } from './policy-input.ts';
import { oddChoice, TRAFFIC_NOW_MS, trafficRequest } from './testing/policy-traffic.ts';

const SCALE = Number(process.env['CHAPERONE_TEST_SCALE'] ?? '1');
const text = fc.oneof(
  fc.string({ maxLength: 20 }),
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.constant('\ud800"\\\n'),
);
const list = fc.array(text, { maxLength: 4 });

const requestArb: fc.Arbitrary<PolicyRequest> = fc
  .record({
    seed: fc.nat(),
    words: list,
    word: text,
    labels: fc.dictionary(text, text, { maxKeys: 3 }),
    isBare: fc.boolean(),
    grants: fc.array(fc.record({ code: text, by: text, scope: text, expiresBand: text }), { maxLength: 2 }),
    facts: fc.option(
      fc.record({ estRowsBand: text, bytesBand: text, subjectsBand: text, deniedRecentBand: text, risk: text }),
      { nil: undefined },
    ),
  })
  .map(({ seed, words, word, labels, isBare, grants, facts }) => {
    const random = new SeededRandom(seed);
    const base = trafficRequest(random, oddChoice(random));
    const { subject, operation } = base;
    return {
      ...base,
      subject: isBare
        ? { ...subject, ci: null, person: null, actors: [], groups: words }
        : { ...subject, groups: words, purpose: word, principal: { ...subject.principal, sub: word } },
      connection: { ...base.connection, database: word, labels },
      operation: {
        ...operation,
        verb: word,
        classes: words,
        kinds: words,
        objects: [...operation.objects, { type: word, id: word, labels: words }],
        facts: { ...operation.facts, functionCalls: words },
      },
      grants,
      ...(facts === undefined ? {} : { facts }),
    };
  });

describe('InputWriter', () => {
  test('writes the same bytes as the slow canonical form, whatever the texts hold', () => {
    const writer = new InputWriter('*');
    fc.assert(
      fc.property(requestArb, (request) => {
        const expected = canonicalJson(inputDocument(request, TRAFFIC_NOW_MS));
        equal(writer.whole({ request, nowMs: TRAFFIC_NOW_MS }), expected);
        // Once more: now the texts that are kept with the subject and the connection are used.
        equal(writer.whole({ request, nowMs: TRAFFIC_NOW_MS }), expected);
        equal(writer.read({ request, nowMs: TRAFFIC_NOW_MS }), expected);
      }),
      { numRuns: 200 * SCALE },
    );
  });

  test('writes exactly the members that are read, as picking them from the whole document does', () => {
    const all = leafPaths(inputDocument(trafficRequest(new SeededRandom(1), { reviewed: true }), TRAFFIC_NOW_MS), '');
    ok(all.length > 40);
    const readsArb = fc.subarray([...all, 'session', 'session.ci', 'connection.labels.tier', 'nowhere.at.all']);
    fc.assert(
      fc.property(requestArb, readsArb, (request, reads) => {
        const read = new InputWriter(reads).read({ request, nowMs: TRAFFIC_NOW_MS });
        equal(read, canonicalJson(pickReads(inputDocument(request, TRAFFIC_NOW_MS), reads)));
      }),
      { numRuns: 200 * SCALE },
    );
  });

  test('a subject of the same content gives the same text, and another subject its own', () => {
    const writer = new InputWriter('*');
    const [a, b, c] = [5, 5, 6].map((seed) =>
      writer.whole({ request: trafficRequest(new SeededRandom(seed), {}), nowMs: TRAFFIC_NOW_MS }),
    );
    equal(a, b);
    ok(a !== c);
  });

  test('what time makes of a subject is never kept with it', () => {
    const writer = new InputWriter('*');
    const request = trafficRequest(new SeededRandom(2), {});
    const later = request.subject.expiresMs;
    ok(writer.whole({ request, nowMs: later - 1 }).includes('"age_band"'));
    ok(!writer.whole({ request, nowMs: later - 1 }).includes('"age_band":"expired"'));
    ok(writer.whole({ request, nowMs: later }).includes('"age_band":"expired"'));
  });
});

describe('the bands of an input', () => {
  const { subject } = trafficRequest(new SeededRandom(3), {});
  const minuteMs = 60_000;
  const aged = { ...subject, auth: { ...subject.auth, issuedMs: 0 }, expiresMs: 1_000 * minuteMs };

  test('age changes at 5 minutes, an hour, 8 hours and at the expiry', () => {
    const bands = [0, 5, 60, 480, 1_000].map((minutes) => [
      ageBand(aged, minutes * minuteMs - 1),
      ageBand(aged, minutes * minuteMs),
    ]);
    deepEqual(bands, [
      ['fresh', 'fresh'],
      ['fresh', 'recent'],
      ['recent', 'aged'],
      ['aged', 'old'],
      ['old', 'expired'],
    ]);
  });

  test('business hours are those of the working week in UTC', () => {
    deepEqual(hourFacts(Date.UTC(2026, 2, 4, 7, 59)), { dow: 3, hour: 7, business: false });
    deepEqual(hourFacts(Date.UTC(2026, 2, 4, 8, 0)), { dow: 3, hour: 8, business: true });
    deepEqual(hourFacts(Date.UTC(2026, 2, 4, 18, 0)), { dow: 3, hour: 18, business: false });
    deepEqual(hourFacts(Date.UTC(2026, 2, 7, 10, 0)), { dow: 6, hour: 10, business: false });
    deepEqual(hourFacts(Date.UTC(2026, 2, 8, 10, 0)), { dow: 0, hour: 10, business: false });
  });

  test('an address is only ever a kind of network', () => {
    const seen = ['127.0.0.1', '::1', '::ffff:10.1.2.3', '172.16.0.1', '172.32.0.1', 'fd00::1', '8.8.8.8', ''].map(
      clientNet,
    );
    deepEqual(seen, ['loopback', 'loopback', 'private', 'private', 'public', 'private', 'public', 'unknown']);
  });
});

function leafPaths(value: JsonValue | undefined, path: string): string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return [path];
  }
  return Object.entries(value as Readonly<Record<string, JsonValue>>).flatMap(([name, member]) =>
    leafPaths(member, path === '' ? name : `${path}.${name}`),
  );
}

import { deepEqual, equal, notEqual, ok, throws } from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { describe, test } from 'node:test';
import { canonicalJson, type JsonValue } from '../../core/kernel/canonical-json.ts';
import { ManualClock } from '../../core/kernel/testing/manual-clock.ts';
import { SeededRandom } from '../../core/kernel/testing/seeded-random.ts';
import type { Verdict } from '../contract/verdict.ts';
import { pickReads } from './input-writer.ts';
import { ENGINE_DIGEST, PolicyEngine, type EngineBundle, type PolicyFailed } from './policy-engine.ts';
import type { PolicyRequest } from './policy-input.ts';
import { defaultBundle } from './testing/default-bundle.ts';
import { oddBundle } from './testing/odd-policy.ts';
import { oddChoice, TRAFFIC_NOW_MS, trafficRequest, type TrafficChoice } from './testing/policy-traffic.ts';

const SCALE = Number(process.env['CHAPERONE_TEST_SCALE'] ?? '1');
const seed = Number(process.env['CHAPERONE_TEST_SEED'] ?? '77');
const bundle = defaultBundle();
const clock = new ManualClock(TRAFFIC_NOW_MS);

/** What the default bundle must say, in the order of the demo's story. */
const STORY: readonly (readonly [string, TrafficChoice, Verdict['effect'], readonly string[]])[] = [
  ['an agent of an enrolled person may read', {}, 'allow', []],
  ['a bulk export without a reviewed script is refused', { bulk: true }, 'deny', ['script_not_reviewed']],
  ['a reviewed bulk export is asked for', { bulk: true, reviewed: true }, 'approve', ['bulk_export']],
  ['a granted one is allowed', { bulk: true, reviewed: true, granted: true }, 'allow', []],
  ['a grant does not stand for a review', { bulk: true, granted: true }, 'deny', ['script_not_reviewed']],
  ['rows without identifiers may go to analytics', { post: true }, 'allow', []],
  ['an agent may not write to the clinic', { write: true }, 'deny', ['not_permitted']],
  ['a service may', { write: true, service: true }, 'allow', []],
  ['what was not understood is refused', { unresolved: true }, 'deny', ['unresolved']],
  ['a filter on an identifier is refused', { filtered: true }, 'deny', ['inference_filter']],
  ['an agent of nobody is refused', { nobody: true }, 'deny', ['no_human']],
  ['an unverified chain is refused', { unverified: true }, 'deny', ['agent_unverified']],
  ['an expired sign-in is refused', { expired: true }, 'deny', ['session_expired']],
  ['ddl is refused', { ddl: true }, 'deny', ['class_forbidden', 'not_permitted']],
];

describe('the default bundle', () => {
  const engine = engineOf();
  for (const [what, choice, effect, codes] of STORY) {
    test(what, () => {
      const { verdict } = engine.decide(request(1, choice));
      equal(verdict.effect, effect);
      deepEqual(verdict.reasons.map((reason) => reason.code).sort(), [...codes].sort());
      equal(verdict.code, effect === 'deny' ? 'policy_denied' : '');
      for (const reason of verdict.reasons) {
        ok(reason.message !== reason.code && !/[{}]/.test(reason.message), reason.message);
        ok(reason.remediation.length > 10 && /45 CFR 164/.test(reason.control));
      }
    });
  }

  test('a reason says what to do, with its arguments', () => {
    const [reason] = engine.decide(request(1, { bulk: true })).verdict.reasons;
    ok(reason?.remediation.includes('chaperone script attest'));
    const carried = engine.decide(request(4, { post: true, carrying: true })).verdict.reasons;
    ok(carried.length > 0 && carried.every(({ code, layer }) => code === 'egress_identifiers' && layer === 'team'));
    ok(carried.every(({ message }) => message.endsWith(' may not go to analytics')));
  });

  test('identifiers are masked, clinical values are not', () => {
    const { masks } = engine.decide(request(1, {})).verdict;
    for (const [name, info] of bundle.catalogue.classes) {
      equal(masks[name] === 'none', !info.phi, `${name} is ${String(masks[name])}`);
    }
    deepEqual(
      ['ssn', 'name', 'phone', 'zip', 'birth_date', 'date', 'clinical', 'record_id'].map((name) => masks[name]),
      ['redact', 'redact', 'redact', 'partial', 'partial', 'partial', 'none', 'none'],
    );
  });

  test('every verdict names what may not leave for its destination', () => {
    const kinds = engine.decide(request(1, { post: true })).verdict.egress;
    equal(kinds.action, 'block');
    for (const kind of ['ssn', 'phone', 'email', 'mrn', 'name', 'date', 'card', 'unknown', 'unreadable']) {
      ok(kinds.denyKinds.includes(kind), kind);
    }
    deepEqual(engine.decide(request(1, {})).verdict.egress.denyKinds, ['card', 'unknown', 'unreadable']);
  });

  test('the approval of an export is for one statement, by the privacy office, for a quarter of an hour', () => {
    deepEqual(engine.decide(request(1, { bulk: true, reviewed: true })).verdict.approvals, [
      {
        code: 'bulk_export',
        approvers: ['privacy-officers'],
        quorum: 1,
        ttlS: 900,
        scope: 'statement',
        justify: true,
      },
    ]);
  });

  test('a connection that nobody described is denied by default', () => {
    const { verdict } = engine.decide(request(1, { elsewhere: true }));
    equal(verdict.code, 'default_deny');
    equal(verdict.reasons[0]?.layer, 'gateway');
  });
});

describe('PolicyEngine', () => {
  // Goal: promise P6. Method: record what a decision says of itself, recompute with another engine, compare bytes.
  test(`recomputes the recorded verdict byte for byte (seed ${seed})`, () => {
    const engine = engineOf();
    const fresh = engineOf();
    const random = new SeededRandom(seed);
    const effects = new Set<string>();
    for (let i = 0; i < 300 * SCALE; i++) {
      const decision = engine.decide(trafficRequest(random, oddChoice(random)));
      deepEqual(fresh.recompute(decision.input), decision.verdictJson);
      equal(canonicalJson(JSON.parse(decision.input.toString()) as JsonValue), decision.input.toString());
      equal(decision.engineDigest, ENGINE_DIGEST);
      deepEqual(decision.bundleDigest, Buffer.from(bundle.loaded.digest));
      effects.add(decision.verdict.effect);
    }
    deepEqual([...effects].sort(), ['allow', 'approve', 'deny']);
  });

  test('refuses to recompute what no gateway recorded', () => {
    const engine = engineOf();
    const recorded = engine.decide(request(1, {})).input.toString();
    for (const bytes of ['', '{}', '[]', 'null', `${recorded} `, recorded.replace('"http"', '"ftp"')]) {
      throws(() => engine.recompute(Buffer.from(bytes)), { code: 'evidence_malformed' }, bytes.slice(0, 20));
    }
  });

  // Goal: `reads.json` leaves nothing out. Method: change each member of the document; the verdict may change only when
  // the member is one that is read, and the whole document gives what the read part gives.
  test('a member outside of reads.json never changes the verdict', () => {
    const { reads } = bundle.engine;
    ok(reads !== '*' && reads.length > 5);
    const whole = engineOf({ ...bundle.engine, reads: '*' });
    const part = engineOf();
    const changed = new Set<string>();
    for (const choice of [
      {},
      { bulk: true, reviewed: true },
      { post: true, carrying: true },
      { service: true, write: true },
    ]) {
      const document = JSON.parse(part.decide(request(9, choice)).input.toString()) as JsonValue;
      const before = part.recompute(Buffer.from(canonicalJson(document)));
      deepEqual(whole.recompute(Buffer.from(canonicalJson(document))), before);
      for (const path of leaves(document, [])) {
        const mutated = Buffer.from(canonicalJson(mutate(document, path)));
        const isRead =
          canonicalJson(pickReads(mutate(document, path), reads)) !== canonicalJson(pickReads(document, reads));
        if (path.join('.') === 'connection.kind') {
          continue; // Not for the policy: it says which lane's obligations are supported.
        }
        deepEqual(whole.recompute(mutated), part.recompute(mutated), path.join('.'));
        if (part.recompute(mutated).equals(before)) {
          continue;
        }
        ok(isRead, `${path.join('.')} changed the verdict and is not read`);
        changed.add(path.join('.'));
      }
    }
    ok(changed.size >= 10, `only ${[...changed].join()} changed a verdict`);
  });

  test('an odd mix decides alike with and without its caches', () => {
    const random = new SeededRandom(seed);
    const cached = engineOf();
    const bare = PolicyEngine.create({ ...parts(), cacheEntriesMax: 0, verdictsMax: 0 });
    let hits = 0;
    for (let i = 0; i < 400; i++) {
      const asked = trafficRequest(random, oddChoice(random));
      const first = cached.decide(asked);
      const again = cached.decide(asked);
      deepEqual(first.verdictJson, bare.decide(asked).verdictJson);
      deepEqual(again.verdictJson, first.verdictJson);
      deepEqual(again.input, first.input);
      hits += again.cached ? 1 : 0;
    }
    ok(hits > 100);
  });

  test('never caches what a grant or an approval touched', () => {
    const engine = engineOf();
    for (const choice of [
      { bulk: true, reviewed: true },
      { bulk: true, reviewed: true, granted: true },
      { granted: true },
    ]) {
      equal(engine.decide(request(1, choice)).cached, false);
      equal(engine.decide(request(1, choice)).cached, false);
    }
    engine.decide(request(1, {}));
    equal(engine.decide(request(1, {})).cached, true, 'and does cache the rest');
  });

  test('a cached decision ends with the time to live of its verdict', () => {
    const own = new ManualClock(TRAFFIC_NOW_MS);
    const engine = PolicyEngine.create({ ...parts(), clock: own });
    const { cacheTtlS } = engine.decide(request(1, { service: true })).verdict;
    own.advance(cacheTtlS * 1000 - 1);
    equal(engine.decide(request(1, { service: true })).cached, true);
    own.advance(1);
    const { subject } = request(1, { service: true });
    const later = { ...request(1, { service: true }), subject: { ...subject, expiresMs: own.nowMs() + 1 } };
    equal(engine.decide(later).cached, false);
  });

  test('the input of a decision does not change when the clock goes on before it is written', () => {
    const own = new ManualClock(TRAFFIC_NOW_MS);
    const engine = PolicyEngine.create({ ...parts(), clock: own });
    const decision = engine.decide(request(1, {}));
    own.advance(3_600_000);
    deepEqual(engine.recompute(decision.input), decision.verdictJson);
    ok(!decision.input.toString().includes('"age_band":"expired"'));
  });
});

describe('PolicyEngine fails closed', () => {
  const failing: readonly (readonly [string, string, PolicyFailed['failure']])[] = [
    ['two rules disagree', 'conflict_always', 'aborted'],
    ['the output has an unknown field', 'unknown_field', 'output_invalid'],
    ['the output is not an output', 'echo', 'output_invalid'],
  ];
  for (const [what, rule, failure] of failing) {
    test(`with policy_error when ${what}, and is never cached`, () => {
      const failed: unknown[] = [];
      const listen = (message: unknown): void => void failed.push((message as PolicyFailed).failure);
      const engine = engineOf({ ...oddBundle(rule), layers: ['only'] });
      subscribe('chaperone.policy.failed', listen);
      try {
        for (const decision of [engine.decide(request(1, {})), engine.decide(request(1, {}))]) {
          equal(decision.verdict.effect, 'deny');
          equal(decision.verdict.code, 'policy_error');
          equal(decision.cached, false);
          deepEqual(engine.recompute(decision.input), decision.verdictJson);
        }
        deepEqual(failed, [failure, failure]);
      } finally {
        unsubscribe('chaperone.policy.failed', listen);
      }
    });
  }

  test('with default_deny when every layer is undefined', () => {
    const { verdict } = engineOf(oddBundle('undefined_below_two')).decide(request(1, {}));
    deepEqual([verdict.effect, verdict.code], ['deny', 'default_deny']);
  });

  test('and takes the usual forms of OPA', () => {
    const { verdict } = engineOf(oddBundle('usual_for_reads')).decide(request(1, {}));
    deepEqual([verdict.effect, verdict.code], ['allow', '']);
    const denied = engineOf(oddBundle('usual_for_reads')).decide(request(1, { write: true })).verdict;
    deepEqual([denied.effect, denied.code], ['deny', 'policy_denied']);
  });

  test('with policy_error for an input over the limit, whose record is small and recomputes', () => {
    const engine = engineOf();
    const asked = request(1, {});
    const groups = Array.from({ length: 5_000 }, (_, i) => `group-${i}`);
    const decision = engine.decide({ ...asked, subject: { ...asked.subject, groups } });
    equal(decision.verdict.code, 'policy_error');
    ok(decision.input.length < 300);
    deepEqual(engine.recompute(decision.input), decision.verdictJson);
    equal(
      engine.decide({ ...asked, subject: { ...asked.subject, groups: groups.slice(0, 1_000) } }).verdict.effect,
      'allow',
    );
  });

  test('with obligation_unsupported when the lane cannot do what is asked', () => {
    const engine = engineOf(oddBundle('obliging'));
    const asked = request(1, {});
    const http = engine.decide({ ...asked, operation: { ...asked.operation, verb: 'record_full' } }).verdict;
    deepEqual([http.effect, http.obligations], ['allow', ['record_full']]);
    const unknown = engine.decide({ ...asked, operation: { ...asked.operation, verb: 'dance' } }).verdict;
    deepEqual([unknown.effect, unknown.code], ['deny', 'obligation_unsupported']);
    const s3 = { ...asked.connection, kind: 's3' } as const;
    const other = engine.decide({ ...asked, connection: s3, operation: { ...asked.operation, verb: 'record_full' } });
    equal(other.verdict.code, 'obligation_unsupported');
  });

  test('with a default deny when an approval is asked for and nobody allows', () => {
    const { verdict } = engineOf(oddBundle('asking')).decide(request(1, {}));
    deepEqual([verdict.effect, verdict.code, verdict.approvals], ['deny', 'default_deny', []]);
  });

  test('redacts a class that is PHI and that no layer names', () => {
    const { verdict } = engineOf(oddBundle('usual_for_reads')).decide(request(1, {}));
    equal(verdict.masks['birth_date'], 'redact');
    equal(verdict.masks['date'], 'redact');
    equal(verdict.masks['clinical'], 'none');
  });
});

function parts(): { bundle: EngineBundle; catalogue: typeof bundle.catalogue; clock: ManualClock } {
  return { bundle: bundle.engine, catalogue: bundle.catalogue, clock };
}

function engineOf(engine: EngineBundle = bundle.engine): PolicyEngine {
  return PolicyEngine.create({ ...parts(), bundle: engine });
}

function request(from: number, choice: TrafficChoice): PolicyRequest {
  return trafficRequest(new SeededRandom(from), choice);
}

function leaves(value: JsonValue | undefined, path: readonly string[]): (readonly string[])[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return [path];
  }
  return Object.entries(value as Readonly<Record<string, JsonValue>>).flatMap(([name, member]) =>
    leaves(member, [...path, name]),
  );
}

/** Another value of the same type at the path. */
function mutate(document: JsonValue, path: readonly string[]): JsonValue {
  const copy = structuredClone(document) as Record<string, JsonValue>;
  let parent = copy;
  for (const name of path.slice(0, -1)) {
    parent = parent[name] as Record<string, JsonValue>;
  }
  const name = path.at(-1) as string;
  const value = parent[name];
  if (typeof value === 'boolean') {
    parent[name] = !value;
  } else if (typeof value === 'number') {
    parent[name] = value + 1;
  } else if (Array.isArray(value)) {
    parent[name] =
      name === 'approvals' ? [{ by: 'x', code: 'bulk_export', expires_band: 'later', scope: 'statement' }] : ['ssn'];
  } else {
    parent[name] =
      name === 'age_band'
        ? 'expired'
        : name === 'rows_band' && value !== 'bulk'
          ? 'bulk'
          : `${typeof value === 'string' ? value : ''}x`;
  }
  notEqual(canonicalJson(copy), canonicalJson(document));
  return copy;
}

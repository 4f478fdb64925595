import { ManualClock } from '../core/kernel/testing/manual-clock.ts';
import { SeededRandom } from '../core/kernel/testing/seeded-random.ts';
import { PolicyEngine } from '../gateway/policy/policy-engine.ts';
import type { PolicyRequest } from '../gateway/policy/policy-input.ts';
import { inputDocument } from '../gateway/policy/policy-input.ts';
import { defaultBundle } from '../gateway/policy/testing/default-bundle.ts';
import { TRAFFIC_MIX, TRAFFIC_NOW_MS, trafficRequest } from '../gateway/policy/testing/policy-traffic.ts';
import { SdkOracle } from '../gateway/policy/testing/sdk-oracle.ts';
import {
  type Bench,
  type BenchContext,
  type BenchOutput,
  gateOf,
  interleave,
  type MeasuredCase,
  quantile,
  resultOf,
} from './harness.ts';

/*
 * One decision of the default bundle (four layers), from Subject and Operation objects that no decision saw before to a
 * checked and merged Verdict. Every call is timed on its own. `uncached`: the decision cache is off, so each call writes
 * its input, evaluates it in WASM, and checks and merges the output; a merge whose output text came before is looked up,
 * as in a node. `uncached, every merge anew`: without that. `cached`: all hits. Reference: OPA's own SDK evaluating the
 * whole input, object to object, without input building, checks and merge.
 */
const US = 'µs';
const REQUESTS = 8_192;
const REQUESTS_SMOKE = 256;
const DISTINCT_MIN = 1_000;
const EFFECT_SHARE_MIN = 0.1;
const P50_US_MAX = 8;
const WARM_UP_ROUNDS = 2;

type Timed = (requests: readonly PolicyRequest[]) => Float64Array;

async function run(context: BenchContext): Promise<BenchOutput> {
  const count = context.smoke ? REQUESTS_SMOKE : REQUESTS;
  const { engine, catalogue } = defaultBundle();
  const clock = new ManualClock(TRAFFIC_NOW_MS);
  const uncached = PolicyEngine.create({ bundle: engine, catalogue, clock, cacheEntriesMax: 0 });
  const anew = PolicyEngine.create({ bundle: engine, catalogue, clock, cacheEntriesMax: 0, verdictsMax: 0 });
  const cached = PolicyEngine.create({ bundle: engine, catalogue, clock });
  const sdk = new SdkOracle(engine.module, engine.dataJson, engine.entrypoint);
  checkMix(uncached, traffic(0, count), context);

  const timings = new Map<string, Float64Array>();
  const timed = (name: string, work: Timed) => (round: number) => {
    const times = work(traffic(round, count));
    timings.set(name, times);
    return quantile([...times], 0.5);
  };
  const p99Of = (name: string) => () => quantile([...(timings.get(name) ?? [])], 0.99);
  const p50 = { metric: 'p50', unit: US };
  const cases: MeasuredCase[] = [
    { case: 'uncached', ...p50, reference: 'OPA SDK', measure: timed('uncached', decideEach(uncached)) },
    { case: 'uncached p99', metric: 'p99', unit: US, measure: p99Of('uncached') },
    { case: 'OPA SDK', ...p50, measure: timed('sdk', evaluateEach(sdk)) },
    { case: 'cached', ...p50, reference: 'OPA SDK', measure: timed('cached', decideTwice(cached)) },
    { case: 'cached p99', metric: 'p99', unit: US, measure: p99Of('cached') },
    { case: 'uncached, every merge anew', ...p50, measure: timed('anew', decideEach(anew)) },
    { case: 'uncached with record', ...p50, measure: timed('record', recordEach(uncached)) },
  ];
  for (let round = 0; round < WARM_UP_ROUNDS; round++) {
    for (const one of cases) {
      await one.measure(round); // The first runs of each measure the compiler.
    }
  }
  const results = await interleave(context.rounds, cases, context.log);
  const gate = gateOf(context, {
    name: 'policy: uncached decision p50',
    value: resultOf(results, 'uncached').value,
    bound: P50_US_MAX,
    op: '<=',
    referenceRounds: resultOf(results, 'OPA SDK').rounds,
  });
  return { results, gates: [gate] };
}

export const bench: Bench = { name: 'policy', run };

function traffic(round: number, count: number): PolicyRequest[] {
  const random = new SeededRandom(round + 1);
  // Shuffled: a run of equal requests would be kinder to every cache than traffic is.
  return Array.from({ length: count }, () => trafficRequest(random, random.pick(TRAFFIC_MIX)));
}

/** What the figures are worth nothing without: distinct inputs, and every effect often enough. */
function checkMix(engine: PolicyEngine, requests: readonly PolicyRequest[], context: BenchContext): void {
  const inputs = new Set<string>();
  const effects = new Map<string, number>();
  for (const request of requests) {
    const decision = engine.decide(request);
    inputs.add(decision.input.toString());
    effects.set(decision.verdict.effect, (effects.get(decision.verdict.effect) ?? 0) + 1);
  }
  const shares = ['allow', 'deny', 'approve'].map((effect) => (effects.get(effect) ?? 0) / requests.length);
  context.log(
    `${inputs.size} distinct inputs; allow, deny, approve: ${shares.map((share) => share.toFixed(2)).join(', ')}`,
  );
  if (shares.some((share) => share < EFFECT_SHARE_MIN) || inputs.size < Math.min(DISTINCT_MIN, requests.length / 2)) {
    throw new Error('the generated requests are not the mix that this benchmark is about');
  }
}

function decideEach(engine: PolicyEngine): Timed {
  return (requests) => each(requests, (request) => engine.decide(request).verdict.effect);
}

/** As far as a recorder goes: the canonical input and its digest are written as well. */
function recordEach(engine: PolicyEngine): Timed {
  return (requests) => each(requests, (request) => engine.decide(request).inputDigest);
}

/** Only those that the cache may keep, and the second time. */
function decideTwice(engine: PolicyEngine): Timed {
  return (requests) => {
    const kept = requests.filter((request) => {
      engine.decide(request);
      return engine.decide(request).cached;
    });
    if (kept.length === 0) {
      throw new Error('nothing was cached');
    }
    return each(kept, (request) => engine.decide(request).verdict.effect);
  };
}

function evaluateEach(sdk: SdkOracle): Timed {
  return (requests) =>
    each(
      requests.map((request) => inputDocument(request, TRAFFIC_NOW_MS)),
      (input) => sdk.evaluateObject(input),
    );
}

/** Microseconds of each call. */
function each<T>(items: readonly T[], work: (item: T) => unknown): Float64Array {
  const times = new Float64Array(items.length);
  let sink: unknown = null;
  for (let i = 0; i < items.length; i++) {
    const item = items[i] as T;
    const startedMs = performance.now();
    sink = work(item);
    times[i] = (performance.now() - startedMs) * 1000;
  }
  if (sink === undefined) {
    throw new Error('the work gave nothing');
  }
  return times;
}

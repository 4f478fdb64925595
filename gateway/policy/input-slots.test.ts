import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { canonicalJson, type JsonValue } from '../../core/kernel/canonical-json.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import { SeededRandom } from '../../core/kernel/testing/seeded-random.ts';
import type { InputLayout } from './input-slots.ts';
import { InputWriter, pickLeaves, pickReads } from './input-writer.ts';
import { inputDocument } from './policy-input.ts';
import { defaultBundle } from './testing/default-bundle.ts';
import { oddModule } from './testing/odd-policy.ts';
import { oddChoice, TRAFFIC_NOW_MS, trafficRequest } from './testing/policy-traffic.ts';
import { SdkOracle } from './testing/sdk-oracle.ts';
import { WasmDriver } from './wasm-driver.ts';

const SCALE = Number(process.env['CHAPERONE_TEST_SCALE'] ?? '1');
const seed = Number(process.env['CHAPERONE_TEST_SEED'] ?? '4711');
/** Objects that grow their tables (more than eight members), names that share beginnings, two objects that can be null. */
const LAYOUT: InputLayout = {
  leaves: [
    ...Array.from({ length: 20 }, (_, i) => ['wide', `member-${i}`]),
    ['a'],
    ['ab', 'a'],
    ['ab', 'ab', 'ab'],
    ['maybe', 'x'],
    ['maybe', 'y', 'z'],
    ['deep', 'maybe', 'x'],
  ],
  nullables: [['maybe'], ['deep', 'maybe']],
};

describe('an input that is set leaf by leaf', () => {
  // Goal: the same decision as from the text. Method: the committed bundle, generated requests, SDK on the whole document.
  test(`gives what OPA's SDK gives for the whole document (seed ${seed})`, () => {
    const { engine } = defaultBundle();
    const writer = new InputWriter(engine.reads);
    ok(writer.layout !== null);
    const driver = new WasmDriver(engine.module, engine.dataJson, engine.entrypoint, writer.layout);
    ok(driver.hasSlots);
    const oracle = new SdkOracle(engine.module, engine.dataJson, engine.entrypoint);
    const random = new SeededRandom(seed);
    const seen = new Set<string>();
    for (let i = 0; i < 600 * SCALE; i++) {
      const request = trafficRequest(random, oddChoice(random));
      const document = inputDocument(request, TRAFFIC_NOW_MS);
      const texts: string[] = [];
      const nulls: boolean[] = [];
      writer.gather(texts, nulls, { request, nowMs: TRAFFIC_NOW_MS });
      const output = driver.evaluateLeaves(texts, nulls);
      ok(output !== null);
      deepEqual(JSON.parse(output), oracle.evaluate(canonicalJson(document)));
      equal(output, driver.evaluate(canonicalJson(pickReads(document, engine.reads))), 'the two ways share one memory');
      const picked = pickLeaves(document, writer.layout);
      equal(driver.evaluateLeaves(picked.texts, picked.nulls), output);
      seen.add(output);
    }
    ok(seen.size > 40, `only ${seen.size} different outputs were compared`);
    equal(driver.aborts, 0);
  });

  test('comes out as it went in, whatever the leaves are', () => {
    const driver = new WasmDriver(oddModule(), '{}', 'odd/echo', LAYOUT);
    ok(driver.hasSlots);
    const leaf = fc.oneof(
      fc.constantFrom<JsonValue>('clinic', '', true, false, null, 0, -1, 1.5, [], {}, 'é\u{1f600}"\\\n'),
      fc.string({ maxLength: 300 }),
      fc.array(fc.string({ maxLength: 40 }), { maxLength: 20 }),
      fc.integer(),
    );
    const count = LAYOUT.leaves.length;
    fc.assert(
      fc.property(
        fc.array(leaf, { minLength: count, maxLength: count }),
        fc.array(fc.boolean(), { minLength: 2, maxLength: 2 }),
        (values, nulls) => {
          const output = driver.evaluateLeaves(values.map(canonicalJson), nulls);
          equal(echoed(output), canonicalJson(documentOf(values, nulls)));
        },
      ),
      { numRuns: 200 * SCALE },
    );
  });

  test('goes on when more words were seen than it keeps', () => {
    const driver = new WasmDriver(oddModule(), '{}', 'odd/echo', LAYOUT);
    const values = LAYOUT.leaves.map((): JsonValue => 'word');
    for (let i = 0; i < 6_000; i++) {
      values[i % values.length] = i % 7 === 0 ? i : `a word that nobody said before, number ${i}`;
      const output = driver.evaluateLeaves(values.map(canonicalJson), [false, false]);
      if (i % 500 === 0 || i > 5_990) {
        equal(echoed(output), canonicalJson(documentOf(values, [false, false])));
      }
      ok(output !== null);
    }
  });

  test('takes long leaves, and is an abort when they are too long or not JSON', () => {
    const driver = new WasmDriver(oddModule(), '{}', 'odd/echo', LAYOUT);
    const values = LAYOUT.leaves.map((_, i): JsonValue => 'x'.repeat(i === 3 ? 20_000 : 300));
    equal(
      echoed(driver.evaluateLeaves(values.map(canonicalJson), [true, false])),
      canonicalJson(documentOf(values, [true, false])),
    );
    const good = LAYOUT.leaves.map(() => '"x"');
    for (const bad of [JSON.stringify('x'.repeat(LIMITS.policyInputBytesMax)), '', 'nope', '"\\ud800"', '{"a":']) {
      equal(driver.evaluateLeaves(good.with(2, bad), [false, false]), null, bad.slice(0, 10));
      ok(driver.evaluateLeaves(good, [false, false]) !== null);
    }
    equal(driver.aborts, 5);
  });

  test('a leaf of the evaluation before is never seen again', () => {
    const driver = new WasmDriver(oddModule(), '{}', 'odd/echo', LAYOUT);
    const secret = LAYOUT.leaves.map(() => '"of another subject"');
    ok(driver.evaluateLeaves(secret, [false, false])?.includes('of another subject'));
    const mine = LAYOUT.leaves.map(() => '"mine"');
    equal(driver.evaluateLeaves(mine, [true, true])?.includes('of another subject'), false);
    equal(driver.evaluateLeaves(mine, [false, false])?.includes('of another subject'), false);
  });

  test('keeps its values when an evaluation aborts', () => {
    const driver = new WasmDriver(oddModule(), '{}', 'odd/conflict', { leaves: [['n']], nullables: [] });
    for (let i = 0; i < 50; i++) {
      equal(driver.evaluateLeaves(['2'], []), null);
      equal(driver.evaluateLeaves(['1'], []), '[{"result":{"effect":"allow"}}]');
    }
  });
});

function echoed(output: string | null): string {
  const [first] = JSON.parse(output ?? '[]') as { result: JsonValue }[];
  return canonicalJson(first?.result ?? null);
}

function documentOf(values: readonly JsonValue[], nulls: readonly boolean[]): JsonValue {
  const document: Record<string, JsonValue> = {};
  const set = (path: readonly string[], value: JsonValue): void => {
    let parent = document;
    for (const name of path.slice(0, -1)) {
      parent[name] ??= {};
      parent = parent[name] as Record<string, JsonValue>;
    }
    parent[path.at(-1) ?? ''] = value;
  };
  for (const [i, path] of LAYOUT.leaves.entries()) {
    set(path, values[i] ?? null);
  }
  for (const [i, path] of LAYOUT.nullables.entries()) {
    if (nulls[i] === true) {
      set(path, null);
    }
  }
  return document;
}

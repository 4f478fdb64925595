import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { canonicalJson } from '../../core/kernel/canonical-json.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import { SeededRandom } from '../../core/kernel/testing/seeded-random.ts';
import { inputDocument } from './policy-input.ts';
import { defaultBundle } from './testing/default-bundle.ts';
import { oddModule } from './testing/odd-policy.ts';
import { oddChoice, TRAFFIC_NOW_MS, trafficRequest } from './testing/policy-traffic.ts';
import { SdkOracle } from './testing/sdk-oracle.ts';
import { WasmDriver } from './wasm-driver.ts';

const SCALE = Number(process.env['CHAPERONE_TEST_SCALE'] ?? '1');
const seed = Number(process.env['CHAPERONE_TEST_SEED'] ?? '20260304');
const STORY = 'é \u{1f600} "quoted" \\ back \u0001 end';

describe('WasmDriver', () => {
  // Goal: our driver is OPA. Method: the committed bundle, any combination of what can be special, both engines.
  test(`gives what OPA's SDK gives, for generated inputs (seed ${seed})`, () => {
    const { engine } = defaultBundle();
    const driver = new WasmDriver(engine.module, engine.dataJson, engine.entrypoint);
    const oracle = new SdkOracle(engine.module, engine.dataJson, engine.entrypoint);
    const random = new SeededRandom(seed);
    const seen = new Set<string>();
    for (let i = 0; i < 600 * SCALE; i++) {
      const input = canonicalJson(inputDocument(trafficRequest(random, oddChoice(random)), TRAFFIC_NOW_MS));
      const output = driver.evaluate(input);
      ok(output !== null);
      deepEqual(JSON.parse(output), oracle.evaluate(input));
      seen.add(output);
    }
    ok(seen.size > 40, `only ${seen.size} different outputs were compared`);
    equal(driver.aborts, 0);
  });

  for (const rule of ['yes', 'usual', 'unknown_field', 'echo', 'undefined_below_two', 'layers', 'text']) {
    test(`gives what OPA's SDK gives for odd/${rule}`, () => {
      const data = JSON.stringify({ words: ['zero', STORY, 'two'] });
      const driver = new WasmDriver(oddModule(), data, `odd/${rule}`);
      const oracle = new SdkOracle(oddModule(), data, `odd/${rule}`);
      let compared = 0;
      for (const input of [{ n: 0 }, { n: 1 }, { n: 2, layers: [true, { allow: false }] }, { n: 1, text: STORY }, {}]) {
        const output = driver.evaluate(canonicalJson(input));
        deepEqual(JSON.parse(output ?? 'null'), oracle.evaluate(canonicalJson(input)));
        compared++;
      }
      equal(compared, 5);
    });
  }

  test('answers null when two rules disagree, and goes on', () => {
    const driver = new WasmDriver(oddModule(), '{}', 'odd/conflict');
    equal(driver.evaluate('{"n":1}'), '[{"result":{"effect":"allow"}}]');
    equal(driver.evaluate('{"n":2}'), null);
    equal(driver.evaluate('{"n":1}'), '[{"result":{"effect":"allow"}}]');
    equal(driver.aborts, 1);
  });

  test('an input that OPA cannot read is an abort, never an undefined input', () => {
    const driver = new WasmDriver(oddModule(), '{}', 'odd/layers');
    equal(driver.evaluate('{"text":"\\ud800"}'), null, 'half of a surrogate pair is no text');
    equal(driver.aborts, 1);
  });

  // Without a new instance after each abort, evaluation 1,020 traps, and every one after it.
  test('stays usable after more aborts than one instance survives', () => {
    const driver = new WasmDriver(oddModule(), '{"words":["kept"]}', 'odd/conflict');
    const other = new WasmDriver(oddModule(), '{"words":["kept"]}', 'odd/text');
    for (let i = 0; i < 1_500; i++) {
      equal(driver.evaluate('{"n":2}'), null);
    }
    equal(driver.evaluate('{"n":1}'), '[{"result":{"effect":"allow"}}]');
    equal(other.evaluate('{"n":0}'), '[{"result":"kept"}]');
    equal(driver.aborts, 1_500);
  });

  test('runs out of fuel in a runaway, keeps its data and its size', () => {
    const driver = new WasmDriver(oddModule(), '{}', 'odd/runaway');
    equal(driver.evaluate('{"n":3}'), '[{"result":9}]');
    for (let i = 0; i < 5; i++) {
      equal(driver.evaluate('{"n":100000}'), null);
      equal(driver.evaluate('{"n":3}'), '[{"result":9}]');
    }
  });

  test('takes an input of exactly the limit, and not one byte more', () => {
    const driver = new WasmDriver(oddModule(), '{}', 'odd/echo');
    const frame = '{"t":""}'.length;
    const limit = `{"t":"${'x'.repeat(LIMITS.policyInputBytesMax - frame)}"}`;
    equal(driver.evaluate(limit), `[{"result":${limit}}]`);
    equal(driver.evaluate(limit.replace('x', 'xx')), null);
    equal(driver.evaluate(limit.replace('xx', 'é')), `[{"result":${limit.replace('xx', 'é')}}]`);
    equal(driver.evaluate(limit.replace('x', 'é')), null);
  });

  test('an evaluation leaves nothing behind for the next one', () => {
    const driver = new WasmDriver(oddModule(), '{}', 'odd/echo');
    equal(driver.evaluate('{"secret":"of another subject"}'), '[{"result":{"secret":"of another subject"}}]');
    equal(driver.evaluate('{}'), '[{"result":{}}]');
  });

  test('loads data that is larger than the memory a module starts with', () => {
    const words = Array.from({ length: 40_000 }, (_, i) => `word number ${i}`);
    const driver = new WasmDriver(oddModule(), JSON.stringify({ words }), 'odd/text');
    equal(driver.evaluate('{"n":39999}'), '[{"result":"word number 39999"}]');
  });

  test('refuses a module without the entrypoint, data that is not JSON, and something else than OPA', () => {
    const empty = new WebAssembly.Module(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
    throws(() => new WasmDriver(oddModule(), '{}', 'odd/nothing'), isInvalid);
    throws(() => new WasmDriver(oddModule(), '{"words":', 'odd/text'), isInvalid);
    throws(() => new WasmDriver(empty, '{}', 'odd/text'), isInvalid);
  });
});

function isInvalid(error: unknown): boolean {
  return error instanceof GatewayError && error.code === 'bundle_invalid';
}

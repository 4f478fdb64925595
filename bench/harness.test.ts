import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, test } from 'node:test';
import { type BenchContext, gateOf, interleave, quantile, spread, withBenchDirectory } from './harness.ts';

const CONTEXT: BenchContext = { smoke: false, rounds: 3, log: () => undefined };
const GATE = { name: 'g', bound: 10, op: '>=' } as const;

describe('interleave', () => {
  test('measures the cases in turn and gives medians and the median of the ratios of each round', async () => {
    const order: string[] = [];
    const results = await interleave(
      3,
      [
        {
          case: 'subject',
          metric: 'm',
          unit: 'u',
          reference: 'base',
          measure: (round) => note('subject', [2, 9, 4], round),
        },
        { case: 'base', metric: 'm', unit: 'u', measure: (round) => note('base', [1, 3, 8], round) },
      ],
      (line) => ok(line.includes('round')),
    );
    function note(name: string, values: readonly number[], round: number): number {
      order.push(name);
      return values[round] ?? NaN;
    }
    deepEqual(order, ['subject', 'base', 'subject', 'base', 'subject', 'base']);
    deepEqual(results, [
      { case: 'subject', metric: 'm', value: 4, unit: 'u', rounds: [2, 9, 4], reference: 'base', ratio: 2 },
      { case: 'base', metric: 'm', value: 3, unit: 'u', rounds: [1, 3, 8] },
    ]);
  });

  test('refuses a reference that is not measured, and two cases of one name', async () => {
    const one = { case: 'a', metric: 'm', unit: 'u', measure: () => 1 };
    await rejects(interleave(1, [{ ...one, reference: 'b' }], () => undefined));
    await rejects(interleave(1, [one, one], () => undefined));
  });
});

describe('gateOf', () => {
  for (const [value, status] of [
    [9.99, 'fail'],
    [10, 'pass'],
    [10.01, 'pass'],
    [NaN, 'fail'],
  ] as const) {
    test(`${value} against >= 10 is ${status}`, () => {
      equal(gateOf(CONTEXT, { ...GATE, value }).status, status);
    });
  }

  test('<= is the other way round', () => {
    equal(gateOf(CONTEXT, { ...GATE, op: '<=', value: 10 }).status, 'pass');
    equal(gateOf(CONTEXT, { ...GATE, op: '<=', value: 10.01 }).status, 'fail');
  });

  test('a reference that varies by more than 20 % makes it void, also when it would pass', () => {
    equal(gateOf(CONTEXT, { ...GATE, value: 11, referenceRounds: [90, 100, 110] }).status, 'pass');
    equal(gateOf(CONTEXT, { ...GATE, value: 11, referenceRounds: [90, 100, 111] }).status, 'void');
    equal(gateOf(CONTEXT, { ...GATE, value: 9, referenceRounds: [90, 100, 111] }).status, 'void');
  });

  test('a condition that does not hold leaves it open, a smoke run makes it void', () => {
    equal(gateOf(CONTEXT, { ...GATE, value: 9, open: 'slow disk' }).status, 'open');
    equal(gateOf({ ...CONTEXT, smoke: true }, { ...GATE, value: 9 }).status, 'void');
  });
});

test('quantiles are linear between neighbours, and spread is relative to the median', () => {
  equal(quantile([4, 1, 3, 2], 0.5), 2.5);
  equal(quantile([1, 2, 3], 1), 3);
  equal(spread([8, 10, 13]), 0.5);
  ok(Number.isNaN(quantile([], 0.5)));
});

test('the folder of a benchmark is gone afterwards, also when the work fails', async () => {
  let seen = '';
  await rejects(
    withBenchDirectory({ ...CONTEXT, smoke: true }, async (directory) => {
      seen = directory;
      ok(existsSync(directory));
      throw new Error('broke');
    }),
    /broke/,
  );
  ok(seen !== '' && !existsSync(seen));
});

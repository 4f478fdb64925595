import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileSystemOf } from './calibration.ts';

/** One measured figure. `ratio` = this over `reference` (the name of the case it is compared with). */
export interface BenchCase {
  readonly case: string;
  readonly metric: string;
  readonly value: number;
  readonly unit: string;
  readonly ratio?: number;
  readonly reference?: string;
  /** The value of every round, in order. */
  readonly rounds?: readonly number[];
}

export type GateStatus = 'pass' | 'fail' | 'open' | 'void';

/** A figure that gates. `open`: its condition does not hold here; `void`: this run could not tell. */
export interface Gate {
  readonly name: string;
  readonly value: number;
  readonly bound: number;
  readonly op: '>=' | '<=';
  readonly status: GateStatus;
  readonly why?: string;
}

export interface BenchContext {
  /** Tiny sizes: shows that the benchmark works, in under 3 s. Its figures mean nothing and its gates are void. */
  readonly smoke: boolean;
  readonly rounds: number;
  /** A line for people, to stderr. */
  readonly log: (line: string) => void;
}

export interface BenchOutput {
  readonly results: BenchCase[];
  readonly gates: Gate[];
}

/** What each `bench/<name>.ts` exports as `bench`. */
export interface Bench {
  readonly name: string;
  run(context: BenchContext): Promise<BenchOutput>;
}

/** One thing to measure: `measure` does it once and returns the figure, e.g. records per second. */
export interface MeasuredCase {
  readonly case: string;
  readonly metric: string;
  readonly unit: string;
  /** Name of another case of the same `interleave`. */
  readonly reference?: string;
  measure(round: number): number | Promise<number>;
}

export interface GateSpec {
  readonly name: string;
  readonly value: number;
  readonly bound: number;
  readonly op: '>=' | '<=';
  /** Rounds of the reference that the value depends on: the gate is void when they vary by more than 20 %. */
  readonly referenceRounds?: readonly number[] | undefined;
  /** Set when the condition of the gate does not hold on this machine, in words. */
  readonly open?: string | undefined;
}

const SPREAD_MAX = 0.2;

/**
 * Measures all cases in turn, `rounds` times, so that a drift of the machine hits subject and reference alike. The
 * value is the median of the rounds; the ratio is the median of the ratios inside each round.
 */
export async function interleave(
  rounds: number,
  cases: readonly MeasuredCase[],
  log: (line: string) => void,
): Promise<BenchCase[]> {
  const values = new Map<string, number[]>(cases.map((each) => [each.case, []]));
  if (values.size !== cases.length || rounds < 1) {
    throw new Error('cases need distinct names and at least one round');
  }
  for (let round = 0; round < rounds; round++) {
    for (const each of cases) {
      const value = await each.measure(round);
      values.get(each.case)?.push(value);
      log(`round ${round + 1}/${rounds}  ${each.case}  ${each.metric} ${formatFigure(value)} ${each.unit}`);
    }
  }
  return cases.map((each) => {
    const own = values.get(each.case) ?? [];
    const result: BenchCase = {
      case: each.case,
      metric: each.metric,
      value: median(own),
      unit: each.unit,
      rounds: own,
    };
    if (each.reference === undefined) {
      return result;
    }
    const reference = values.get(each.reference);
    if (reference === undefined) {
      throw new Error(`case ${each.case} refers to ${each.reference}, which is not measured`);
    }
    return {
      ...result,
      reference: each.reference,
      ratio: median(own.map((value, i) => value / (reference[i] ?? NaN))),
    };
  });
}

export function gateOf(context: BenchContext, spec: GateSpec): Gate {
  const { name, value, bound, op } = spec;
  const gate = { name, value, bound, op };
  if (context.smoke) {
    return { ...gate, status: 'void', why: 'smoke run' };
  }
  if (spec.open !== undefined) {
    return { ...gate, status: 'open', why: spec.open };
  }
  if (spec.referenceRounds !== undefined && spread(spec.referenceRounds) > SPREAD_MAX) {
    const percent = Math.round(spread(spec.referenceRounds) * 100);
    return { ...gate, status: 'void', why: `the reference varied by ${percent} % between rounds` };
  }
  // A figure that is not a number must not pass: both comparisons are false for NaN.
  const holds = op === '>=' ? value >= bound : value <= bound;
  return { ...gate, status: holds ? 'pass' : 'fail' };
}

/** The result of `name`; throws when it was not measured. */
export function resultOf(results: readonly BenchCase[], name: string): BenchCase {
  const found = results.find((each) => each.case === name);
  if (found === undefined) {
    throw new Error(`no case ${name}`);
  }
  return found;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Linear between the two nearest values; NaN of nothing. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)] ?? NaN;
  const high = sorted[Math.ceil(at)] ?? NaN;
  return low + (high - low) * (at - Math.floor(at));
}

/** (largest - smallest) / median. */
export function spread(values: readonly number[]): number {
  return (Math.max(...values) - Math.min(...values)) / median(values);
}

/**
 * Runs `work` with an empty folder on a real disk and removes it afterwards. `CHAPERONE_BENCH_DIR`, else the folder for
 * temporary files. Refuses memory file systems, where a flush costs nothing, unless it is a smoke run.
 */
export async function withBenchDirectory<T>(
  context: BenchContext,
  work: (directory: string) => Promise<T>,
): Promise<T> {
  const directory = await mkdtemp(join(process.env['CHAPERONE_BENCH_DIR'] ?? tmpdir(), 'chaperone-bench-'));
  try {
    const fileSystem = await fileSystemOf(directory);
    if (fileSystem.inMemory && !context.smoke) {
      throw new Error(`${directory} is ${fileSystem.name}: set CHAPERONE_BENCH_DIR to a folder on a disk`);
    }
    return await work(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Three significant digits, or a grouped integer. */
export function formatFigure(value: number): string {
  if (!Number.isFinite(value)) {
    return String(value);
  }
  return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString('en-US') : String(Number(value.toPrecision(3)));
}

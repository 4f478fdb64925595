/**
 * `npm run bench -- <name> [--json] [--smoke] [--rounds N] [--write-baseline]`
 *
 * Stdout gets one JSON object {name, env, calibration, results, gates}; without `--json` a table before it. Everything
 * else goes to stderr. Exit code 1 when a gate fails or the benchmark breaks, 2 for wrong use; open and void gates are
 * printed as such and do not fail. A baseline (`bench/baselines/<name>.json`) is compared by ratios only: absolute
 * figures belong to the machine.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { packageRoot } from '../core/runtime/package-root.ts';
import { type BenchEnvironment, calibrate, type Calibration, environment } from './calibration.ts';
import { type Bench, type BenchCase, type BenchContext, type BenchOutput, formatFigure } from './harness.ts';

interface Report extends BenchOutput {
  readonly name: string;
  readonly env: BenchEnvironment;
  readonly calibration: Calibration;
}

interface Baseline {
  readonly env: BenchEnvironment;
  readonly calibration: Calibration;
  readonly results: readonly BenchCase[];
}

const ROUNDS_DEFAULT = 5;
const ROUNDS_MAX = 100;
const NAME = /^[a-z][a-z0-9-]*$/;
const NOT_BENCHMARKS = new Set(['main', 'harness', 'calibration']);
const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args);
  if (typeof options === 'string') {
    process.stderr.write(`${options}\nbench <name> [--json] [--smoke] [--rounds N] [--write-baseline]\n`);
    process.stderr.write(`names: ${(await names()).join(' ')}\n`);
    return EXIT.usage;
  }
  const bench = await load(options.name);
  if (bench === undefined) {
    process.stderr.write(`there is no benchmark ${options.name}; names: ${(await names()).join(' ')}\n`);
    return EXIT.usage;
  }
  const context: BenchContext = {
    smoke: options.smoke,
    rounds: options.rounds,
    log: (line) => void process.stderr.write(`${line}\n`),
  };
  const env = environment();
  const calibration = await calibrate({ smoke: options.smoke });
  context.log(`calibration ${JSON.stringify(calibration)}`);
  const { results, gates } = await bench.run(context);
  const report: Report = { name: bench.name, env, calibration, results, gates };
  const baselinePath = join(packageRoot(), 'bench', 'baselines', `${bench.name}.json`);
  const baseline = await readBaseline(baselinePath);
  if (!options.json) {
    process.stdout.write(`${table(report, baseline)}\n`);
  }
  process.stdout.write(`${JSON.stringify(report)}\n`);
  if (options.writeBaseline) {
    const content: Baseline = { env, calibration, results: results.map(withoutRounds) };
    await writeFile(baselinePath, `${JSON.stringify(content, null, 2)}\n`);
    context.log(`wrote ${baselinePath}`);
  }
  return gates.some((gate) => gate.status === 'fail') ? EXIT.failed : EXIT.ok;
}

interface Options {
  readonly name: string;
  readonly json: boolean;
  readonly smoke: boolean;
  readonly rounds: number;
  readonly writeBaseline: boolean;
}

/** The options, or what is wrong with them. */
function parseOptions(args: readonly string[]): Options | string {
  let parsed;
  try {
    parsed = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        smoke: { type: 'boolean', default: false },
        rounds: { type: 'string' },
        'write-baseline': { type: 'boolean', default: false },
      },
    });
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  const { values, positionals } = parsed;
  const name = positionals[0];
  const rounds = values.rounds === undefined ? (values.smoke ? 1 : ROUNDS_DEFAULT) : Number(values.rounds);
  if (name === undefined || positionals.length !== 1 || !NAME.test(name)) {
    return 'give the name of one benchmark';
  }
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > ROUNDS_MAX) {
    return `--rounds is an integer from 1 to ${ROUNDS_MAX}`;
  }
  if (values.smoke && values['write-baseline']) {
    return 'a smoke run is no baseline';
  }
  return { name, json: values.json, smoke: values.smoke, rounds, writeBaseline: values['write-baseline'] };
}

async function names(): Promise<string[]> {
  const own = fileURLToPath(import.meta.url);
  const found: string[] = [];
  for (const file of await readdir(dirname(own))) {
    const name = file.slice(0, -extname(file).length);
    if (extname(file) === extname(own) && NAME.test(name) && !NOT_BENCHMARKS.has(name)) {
      found.push(name);
    }
  }
  return found.sort();
}

async function load(name: string): Promise<Bench | undefined> {
  if (!(await names()).includes(name)) {
    return undefined;
  }
  const own = fileURLToPath(import.meta.url);
  const module = (await import(pathToFileURL(join(dirname(own), name + extname(own))).href)) as { bench?: Bench };
  return module.bench;
}

async function readBaseline(path: string): Promise<Baseline | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Baseline;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      return undefined;
    }
    throw error;
  }
}

function table(report: Report, baseline: Baseline | undefined): string {
  const rows = [['case', 'metric', 'value', 'unit', 'ratio', 'to', 'ratio against baseline']];
  for (const result of report.results) {
    rows.push([
      result.case,
      result.metric,
      formatFigure(result.value),
      result.unit,
      result.ratio === undefined ? '' : formatFigure(result.ratio),
      result.reference ?? '',
      ratioChange(result, baseline),
    ]);
  }
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  for (const gate of report.gates) {
    const why = gate.why === undefined ? '' : ` (${gate.why})`;
    const figure = `${formatFigure(gate.value)} ${gate.op} ${formatFigure(gate.bound)}`;
    lines.push(`gate ${gate.status.toUpperCase()}  ${gate.name}: ${figure}${why}`);
  }
  return lines.join('\n');
}

function ratioChange(result: BenchCase, baseline: Baseline | undefined): string {
  const before = baseline?.results.find((each) => each.case === result.case && each.metric === result.metric)?.ratio;
  if (before === undefined || result.ratio === undefined) {
    return '';
  }
  const percent = (result.ratio / before - 1) * 100;
  return `${percent >= 0 ? '+' : ''}${percent.toFixed(1)} %`;
}

function withoutRounds(result: BenchCase): BenchCase {
  const { rounds: _rounds, ...rest } = result;
  return rest;
}

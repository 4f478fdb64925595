import { existsSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packageRoot } from '../../../core/runtime/package-root.ts';
import { STEPS } from '../steps/all-steps.ts';
import { Agent } from './agent.ts';
import { ChaperoneCommand } from './chaperone-command.ts';
import { Checks, type FailedCheck } from './checks.ts';
import { writeDemoConfig } from './demo-config.ts';
import { BREAKS, type DemoOptions } from './demo-options.ts';
import { Deployment, isAlive } from './deployment.ts';
import { EvidenceSql } from './evidence-sql.ts';
import type { Step, Story } from './story.ts';
import { Teller } from './teller.ts';
import { Upstream } from './upstream.ts';

export interface StepReport {
  readonly id: number;
  readonly name: string;
  readonly ok: boolean;
  readonly ms: number;
  readonly checks: number;
  readonly failed: readonly FailedCheck[];
  readonly [fact: string]: unknown;
}

/** With a stopped recorder the gateway may answer until this has passed; the shipped 60 s would be a long wait. */
const BROKEN_RECORDER_MS = 1_500;

/** Starts everything, tells the story, ends everything. Resolves with the exit code. */
export async function tellStory(options: DemoOptions): Promise<number> {
  const tell = new Teller({
    silent: options.json,
    colour: process.stdout.isTTY && process.env['NO_COLOR'] === undefined,
  });
  const startedMs = performance.now();
  const root = packageRoot();
  const dataDir = process.env['CHAPERONE_DEMO_DATA_DIR'] ?? join(root, '.chaperone', 'demo-run');
  const other = runningIn(dataDir);
  if (other !== null) {
    process.stderr.write(`demo: another one runs on ${dataDir} (process ${other}): wait for it, or end it\n`);
    return 1;
  }
  rmSync(dataDir, { recursive: true, force: true });
  const steps: StepReport[] = [];
  let problem = '';
  const started = await startStory(options, tell, root, dataDir);
  const end = endOnEveryPath(started);
  try {
    const startMs = await waitUntilReady(started, tell);
    tell.say(`Everything runs (${seconds(startMs)}).`);
    const story = storyOf(started, options, tell, root, dataDir);
    for (const step of stepsToRun(options.only)) {
      steps.push(await tellStep(step, story));
    }
    await story.sql.close();
  } catch (error) {
    problem = error instanceof Error ? error.message : String(error);
    tell.bad(problem);
  } finally {
    await end();
  }
  const ok = problem === '' && steps.length > 0 && steps.every((step) => step.ok);
  const ms = Math.round(performance.now() - startedMs);
  if (options.json) {
    const broken = options.breaks === null ? {} : { break: options.breaks };
    process.stdout.write(
      `${JSON.stringify({ ok, ms, steps, dataDir, ...broken, ...(problem === '' ? {} : { problem }) })}\n`,
    );
  } else {
    tellEnd(tell, steps, { ok, ms, root, dataDir });
  }
  return ok ? 0 : 1;
}

/** The process of a `chaperone up` that still runs on this folder. */
function runningIn(dataDir: string): number | null {
  const path = join(dataDir, 'run.json');
  if (!existsSync(path)) {
    return null;
  }
  const { pid, stoppedMs } = JSON.parse(readFileSync(path, 'utf8')) as { pid: number; stoppedMs: number | null };
  return stoppedMs === null && isAlive(pid) ? pid : null;
}

interface Started {
  readonly deployment: Deployment;
  readonly chaperone: ChaperoneCommand;
  readonly configPath: string;
  readonly clinicUrl: string;
  readonly serviceToken: string;
}

async function startStory(options: DemoOptions, tell: Teller, root: string, dataDir: string): Promise<Started> {
  const { breaks } = options;
  if (breaks !== null) {
    tell.title(`On purpose: ${BREAKS[breaks].what}. Step ${BREAKS[breaks].step} must be false.`);
  }
  const config = await writeDemoConfig({
    root,
    dataDir,
    ...(breaks === 'recorder' ? { unpublishedMaxMs: BROKEN_RECORDER_MS } : {}),
  });
  const mainPath = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', 'cli', 'main.js');
  tell.title('Chaperone, told by a client of it.');
  tell.say('Key store, bus, ClickHouse, cluster log, witness, ingest and a gateway with two workers start here:');
  tell.command(`chaperone up --config ${relative(process.cwd(), config.path)}`);
  return {
    deployment: Deployment.spawn(mainPath, config.path, dataDir),
    chaperone: new ChaperoneCommand(mainPath, config.path),
    configPath: config.path,
    clinicUrl: config.clinicUrl,
    serviceToken: config.serviceToken,
  };
}

async function waitUntilReady({ deployment }: Started, tell: Teller): Promise<number> {
  const fromMs = performance.now();
  const { http, admin } = await deployment.ready();
  tell.say(`Agents reach it at ${http}; ${admin}/readyz says that it is ready.`);
  return performance.now() - fromMs;
}

function storyOf(started: Started, options: DemoOptions, tell: Teller, root: string, dataDir: string): Story {
  const { deployment, chaperone, configPath, clinicUrl, serviceToken } = started;
  const { http, clickhouse } = deployment.facts();
  return {
    root,
    dataDir,
    configPath,
    clinicUrl,
    deployment,
    chaperone,
    upstream: new Upstream(clinicUrl, serviceToken),
    sql: new EvidenceSql(clickhouse),
    tell,
    breaks: options.breaks,
    facts: { maskedRead: null, exported: null, approvalId: '' },
    agent: async (args = []) => {
      const { stdout, stderr, exit } = await chaperone.run(['token', ...args]);
      if (exit !== 0) {
        throw new Error(`chaperone token: ${stderr}`);
      }
      const token = stdout.trim();
      return { agent: new Agent(http, token), token };
    },
  };
}

/** The wanted steps and what they build on, in the order of the story. */
function stepsToRun(only: readonly number[]): readonly Step[] {
  const wanted = new Set(only.length === 0 ? STEPS.map(({ id }) => id) : only);
  for (const step of STEPS.toReversed()) {
    if (wanted.has(step.id)) {
      step.needs.forEach((id) => wanted.add(id));
    }
  }
  return STEPS.filter(({ id }) => wanted.has(id));
}

async function tellStep(step: Step, story: Story): Promise<StepReport> {
  const { tell } = story;
  tell.title(`${step.id}. ${step.title}`);
  const checks = new Checks(tell);
  const startedMs = performance.now();
  let facts: Record<string, unknown> = {};
  try {
    facts = await step.run(story, checks);
  } catch (error) {
    checks.that(
      'the step runs to its end',
      false,
      'no failure',
      error instanceof Error ? error.message : String(error),
    );
  }
  const { id, name } = step;
  const ms = Math.round(performance.now() - startedMs);
  return { ...facts, id, name, ok: checks.ok, ms, checks: checks.count, failed: checks.failed };
}

/** Children end on every path out: the end of the story, a failure, SIGINT, SIGTERM, SIGHUP, an exception of ours. */
function endOnEveryPath({ deployment, chaperone }: Started): () => Promise<void> {
  let ending: Promise<void> | null = null;
  const end = (): Promise<void> => {
    ending ??= deployment.stop();
    return ending;
  };
  for (const [signal, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
    ['SIGHUP', 1],
  ] as const) {
    process.once(signal, () => {
      chaperone.killAll();
      void end().finally(() => process.exit(128 + number));
    });
  }
  process.once('exit', () => {
    chaperone.killAll();
    deployment.killNow();
  });
  return end;
}

function tellEnd(
  tell: Teller,
  steps: readonly StepReport[],
  { ok, ms, root, dataDir }: { ok: boolean; ms: number; root: string; dataDir: string },
): void {
  tell.title(
    ok ? `Every step held (${seconds(ms)}).` : steps.length > 0 ? 'Not every step held.' : 'Nothing was told.',
  );
  for (const step of steps) {
    const line = `${step.id} ${step.name.padEnd(14)} ${step.checks} checks, ${seconds(step.ms)}`;
    if (step.ok) {
      tell.good(line);
    } else {
      tell.bad(line);
      tell.output(
        step.failed.map(({ check, expected, got }) => `${check}\n      expected: ${expected}\n      got:      ${got}`),
      );
    }
  }
  tell.say('');
  const left = relative(root, dataDir);
  tell.say(
    `What the run left is in ${left}: journals, bus, archive, ClickHouse, tiles, logs. Verify it as it lies there:`,
  );
  tell.command(`npx chaperone evidence verify --data ${left}`);
  tell.say('Play with a running one, and go on with the quick start in README.md:');
  tell.command('npx chaperone up --config deploy/demo/chaperone.yaml');
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

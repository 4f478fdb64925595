import { deepEqual, equal, match, notEqual, ok } from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isAlive, type RunFacts } from './story/deployment.ts';
import { BREAKS, type BreakName } from './story/demo-options.ts';
import type { StepReport } from './story/tell-story.ts';
import { until } from './story/until.ts';

/** The main job: the command that a newcomer runs, and what its answer says. */
interface DemoReport {
  readonly ok: boolean;
  readonly ms: number;
  readonly steps: readonly StepReport[];
  readonly dataDir: string;
}

const DEMO = join(dirname(fileURLToPath(import.meta.url)), 'demo.js');
const folders: string[] = [];
after(() => {
  for (const folder of folders) {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('the demo tells its whole story, every step holds, and no process is left', async () => {
  const { exit, report, text } = await tell(['--json']);
  deepEqual(
    report.steps.filter((step) => !step.ok).map(({ name, failed }) => ({ name, failed })),
    [],
  );
  equal(exit, 0, text);
  equal(report.ok, true);
  deepEqual(
    report.steps.map(({ id, name }) => `${id} ${name}`),
    ['1 service', '2 masked-read', '3 unknown-field', '4 bulk-export', '5 egress', '6 replay', '7 tamper', '8 crash'],
  );
  ok(
    report.steps.every((step) => step.checks >= 5),
    'a step that checked next to nothing must not pass',
  );
  const [, masked, , exported, , , tampered, crashed] = report.steps;
  ok(Number(masked?.['identifiersChecked']) > 50);
  equal(exported?.['exportedRows'], 27);
  deepEqual(
    ((tampered?.['flipped'] ?? []) as { exit: number }[]).map((flipped) => flipped.exit),
    [7, 7, 7, 7, 7, 7],
  );
  ok(Number(crashed?.['received']) > 100);
  equal(crashed?.['missing'], 0);
  noProcessLeft(report.dataDir);
});

/** Why the step must be false: not for any other reason. */
const WHY: Readonly<Record<BreakName, RegExp>> = {
  'upstream-field': /of the columns ssn/,
  recorder: /^503: .*evidence_backlog/,
  'unsigned-approval': /approval_signature/,
  'flipped-byte': /^exit 7: ALTERED/,
};
for (const name of Object.keys(BREAKS) as BreakName[]) {
  test(`--break ${name} makes its step false and the exit code 1`, async () => {
    const { step } = BREAKS[name];
    const { exit, report, text } = await tell(['--json', '--only', String(step), '--break', name]);
    equal(exit, 1, text);
    equal(report.ok, false);
    const broken = report.steps.find(({ id }) => id === step);
    equal(broken?.ok, false, text);
    ok((broken?.failed.length ?? 0) > 0);
    match(broken?.failed[0]?.expected ?? '', /\S/);
    match(broken?.failed[0]?.got ?? '', WHY[name]);
    // Only what was broken: what it builds on held.
    deepEqual(
      report.steps.filter(({ id }) => id !== step).map((other) => other.ok),
      report.steps.filter(({ id }) => id !== step).map(() => true),
    );
    noProcessLeft(report.dataDir);
  });
}

test('a break that does not exist is a usage error that lists them', async () => {
  const { exit, stderr } = await run(['--break', 'everything'], folder());
  equal(exit, 2);
  for (const name of Object.keys(BREAKS)) {
    ok(stderr.includes(name));
  }
});

test('Ctrl-C ends the demo and everything that it started', async () => {
  const dataDir = folder();
  const { child, done } = start(['--json'], dataDir);
  const facts = await until('the deployment to run', 60_000, () => {
    equal(child.exitCode, null);
    return Promise.resolve(existsSync(join(dataDir, 'run.json')) ? factsIn(dataDir) : null);
  });
  child.kill('SIGINT');
  const { exit } = await done;
  equal(exit, 130);
  ok(Object.keys(facts.pids).length > 5);
  deepEqual([facts.pid, ...Object.values(facts.pids)].filter(isAlive), []);
});

function noProcessLeft(dataDir: string): void {
  const facts = factsIn(dataDir);
  notEqual(facts.pid, 0);
  deepEqual([facts.pid, ...Object.values(facts.pids)].filter(isAlive), []);
}

function factsIn(dataDir: string): RunFacts {
  return JSON.parse(readFileSync(join(dataDir, 'run.json'), 'utf8')) as RunFacts;
}

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'chaperone-demo-'));
  folders.push(path);
  return path;
}

async function tell(args: readonly string[]): Promise<{ exit: number | null; report: DemoReport; text: string }> {
  const { exit, stdout, stderr } = await run(args, folder());
  const text = `${stdout}\n${stderr}`;
  equal(stdout.trimEnd().split('\n').length, 1, `one object and nothing else: ${text}`);
  return { exit, report: JSON.parse(stdout) as DemoReport, text };
}

interface Ended {
  readonly exit: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(args: readonly string[], dataDir: string): Promise<Ended> {
  return start(args, dataDir).done;
}

function start(args: readonly string[], dataDir: string): { child: ChildProcess; done: Promise<Ended> } {
  const child = spawn(process.execPath, ['--enable-source-maps', DEMO, ...args], {
    env: { ...process.env, CHAPERONE_DEMO_DATA_DIR: dataDir },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const done = new Promise<Ended>((resolve) => {
    child.once('close', (exit) => resolve({ exit, stdout, stderr }));
  });
  return { child, done };
}

import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { packageRoot } from '../core/runtime/package-root.ts';
import { gateOf, median, withBenchDirectory, type Bench, type BenchCase, type BenchContext } from './harness.ts';

/**
 * Memory of an idle deployment: `chaperone up` with two workers, resident set of every role
 * once it is quiet. The gate is the node alone: the gateway process, main thread and both workers.
 */
const NODE_MB_MAX = 300;
const SAMPLES = 5;
const SAMPLE_MS = 1_000;
const PORTS = ['listen.http', 'admin', 'control', 'vault', 'ingest', 'clickhouse'];

export const bench: Bench = {
  name: 'idle',
  run: (context) => withBenchDirectory(context, (directory) => measure(context, directory)),
};

async function measure(context: BenchContext, directory: string): Promise<Awaited<ReturnType<Bench['run']>>> {
  const { up, pids } = await startDeployment(directory);
  try {
    const samples = new Map<string, number[]>();
    for (let i = 0; i < (context.smoke ? 1 : SAMPLES); i++) {
      await sleep(context.smoke ? 0 : SAMPLE_MS);
      for (const [role, pid] of Object.entries(pids)) {
        samples.set(role, [...(samples.get(role) ?? []), residentMb(pid)]);
      }
    }
    const results = [...samples].map(([role, rounds]): BenchCase => ({
      case: role,
      metric: 'resident',
      unit: 'MB',
      value: median(rounds),
      rounds,
    }));
    for (const { case: role, value } of results) {
      context.log(`${role} ${value.toFixed(0)} MB`);
    }
    const gate = gateOf(context, {
      name: 'resident set of an idle node with 2 workers',
      value: results.find((result) => result.case === 'gateway')?.value ?? NaN,
      bound: NODE_MB_MAX,
      op: '<=',
    });
    return { results, gates: [gate] };
  } finally {
    if (up.exitCode === null) {
      up.kill('SIGTERM');
      await once(up, 'exit');
    }
  }
}

async function startDeployment(directory: string): Promise<{ up: ChildProcess; pids: Record<string, number> }> {
  const cli = fileURLToPath(new URL(`../cli/main${import.meta.url.slice(-3)}`, import.meta.url));
  const config = join(directory, 'chaperone.yaml');
  writeFileSync(config, configText(packageRoot()));
  const sets = [`node.dataDir=${join(directory, 'data')}`, ...PORTS.map((name) => `${name}.port=0`)];
  const args = ['--json', 'up', '--config', config, ...sets.flatMap((set) => ['--set', set])];
  const up = fork(cli, args, { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
  const { stdout } = up;
  if (stdout === null) {
    throw new Error('standard output is a pipe');
  }
  const ended = once(up, 'exit').then(() => {
    throw new Error('the deployment ended before it was ready');
  });
  const [line] = (await Promise.race([once(createInterface({ input: stdout }), 'line'), ended])) as [string];
  return { up, pids: (JSON.parse(line) as { pids: Record<string, number> }).pids };
}

/** The demo's node without its upstreams: nothing asks for anything. */
function configText(root: string): string {
  return [
    'env: demo',
    'node: { name: node-1, workers: 2 }',
    'policy:',
    `  bundle: ${join(root, 'policies', 'dist', 'default.tar.gz')}`,
    '  publicKeys:',
    `    - ${join(root, 'policies', 'keys', 'development.INSECURE.pub.pem')}`,
    'auditors:',
    '  - id: auditor',
    `    publicKeyFile: ${join(root, 'deploy', 'demo', 'keys', 'auditor.x25519.INSECURE.pub.jwk.json')}`,
    '',
  ].join('\n');
}

function residentMb(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib ?? NaN) / 1024;
}

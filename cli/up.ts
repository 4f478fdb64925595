import { basename, relative } from 'node:path';
import { Command } from 'commander';
import { contextOf, type CliContext } from './context.ts';
import { EXIT } from './exit-code.ts';
import type { RunFile } from './run-file.ts';

/** `chaperone up`: every role of a deployment on this machine, as children of this process, until a signal. */
export function upCommand(): Command {
  return new Command('up')
    .description('start every role on this machine and serve until SIGTERM or Ctrl-C')
    .action(async (_options: unknown, command: Command) => runUp(contextOf(command)));
}

async function runUp(context: CliContext): Promise<void> {
  const [{ startDeployment }, { loadCliConfig }] = await Promise.all([
    import('./up/run-deployment.ts'),
    import('./deployment.ts'),
  ]);
  const loaded = loadCliConfig(context);
  const stop = stopSignal(context);
  if (!context.json) {
    context.out(`Starting on ${loaded.config.node.dataDir}`);
  }
  const starting = startDeployment({
    loaded,
    configPath: context.configPath,
    sets: context.sets,
    clock: context.clock,
    progress: (line) => (context.json ? undefined : context.out(line)),
    problem: (line) => context.err(line),
    fatal: (role) => stop.now(role),
  });
  const deployment = await starting;
  if (context.json) {
    context.out(JSON.stringify(readyLine(deployment.run)));
  } else {
    for (const line of nextSteps(deployment.run, loaded.config.env === 'demo', ownCommand())) {
      context.out(line);
    }
  }
  const reason = await stop.wanted;
  if (!context.json) {
    context.out(
      reason === null ? 'Draining: requests in flight finish, evidence is published.' : `Stopping: ${reason}.`,
    );
  }
  await deployment.stop();
  if (!context.json) {
    context.out('Stopped.');
  }
  context.exit(reason === null ? EXIT.ok : EXIT.failed);
}

interface StopSignal {
  /** Resolves with null on a signal, with the reason when a role ended for good. */
  readonly wanted: Promise<string | null>;
  now(role: string): void;
}

/** A second signal this soon is the first one again: some send it to the process and to its group. */
const SAME_SIGNAL_MS = 1_000;

/** The first signal drains; a later one, when that takes too long, ends this process, and its children with it. */
function stopSignal(context: CliContext): StopSignal {
  let now: (role: string) => void = () => undefined;
  const wanted = new Promise<string | null>((resolve) => {
    let firstMs: number | null = null;
    const onSignal = (): void => {
      const nowMs = context.clock.monotonicMs();
      firstMs ??= nowMs;
      if (nowMs - firstMs > SAME_SIGNAL_MS) {
        context.err('chaperone: not drained; journals are recovered at the next start');
        process.exit(EXIT.failed);
      }
      resolve(null);
    };
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      process.on(signal, onSignal);
    }
    now = (role) => resolve(`${role} ended for good`);
  });
  return { wanted, now };
}

/** One line for programs: everything serves when it is printed. */
export function readyLine(run: RunFile): Record<string, unknown> {
  const { pid, ports, pids, dataDir, http, admin, control, logKey, witnessKeys } = run;
  return { ready: true, pid, ports, pids, dataDir, http, admin, control, logKey, witnessKeys };
}

export function nextSteps(run: RunFile, isDemo: boolean, command: string): string[] {
  return [
    '',
    `Ready. Agents reach the gateway at ${run.http}; operators ${run.admin}/readyz and /metrics.`,
    '',
    'In another terminal:',
    `  export CHAPERONE_CONFIG=${run.configPath}`,
    ...(isDemo
      ? [
          `  TOKEN=$(${command} token)`,
          `  curl -H "Authorization: Bearer $TOKEN" '${run.http}/clinic/patients?limit=2'`,
          `  ${command} sessions play last`,
        ]
      : [`  ${command} sessions ls`]),
    `  ${command} approvals ls`,
    '',
    'Ctrl-C drains and stops.',
  ];
}

/** How this process was started, to paste: the bare name when it is on the path. */
function ownCommand(): string {
  const [, script = ''] = process.argv;
  return basename(script) === 'chaperone' ? 'chaperone' : `node ${relative(process.cwd(), script)}`;
}

import { Command } from 'commander';
import { contextOf, type CliContext } from './context.ts';
import { positiveCount } from './option-values.ts';

interface PlayOptions {
  readonly auditor?: string;
  readonly key?: string;
  readonly whole?: boolean;
}

/** `chaperone sessions`: who did what, and what they saw. */
export function sessionsCommand(): Command {
  const sessions = new Command('sessions').description('list sessions, and replay one as the agent saw it');
  sessions
    .command('ls')
    .description('list sessions, the newest first')
    .option('--limit <count>', 'at most this many', positiveCount, 20)
    .action(async ({ limit }: { limit: number }, command: Command) => list(contextOf(command), limit));
  sessions
    .command('play')
    .argument('<session>', 'id of the session, its beginning, `last`, or the position <writer>/<index> of a record')
    .description("replay a session; payloads are opened on this machine with the auditor's key")
    .option('--auditor <id>', 'auditor of the configuration (default: the first)')
    .option('--key <file>', "the auditor's private X25519 key (JWK); in the demo found by name")
    .option('--whole', 'print bodies without a limit')
    .action(async (session: string, options: PlayOptions, command: Command) => {
      const { playSession } = await import('./sessions/play-session.ts');
      await playSession(contextOf(command), session, options);
    });
  return sessions;
}

async function list(context: CliContext, limit: number): Promise<void> {
  const [{ loadCliConfig }, { runningDeployment }, { SessionIndex }, { catchUp }, { printable, table }] =
    await Promise.all([
      import('./deployment.ts'),
      import('./run-file.ts'),
      import('./sessions/session-index.ts'),
      import('./sessions/catch-up.ts'),
      import('./print.ts'),
    ]);
  const { config } = loadCliConfig(context);
  const run = runningDeployment(config.node.dataDir);
  const index = new SessionIndex(run.clickhouse);
  try {
    await catchUp(context, config, run, index);
    const sessions = await index.sessions(limit);
    if (context.json) {
      context.out(JSON.stringify({ ok: true, sessions }));
      return;
    }
    if (sessions.length === 0) {
      context.out('No sessions yet.');
      return;
    }
    const rows = sessions.map((one) => [
      one.session,
      printable([one.who, ...one.through].join(' > ')),
      one.run,
      one.connections.join(','),
      one.ended.slice(0, 19),
      String(one.operations),
      String(one.denied),
      String(one.masked),
    ]);
    for (const line of table(['SESSION', 'WHO', 'RUN', 'ON', 'ENDED', 'OPS', 'DENIED', 'MASKED'], rows)) {
      context.out(line);
    }
  } finally {
    await index.close();
  }
}

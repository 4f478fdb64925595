import { Command, CommanderError } from 'commander';
import { GatewayError } from '../core/kernel/errors.ts';
import { approvalsCommand } from './approvals.ts';
import { configCommand } from './config.ts';
import { bindSession, processIo, type CliIo, type CliSession } from './context.ts';
import { demoCommand } from './demo.ts';
import { doctorCommand } from './doctor.ts';
import { evidenceCommand } from './evidence.ts';
import { EXIT, exitCodeOf, type ExitCode } from './exit-code.ts';
import { scriptCommand } from './script.ts';
import { sessionsCommand } from './sessions.ts';
import { tokenCommand } from './token.ts';
import { upCommand } from './up.ts';

const EXIT_HELP = `
Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 denied, 4 approval pending, 5 approval denied or expired,
6 authentication, 7 evidence altered, 8 evidence missing, 9 evidence otherwise incomplete.`;

/** The command line without its verbs' code: each verb loads what it needs when it runs, so that all start fast. */
export function buildProgram(): Command {
  const program = new Command('chaperone')
    .description('Policy-as-code gateway between AI agents and the systems they touch.')
    .option('--config <file>', 'configuration file (default: $CHAPERONE_CONFIG, else ./chaperone.yaml)')
    .option('--set <path=value>', 'set one configuration value; may be repeated', collect, [])
    .option('--json', 'print one machine-readable JSON object')
    .addHelpText('after', EXIT_HELP)
    .configureHelp({ showGlobalOptions: true });
  const verbs = [
    upCommand(),
    tokenCommand(),
    scriptCommand(),
    approvalsCommand(),
    sessionsCommand(),
    evidenceCommand(),
    configCommand(),
    doctorCommand(),
    demoCommand(),
  ];
  for (const verb of verbs) {
    program.addCommand(verb);
  }
  return program;
}

/** Runs one command line (without `node` and the script) and resolves with the exit code. Never rejects. */
export async function runCli(args: readonly string[], io: CliIo = processIo()): Promise<ExitCode> {
  const program = buildProgram();
  const session: CliSession = { io, exitCode: EXIT.ok };
  bindSession(program, session);
  everyCommand(program, (command) =>
    command
      .exitOverride()
      .configureOutput({ writeOut: (text) => io.out(text.trimEnd()), writeErr: (text) => io.err(text.trimEnd()) }),
  );
  try {
    await program.parseAsync([...args], { from: 'user' });
    return session.exitCode;
  } catch (error) {
    if (error instanceof CommanderError) {
      return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    }
    const code = exitCodeOf(error);
    reportFailure(error, code, args.includes('--json'), io);
    return code;
  }
}

function reportFailure(error: unknown, exit: ExitCode, json: boolean, io: CliIo): void {
  const known = error instanceof GatewayError ? error : null;
  const detail = known === null ? messageOf(error) : known.detail === '' ? known.entry.title : known.detail;
  if (json) {
    const code = known?.code ?? 'failed';
    io.out(JSON.stringify({ ok: false, exit, error: { code, detail, remedy: known?.entry.remedy ?? '' } }));
    return;
  }
  io.err(`chaperone: ${detail}`);
  if (known !== null && known.code !== 'config_invalid') {
    io.err(`  ${known.code}: ${known.entry.title}. ${known.entry.remedy}`);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : 'unknown failure';
}

function everyCommand(command: Command, visit: (command: Command) => void): void {
  visit(command);
  for (const child of command.commands) {
    everyCommand(child, visit);
  }
}

function collect(value: string, previous: readonly string[]): string[] {
  return [...previous, value];
}

import { resolve } from 'node:path';
import type { Command } from 'commander';
import { SystemClock, type Clock } from '../core/kernel/clock.ts';
import type { ExitCode } from './exit-code.ts';

/** Where a command writes and what it is started with; tests put their own here. */
export interface CliIo {
  /** Results, one call a line. */
  out(line: string): void;
  /** Problems and progress, one call a line. */
  err(line: string): void;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly clock: Clock;
}

/** What a verb is given beside its own options: the global ones, resolved. */
export interface CliContext extends CliIo {
  readonly json: boolean;
  /** Absolute path of the configuration file. */
  readonly configPath: string;
  /** `path=value` of each `--set`. */
  readonly sets: readonly string[];
  /** The command ends with this code although nothing was thrown. */
  exit(code: ExitCode): void;
}

interface GlobalOptions {
  readonly json?: boolean;
  readonly config?: string;
  readonly set?: readonly string[];
}

export interface CliSession {
  readonly io: CliIo;
  exitCode: ExitCode;
}

const sessions = new WeakMap<Command, CliSession>();

/** Ties a program to where it writes. Commands below it find it by `contextOf`. */
export function bindSession(program: Command, session: CliSession): void {
  sessions.set(program, session);
}

/** The context of a command inside its action. */
export function contextOf(command: Command): CliContext {
  let root = command;
  while (root.parent !== null) {
    root = root.parent;
  }
  const session = sessions.get(root) ?? { io: processIo(), exitCode: 0 };
  const { io } = session;
  const options = command.optsWithGlobals<GlobalOptions>();
  return {
    ...io,
    json: options.json === true,
    configPath: resolve(io.cwd, options.config ?? io.env['CHAPERONE_CONFIG'] ?? 'chaperone.yaml'),
    sets: options.set ?? [],
    exit: (code) => {
      session.exitCode = code;
    },
  };
}

export function processIo(): CliIo {
  return {
    out: (line) => void process.stdout.write(`${line}\n`),
    err: (line) => void process.stderr.write(`${line}\n`),
    env: process.env,
    cwd: process.cwd(),
    clock: new SystemClock(),
  };
}

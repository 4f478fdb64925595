import { SystemClock, type Clock } from '../../core/kernel/clock.ts';
import type { CliIo } from '../context.ts';
import type { ExitCode } from '../exit-code.ts';
import { runCli } from '../program.ts';

export interface CliResult {
  readonly exit: ExitCode;
  readonly out: readonly string[];
  readonly err: readonly string[];
}

/** Runs one command line in this process and keeps what it prints. */
export async function runCaptured(
  args: readonly string[],
  options: { readonly env?: CliIo['env']; readonly cwd?: string; readonly clock?: Clock } = {},
): Promise<CliResult> {
  const out: string[] = [];
  const err: string[] = [];
  const exit = await runCli(args, {
    out: (line) => void out.push(line),
    err: (line) => void err.push(line),
    env: options.env ?? {},
    cwd: options.cwd ?? process.cwd(),
    clock: options.clock ?? new SystemClock(),
  });
  return { exit, out, err };
}

/** The one JSON object that a command printed with `--json`. */
export function jsonOf<T>(result: CliResult): T {
  if (result.out.length !== 1) {
    throw new Error(`expected one line of JSON: ${result.out.join('\n')}\n${result.err.join('\n')}`);
  }
  return JSON.parse(result.out[0] ?? '') as T;
}

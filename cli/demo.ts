import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { contextOf } from './context.ts';
import type { ExitCode } from './exit-code.ts';

/**
 * `chaperone demo`: the guided story, as a process of its own. It is a client of this command, so nothing of it is
 * imported here.
 */
export function demoCommand(): Command {
  return (
    new Command('demo')
      .description('tell the story of one agent, end to end, on this machine (`chaperone demo --help`: its options)')
      // The story has its own help, with what can be broken.
      .helpOption(false)
      .allowUnknownOption()
      .allowExcessArguments()
      .argument('[options...]', 'options of the story: --only <steps>, --break <name>')
      .action(async (args: string[], _options: unknown, command: Command) => {
        const context = contextOf(command);
        // `--json` is also an option of the command line itself, which has taken it out of the arguments.
        const code = await runStory([...args, ...(context.json && !args.includes('--json') ? ['--json'] : [])]);
        context.exit(code as ExitCode);
      })
  );
}

function runStory(args: readonly string[]): Promise<number> {
  const story = join(dirname(fileURLToPath(import.meta.url)), '..', 'deploy', 'demo', 'demo.js');
  const child = spawn(process.execPath, ['--enable-source-maps', story, ...args], { stdio: 'inherit' });
  // The story ends what it has started; this waits for it. A terminal sends Ctrl-C to both: once is enough for the child.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (signal !== 'SIGINT' || !process.stdin.isTTY) {
        child.kill(signal);
      }
    });
  }
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 1));
  });
}

import { Command } from 'commander';
import { contextOf, type CliContext } from './context.ts';
import { EXIT } from './exit-code.ts';

/** `chaperone doctor`: whether this machine can run what the configuration asks for, and what to do where it cannot. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description('check this machine: Node, native parts, disk, ports, clock')
    .action(async (_options: unknown, command: Command) => runDoctor(contextOf(command)));
}

async function runDoctor(context: CliContext): Promise<void> {
  const [{ examine }, { labelled }] = await Promise.all([import('./doctor/examine.ts'), import('./print.ts')]);
  const checks = await examine(context);
  const failed = checks.filter(({ status }) => status === 'fail').length;
  if (context.json) {
    context.out(JSON.stringify({ ok: failed === 0, checks }));
  } else {
    for (const { name, status, detail, remedy } of checks) {
      const text = `${status.padEnd(4)}  ${detail}${remedy === '' ? '' : `\n      ${remedy}`}`;
      for (const line of labelled(name, text, 120)) {
        context.out(line);
      }
    }
    context.out(failed === 0 ? 'Nothing is in the way.' : `${failed} checks failed.`);
  }
  context.exit(failed === 0 ? EXIT.ok : EXIT.failed);
}

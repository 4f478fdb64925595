import { Command } from 'commander';
import { contextOf } from './context.ts';
import { evidenceVerifyCommand } from './evidence-verify.ts';

/** `chaperone evidence`: proofs, and what an auditor checks with them. */
export function evidenceCommand(): Command {
  const evidence = new Command('evidence').description('prove and verify what was recorded');
  evidence
    .command('proof')
    .argument('<position>', '<writer>/<index>, as in the `evidence` header of a response')
    .description('prove that a record is in the log of its writer, and check the proof here')
    .action(async (position: string, _options: unknown, command: Command) => {
      const { printProof } = await import('./evidence/record-proof.ts');
      await printProof(contextOf(command), position);
    });
  evidence.addCommand(evidenceVerifyCommand());
  return evidence;
}

#!/usr/bin/env node
import { runCli } from './program.ts';

// A reader that closes early (`chaperone … | head`) is no failure of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') {
    process.exit(0);
  }
  throw error;
});
process.exitCode = await runCli(process.argv.slice(2));

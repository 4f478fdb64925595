#!/usr/bin/env node
import { parseDemoOptions, USAGE } from './story/demo-options.ts';
import { tellStory } from './story/tell-story.ts';
import { STEPS } from './steps/all-steps.ts';

/** `node dist/deploy/demo/demo.js [--json] [--only …] [--break …]`; `chaperone demo` and `npm run demo` start it. */
const options = parseDemoOptions(
  process.argv.slice(2),
  STEPS.map(({ id }) => id),
);
if (typeof options === 'string') {
  process.stderr.write(`demo: ${options}\n\n${USAGE}\n`);
  process.exitCode = 2;
} else if (options.help) {
  process.stdout.write(`${USAGE}\n`);
} else {
  process.exitCode = await tellStory(options);
}

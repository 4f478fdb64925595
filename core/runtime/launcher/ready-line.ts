import type { ReadyFacts } from './launcher.ts';

const PREFIX = 'chaperone-ready ';

/** How a child tells its launcher that it serves: one line on standard output with the facts that others need. */
export const announceReady = {
  print(facts: ReadyFacts): void {
    process.stdout.write(`${PREFIX}${JSON.stringify(facts)}\n`);
  },

  /** The facts of a ready line, null for any other line. */
  parse(line: string): ReadyFacts | null {
    if (!line.startsWith(PREFIX)) {
      return null;
    }
    try {
      return JSON.parse(line.slice(PREFIX.length)) as ReadyFacts;
    } catch {
      return null;
    }
  },
};

import { parseArgs } from 'node:util';

/** What can be broken on purpose, and the step that must then be false. */
export const BREAKS = {
  'upstream-field': {
    step: 2,
    what: 'the clinic puts Social Security numbers into a member that the catalogue declares harmless',
  },
  recorder: { step: 2, what: 'the process that takes the evidence is stopped' },
  'unsigned-approval': { step: 4, what: 'the approval is signed with a key that is not the approver’s' },
  'flipped-byte': { step: 7, what: 'one byte of the archive is flipped before the evidence is verified' },
} as const satisfies Record<string, { readonly step: number; readonly what: string }>;
export type BreakName = keyof typeof BREAKS;

export interface DemoOptions {
  readonly json: boolean;
  readonly help: boolean;
  /** Empty: every step. */
  readonly only: readonly number[];
  readonly breaks: BreakName | null;
}

export const USAGE = `usage: npm run demo -- [--json] [--only <step,…>] [--break <name>]

  --json           print one JSON object and nothing else
  --only 1,2       run these steps (and the ones that they build on)
  --break <name>   break something on purpose; the step in brackets must then be false and the exit code 1
${Object.entries(BREAKS)
  .map(([name, { step, what }]) => `                     ${name.padEnd(18)} [${step}] ${what}`)
  .join('\n')}`;

/** The options, or what is wrong with them. */
export function parseDemoOptions(args: readonly string[], stepIds: readonly number[]): DemoOptions | string {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
        only: { type: 'string', default: '' },
        break: { type: 'string' },
      },
    }));
  } catch (error) {
    return error instanceof Error ? error.message : 'unknown option';
  }
  const { json, help, only: onlyText, break: broken } = values;
  const only = onlyText === '' ? [] : onlyText.split(',').map(Number);
  const unknown = only.find((id) => !stepIds.includes(id));
  if (unknown !== undefined) {
    return `--only: there is no such step; the steps are ${stepIds.join(', ')}`;
  }
  if (broken === undefined) {
    return { json, help, only, breaks: null };
  }
  if (!isBreakName(broken)) {
    return `--break: there is no "${broken}"; it is one of ${Object.keys(BREAKS).join(', ')}`;
  }
  if (only.length > 0 && !only.includes(BREAKS[broken].step)) {
    return `--break ${broken} is about step ${BREAKS[broken].step}, which --only leaves out`;
  }
  return { json, help, only, breaks: broken };
}

function isBreakName(name: string): name is BreakName {
  return Object.hasOwn(BREAKS, name);
}

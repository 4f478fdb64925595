import type { Story } from './story.ts';
import { until } from './until.ts';

export interface Finding {
  readonly verdict: string;
  /** Hex; null when it belongs to no writer. */
  readonly writer: string | null;
  readonly index: number | null;
  readonly where: string;
  readonly detail: string;
}

export interface Verified {
  readonly exit: number;
  readonly verdict: string;
  /** Every verdict that some writer or finding has. */
  readonly verdicts: readonly string[];
  readonly findings: readonly Finding[];
  readonly checked: Readonly<Record<string, number>>;
  readonly args: readonly string[];
}

interface Printed {
  readonly verdict?: string;
  readonly writers?: readonly { readonly verdict: string }[];
  readonly findings?: readonly Finding[];
  readonly checked?: Readonly<Record<string, number>>;
  readonly error?: { readonly code: string; readonly detail: string };
}

/** What is recorded a moment before is published, archived, indexed and witnessed within seconds; loaded machines take longer. */
const SETTLE_MS = 60_000;

/** Everything of the running deployment, the rows of ClickHouse too. */
export function verifyLive(story: Story): Promise<Verified> {
  return verify(story, ['evidence', 'verify', '--rows']);
}

/** A folder as an outsider has it, with the keys that were given to them before: nothing of the deployment is asked. */
export function verifyCopy(story: Story, directory: string): Promise<Verified> {
  const { logKey, witnessKeys } = story.deployment.facts();
  const keys = ['--log-key', logKey, ...witnessKeys.flatMap((key) => ['--witness-key', key])];
  return verify(story, ['evidence', 'verify', '--data', directory, '--no-rows', ...keys]);
}

/** Again while what was written last is still on its way; the last answer when it does not get green. */
export async function verifyUntilGreen(ask: () => Promise<Verified>): Promise<Verified> {
  let last = await ask();
  if (last.exit === 0 || last.exit === 7) {
    return last;
  }
  await until('green evidence', SETTLE_MS, async () => {
    last = await ask();
    return last.exit === 0 || last.exit === 7 ? true : null;
  }).catch(() => null);
  return last;
}

/** For a failed check: the first findings that are no good. */
export function summaryOf({ verdict, findings }: Verified): string {
  const bad = findings.filter((finding) => finding.verdict === verdict);
  return [verdict, ...bad.slice(0, 3).map((finding) => findingText(finding))].join('; ');
}

export function findingText({ verdict, writer, index, where, detail }: Finding): string {
  return `${verdict} ${writer ?? ''}/${index ?? ''} ${where}: ${detail}`;
}

async function verify({ chaperone }: Story, args: readonly string[]): Promise<Verified> {
  const { exit, out } = await chaperone.json<Printed>(args);
  if (out.error !== undefined) {
    throw new Error(`chaperone ${args.join(' ')}: ${out.error.code}: ${out.error.detail}`);
  }
  const { verdict = '', writers = [], findings = [], checked = {} } = out;
  const verdicts = [...new Set([...writers.map((writer) => writer.verdict), ...findings.map((each) => each.verdict)])];
  return { exit, verdict, verdicts, findings, checked, args };
}

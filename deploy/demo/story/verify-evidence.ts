import type { Story } from './story.ts';

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

/** Nothing that is on its way makes this good again. */
const ALTERED_EXIT = 7;

interface Printed {
  readonly verdict?: string;
  readonly writers?: readonly { readonly verdict: string }[];
  readonly findings?: readonly Finding[];
  readonly checked?: Readonly<Record<string, number>>;
  readonly error?: { readonly code: string; readonly detail: string };
}

/** What is recorded a moment before is published, archived, indexed and witnessed within seconds; loaded machines take longer. */
const SETTLE_MS = 60_000;
/** Green already, but the newest records have no witness yet: worth a moment, so that the reader sees it whole. */
const WITNESS_MS = 10_000;

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
  const fromMs = performance.now();
  for (;;) {
    const verified = await ask();
    const waitedMs = performance.now() - fromMs;
    const isSettled = verified.exit === 0 && (verified.verdict !== 'PENDING' || waitedMs > WITNESS_MS);
    if (isSettled || verified.exit === ALTERED_EXIT || waitedMs > SETTLE_MS) {
      return verified;
    }
  }
}

/** For a failed check: the first findings that are no good. */
export function summaryOf({ verdict, findings }: Verified): string {
  const bad = findings.filter((finding) => finding.verdict === verdict);
  return [verdict, ...bad.slice(0, 3).map((finding) => findingText(finding))].join('; ');
}

export function findingText({ verdict, writer, index, where, detail }: Finding): string {
  return `${verdict} record ${(writer ?? '').slice(0, 8)}…/${index ?? ''}: ${detail} (${where})`;
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

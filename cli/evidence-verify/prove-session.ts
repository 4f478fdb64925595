import { KINDS, kindName } from '../../core/ledger/leaf.ts';
import type { SessionRecord } from './evidence.ts';
import { VERDICTS } from './verdict.ts';
import type { Verified } from './verify-evidence.ts';

export interface StrandReport {
  readonly writer: string;
  readonly firstIndex: number;
  readonly lastIndex: number;
  readonly records: number;
  readonly kinds: Readonly<Record<string, number>>;
  readonly closed: boolean;
}

/** What is known of the completeness of one session. */
export interface SessionReport {
  readonly session: string;
  /**
   * PROVEN: every writer that was registered during its life is contiguous and witnessed, so no record of it can be
   * missing. ASSERTED: these are the records that were found; that there are no others is not proved.
   */
  readonly completeness: 'PROVEN' | 'ASSERTED';
  readonly reasons: readonly string[];
  readonly records: number;
  readonly strands: readonly StrandReport[];
}

/** Puts the strands of a session together and says whether others can be missing. */
export function proveSession({ evidence, report, cluster }: Verified, session: string): SessionReport {
  const strands = new Map<string, SessionRecord[]>();
  for (const record of evidence.session) {
    const list = strands.get(record.writer) ?? [];
    strands.set(record.writer, list);
    list.push(record);
  }
  const times = evidence.session.map(({ timeMs }) => timeMs);
  const [from, to] = [Math.min(...times), Math.max(...times)];
  const reasons: string[] = [];
  if (evidence.session.length === 0) {
    reasons.push('no record of this session was found');
  }
  if (cluster?.cosigned === null || cluster === null) {
    reasons.push('there is no cosigned cluster log, so a writer could be left out');
  }
  for (const writer of report.writers) {
    const state = evidence.writers.get(writer.writer);
    const end = state?.leaves.timeMsAt(writer.size - 1) ?? Infinity;
    const closed = (state?.closeIndex ?? -1) >= 0;
    // A writer that had closed before, or opened after, cannot hold a record of it.
    if (state === undefined || state.createdMs > to || (closed && end < from)) {
      continue;
    }
    const failing = VERDICTS.indexOf(writer.verdict) >= VERDICTS.indexOf('UNWITNESSED');
    const covered = state.leaves.timeMsAt(writer.witnessed) ?? Infinity;
    if (failing || covered <= to) {
      const why = failing ? writer.verdict : `witnessed only up to record ${writer.witnessed}`;
      reasons.push(`writer ${writer.writer.slice(0, 8)} is ${why}`);
    }
  }
  return {
    session,
    completeness: reasons.length === 0 ? 'PROVEN' : 'ASSERTED',
    reasons,
    records: evidence.session.length,
    strands: [...strands].map(([writer, records]) => strandOf(writer, records)),
  };
}

function strandOf(writer: string, records: readonly SessionRecord[]): StrandReport {
  const sorted = [...records].sort((a, b) => a.index - b.index);
  const kinds: Record<string, number> = {};
  for (const { kind } of sorted) {
    kinds[kindName(kind)] = (kinds[kindName(kind)] ?? 0) + 1;
  }
  return {
    writer,
    firstIndex: sorted[0]?.index ?? 0,
    lastIndex: sorted.at(-1)?.index ?? 0,
    records: sorted.length,
    kinds,
    closed: sorted.at(-1)?.kind === KINDS['session.close'],
  };
}

/**
 * Verdicts from best to worst (01 section 1). The first five are no reason to fail.
 *
 *   PRESENT       every record is there, and under a witnessed head
 *   SHREDDED      the record is there; a key that opened its originals was destroyed and the log says so
 *   PRUNED        records are gone as the log itself declares (`retention.pruned`)
 *   PENDING       not yet published, archived or witnessed, and younger than `pendingYoungMs`
 *   RECOVERED     the writer died; a control writer of a later start found its journal and vouches for its size and root
 *   UNWITNESSED   the cluster log should cover it by now and does not, or nobody cosigned the checkpoint that does
 *   UNREGISTERED  the cluster log has no epoch certificate of this writer
 *   GAP           the log itself declares that a range is missing
 *   OPEN-ENDED    the writer is dead, and nothing says where its log ends
 *   MISSING       something that a signed head, a watermark or an index covers is not there
 *   ALTERED       bytes are not those that were hashed or signed
 */
export const VERDICTS = [
  'PRESENT',
  'SHREDDED',
  'PRUNED',
  'PENDING',
  'RECOVERED',
  'UNWITNESSED',
  'UNREGISTERED',
  'GAP',
  'OPEN-ENDED',
  'MISSING',
  'ALTERED',
] as const;
export type Verdict = (typeof VERDICTS)[number];

/** One thing that was found. */
export interface Finding {
  readonly verdict: Verdict;
  /** Hex; null when it belongs to no writer. */
  readonly writer: string | null;
  /** Index of the record that is concerned, or of the nearest one; null when there is none. */
  readonly index: number | null;
  /** `<kind> <file>@<offset>` with the file relative to the evidence; empty when there is no place. */
  readonly where: string;
  /** For people; never content of a record. */
  readonly detail: string;
}

const FAILS_FROM = VERDICTS.indexOf('UNWITNESSED');
const EXIT_OK = 0;
const EXIT_ALTERED = 7;
const EXIT_MISSING = 8;
const EXIT_REST = 9;

export function worstOf(verdicts: Iterable<Verdict>): Verdict {
  let worst = 0;
  for (const verdict of verdicts) {
    worst = Math.max(worst, VERDICTS.indexOf(verdict));
  }
  return VERDICTS[worst] ?? 'ALTERED';
}

/** 0 when nothing failed, else that of the worst verdict. */
export function exitOf(verdicts: Iterable<Verdict>, strict: boolean): 0 | 7 | 8 | 9 {
  const all = [...verdicts];
  const worst = worstOf(all);
  if (worst === 'ALTERED') {
    return EXIT_ALTERED;
  }
  if (worst === 'MISSING') {
    return EXIT_MISSING;
  }
  const failed = VERDICTS.indexOf(worst) >= FAILS_FROM || (strict && all.includes('RECOVERED'));
  return failed ? EXIT_REST : EXIT_OK;
}

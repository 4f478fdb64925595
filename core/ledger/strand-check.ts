import { ZERO16, ZERO32 } from '../kernel/bytes.ts';
import { KINDS, type LeafFields } from './leaf.ts';
import type { Finding } from './verify-record.ts';

/**
 * Records of these kinds name the session that they are about, but are made by the control writer, whatever worker has
 * the session: they are in no strand, and their sequence and previous hash are zero.
 */
const KINDS_OUTSIDE: ReadonlySet<number> = new Set([
  KINDS['approval.asked'],
  KINDS['approval.granted'],
  KINDS['approval.denied'],
  KINDS['approval.expired'],
  KINDS['approval.claimed'],
]);

export function isKindInStrand(kind: number): boolean {
  return !KINDS_OUTSIDE.has(kind);
}

/**
 * Follows the strands of one writer: the records of each session are numbered from 0 without a gap, the first is its
 * `session.open`, and each names the leaf hash of the one before it. Records without a session are in no strand, nor are
 * those about approvals.
 *
 * Invariant: `#open` has, for every session that is open after the records seen so far, its last sequence and leaf hash.
 * Limit: holds one entry for each session that was not closed, so memory grows with the sessions of a writer.
 */
export class StrandCheck {
  readonly #open = new Map<string, { seq: number; leafHash: Buffer }>();

  /** Leaves must come in the order of their indices. Null when the leaf fits. */
  next(leaf: LeafFields, leafHash: Buffer): Finding | null {
    if (leaf.sessionId.equals(ZERO16) || !isKindInStrand(leaf.kind)) {
      return leaf.strandSeq === 0 && leaf.strandPrevious.equals(ZERO32)
        ? null
        : { code: 'strand', detail: 'a record outside of strands has a place in one', index: leaf.index };
    }
    const session = leaf.sessionId.toString('hex');
    const last = this.#open.get(session);
    const problem = strandProblem(leaf, last);
    // Goes on from what is there: one damaged link is one finding, not one for every record after it.
    if (leaf.kind === KINDS['session.close']) {
      this.#open.delete(session);
    } else {
      this.#open.set(session, { seq: leaf.strandSeq, leafHash: Buffer.from(leafHash) });
    }
    return problem === null ? null : { code: 'strand', detail: problem, index: leaf.index };
  }

  /** Sessions that were opened and not closed. */
  get openCount(): number {
    return this.#open.size;
  }
}

function strandProblem(leaf: LeafFields, last: { seq: number; leafHash: Buffer } | undefined): string | null {
  if (leaf.strandSeq === 0) {
    if (last !== undefined) {
      return 'a strand begins again before it was closed';
    }
    if (leaf.kind !== KINDS['session.open']) {
      return 'a strand does not begin with session.open';
    }
    return leaf.strandPrevious.equals(ZERO32) ? null : 'the first record of a strand names one before it';
  }
  if (last === undefined) {
    return 'a strand goes on without its beginning';
  }
  if (leaf.strandSeq !== last.seq + 1) {
    return 'the sequence of a strand has a gap';
  }
  return leaf.strandPrevious.equals(last.leafHash) ? null : 'a record does not name the one before it in its strand';
}

import type { KeyObject } from 'node:crypto';
import { ZERO32 } from '../../core/kernel/bytes.ts';
import type { EpochCertificate } from '../../core/ledger/epoch.ts';
import type { Head } from '../../core/ledger/head.ts';
import { KINDS } from '../../core/ledger/leaf.ts';
import { isKindInStrand } from '../../core/ledger/strand-check.ts';
import { equalAt, isZero } from './check-record.ts';
import type { Place } from './findings.ts';
import { LeafTable, type Source } from './leaf-table.ts';

/** The root that somebody says the log of a writer has at a size. */
export interface Claim {
  readonly size: number;
  readonly root: Buffer;
  readonly what: string;
  readonly place: Place;
  /** Set when the claim is signed. */
  readonly head: SeenHead | null;
}

/** A signed head, once for all the places that have the same bytes. */
export interface SeenHead {
  readonly bytes: Buffer;
  readonly head: Head;
  readonly place: Place;
  /** Index of its leaf in the cluster log; null while it was only seen elsewhere. */
  clusterIndex: number | null;
  /** Null until it was checked. */
  signed: boolean | null;
}

/** A part of the leaf table that came from one place: a batch, or a run of frames. */
export interface Run {
  readonly first: number;
  end: number;
  readonly source: Source;
  readonly place: Place;
  readonly bytes: number;
}

/** A leaf hash that is not the one in the table, or one that is known from somewhere that has no record. */
export interface OtherLeaf {
  readonly index: number;
  readonly hash: Buffer;
  readonly source: Source | null;
  readonly place: Place;
}

export interface Range {
  readonly first: number;
  readonly count: number;
}

export interface SeenEpoch {
  readonly bytes: Buffer;
  readonly epoch: EpochCertificate;
  readonly place: Place;
}

/** What the journal of a writer looked like. */
export interface JournalView {
  readonly firstIndex: number;
  readonly size: number;
  /** Where its last group was cut by a crash; null when it was not. */
  readonly torn: Place | null;
}

/** Everything that was seen of one writer. Filled by the readers, settled by `settleWriter`, judged by `judgeWriter`. */
export class WriterEvidence {
  readonly id: string;
  readonly idBytes: Buffer;
  readonly leaves = new LeafTable();
  readonly claims: Claim[] = [];
  readonly heads = new Map<string, SeenHead>();
  readonly epochs: SeenEpoch[] = [];
  readonly runs: Run[] = [];
  readonly others: OtherLeaf[] = [];
  /** Ranges whose bytes were found altered already: that they are not there is no second finding. */
  readonly damaged: Range[] = [];
  readonly strandProblems: { readonly index: number; readonly detail: string; readonly place: Place }[] = [];
  readonly strands = new StrandFollower();
  /** Raw; `verifyingKey` is the same, made once for all its signatures. */
  publicKey: Buffer | null = null;
  verifyingKey: KeyObject | null = null;
  role = 'unknown';
  node = '';
  createdMs = 0;
  /** Index of `epoch.close`; -1 while there is none. */
  closeIndex = -1;
  /** Index of the leaf in the cluster log that registers it; null when there is none. */
  registeredAt: number | null = null;
  journal: JournalView | null = null;
  /** One past the last archived record of a watermark, and of the head file of the archive. */
  watermark = 0;
  archivedHead = 0;

  constructor(id: string) {
    this.id = id;
    this.idBytes = Buffer.from(id, 'hex');
  }

  /** The newest size that a valid signature covers. */
  get headSize(): number {
    let size = 0;
    for (const { head, signed } of this.heads.values()) {
      size = signed === false ? size : Math.max(size, head.size);
    }
    return size;
  }

  addRun(first: number, end: number, source: Source, place: Place, bytes: number): void {
    const last = this.runs.at(-1);
    if (bytes === 0 && last?.bytes === 0 && last.end === first && last.place.file === place.file) {
      last.end = end;
      return;
    }
    this.runs.push({ first, end, source, place, bytes });
  }

  isDamaged(index: number): boolean {
    return this.damaged.some(({ first, count }) => index >= first && index < first + count);
  }
}

/**
 * Follows the strands of one writer over record bodies in order of their index; after a hole it says nothing more.
 *
 * Limit: one entry for each session that is open, as in the writer itself.
 */
export class StrandFollower {
  readonly #open = new Map<string, { seq: number; hash: Buffer }>();
  #next = 0;

  /** What does not fit, null when everything does. */
  next(index: number, leaf: Buffer, hash: Buffer): string | null {
    if (index !== this.#next) {
      return null;
    }
    this.#next++;
    if (isZero(leaf, 50, 16) || !isKindInStrand(leaf[1] as number)) {
      return isZero(leaf, 66, 36) ? null : 'a record outside of strands has a place in one';
    }
    const session = leaf.toString('latin1', 50, 66);
    const last = this.#open.get(session);
    const seq = leaf.readUInt32BE(66);
    const previous = last?.hash ?? ZERO32;
    const begins = last === undefined && seq === 0 && leaf[1] === KINDS['session.open'];
    const goesOn = last !== undefined && seq === last.seq + 1;
    const linked = equalAt(leaf, 70, previous, 0, 32);
    if (leaf[1] === KINDS['session.close']) {
      this.#open.delete(session);
    } else {
      this.#open.set(session, { seq, hash });
    }
    if (begins || goesOn) {
      return linked ? null : 'the record does not name the one before it in its strand';
    }
    return last === undefined ? 'a strand does not begin with session.open' : 'the sequence of a strand has a gap';
  }
}

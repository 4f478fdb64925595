import type { LeafFields } from '../../ledger/leaf.ts';

/** A sealed unit that goes with a record. `bytes` is the whole sealed unit (docs/formats.md); its hash is the commit. */
export interface RecordUnit {
  readonly unitClass: 1 | 2;
  readonly keyId: Buffer;
  readonly bytes: Buffer;
}

/** What a room gives for one record. The writer adds id, index, time, commits and salt. */
export interface RecordInput {
  readonly kind: number;
  readonly sessionId: Buffer;
  readonly strandSeq: number;
  readonly strandPrevious: Buffer;
  readonly tenantTag: Buffer;
  readonly bundleDigest: Buffer;
  readonly decision: LeafFields['decision'];
  readonly obligations: number;
  readonly approvalLeafHash: Buffer;
  /** Encoded `Event`. The writer copies it before `append` returns. */
  readonly meta: Uint8Array;
  readonly units: readonly RecordUnit[];
}

/** A real position: the index is the leaf's place in the tree of this writer. */
export interface Appended {
  readonly index: number;
  readonly leafHash: Buffer;
}

/**
 * The one way to leave evidence. One instance a thread.
 *
 * `append` is synchronous and only queues: nothing may be released on its return. Order of calls = order of indices.
 * `whenDurable(index)` is the release point of promise P1: its callback gets `null` after the fdatasync that covers
 * `index` returned, or the error when that can never be. It MUST NOT be called back with `null` for a record whose group
 * was cut short or whose flush failed.
 */
export interface EvidenceWriter {
  readonly writerId: Buffer;
  readonly writerIdHex: string;
  /** The index that the next `append` will get; sealing needs it for the AAD. */
  readonly nextIndex: number;
  /** Throws GatewayError `recorder_unavailable | disk_full | disk_failed | overloaded`. */
  append(record: RecordInput): Appended;
  whenDurable(index: number, callback: (failure: Error | null) => void): void;
  /** Resolves when acknowledged by the bus (`replicated`), rejects when it is not within `timeoutMs`. */
  whenPublished(index: number, timeoutMs: number): Promise<void>;
  /** Null while records are accepted; else the reason in the words of the error table. */
  readonly failure: Error | null;
}

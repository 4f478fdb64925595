import { assert } from '../../kernel/assert.ts';
import type { Clock } from '../../kernel/clock.ts';
import { encodeBatch } from '../../ledger/batch.ts';
import { CompactRange } from '../../ledger/compact-range.ts';
import type { PrivateKey } from '../../ledger/ed25519.ts';
import { signHead, type SignerKind } from '../../ledger/head.ts';

/** Offset of the time in a leaf, and so in a record body. */
const LEAF_TIME_OFFSET = 26;

export interface SignedBatch {
  readonly first: number;
  readonly count: number;
  readonly bytes: Buffer;
  readonly head: Buffer;
  /** Times of the first and the last record. */
  readonly firstNs: bigint;
  readonly lastNs: bigint;
}

export interface BatchBuilderOptions {
  readonly clock: Clock;
  readonly writerId: Buffer;
  /** Encoded epoch certificate. */
  readonly epoch: Buffer;
  readonly key: PrivateKey;
  readonly signerKind: SignerKind;
  readonly signerWriterId: Buffer;
}

export function recordTimeNs(body: Buffer): bigint {
  return body.readBigUInt64BE(LEAF_TIME_OFFSET);
}

/**
 * Turns consecutive records into signed batches and so grows the tree of a writer.
 *
 * Invariant: `range` covers exactly the records of all batches built so far; only durable records come here, so no head
 * ever covers a record that a crash could take back.
 */
export class BatchBuilder {
  readonly #options: BatchBuilderOptions;
  range = new CompactRange();

  constructor(options: BatchBuilderOptions) {
    this.#options = options;
  }

  /** `onSize` is called with the size of the tree before each record is added. */
  build(records: readonly Buffer[], leafHashes: readonly Buffer[], onSize: (size: number) => void): SignedBatch {
    const { writerId, epoch } = this.#options;
    const first = this.range.size;
    const compact = this.range.hashes;
    assert(records.length === leafHashes.length, 'every record comes with its leaf hash');
    for (const leafHash of leafHashes) {
      onSize(this.range.size);
      this.range.append(leafHash);
    }
    onSize(this.range.size);
    const rootAfter = this.range.root();
    const head = this.sign(this.range.size, rootAfter);
    const count = records.length;
    const bytes = encodeBatch({
      writerId,
      first,
      count,
      compact,
      rootAfter,
      head,
      epoch: first === 0 ? epoch : null,
      records,
    });
    const firstNs = recordTimeNs(records[0] as Buffer);
    return { first, count, bytes, head, firstNs, lastNs: recordTimeNs(records.at(-1) as Buffer) };
  }

  sign(size: number, root: Buffer): Buffer {
    const { clock, writerId, key, signerKind, signerWriterId } = this.#options;
    return signHead({ writerId, size, root, timeNs: clock.nowNs(), signerKind, signerWriterId }, key);
  }
}

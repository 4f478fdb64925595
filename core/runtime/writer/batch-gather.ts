import { LIMITS } from '../../kernel/limits.ts';
import { FRAME_HEADER_SIZE } from '../../ledger/journal-format.ts';
import { recordTimeNs } from './batch-builder.ts';
import type { RecordPosition } from './record-reader.ts';

/**
 * Durable records on their way into the next batch, copied out of the commit chunk because that is used again.
 * Invariant: `records` are views over the slab, in order, and belong to nobody else until `clear`.
 */
export class BatchGather {
  readonly #bytesMax: number;
  readonly #slab: Buffer;
  #bytes = 0;
  #segment = 0;
  #offset = 0;
  records: Buffer[] = [];
  leafHashes: Buffer[] = [];

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
    this.#slab = Buffer.allocUnsafeSlow(bytesMax + LIMITS.recordBytesMax);
  }

  get count(): number {
    return this.records.length;
  }

  get isFull(): boolean {
    return this.#bytes >= this.#bytesMax;
  }

  get firstNs(): bigint | undefined {
    const first = this.records[0];
    return first === undefined ? undefined : recordTimeNs(first);
  }

  /** Takes a record whose frame begins at `offset` of `segment`; returns the offset of the next frame. */
  add(body: Buffer, leafHash: Buffer, segment: number, offset: number): number {
    if (this.records.length === 0) {
      this.#segment = segment;
      this.#offset = offset;
    }
    const end = this.#bytes + body.length;
    body.copy(this.#slab, this.#bytes);
    this.records.push(this.#slab.subarray(this.#bytes, end));
    this.leafHashes.push(leafHash);
    this.#bytes = end;
    return offset + FRAME_HEADER_SIZE + body.length;
  }

  /** Where the first of them, which has this index, lies in the journal. */
  position(index: number): RecordPosition {
    return { segment: this.#segment, offset: this.#offset, index };
  }

  clear(): void {
    this.#bytes = 0;
    this.records = [];
    this.leafHashes = [];
  }
}

import { assert } from '../../kernel/assert.ts';
import { LIMITS } from '../../kernel/limits.ts';
import { FRAME_HEADER_SIZE } from '../../ledger/journal-format.ts';
import { recordTimeNs } from './batch-builder.ts';
import type { CommitGroup } from './commit-group.ts';
import type { RecordPosition } from './record-reader.ts';

/**
 * Durable records on their way into the next batch, copied out of the commit chunk because that is used again. Frames are
 * copied as they are, many at a time; the bodies in them are looked at when the batch is cut.
 *
 * Invariant: `#slab` holds `count` whole frames back to back, the first of them with the index that `position` was given.
 */
export class BatchGather {
  readonly #bytesMax: number;
  readonly #slab: Buffer;
  #bytes = 0;
  #segment = 0;
  #offset = 0;
  #lengths: number[] = [];
  leafHashes: Buffer[] = [];

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
    this.#slab = Buffer.allocUnsafeSlow(bytesMax + LIMITS.recordBytesMax + FRAME_HEADER_SIZE);
  }

  get count(): number {
    return this.#lengths.length;
  }

  get isFull(): boolean {
    return this.#bytes >= this.#bytesMax;
  }

  /** Undefined while it is empty. */
  get firstNs(): bigint | undefined {
    const length = this.#lengths[0];
    return length === undefined ? undefined : recordTimeNs(this.#slab.subarray(FRAME_HEADER_SIZE, length));
  }

  /** Takes records of `group` from the `from`-th on until it is full; returns how many of the group were taken so far. */
  take(group: CommitGroup, from: number): number {
    assert(!this.isFull, 'a full gather is cut first');
    const start = group.frameOffset(from);
    if (this.count === 0) {
      this.#segment = group.segment.number;
      this.#offset = group.position + start;
    }
    let next = from;
    let end = start;
    while (next < group.count && this.#bytes + end - start < this.#bytesMax) {
      const frameEnd = group.frameOffset(next + 1);
      this.#lengths.push(frameEnd - end);
      this.leafHashes.push(group.leafHashes[next] as Buffer);
      end = frameEnd;
      next++;
    }
    group.chunk.copy(this.#slab, this.#bytes, start, end);
    this.#bytes += end - start;
    return next;
  }

  /** The bodies, as views that hold until `clear`. */
  records(): Buffer[] {
    let offset = 0;
    return this.#lengths.map((length) => {
      const start = offset + FRAME_HEADER_SIZE;
      offset += length;
      return this.#slab.subarray(start, offset);
    });
  }

  /** Where the first of them, which has this index, lies in the journal. */
  position(index: number): RecordPosition {
    return { segment: this.#segment, offset: this.#offset, index };
  }

  clear(): void {
    this.#bytes = 0;
    this.#lengths = [];
    this.leafHashes = [];
  }
}

import { assert } from '../../kernel/assert.ts';
import {
  encodeSegmentHeader,
  FRAME_HEADER_SIZE,
  SEGMENT_HEADER_SIZE,
  writeFrameHeader,
} from '../../ledger/journal-format.ts';
import type { Segment } from './segment.ts';

export type DurableCallback = (failure: Error | null) => void;

const FREE_CHUNKS_MAX = 4;

/** Buffers for groups. Keeps a few; a burst above that is left to the collector. */
export class ChunkPool {
  readonly #chunkBytes: number;
  readonly #free: Buffer[] = [];

  constructor(chunkBytes: number) {
    this.#chunkBytes = chunkBytes;
  }

  take(bytesMin: number): Buffer {
    if (bytesMin > this.#chunkBytes) {
      return Buffer.allocUnsafeSlow(bytesMin);
    }
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(this.#chunkBytes);
  }

  give(chunk: Buffer): void {
    if (chunk.length === this.#chunkBytes && this.#free.length < FREE_CHUNKS_MAX) {
      this.#free.push(chunk);
    }
  }
}

/**
 * The records that one write and one flush make durable together, encoded as frames back to back in one chunk. The first
 * group of a segment begins with the segment header.
 *
 * Invariants: frames lie at [`framesStart`, `bytes`) without a hole and have the indices [`firstIndex`, `firstIndex` +
 * `count`). The header of the newest frame is written when the next one comes or when the group is sealed, because only
 * then it is known whether it is the last; so every frame's checksum is computed once.
 */
export class CommitGroup {
  readonly segment: Segment;
  /** Number in the segment, from 1. */
  readonly number: number;
  /** Where it goes in the file. */
  readonly position: number;
  readonly firstIndex: number;
  readonly chunk: Buffer;
  readonly framesStart: number;
  readonly leafHashes: Buffer[] = [];
  readonly waiters: DurableCallback[] = [];
  readonly #frameOffsets: number[] = [];
  bytes: number;
  count = 0;
  sealed = false;
  readonly #writerId: Buffer;
  #newestOffset = -1;

  constructor(writerId: Buffer, segment: Segment, number: number, position: number, firstIndex: number, chunk: Buffer) {
    this.#writerId = writerId;
    this.segment = segment;
    this.number = number;
    this.position = position;
    this.firstIndex = firstIndex;
    this.chunk = chunk;
    this.framesStart = 0;
    if (position === 0) {
      const { createdNs } = segment;
      this.framesStart = SEGMENT_HEADER_SIZE;
      chunk.set(encodeSegmentHeader({ writerId, segment: segment.number, firstIndex, createdNs }), 0);
    }
    this.bytes = this.framesStart;
  }

  get endIndex(): number {
    return this.firstIndex + this.count;
  }

  /** Makes room for the next frame; returns where its body goes. The caller has checked that it fits. */
  begin(bodyBytes: number): number {
    assert(!this.sealed && this.bytes + FRAME_HEADER_SIZE + bodyBytes <= this.chunk.length, 'the frame fits the group');
    return this.bytes + FRAME_HEADER_SIZE;
  }

  /** The body that `begin` gave room for is written. */
  commit(bodyBytes: number, leafHash: Buffer): void {
    this.#finishNewest(false);
    this.#newestOffset = this.bytes;
    this.#frameOffsets.push(this.bytes);
    this.bytes += FRAME_HEADER_SIZE + bodyBytes;
    this.count++;
    this.leafHashes.push(leafHash);
  }

  seal(): void {
    if (!this.sealed) {
      assert(this.count > 0, 'a group has a record');
      this.#finishNewest(true);
      this.sealed = true;
    }
  }

  /** Where the i-th frame begins in the chunk; for `i` = `count` where the last ends. */
  frameOffset(i: number): number {
    return this.#frameOffsets[i] ?? this.bytes;
  }

  /** The i-th body, a view. */
  body(i: number): Buffer {
    assert(i < this.count, 'the group has this record');
    return this.chunk.subarray(this.frameOffset(i) + FRAME_HEADER_SIZE, this.frameOffset(i + 1));
  }

  #finishNewest(groupEnd: boolean): void {
    const offset = this.#newestOffset;
    if (offset < 0) {
      return;
    }
    const header = {
      writerId: this.#writerId,
      segment: this.segment.number,
      index: this.firstIndex + this.count - 1,
      group: this.number,
      groupEnd,
    };
    writeFrameHeader(this.chunk, offset, header, this.chunk.subarray(offset + FRAME_HEADER_SIZE, this.bytes));
  }
}

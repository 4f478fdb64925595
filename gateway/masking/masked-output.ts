import { assert } from '../../core/kernel/assert.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import type { MaskedChunk, OriginalSpan } from '../contract/mask.ts';

/** A longer original is delivered as several spans, those after the first with size 0, so that each fits a record. */
const SPAN_BYTES_MAX: number = LIMITS.unitBytesMax / 2;
/** Below this, a loop copies faster than a call. */
const LOOP_COPY_MAX = 48;
const SLACK = 1024;
const ARENA_BYTES = 4096;

/**
 * The masked bytes of one push, with what was taken out.
 * Invariant: spans are in order of offset; putting their values back gives the input, byte for byte.
 */
export class MaskedOutput {
  #bytes: Buffer = Buffer.alloc(0);
  #size = 0;
  /** Offset of `#bytes[0]` in the masked output of the whole stream. */
  #base = 0;
  #spans: OriginalSpan[] = [];
  #arena: Buffer = Buffer.alloc(0);
  #arenaSize = 0;

  /** Makes ready for a push of about `size` bytes. */
  begin(size: number): void {
    assert(this.#size === 0, 'the output of the push before was taken');
    this.#bytes = Buffer.allocUnsafe(size + (size >> 2) + SLACK);
  }

  copy(source: Uint8Array, start: number, end: number): void {
    const size = end - start;
    if (this.#size + size > this.#bytes.length) {
      this.#grow(size);
    }
    const target = this.#bytes;
    let at = this.#size;
    if (size <= LOOP_COPY_MAX) {
      for (let i = start; i < end; i++) {
        target[at++] = source[i] as number;
      }
    } else {
      target.set(source.subarray(start, end), at);
    }
    this.#size += size;
  }

  /** Writes `replacement` where `source` [start, end) stood, and keeps what stood there. */
  replace(
    source: Uint8Array,
    start: number,
    end: number,
    replacement: Uint8Array,
    className: string,
    kind: string,
    path: string,
  ): void {
    assert(start <= end, 'an original has no negative size');
    let size = replacement.length;
    const offset = this.#base + this.#size;
    this.copy(replacement, 0, size);
    let position = start;
    do {
      const stop = Math.min(end, position + SPAN_BYTES_MAX);
      const value = this.#keep(source, position, stop);
      this.#spans.push({
        offset: position === start ? offset : offset + replacement.length,
        size,
        value,
        class: className,
        kind,
        path,
      });
      size = 0;
      position = stop;
    } while (position < end);
  }

  take(): MaskedChunk {
    const chunk = { bytes: this.#bytes.subarray(0, this.#size), originals: this.#spans };
    this.#base += this.#size;
    this.#bytes = Buffer.alloc(0);
    this.#size = 0;
    this.#spans = [];
    this.#arena = Buffer.alloc(0);
    this.#arenaSize = 0;
    return chunk;
  }

  /** Forgets everything that was not taken. */
  wipe(): void {
    this.#bytes.fill(0);
    this.#arena.fill(0);
    this.#spans = [];
    this.#size = 0;
  }

  /** The caller's buffer is only valid during the push: originals are copied into a shared arena. */
  #keep(source: Uint8Array, start: number, end: number): Buffer {
    const size = end - start;
    if (this.#arenaSize + size > this.#arena.length) {
      this.#arena = Buffer.allocUnsafeSlow(Math.max(ARENA_BYTES, size));
      this.#arenaSize = 0;
    }
    const arena = this.#arena;
    const first = this.#arenaSize;
    if (size <= LOOP_COPY_MAX) {
      for (let i = 0; i < size; i++) {
        arena[first + i] = source[start + i] as number;
      }
    } else {
      arena.set(source.subarray(start, end), first);
    }
    this.#arenaSize += size;
    return arena.subarray(first, first + size);
  }

  #grow(size: number): void {
    const bytes = Buffer.allocUnsafe((this.#size + size) * 2 + SLACK);
    bytes.set(this.#bytes.subarray(0, this.#size), 0);
    this.#bytes = bytes;
  }
}

/** Puts the originals back: the inverse of masking. */
export function unmask(masked: Uint8Array, originals: readonly OriginalSpan[]): Buffer {
  const parts: Uint8Array[] = [];
  let position = 0;
  for (const { offset, size, value } of originals) {
    assert(offset >= position && offset + size <= masked.length, 'originals are in order and inside the body');
    parts.push(masked.subarray(position, offset), value);
    position = offset + size;
  }
  parts.push(masked.subarray(position));
  return Buffer.concat(parts);
}

import { assert } from '../../core/kernel/assert.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import type { MaskedChunk, OriginalSpan } from '../contract/mask.ts';

/** A longer original is delivered as several spans, those after the first with size 0, so that each fits a record. */
const SPAN_BYTES_MAX: number = LIMITS.unitBytesMax / 2;
/** Below this, a loop copies faster than a call. */
const LOOP_COPY_MAX = 128;
const SLACK = 128;
const ARENA_BYTES_MIN = 512;
const NOTHING: Buffer = Buffer.alloc(0);

/**
 * A value that was taken out. Its bytes lie in an arena with those of its neighbours; the view is made when somebody
 * asks for it, because most values are only copied into a sealed unit later.
 */
class TakenValue implements OriginalSpan {
  readonly offset: number;
  readonly size: number;
  readonly class: string;
  readonly kind: string;
  readonly path: string;
  readonly #arena: Buffer;
  readonly #start: number;
  readonly #end: number;

  constructor(
    offset: number,
    size: number,
    className: string,
    kind: string,
    path: string,
    arena: Buffer,
    start: number,
    end: number,
  ) {
    this.offset = offset;
    this.size = size;
    this.class = className;
    this.kind = kind;
    this.path = path;
    this.#arena = arena;
    this.#start = start;
    this.#end = end;
  }

  get value(): Buffer {
    return this.#arena.subarray(this.#start, this.#end);
  }
}

/**
 * The masked bytes of one push, with what was taken out.
 * Invariant: spans are in order of offset; putting their values back gives the input, byte for byte.
 */
export class MaskedOutput {
  #bytes: Buffer = NOTHING;
  #size = 0;
  /** Bytes that this push will write about; allocated when the first is written. */
  #sizeHint = 0;
  /** Offset of `#bytes[0]` in the masked output of the whole stream. */
  #base = 0;
  #spans: OriginalSpan[] = [];
  #arena: Buffer = NOTHING;
  #arenaSize = 0;

  /** Makes ready for a push of about `size` bytes. */
  begin(size: number): void {
    assert(this.#size === 0, 'the output of the push before was taken');
    this.#sizeHint = size + (size >> 2) + SLACK;
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
      this.#keep(source, position, stop);
      this.#spans.push(
        new TakenValue(
          position === start ? offset : offset + replacement.length,
          size,
          className,
          kind,
          path,
          this.#arena,
          this.#arenaSize - (stop - position),
          this.#arenaSize,
        ),
      );
      size = 0;
      position = stop;
    } while (position < end);
  }

  take(): MaskedChunk {
    const chunk = { bytes: this.#bytes.subarray(0, this.#size), originals: this.#spans };
    this.#base += this.#size;
    this.#bytes = NOTHING;
    this.#size = 0;
    this.#spans = [];
    this.#arena = NOTHING;
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
  #keep(source: Uint8Array, start: number, end: number): void {
    const size = end - start;
    if (this.#arenaSize + size > this.#arena.length) {
      // Never from the shared pool: a wipe must reach all of it.
      this.#arena = Buffer.allocUnsafeSlow(
        Math.max(ARENA_BYTES_MIN, size, Math.min(this.#arena.length * 2, SPAN_BYTES_MAX)),
      );
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
  }

  #grow(size: number): void {
    const bytes = Buffer.allocUnsafe(Math.max(this.#sizeHint, (this.#size + size) * 2));
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

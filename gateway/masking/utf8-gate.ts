import { isUtf8 } from 'node:buffer';
import { GatewayError } from '../../core/kernel/errors.ts';

/**
 * Refuses a stream that is not valid UTF-8, however it is cut. The tokenizers behind it may treat every byte >= 0x80
 * as part of some character.
 * Invariant: `#tail` holds the bytes of one unfinished sequence (0 to 3).
 */
export class Utf8Gate {
  readonly #tail: Buffer = Buffer.alloc(4);
  #tailSize = 0;

  push(chunk: Buffer): void {
    let start = 0;
    if (this.#tailSize > 0) {
      const wanted = sequenceSize(this.#tail[0] as number);
      while (this.#tailSize < wanted && start < chunk.length) {
        this.#tail[this.#tailSize++] = chunk[start++] as number;
      }
      if (this.#tailSize < wanted) {
        return;
      }
      this.#require(isUtf8(this.#tail.subarray(0, wanted)));
      this.#tailSize = 0;
    }
    const end = startOfLastSequence(chunk, start);
    this.#require(isUtf8(start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end)));
    for (let i = end; i < chunk.length; i++) {
      this.#tail[this.#tailSize++] = chunk[i] as number;
    }
  }

  finish(): void {
    this.#require(this.#tailSize === 0);
  }

  #require(isValid: boolean): void {
    if (!isValid) {
      throw new GatewayError('masking_failed', 'the body is not valid UTF-8');
    }
  }
}

/** Bytes of the sequence that `lead` begins; 1 for a byte that begins none (the validator refuses it). */
function sequenceSize(lead: number): number {
  if (lead < 0xc2 || lead > 0xf4) {
    return 1;
  }
  return lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
}

/** Where an unfinished sequence at the end of the chunk begins; the chunk's length when there is none. */
function startOfLastSequence(chunk: Buffer, from: number): number {
  const lowest = Math.max(from, chunk.length - 3);
  for (let i = chunk.length - 1; i >= lowest; i--) {
    const byte = chunk[i] as number;
    if (byte < 0x80) {
      break;
    }
    if (byte >= 0xc0) {
      return i + sequenceSize(byte) > chunk.length ? i : chunk.length;
    }
  }
  return chunk.length;
}

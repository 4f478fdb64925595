import { assert } from '../../core/kernel/assert.ts';
import type { MaskedOutput } from './masked-output.ts';

/** Class of spans that hold no value, only separators that went with a dropped one. */
const STRUCTURE = 'structure';
const NOTHING: Buffer = Buffer.alloc(0);

/**
 * Copies what stands and replaces what does not, in order.
 * Invariant: everything of the window before `copied` is written; `copied` never goes back.
 */
export class SpanWriter {
  copied = 0;
  readonly #output: MaskedOutput;

  constructor(output: MaskedOutput) {
    this.#output = output;
  }

  shift(by: number): void {
    this.copied -= by;
  }

  /** Everything before `end` stands. */
  flush(window: Uint8Array, end: number): void {
    if (this.copied < end) {
      this.#output.copy(window, this.copied, end);
      this.copied = end;
    }
  }

  replace(
    window: Uint8Array,
    start: number,
    end: number,
    replacement: Uint8Array,
    className: string,
    kind: string,
    path: string,
  ): void {
    assert(start >= this.copied, 'what was written is not replaced');
    this.flush(window, start);
    this.#output.replace(window, start, end, replacement, className, kind, path);
    this.copied = end;
  }

  /** Takes a separator out. */
  strip(window: Uint8Array, start: number, end: number): void {
    this.replace(window, start, end, NOTHING, STRUCTURE, '', '');
  }
}

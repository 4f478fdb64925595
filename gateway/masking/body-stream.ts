import { assert } from '../../core/kernel/assert.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import type { BodyMasker, MaskStats, MaskedChunk } from '../contract/mask.ts';
import type { MaskCounters } from './mask-counters.ts';
import type { MaskedOutput } from './masked-output.ts';
import { Utf8Gate } from './utf8-gate.ts';

/**
 * A tokenizer of one medium. It works on a contiguous window and keeps positions in it between calls.
 *
 * MUST give the same output and the same originals however the bytes are cut into windows. MUST NOT look beyond `end`.
 */
export interface BodyMachine {
  /** Goes on up to `end`; returns the first position that it still needs. `isFinal`: nothing follows. */
  run(window: Buffer, end: number, isFinal: boolean): number;
  /** The window moved: position p is now p - by. */
  shift(by: number): void;
}

/** What may wait in the window for a decision: one value, however long its name and white space. */
const HELD_BYTES_MAX: number = LIMITS.heldBytesPerSessionMax;
const COMPACT_BYTES = 64 * 1024;

/**
 * Feeds a machine: UTF-8 first, then the bytes that were kept, then the chunk.
 *
 * Invariant: `#held` [#start, #end) is what the machine still needs; empty means that its window is the next chunk
 * itself and its positions count from there. A failure is final: everything that was not returned is wiped.
 */
export class BodyStream implements BodyMasker {
  readonly #machine: BodyMachine;
  readonly #output: MaskedOutput;
  readonly #counters: MaskCounters;
  readonly #utf8 = new Utf8Gate();
  #held: Buffer = Buffer.alloc(0);
  #start = 0;
  #end = 0;
  #failure: unknown = null;
  #isFinished = false;

  constructor(machine: BodyMachine, output: MaskedOutput, counters: MaskCounters) {
    this.#machine = machine;
    this.#output = output;
    this.#counters = counters;
  }

  push(chunk: Buffer): MaskedChunk {
    assert(!this.#isFinished, 'nothing follows the end of a body');
    return this.#guard(() => {
      this.#utf8.push(chunk);
      this.#output.begin(this.#end - this.#start + chunk.length);
      if (this.#start === this.#end) {
        this.#runDirectly(chunk);
      } else {
        this.#append(chunk);
        this.#runHeld(false);
      }
    });
  }

  finish(): MaskedChunk {
    assert(!this.#isFinished, 'a body ends once');
    return this.#guard(() => {
      this.#utf8.finish();
      this.#output.begin(this.#end - this.#start);
      this.#runHeld(true);
      assert(this.#start === this.#end, 'nothing is left at the end of a body');
      this.#isFinished = true;
    });
  }

  stats(): MaskStats {
    return this.#counters.stats();
  }

  #guard(step: () => void): MaskedChunk {
    if (this.#failure !== null) {
      throw this.#failure; // A failed body stays failed: nobody can tell where its next value begins.
    }
    try {
      step();
      return this.#output.take();
    } catch (error) {
      this.#failure = error;
      this.#held.fill(0);
      this.#start = 0;
      this.#end = 0;
      this.#output.wipe();
      throw error;
    }
  }

  /** The common case: nothing is held, so the machine works on the chunk in place. */
  #runDirectly(chunk: Buffer): void {
    const keep = this.#machine.run(chunk, chunk.length, false);
    this.#machine.shift(keep);
    this.#start = 0;
    this.#end = 0;
    if (keep < chunk.length) {
      this.#append(chunk.subarray(keep));
    }
  }

  #runHeld(isFinal: boolean): void {
    this.#start = this.#machine.run(this.#held, this.#end, isFinal);
    if (this.#start === this.#end) {
      this.#machine.shift(this.#start);
      this.#start = 0;
      this.#end = 0;
    }
  }

  #append(chunk: Buffer): void {
    const size = this.#end - this.#start + chunk.length;
    if (this.#start > COMPACT_BYTES && this.#start > this.#held.length / 2) {
      this.#held.copyWithin(0, this.#start, this.#end);
      this.#machine.shift(this.#start);
      this.#end -= this.#start;
      this.#start = 0;
    }
    if (this.#end + chunk.length > this.#held.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(size * 2, 1024));
      this.#held.copy(grown, 0, this.#start, this.#end);
      this.#machine.shift(this.#start);
      this.#end -= this.#start;
      this.#start = 0;
      this.#held = grown;
    }
    chunk.copy(this.#held, this.#end);
    this.#end += chunk.length;
  }
}

/** The size of one value that has to be held is bounded. */
export function checkHeld(size: number): void {
  if (size > HELD_BYTES_MAX) {
    throw new GatewayError('held_bytes_exceeded', `one value is larger than ${HELD_BYTES_MAX} bytes`);
  }
}

/** Never say where or what: the message may reach the agent. */
export function malformed(what: string): never {
  throw new GatewayError('masking_failed', what);
}

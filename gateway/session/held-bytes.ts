import { assert } from '../../core/kernel/assert.ts';

/** Somebody whose upstream can be stopped while too many bytes are held. */
export interface Holder {
  resumeUpstream(): void;
}

/**
 * Bytes that a worker holds for durability or for slow agents. Over the bound nobody reads upstream any more.
 *
 * Invariant: `total` is the sum of what all holders added and did not take back.
 */
export class HeldBytes {
  readonly #bytesMax: number;
  readonly #waiting = new Set<Holder>();
  #total = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get total(): number {
    return this.#total;
  }

  get full(): boolean {
    return this.#total >= this.#bytesMax;
  }

  add(size: number): void {
    this.#total += size;
  }

  release(size: number): void {
    this.#total -= size;
    assert(this.#total >= 0, 'no more bytes are released than were held');
    if (this.#waiting.size > 0 && this.#total < this.#bytesMax / 2) {
      const waiting = [...this.#waiting];
      this.#waiting.clear();
      for (const holder of waiting) {
        holder.resumeUpstream();
      }
    }
  }

  /** `holder.resumeUpstream` is called once there is room again. */
  wait(holder: Holder): void {
    this.#waiting.add(holder);
  }

  forget(holder: Holder): void {
    this.#waiting.delete(holder);
  }
}

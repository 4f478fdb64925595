import type { DurableCallback } from './commit-group.ts';

/**
 * Waiters called in one turn of the event loop. Between slices the loop sees the disk's completion and the next group goes
 * out, so that groups find their size by themselves: as many records as the CPU handles while the disk is busy.
 */
const SLICE_WAITERS = 16;

/**
 * Calls waiters in order, a slice a turn. A waiter that throws is a bug of its room: the others are called first, then
 * the error ends the process as any uncaught one does.
 */
export class ReleaseQueue {
  readonly #afterSlice: (done: boolean) => void;
  readonly #queue: { readonly waiters: readonly DurableCallback[]; readonly failure: Error | null }[] = [];
  readonly #raise: (error: unknown) => void;
  #next = 0;
  #busy = false;

  /** `afterSlice` is called after each slice, with whether everybody was called. */
  constructor(afterSlice: (done: boolean) => void, raise = raiseUncaught) {
    this.#afterSlice = afterSlice;
    this.#raise = raise;
  }

  push(waiters: readonly DurableCallback[], failure: Error | null): void {
    if (waiters.length === 0) {
      this.#afterSlice(!this.#busy);
      return;
    }
    this.#queue.push({ waiters, failure });
    if (!this.#busy) {
      this.#busy = true;
      this.#slice();
    }
  }

  #slice(): void {
    for (let left = SLICE_WAITERS; left > 0; left--) {
      const head = this.#queue[0];
      if (head === undefined) {
        break;
      }
      const waiter = head.waiters[this.#next++];
      if (this.#next === head.waiters.length) {
        this.#queue.shift();
        this.#next = 0;
      }
      try {
        waiter?.(head.failure);
      } catch (error) {
        this.#raise(error);
      }
    }
    const done = this.#queue.length === 0;
    this.#busy = !done;
    if (!done) {
      setImmediate(() => this.#slice());
    }
    this.#afterSlice(done);
  }
}

function raiseUncaught(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}

import type { Clock, Timer } from '../../kernel/clock.ts';
import { GatewayError } from '../../kernel/errors.ts';

interface Waiter {
  readonly index: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  timer: Timer | null;
}

/** Who waits for the bus, by index. Each is settled exactly once: published, refused, or out of time. */
export class PublishWaiters {
  readonly #clock: Clock;
  readonly #waiters = new Set<Waiter>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(index: number, timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiter: Waiter = { index, resolve, reject, timer: null };
      this.#waiters.add(waiter);
      waiter.timer = this.#clock.after(timeoutMs, () => {
        this.#settle(waiter, new GatewayError('replicated_unavailable', 'the bus did not answer in time'));
      });
    });
  }

  /** Whether anybody waits for an index in [from, to). */
  waitsFor(from: number, to: number): boolean {
    for (const { index } of this.#waiters) {
      if (index >= from && index < to) {
        return true;
      }
    }
    return false;
  }

  resolveBelow(index: number): void {
    for (const waiter of this.#waiters) {
      if (waiter.index < index) {
        this.#settle(waiter, null);
      }
    }
  }

  rejectFrom(index: number, error: Error): void {
    for (const waiter of this.#waiters) {
      if (waiter.index >= index) {
        this.#settle(waiter, error);
      }
    }
  }

  #settle(waiter: Waiter, error: Error | null): void {
    this.#waiters.delete(waiter);
    waiter.timer?.cancel();
    if (error === null) {
      waiter.resolve();
    } else {
      waiter.reject(error);
    }
  }
}

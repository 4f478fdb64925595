import type { Clock, Timer } from '../clock.ts';

/** A clock that moves only when the test says so. Timers fire in order of their due time, inside `advance`. */
export class ManualClock implements Clock {
  #nowMs: number;
  #sequence = 0;
  readonly #timers = new Map<number, { dueMs: number; callback: () => void }>();

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#nowMs = startMs;
  }

  nowMs(): number {
    return Math.floor(this.#nowMs);
  }

  nowNs(): bigint {
    return BigInt(Math.round(this.#nowMs * 1000)) * 1000n;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, callback: () => void): Timer {
    const id = this.#sequence++;
    this.#timers.set(id, { dueMs: this.#nowMs + delayMs, callback });
    return { cancel: () => void this.#timers.delete(id) };
  }

  get pendingTimers(): number {
    return this.#timers.size;
  }

  advance(byMs: number): void {
    const targetMs = this.#nowMs + byMs;
    for (;;) {
      const next = [...this.#timers]
        .filter(([, t]) => t.dueMs <= targetMs)
        .sort((a, b) => a[1].dueMs - b[1].dueMs || a[0] - b[0])[0];
      if (next === undefined) {
        break;
      }
      this.#timers.delete(next[0]);
      this.#nowMs = Math.max(this.#nowMs, next[1].dueMs);
      next[1].callback();
    }
    this.#nowMs = targetMs;
  }
}

import { type Clock, SystemClock, type Timer } from '../../../core/kernel/clock.ts';

/** The system's clock, faster: timeouts of minutes pass in a test of seconds, and nothing needs to be stepped by hand. */
export class QuickClock implements Clock {
  readonly #system = new SystemClock();
  readonly #speed: number;
  readonly #startMs: number;
  readonly #startNs: bigint;
  readonly #startMonotonicMs: number;

  constructor(speed: number) {
    this.#speed = speed;
    this.#startMs = this.#system.nowMs();
    this.#startNs = this.#system.nowNs();
    this.#startMonotonicMs = this.#system.monotonicMs();
  }

  nowMs(): number {
    return Math.floor(this.#startMs + this.#elapsedMs());
  }

  nowNs(): bigint {
    return this.#startNs + BigInt(Math.round(this.#elapsedMs() * 1_000_000));
  }

  monotonicMs(): number {
    return this.#startMonotonicMs + this.#elapsedMs();
  }

  after(delayMs: number, callback: () => void): Timer {
    return this.#system.after(delayMs / this.#speed, callback);
  }

  #elapsedMs(): number {
    return (this.#system.monotonicMs() - this.#startMonotonicMs) * this.#speed;
  }
}

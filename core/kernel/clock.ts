/** A timer that can be cancelled. Cancelling twice, or after it fired, does nothing. */
export interface Timer {
  cancel(): void;
}

/** The only source of time in rooms of logic. Tests use `ManualClock`. */
export interface Clock {
  /** Wall clock, milliseconds since 1970-01-01 UTC; may step. */
  nowMs(): number;
  /** Wall clock, nanoseconds since 1970-01-01 UTC. Resolution is that of the platform, at best a microsecond. */
  nowNs(): bigint;
  /** Monotonic milliseconds with a fraction, from an arbitrary origin. */
  monotonicMs(): number;
  /** Calls `callback` once after `delayMs`. The timer does not keep the process alive. */
  after(delayMs: number, callback: () => void): Timer;
}

/** The system's clock. `nowNs` never goes backwards by the resolution of `Date.now` alone: it adds the monotonic part. */
export class SystemClock implements Clock {
  readonly #originNs: bigint;
  readonly #originMonotonicMs: number;

  constructor() {
    this.#originNs = BigInt(Date.now()) * 1_000_000n;
    this.#originMonotonicMs = performance.now();
  }

  nowMs(): number {
    return Date.now();
  }

  nowNs(): bigint {
    // Limit: follows steps of the wall clock only to the extent that a restart does; order inside a writer comes from
    // the index, never from the time.
    const elapsedNs = Math.round((performance.now() - this.#originMonotonicMs) * 1_000_000);
    return this.#originNs + BigInt(elapsedNs);
  }

  monotonicMs(): number {
    return performance.now();
  }

  after(delayMs: number, callback: () => void): Timer {
    const handle = setTimeout(callback, delayMs);
    handle.unref();
    return { cancel: () => clearTimeout(handle) };
  }
}

import type { Clock, Timer } from '../../core/kernel/clock.ts';
import { LIMITS } from '../../core/kernel/limits.ts';

export type HeartbeatVerdict = 'alive' | 'late' | 'dead' | 'unjudged';

/**
 * Judges workers by a counter of shared memory that each of them raises every 250 ms.
 *
 * A worker is judged only when this thread was itself on time: if the main thread lagged over 100 ms since the last
 * look, nobody is called late for it, and the window starts again.
 * Three missed beats = late (the node is not ready); 2 s without a beat, so judged = dead (the node ends).
 */
export class HeartbeatMonitor {
  readonly #clock: Clock;
  readonly #beats: readonly (() => number)[];
  readonly #last: { beat: number; sinceMs: number }[];
  readonly #onVerdict: (worker: number, verdict: HeartbeatVerdict) => void;
  #dueMs: number;
  #timer: Timer | null = null;

  constructor(
    clock: Clock,
    beats: readonly (() => number)[],
    onVerdict: (worker: number, verdict: HeartbeatVerdict) => void,
  ) {
    this.#clock = clock;
    this.#beats = beats;
    this.#onVerdict = onVerdict;
    this.#last = beats.map((beat) => ({ beat: beat(), sinceMs: clock.monotonicMs() }));
    this.#dueMs = clock.monotonicMs() + LIMITS.heartbeatMs;
  }

  start(): void {
    this.#dueMs = this.#clock.monotonicMs() + LIMITS.heartbeatMs;
    this.#timer = this.#clock.after(LIMITS.heartbeatMs, () => {
      this.look();
      this.start();
    });
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  look(): void {
    const nowMs = this.#clock.monotonicMs();
    const ownLagMs = nowMs - this.#dueMs;
    this.#beats.forEach((read, worker) => {
      const last = this.#last[worker];
      if (last === undefined) {
        return;
      }
      const beat = read();
      if (beat !== last.beat) {
        last.beat = beat;
        last.sinceMs = nowMs;
        this.#onVerdict(worker, 'alive');
        return;
      }
      if (ownLagMs > LIMITS.mainThreadLagMaxMs) {
        last.sinceMs = nowMs;
        this.#onVerdict(worker, 'unjudged');
        return;
      }
      const silentMs = nowMs - last.sinceMs;
      if (silentMs >= LIMITS.heartbeatDeadMs) {
        this.#onVerdict(worker, 'dead');
      } else if (silentMs >= LIMITS.heartbeatMs * LIMITS.heartbeatMissedMax) {
        this.#onVerdict(worker, 'late');
      }
    });
  }
}

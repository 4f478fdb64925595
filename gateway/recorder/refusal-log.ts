import type { Clock, Timer } from '../../core/kernel/clock.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import type { Recorder } from './recorder.ts';

/** Peers that are told apart within one second; what comes after them is counted together. */
const PEERS_MAX = 1_000;

interface Entry {
  readonly kind: 'auth.refused' | 'wire.refused';
  readonly code: string;
  readonly peer: string;
  readonly lane: string;
  count: number;
}

/**
 * Refusals before there is a session: one record for each peer, reason and second, with a count, so that a flood of bad
 * requests cannot fill the disk.
 */
export class RefusalLog {
  readonly #recorder: Recorder;
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  #timer: Timer | null = null;

  constructor(recorder: Recorder, clock: Clock) {
    this.#recorder = recorder;
    this.#clock = clock;
  }

  add(kind: Entry['kind'], code: string, peer: string, lane: string): void {
    const known = this.#entries.get(`${kind}|${code}|${peer}`);
    if (known !== undefined) {
      known.count++;
      return;
    }
    const named = this.#entries.size < PEERS_MAX ? peer : '';
    const key = `${kind}|${code}|${named}`;
    const entry = this.#entries.get(key) ?? { kind, code, peer: named, lane, count: 0 };
    entry.count++;
    this.#entries.set(key, entry);
    this.#timer ??= this.#clock.after(LIMITS.headMs, () => this.flush());
  }

  /** Writes what gathered. A recorder that takes nothing now keeps the entries for the next second. */
  flush(): void {
    this.#timer = null;
    for (const [key, entry] of this.#entries) {
      try {
        this.#recorder.sessionless(entry.kind, entry.code, { peer: entry.peer, lane: entry.lane }, entry.count);
        this.#entries.delete(key);
      } catch {
        this.#timer = this.#clock.after(LIMITS.headMs, () => this.flush());
        return;
      }
    }
  }
}

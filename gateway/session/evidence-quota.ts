import type { Clock } from '../../core/kernel/clock.ts';
import type { Subject } from '../contract/subject.ts';

const WINDOW_MS = 60_000;
const PRINCIPALS_MAX = 10_000;

interface Account {
  windowStartMs: number;
  bytes: number;
}

/**
 * Evidence bytes of each principal in the current minute, so that one agent cannot fill the disk for all.
 *
 * Limit: exact in its worker; a node's limit is given to each worker in equal parts, so a principal whose connections
 * all end on one worker gets its part only.
 */
export class EvidenceQuota {
  readonly #clock: Clock;
  readonly #bytesMax: number;
  readonly #accounts = new Map<string, Account>();

  constructor(clock: Clock, bytesMax: number) {
    this.#clock = clock;
    this.#bytesMax = bytesMax;
  }

  charge(subject: Subject, bytes: number): void {
    const key = keyOf(subject);
    const nowMs = this.#clock.monotonicMs();
    let account = this.#accounts.get(key);
    if (account === undefined) {
      if (this.#accounts.size >= PRINCIPALS_MAX) {
        this.#forget(nowMs);
      }
      account = { windowStartMs: nowMs, bytes: 0 };
      this.#accounts.set(key, account);
    } else if (nowMs - account.windowStartMs >= WINDOW_MS) {
      account.windowStartMs = nowMs;
      account.bytes = 0;
    }
    account.bytes += bytes;
  }

  /** Milliseconds until the principal may go on; 0 when it may now. */
  waitMs(subject: Subject): number {
    const account = this.#accounts.get(keyOf(subject));
    if (account === undefined || account.bytes < this.#bytesMax) {
      return 0;
    }
    return Math.max(0, WINDOW_MS - (this.#clock.monotonicMs() - account.windowStartMs));
  }

  #forget(nowMs: number): void {
    for (const [key, account] of this.#accounts) {
      if (nowMs - account.windowStartMs >= WINDOW_MS || account.bytes < this.#bytesMax) {
        this.#accounts.delete(key);
      }
    }
  }
}

function keyOf(subject: Subject): string {
  return `${subject.principal.iss}\n${subject.principal.sub}`;
}

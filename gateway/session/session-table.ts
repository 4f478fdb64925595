import type { Clock } from '../../core/kernel/clock.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import type { Subject } from '../contract/subject.ts';
import type { Recorder } from '../recorder/recorder.ts';
import type { Strand } from '../recorder/strand.ts';

/** Strands that are looked at in one idle sweep, so that a sweep never stalls the worker. */
const SWEEP_MAX = 2_000;

export interface SessionTableOptions {
  readonly recorder: Recorder;
  readonly clock: Clock;
  /** Same id for the same session on every worker and node (00 section 6 step 1). */
  readonly sessionId: (subject: Subject, connection: string, nowMs: number) => Buffer;
  readonly isReviewed: (subject: Subject) => boolean;
  /** A strand without use for this long is closed. */
  readonly idleMs: number;
}

/**
 * The open strands of one worker. A strand begins with `session.open` and ends after 15 minutes without use, at a
 * clean stop, or when the policy says `terminate_session`.
 *
 * Invariant: every strand in the table is open, and `recorder.openStrand` was called exactly once for it.
 */
export class SessionTable {
  readonly #options: SessionTableOptions;
  readonly #strands = new Map<string, Strand>();

  constructor(options: SessionTableOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#strands.size;
  }

  /** The open strand of this subject and connection. Throws what the recorder throws when it cannot be opened. */
  enter(subject: Subject, connection: string): Strand {
    const { clock, recorder, isReviewed } = this.#options;
    const id = this.#options.sessionId(subject, connection, clock.nowMs());
    const key = id.toString('latin1');
    const known = this.#strands.get(key);
    if (known !== undefined) {
      return known;
    }
    if (this.#strands.size >= LIMITS.sessionsPerWorkerMax) {
      throw new GatewayError('overloaded', 'too many open sessions');
    }
    const strand = recorder.openStrand(id, subject, connection, isReviewed(subject));
    this.#strands.set(key, strand);
    return strand;
  }

  close(strand: Strand, reason: string): void {
    this.#strands.delete(strand.sessionId.toString('latin1'));
    this.#options.recorder.closeStrand(strand, reason);
  }

  /** Closes what was idle too long. Called each few seconds; the map keeps order of opening. */
  closeIdle(): number {
    const cutMs = this.#options.clock.nowMs() - this.#options.idleMs;
    let closed = 0;
    let seen = 0;
    for (const strand of this.#strands.values()) {
      if (++seen > SWEEP_MAX) {
        break;
      }
      if (strand.openExchanges === 0 && strand.lastUsedMs <= cutMs) {
        this.close(strand, 'idle');
        closed++;
      }
    }
    return closed;
  }

  /** A clean stop: no exchange may be open any more. */
  closeAll(reason: string): void {
    for (const strand of [...this.#strands.values()]) {
      this.close(strand, reason);
    }
  }
}

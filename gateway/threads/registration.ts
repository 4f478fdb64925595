import type { Bus, Tail } from '../../core/bus/bus.ts';
import { TOPICS } from '../../core/bus/topics.ts';
import type { Clock } from '../../core/kernel/clock.ts';
import { decodeCheckpointValue, inputOffsetOf, openCheckpoint } from '../../core/ledger/checkpoint.ts';
import type { VerifierKey } from '../../core/ledger/verifier-key.ts';

export interface CheckpointState {
  /** Entries of `evidence.heads.v1` below this offset are in the cluster log. */
  readonly inputOffset: number;
  readonly size: number;
  readonly seenMs: number;
  readonly witnesses: number;
}

/**
 * Follows the checkpoints of the cluster log. A writer is registered when the published input offset is at or past its
 * own opening. Only checkpoints that the log signed count; anything else on the topic is ignored and reported.
 */
export class CheckpointFollower {
  readonly #clock: Clock;
  readonly #logKey: VerifierKey;
  readonly #witnessKeys: readonly VerifierKey[];
  readonly #onBad: () => void;
  readonly #tail: Tail;
  #state: CheckpointState = { inputOffset: 0, size: 0, seenMs: 0, witnesses: 0 };
  readonly #waiters = new Set<() => void>();

  constructor(bus: Bus, clock: Clock, logKey: VerifierKey, witnessKeys: readonly VerifierKey[], onBad: () => void) {
    this.#clock = clock;
    this.#logKey = logKey;
    this.#witnessKeys = witnessKeys;
    this.#onBad = onBad;
    this.#tail = bus.tail(TOPICS.checkpoints.name, 'start', (messages) => {
      for (const message of messages) {
        this.#take(message.value);
      }
    });
    this.#tail.done.catch(() => this.#onBad());
  }

  get state(): CheckpointState {
    return this.#state;
  }

  /** Resolves true when the entry at `offset` is in the cluster log, false after `timeoutMs`. */
  whenIncluded(offset: number, timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const finish = (included: boolean): void => {
        this.#waiters.delete(look);
        timer.cancel();
        resolve(included);
      };
      const look = (): void => {
        if (this.#state.inputOffset > offset) {
          finish(true);
        }
      };
      const timer = this.#clock.after(timeoutMs, () => finish(false));
      this.#waiters.add(look);
      look();
    });
  }

  close(): Promise<void> {
    return this.#tail.close();
  }

  #take(value: Buffer): void {
    try {
      const { note } = decodeCheckpointValue(value);
      const { checkpoint, cosignatures } = openCheckpoint(note, this.#logKey, this.#witnessKeys);
      const inputOffset = inputOffsetOf(checkpoint) ?? 0;
      if (inputOffset >= this.#state.inputOffset) {
        this.#state = {
          inputOffset,
          size: checkpoint.size,
          seenMs: this.#clock.nowMs(),
          witnesses: cosignatures.length,
        };
      }
    } catch {
      this.#onBad();
      return;
    }
    for (const look of this.#waiters) {
      look();
    }
  }
}

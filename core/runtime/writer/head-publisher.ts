import type { Clock, Timer } from '../../kernel/clock.ts';
import type { WriterLimits } from './writer-limits.ts';

/** Where heads go, 161 bytes each (`evidence.heads.v1`, type 2). */
export interface HeadSink {
  publish(head: Buffer, writerId: Buffer): Promise<void>;
}

export interface SizedHead {
  readonly size: number;
  readonly bytes: Buffer;
}

export interface HeadPublisherOptions {
  readonly clock: Clock;
  readonly limits: WriterLimits;
  readonly writerId: Buffer;
  readonly sink: HeadSink;
  /** The same head with the time of now, signed again. */
  readonly renew: (head: SizedHead) => SizedHead;
}

/**
 * Publishes the newest head each `headMs` when it changed, and each `unchangedHeadMs` when it did not: that says "still
 * here, nothing more". Only heads of batches that the bus has come here, so nobody is held to records that only this
 * node has. A failure is forgotten: the next tick sends what is newest then.
 */
export class HeadPublisher {
  readonly #options: HeadPublisherOptions;
  #head: SizedHead | null = null;
  #sentSize = -1;
  #sentMs = 0;
  #sending = false;
  #timer: Timer | null = null;

  constructor(options: HeadPublisherOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = this.#options.clock.after(this.#options.limits.headMs, () => {
      void this.#tick();
      this.start();
    });
  }

  offer(head: SizedHead): void {
    if (this.#head === null || head.size > this.#head.size) {
      this.#head = head;
    }
  }

  /** Sends the final head if it was not sent. */
  async stop(): Promise<void> {
    this.#timer?.cancel();
    if (this.#head !== null && this.#head.size !== this.#sentSize) {
      await this.#send(this.#head);
    }
  }

  async #tick(): Promise<void> {
    const { clock, limits, renew } = this.#options;
    if (this.#head === null || this.#sending) {
      return;
    }
    if (this.#head.size !== this.#sentSize) {
      await this.#send(this.#head);
    } else if (clock.monotonicMs() - this.#sentMs >= limits.unchangedHeadMs) {
      this.#head = renew(this.#head);
      await this.#send(this.#head);
    }
  }

  async #send(head: SizedHead): Promise<void> {
    const { clock, sink, writerId } = this.#options;
    this.#sending = true;
    try {
      await sink.publish(head.bytes, writerId);
      this.#sentSize = head.size;
      this.#sentMs = clock.monotonicMs();
    } catch {
      this.#sentSize = -1; // The batches carry the same head, and the bus shows its own failure.
    } finally {
      this.#sending = false;
    }
  }
}

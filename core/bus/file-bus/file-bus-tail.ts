import { GatewayError } from '../../kernel/errors.ts';
import { LIMITS } from '../../kernel/limits.ts';
import type { BusPosition, TailFrom } from '../bus.ts';
import { LogCursor } from './log-cursor.ts';
import type { PartitionLog } from './partition-log.ts';

export interface TailOutput {
  data(partition: number, records: Buffer): void;
  failed(error: unknown): void;
}

interface Source {
  readonly partition: number;
  readonly log: PartitionLog;
  readonly cursor: LogCursor;
}

/**
 * The server's half of a tail: reads chunks of durable records and hands them out while the client has granted credit.
 *
 * Invariants: one `#pump` at a time; a chunk costs one credit; partitions with data take turns.
 */
export class FileBusTail {
  /** Where each partition starts. */
  readonly positions: readonly BusPosition[];
  readonly #sources: Source[];
  readonly #output: TailOutput;
  readonly #wake: () => void;
  #credit = 0;
  #turn = 0;
  #pumping: Promise<void> | null = null;
  #closed = false;

  /** Throws `bus_misconfigured` when a partition does not exist. */
  constructor(topic: string, partitions: readonly PartitionLog[], from: readonly TailFrom[], output: TailOutput) {
    this.#output = output;
    const positions: BusPosition[] = [];
    this.#sources = from.map(({ partition, offset }) => {
      const log = partitions[partition];
      if (log === undefined) {
        throw new GatewayError('bus_misconfigured', `${topic} has no partition ${partition}`);
      }
      const next = offset === 'start' ? log.start : offset === 'end' ? log.end : offset;
      positions.push({ partition, offset: next });
      return { partition, log, cursor: new LogCursor(log, next) };
    });
    this.positions = positions;
    this.#wake = () => this.#kick();
    for (const { log } of this.#sources) {
      log.onCommit(this.#wake);
    }
  }

  addCredit(chunks: number): void {
    // More than the window would let a client make us buffer without bound.
    this.#credit = Math.min(this.#credit + chunks, LIMITS.busTailChunksInFlightMax);
    this.#kick();
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const { log } of this.#sources) {
      log.offCommit(this.#wake);
    }
    await this.#pumping;
    await Promise.all(this.#sources.map(({ cursor }) => cursor.close()));
  }

  #kick(): void {
    if (this.#pumping === null && !this.#closed && this.#credit > 0) {
      this.#pumping = this.#pump().finally(() => {
        this.#pumping = null;
        if (this.#credit > 0 && this.#nextSource() !== null) {
          this.#kick();
        }
      });
    }
  }

  async #pump(): Promise<void> {
    for (let source = this.#nextSource(); source !== null; source = this.#nextSource()) {
      if (this.#closed || this.#credit === 0) {
        return;
      }
      let records: Buffer;
      try {
        records = await source.cursor.read(LIMITS.busTailChunkBytes);
      } catch (error) {
        await this.#fail(error);
        return;
      }
      if (records.length > 0 && !this.#closed) {
        this.#credit -= 1;
        this.#output.data(source.partition, records);
      }
    }
  }

  async #fail(reason: unknown): Promise<void> {
    this.#closed = true;
    for (const { log } of this.#sources) {
      log.offCommit(this.#wake);
    }
    this.#output.failed(reason);
    await Promise.allSettled(this.#sources.map(({ cursor }) => cursor.close()));
  }

  #nextSource(): Source | null {
    for (let i = 0; i < this.#sources.length; i++) {
      const source = this.#sources[(this.#turn + i) % this.#sources.length] as Source;
      if (source.cursor.hasMore) {
        this.#turn = (this.#turn + i + 1) % this.#sources.length;
        return source;
      }
    }
    return null;
  }
}

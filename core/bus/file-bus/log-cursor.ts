import type { PartitionLog } from './partition-log.ts';
import type { Segment } from './segment.ts';

/**
 * A place in a partition log from which one reader goes on. One `read` at a time.
 *
 * Invariant: `#segment`, when set, is acquired, and `#position` is the start of its first record at or past `#next`.
 * A segment that retention removed meanwhile is read to its end: its file stays open until then.
 */
export class LogCursor {
  readonly #log: PartitionLog;
  #next: number;
  #segment: Segment | null = null;
  #position = 0;
  #reading: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(log: PartitionLog, next: number) {
    this.#log = log;
    this.#next = next;
  }

  get hasMore(): boolean {
    return this.#next < this.#log.end;
  }

  /** Whole records from the cursor on, about `bytesMax` of them; empty when the log has none now. */
  read(bytesMax: number): Promise<Buffer> {
    const result = this.#read(bytesMax);
    this.#reading = result.catch(() => undefined);
    return result;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#reading;
    await this.#leave();
  }

  async #read(bytesMax: number): Promise<Buffer> {
    while (!this.#closed && this.hasMore) {
      const segment = this.#segment ?? (await this.#enter());
      const end = segment.sealedEnd ?? this.#log.end;
      if (this.#position < segment.size) {
        const chunk = await segment.readWhole(this.#position, bytesMax);
        this.#position += chunk.length;
        if (this.#position === segment.size) {
          // `size` may have grown while we read; then this is false, and the next read goes on in the same segment.
          this.#next = end;
        }
        return chunk;
      }
      // A sealed segment is finished. What the next one holds starts where this one ends.
      this.#next = Math.max(this.#next, end);
      await this.#leave();
    }
    return Buffer.alloc(0);
  }

  async #enter(): Promise<Segment> {
    const segment = this.#log.segmentFor(this.#next);
    await segment.acquire();
    this.#segment = segment;
    this.#position = await segment.locate(this.#next);
    return segment;
  }

  async #leave(): Promise<void> {
    const segment = this.#segment;
    this.#segment = null;
    if (segment !== null) {
      await segment.release();
    }
  }
}

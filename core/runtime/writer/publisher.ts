import type { KeyObject } from 'node:crypto';
import { assert } from '../../kernel/assert.ts';
import type { Clock, Timer } from '../../kernel/clock.ts';
import { GatewayError } from '../../kernel/errors.ts';
import { decodeHead, SIGNER_KINDS } from '../../ledger/head.ts';
import type { Disk } from '../disk.ts';
import { BatchBuilder, recordTimeNs, type SignedBatch } from './batch-builder.ts';
import { BatchGather } from './batch-gather.ts';
import type { CommitGroup } from './commit-group.ts';
import { HeadPublisher, type HeadSink } from './head-publisher.ts';
import { PublishWaiters } from './publish-waiters.ts';
import { type RecordPosition, RecordReader } from './record-reader.ts';
import type { SegmentFiles } from './segment-files.ts';
import type { WriterLimits } from './writer-limits.ts';

/** Where batches go. Resolves when all in-sync replicas have it; a rejected one may have been stored. */
export interface BatchSink {
  publish(batch: Buffer, writerId: Buffer, first: number, count: number): Promise<void>;
}

export interface PublisherStatus {
  /** Counts of records, from the start of the log: put into batches, acknowledged by the bus, archived. */
  readonly batched: number;
  readonly published: number;
  readonly archived: number;
  /** Age of the oldest durable record that the bus has not acknowledged; 0 when there is none. */
  readonly unpublishedMs: number;
  readonly batches: number;
  readonly retries: number;
  readonly refusals: number;
  /** Whether records are read back from the journal because too many wait for the bus to keep in memory. */
  readonly fromJournal: boolean;
  /** What keeps evidence from being published, in the words of the error table; null while nothing does. */
  readonly failure: GatewayError | null;
}

export interface PublisherOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly limits: WriterLimits;
  readonly files: SegmentFiles;
  readonly writerId: Buffer;
  readonly key: KeyObject;
  readonly epoch: Buffer;
  readonly batches: BatchSink;
  readonly heads: HeadSink;
}

/**
 * Durable records onto the bus, in order, one batch at a time: ingest accepts a batch only right after the one before, so
 * two in flight would gain little and could arrive the wrong way round after a retry.
 *
 * Two ways. From memory: a record is copied when it becomes durable; a batch is cut at `batchBytes`, `batchMs` after its
 * first record, or at once for somebody who waits. From the journal: when `publishQueueBatchesMax` batches wait, and after
 * a refusal, nothing is kept in memory; the range is read again until it meets the present. So memory is bounded however
 * long the bus is away.
 *
 * Invariants. `#builder.range.size` (batched) <= `#durable`; `#queue` are consecutive batches that end at batched.
 * From memory: `#gather` holds exactly [batched, durable). From the journal: `#gather` is empty and `#position` is that of
 * record batched, or null while `#rewindTo` says where to begin.
 */
export class EvidencePublisher {
  readonly #options: PublisherOptions;
  readonly #limits: WriterLimits;
  readonly #clock: Clock;
  readonly #files: SegmentFiles;
  readonly #builder: BatchBuilder;
  readonly #reader: RecordReader;
  readonly #gather: BatchGather;
  readonly #waiters: PublishWaiters;
  readonly #heads: HeadPublisher;
  #queue: SignedBatch[] = [];
  #sending = false;
  #retryTimer: Timer | null = null;
  #batchTimer: Timer | null = null;
  #fromJournal = false;
  #position: RecordPosition | null = null;
  #rewindTo: number | null = null;
  /** Counts rewinds: what was read before the last one is thrown away. */
  #pass = 0;
  #refilling = false;
  /** The first index of the next segment whose compact range is not known yet. */
  #boundary = Infinity;
  #durable = 0;
  #batchedMax = 0;
  #published = 0;
  #archived = 0;
  #oldestNs: bigint | null = null;
  #batches = 0;
  #retries = 0;
  #failuresInRow = 0;
  readonly #refusals = new Map<number, number>();
  #refusalCount = 0;
  #refused: GatewayError | null = null;
  #failure: GatewayError | null = null;
  #started = false;
  #closed = false;
  #drained: (() => void) | null = null;

  constructor(options: PublisherOptions) {
    const { clock, writerId, key, epoch, disk, files, limits, heads } = options;
    this.#options = options;
    this.#limits = limits;
    this.#clock = clock;
    this.#files = files;
    const signer = { signerKind: SIGNER_KINDS.writer, signerWriterId: writerId };
    this.#builder = new BatchBuilder({ clock, writerId, epoch, key, ...signer });
    this.#reader = new RecordReader(disk, writerId, () => files.segments);
    this.#gather = new BatchGather(limits.batchBytes);
    this.#waiters = new PublishWaiters(clock);
    const renew = ({ size, bytes }: { size: number; bytes: Buffer }) => ({
      size,
      bytes: this.#builder.sign(size, decodeHead(bytes).root),
    });
    this.#heads = new HeadPublisher({ clock, limits, writerId, sink: heads, renew });
  }

  get status(): PublisherStatus {
    const ageNs = this.#oldestNs === null ? 0n : this.#clock.nowNs() - this.#oldestNs;
    return {
      batched: this.#builder.range.size,
      published: this.#published,
      archived: this.#archived,
      unpublishedMs: Math.max(0, Number(ageNs / 1_000_000n)),
      batches: this.#batches,
      retries: this.#retries,
      refusals: this.#refusalCount,
      fromJournal: this.#fromJournal,
      failure: this.#refused ?? this.#failure,
    };
  }

  /** Begins to send; until then records are only gathered. */
  start(): void {
    this.#started = true;
    this.#heads.start();
    this.#send();
  }

  /** Takes what became durable. The chunk of `group` belongs to the caller again when this returns. */
  accept(group: CommitGroup): void {
    assert(group.firstIndex === this.#durable, 'groups come in order, each once');
    this.#durable = group.endIndex;
    this.#oldestNs ??= recordTimeNs(group.body(0));
    for (let taken = 0; taken < group.count && !this.#fromJournal;) {
      taken = this.#gather.take(group, taken);
      if (this.#gather.isFull) {
        this.#cut();
      }
    }
    this.#cutIfWanted();
    this.#refill();
    if (this.#gather.count > 0 && this.#batchTimer === null) {
      this.#batchTimer = this.#clock.after(this.#limits.batchMs, () => this.#batchTick());
    }
  }

  whenPublished(index: number, timeoutMs: number): Promise<void> {
    if (index < this.#published) {
      return Promise.resolve();
    }
    const waiting = this.#waiters.add(index, timeoutMs);
    this.#cutIfWanted();
    return waiting;
  }

  /** What is not durable now will not be acknowledged: who waits for it is told. */
  refuse(from: number, failure: GatewayError): void {
    this.#waiters.rejectFrom(from, failure);
  }

  archived(index: number): void {
    // What is archived was published, also when the answer of the bus got lost.
    const known = Math.min(index, this.#batchedMax);
    if (known <= this.#archived) {
      return;
    }
    this.#archived = known;
    this.#markPublished(known, null);
    if (known > (this.#rewindTo ?? this.#builder.range.size)) {
      this.#rewind(known); // Forward: what a nack wanted again is there after all, and may be freed below.
    }
    for (const first of this.#refusals.keys()) {
      if (first < known) {
        this.#refusals.delete(first);
      }
    }
    if (this.#refusals.size === 0) {
      this.#refused = null;
    }
    this.#files.release(known).catch((error: unknown) => {
      // Nothing is lost: the files are freed by a later watermark or by the next recovery.
      this.#failure = new GatewayError('disk_failed', 'archived segments could not be freed', { cause: error });
    });
  }

  /** Go back to `first`: whatever was sent after it was of no use to ingest, which wants batches in order. */
  nack(first: number): void {
    if (this.#closed || first < this.#archived || first >= (this.#rewindTo ?? this.#builder.range.size)) {
      return; // Archived since, or about to be sent anyway.
    }
    const times = (this.#refusals.get(first) ?? 0) + 1;
    this.#refusals.set(first, times);
    this.#refusalCount++;
    if (times >= this.#limits.publishRefusalsMax) {
      this.#refused = new GatewayError('evidence_backlog', `publish refused: ${times} times at record ${first}`);
      return;
    }
    // Never past what the bus has not acknowledged: a refused batch may have been stored although its answer was lost.
    this.#rewind(Math.min(first, this.#published));
  }

  /** Sends what there is, for at most `closePublishMs`. Resolves with whether everything was acknowledged. */
  async close(): Promise<boolean> {
    this.#batchTick();
    if (this.#published < this.#durable) {
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
        this.#clock.after(this.#limits.closePublishMs, resolve);
        this.#refill();
      });
    }
    this.#closed = true;
    this.#retryTimer?.cancel();
    this.#batchTimer?.cancel();
    this.#waiters.rejectFrom(0, new GatewayError('recorder_unavailable', 'the writer is closed'));
    await this.#heads.stop();
    return this.#published >= this.#durable;
  }

  #batchTick(): void {
    this.#batchTimer?.cancel();
    this.#batchTimer = null;
    if (this.#gather.count > 0) {
      this.#cut();
      this.#refill();
    }
  }

  /** Cuts at once for who waits, but only when the bus is free: those who come meanwhile share the next batch. */
  #cutIfWanted(): void {
    const busy = this.#sending || this.#queue.length > 0 || this.#gather.count === 0;
    if (!busy && this.#waiters.waitsFor(this.#builder.range.size, this.#durable)) {
      this.#cut();
    }
  }

  #cut(): void {
    if (this.#queue.length >= this.#limits.publishQueueBatchesMax) {
      this.#position = this.#gather.position(this.#builder.range.size);
      this.#fromJournal = true;
    } else {
      this.#enqueue(this.#gather.records(), this.#gather.leafHashes);
    }
    this.#gather.clear();
  }

  #enqueue(records: readonly Buffer[], leafHashes: readonly Buffer[]): void {
    this.#findBoundary();
    this.#queue.push(this.#builder.build(records, leafHashes, (size) => this.#atSize(size)));
    this.#batches++;
    this.#batchedMax = Math.max(this.#batchedMax, this.#builder.range.size);
    this.#send();
  }

  /** Everything from `index` on comes from the journal, whatever was prepared. */
  #rewind(index: number): void {
    this.#pass++;
    this.#queue = [];
    this.#gather.clear();
    this.#fromJournal = true;
    this.#position = null;
    this.#rewindTo = index;
    this.#refill();
  }

  #refill(): void {
    if (this.#fromJournal && !this.#refilling && !this.#closed) {
      this.#refilling = true;
      void this.#readBack();
    }
  }

  /** Reads batches back until enough wait for the bus, or the present is reached. */
  async #readBack(): Promise<void> {
    try {
      while (!this.#closed && this.#queue.length < this.#limits.publishQueueBatchesMax) {
        await this.#readOne();
        if (this.#rewindTo === null && this.#builder.range.size === this.#durable) {
          this.#fromJournal = false;
          this.#position = null;
          break;
        }
      }
      this.#refilling = false;
    } catch (error) {
      // The journal cannot be read, or somebody changed it. Nothing is skipped: it is tried again and stays visible.
      this.#failure = error instanceof GatewayError ? error : new GatewayError('disk_failed', '', { cause: error });
      this.#clock.after(this.#limits.publishRetryMaxMs, () => {
        this.#refilling = false;
        this.#refill();
      });
    }
  }

  async #readOne(): Promise<void> {
    const pass = this.#pass;
    if (this.#rewindTo !== null) {
      const { position, range } = await this.#reader.locate(this.#rewindTo);
      if (pass === this.#pass) {
        this.#rewindTo = null;
        this.#position = position;
        this.#builder.range = range;
      }
    } else if (this.#position !== null && this.#builder.range.size < this.#durable) {
      const run = await this.#reader.read(this.#position, this.#limits.batchBytes);
      if (pass === this.#pass && !this.#closed) {
        this.#position = run.next;
        this.#enqueue(run.records, run.leafHashes);
      }
    }
  }

  #send(): void {
    const batch = this.#queue[0];
    if (!this.#started || this.#closed || this.#sending || this.#retryTimer !== null || batch === undefined) {
      return;
    }
    this.#sending = true;
    this.#options.batches.publish(batch.bytes, this.#options.writerId, batch.first, batch.count).then(
      () => this.#acknowledged(batch),
      (error: unknown) => this.#notSent(error),
    );
  }

  #acknowledged(batch: SignedBatch): void {
    // If we die here the batch is on the bus and in the journal: recovery sends it again, and content decides.
    this.#sending = false;
    this.#failuresInRow = 0;
    this.#failure = null;
    if (this.#queue[0] === batch) {
      this.#queue.shift();
    }
    const size = batch.first + batch.count;
    this.#heads.offer({ size, bytes: batch.head });
    this.#markPublished(size, batch.lastNs);
    this.#cutIfWanted();
    this.#refill();
    this.#send();
  }

  #notSent(error: unknown): void {
    this.#sending = false;
    this.#retries++;
    this.#failure = error instanceof GatewayError ? error : new GatewayError('bus_unavailable', '', { cause: error });
    const { publishRetryMs, publishRetryMaxMs } = this.#limits;
    const delayMs = Math.min(publishRetryMaxMs, publishRetryMs * 2 ** Math.min(this.#failuresInRow++, 16));
    this.#retryTimer = this.#clock.after(delayMs, () => {
      this.#retryTimer = null;
      this.#send();
    });
  }

  #markPublished(count: number, lastNs: bigint | null): void {
    if (count <= this.#published) {
      return;
    }
    this.#published = count;
    this.#waiters.resolveBelow(count);
    if (count >= this.#durable) {
      this.#oldestNs = null;
      this.#drained?.();
    } else {
      const next = this.#queue[0]?.firstNs ?? this.#gather.firstNs ?? lastNs;
      this.#oldestNs = next ?? this.#oldestNs;
    }
  }

  #findBoundary(): void {
    const size = this.#builder.range.size;
    const open = this.#files.segments.find((each) => each.rangeAtFirst === null && each.firstIndex >= size);
    this.#boundary = open?.firstIndex ?? Infinity;
  }

  /** Keeps the compact range where a segment begins: a rewind, and the base of the journal, start from there. */
  #atSize(size: number): void {
    if (size === this.#boundary) {
      for (const segment of this.#files.segments) {
        if (segment.firstIndex === size) {
          segment.rangeAtFirst ??= this.#builder.range.clone();
        }
      }
      this.#findBoundary();
    }
  }
}

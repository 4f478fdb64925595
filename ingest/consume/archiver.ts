import { channel } from 'node:diagnostics_channel';
import { assert } from '../../core/kernel/assert.ts';
import type { Clock, Timer } from '../../core/kernel/clock.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import type { Bus, BusMessage, Tail } from '../../core/bus/bus.ts';
import { TOPICS } from '../../core/bus/topics.ts';
import { ACK_TYPES, encodeAck } from '../../core/ledger/ack.ts';
import { decodeBatch, encodeBatch } from '../../core/ledger/batch.ts';
import type { Batch } from '../../core/ledger/batch.ts';
import { decodeHead, SIGNER_KINDS } from '../../core/ledger/head.ts';
import type { BlobStore } from '../archive/blob-store.ts';
import { writeObjects } from '../archive/write-objects.ts';
import type { ArchivedObject, VerifiedBatch } from '../archive/write-objects.ts';
import { checkBatch, checkEpoch, checkRecord } from './check-batch.ts';
import type { CheckedRecord, RefusalReason } from './check-batch.ts';
import { PartitionProgress } from './partition-progress.ts';
import type { Quarantine } from './quarantine.ts';
import { Recovery } from './recovery.ts';
import { WriterLog } from './writer-log.ts';

export interface ArchiverOptions {
  readonly bus: Bus;
  readonly blobs: BlobStore;
  readonly clock: Clock;
  /** PEM or DER; more than one while a CA is rotated. */
  readonly clusterCas: readonly (string | Buffer)[];
  readonly quarantine: Quarantine;
  /** Gets every object once it is durable, in order for each partition. MUST NOT throw. */
  readonly onArchived: (object: ArchivedObject) => void;
  readonly flushMs?: number;
  readonly flushBytes?: number;
}

export const CONSUMER = 'ingest-archive';
/** Messages `{ writer, first, reason, id }` for operators: each is an alarm. */
export const refusedChannel = channel('chaperone:ingest:batch.quarantined');
/** Messages `{ attempt, cause }`: the archive or the bus did not take a flush, which is tried again. */
export const stalledChannel = channel('chaperone:ingest:flush.stalled');

const RETRY_MS = 200;
const RETRY_MAX_MS = 5_000;

interface Pending {
  readonly batches: Map<number, VerifiedBatch[]>;
  bytes: number;
}

/**
 * From the bus to the archive: verifies every batch, stores what holds, refuses what does not.
 *
 * Order of a flush: objects -> identity files and tiles -> heads -> watermarks -> offsets. Each step is durable before
 * the next begins, and each can be repeated, so a death between any two costs nothing but repetition. Rows are not part
 * of it: ClickHouse is an index and catches up from the archive.
 *
 * Invariants: one message is processed at a time, in bus order; at most one flush runs; a partition's committed offset
 * never passes a message whose records are not archived, known or refused.
 */
export class Archiver {
  readonly #options: ArchiverOptions;
  readonly #logs = new Map<string, WriterLog>();
  readonly #progress = new PartitionProgress();
  readonly #recovery: Recovery;
  #pending: Pending = { batches: new Map(), bytes: 0 };
  /** Writers with something that is verified and not archived. */
  readonly #dirty = new Set<WriterLog>();
  /** Writers whose watermark is to be published again. */
  readonly #untold = new Set<WriterLog>();
  /** Size at which a gap was already reported, by writer: one nack brings the range again. */
  readonly #reportedGaps = new Map<string, number>();
  #flushing: Promise<void> = Promise.resolve();
  #timer: Timer | null = null;
  #tail: Tail | null = null;
  #closed = false;
  /** Ends the waits between attempts. */
  readonly #wake = new Set<() => void>();
  readonly #failure: Promise<never>;
  #fail: (error: unknown) => void = () => undefined;

  constructor(options: ArchiverOptions) {
    this.#options = options;
    this.#recovery = new Recovery((writerHex) => this.#log(writerHex));
    this.#failure = new Promise((_, reject) => {
      this.#fail = reject;
    });
    this.#failure.catch(() => undefined); // `done` shows it to whoever asks.
  }

  async start(): Promise<void> {
    const { bus } = this.#options;
    const committed = await bus.committed(CONSUMER, TOPICS.batches.name);
    const ends = await bus.endOffsets(TOPICS.batches.name);
    const from = ends.map((_, partition) => ({ partition, offset: committed[partition] ?? ('start' as const) }));
    this.#tail = bus.tail(TOPICS.batches.name, from, (messages) => this.#consume(messages));
  }

  /** Rejects when ingest cannot go on: the bus is gone for good, or the archive contradicts what was verified. */
  get done(): Promise<void> {
    assert(this.#tail !== null, 'the archiver was started');
    return Promise.race([this.#tail.done, this.#failure]);
  }

  /** Records of a writer that are in the archive, as far as this process has seen the writer. */
  archivedSize(writerHex: string): number {
    return this.#logs.get(writerHex)?.archivedSize ?? 0;
  }

  /** Archives everything that was consumed so far, after the flush that may be running. */
  flush(): Promise<void> {
    this.#flushing = this.#flushing.then(() => this.#flushNow());
    this.#flushing.catch((error: unknown) => this.#fail(error));
    return this.#flushing;
  }

  /** Flushes and stops. What was not consumed stays on the bus. */
  async close(): Promise<void> {
    this.#closed = true; // One attempt each from here on.
    this.#wake.forEach((wake) => wake());
    await this.#tail?.close();
    this.#timer?.cancel();
    await this.flush().catch(() => undefined);
  }

  async #consume(messages: readonly BusMessage[]): Promise<void> {
    for (const message of messages) {
      this.#progress.received(message.partition, message.offset);
      await this.#process(message);
      // Verifying is all CPU: without this the flush under way would not get on before the chunk is done.
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#pending.bytes >= (this.#options.flushBytes ?? LIMITS.archiveFlushBytes)) {
        // The flush before must have ended; this one runs while the next batches are verified.
        const previous = this.#flushing;
        void this.flush().catch(() => undefined);
        await previous;
      }
    }
    this.#timer ??= this.#options.clock.after(this.#options.flushMs ?? LIMITS.archiveFlushMs, () => {
      this.#timer = null;
      void this.flush().catch(() => undefined);
    });
  }

  async #process(message: BusMessage): Promise<void> {
    let batch: Batch;
    try {
      batch = decodeBatch(message.value);
    } catch (error) {
      if (!(error instanceof GatewayError)) {
        throw error;
      }
      await this.#refuse(message, null, 'malformed');
      return;
    }
    const writerHex = batch.writerId.toString('hex');
    let log = await this.#log(writerHex);
    if (log === null || (log.size === 0 && batch.first === 0)) {
      const begun = await this.#begin(batch, writerHex);
      if (typeof begun === 'string') {
        await this.#refuse(message, batch, begun);
        return;
      }
      log = begun;
      this.#logs.set(writerHex, log);
    }
    await this.#take(message, batch, log);
    for (const waiting of this.#recovery.released(writerHex)) {
      await this.#process(waiting);
    }
  }

  /** A writer that is not in the archive must begin with its first batch. */
  async #begin(batch: Batch, writerHex: string): Promise<WriterLog | RefusalReason> {
    if (batch.first !== 0) {
      return 'gap';
    }
    const identity = checkEpoch(batch, this.#options.clusterCas);
    if (typeof identity === 'string') {
      return identity;
    }
    return WriterLog.begin(this.#options.blobs, writerHex, identity);
  }

  async #take(message: BusMessage, batch: Batch, log: WriterLog): Promise<void> {
    if (isRecovered(batch)) {
      const step = await this.#recovery.offer(message, batch, log);
      if (step === 'wait') {
        return;
      }
      if (step.outcome === 'refused') {
        this.#releaseHeld(step.messages, message);
        await this.#refuse(message, batch, step.reason);
        return;
      }
      for (const part of step.parts) {
        await this.#accept(part.message, part.batch, log, step.signer);
      }
      return;
    }
    await this.#accept(message, batch, log, log.identity.publicKey);
  }

  async #accept(
    message: BusMessage,
    batch: Batch,
    log: WriterLog,
    signer: WriterLog['identity']['publicKey'],
  ): Promise<void> {
    const check = checkBatch(batch, log.range, () => signer);
    if (check.outcome === 'refused') {
      await this.#refuse(message, batch, check.reason);
      return;
    }
    if (check.outcome === 'known') {
      if (!(await log.rootAt(check.size)).equals(check.root)) {
        await this.#refuse(message, batch, 'fork');
        return;
      }
      // It was sent again because its sender was never told: a death between archive and watermark leaves it so.
      this.#untold.add(log);
      this.#progress.release(message.partition, message.offset);
      return;
    }
    const whole = check.first === batch.first;
    const value = whole ? message.value : slice(batch, check.first, log.range.hashes);
    const records = whole ? check.records : recordsOf(value);
    log.append(records, check.range, batch.head);
    this.#dirty.add(log);
    this.#reportedGaps.delete(log.idHex);
    const { offset: busOffset, partition } = message;
    const batches = this.#pending.batches.get(partition) ?? [];
    batches.push({
      writerId: batch.writerId,
      first: check.first,
      records: check.records,
      head: batch.head,
      busOffset,
      value,
    });
    this.#pending.batches.set(partition, batches);
    this.#pending.bytes += value.length;
  }

  async #refuse(message: BusMessage, batch: Batch | null, reason: RefusalReason): Promise<void> {
    this.#progress.release(message.partition, message.offset);
    if (batch === null) {
      const id = await this.#options.quarantine.put(message, null, 0, reason);
      refusedChannel.publish({ writer: null, first: 0, reason, id });
      return;
    }
    const writer = batch.writerId.toString('hex');
    const log = await this.#log(writer);
    if (reason === 'gap') {
      const expected = log?.size ?? 0;
      if (this.#reportedGaps.get(writer) === expected) {
        return;
      }
      this.#reportedGaps.set(writer, expected);
      await this.#nack(batch.writerId, expected, reason);
      return;
    }
    const id = await this.#options.quarantine.put(message, batch.writerId, batch.first, reason);
    refusedChannel.publish({ writer, first: batch.first, reason, id });
    // What follows of this writer is a gap until the range comes again; this nack asks for it.
    this.#reportedGaps.set(writer, log?.size ?? 0);
    await this.#nack(batch.writerId, batch.first, reason);
  }

  #releaseHeld(held: readonly BusMessage[], except: BusMessage): void {
    for (const message of held) {
      if (message !== except) {
        this.#progress.release(message.partition, message.offset);
      }
    }
  }

  async #nack(writerId: Buffer, index: number, reason: string): Promise<void> {
    const value = encodeAck({ type: ACK_TYPES.nack, writerId, index, reason });
    await this.#untilDone(() =>
      this.#options.bus.publish(TOPICS.acks.name, ackKey(writerId), [value], { acks: 'all' }),
    );
  }

  async #flushNow(): Promise<void> {
    const { bus, blobs, clock, onArchived } = this.#options;
    const pending = this.#pending;
    this.#pending = { batches: new Map(), bytes: 0 };
    const snapshots = [...this.#dirty].map((log) => log.snapshot()).filter((snapshot) => snapshot !== null);
    this.#dirty.clear();
    const untold = [...this.#untold].filter((log) => log.archivedSize > 0);
    this.#untold.clear();
    const covered = this.#progress.mark();
    const objects = await this.#untilDone(() => writeObjects(blobs, pending.batches, clock.nowMs()));
    // If we die here, the objects stay and nobody was told: their batches come again and make the same or overlapping ones.
    await this.#untilDone(() => blobs.create(snapshots.flatMap((snapshot) => snapshot.files)));
    // If we die here, tiles lie beyond the head of their writer; the same tiles are made again.
    for (const { log, head } of snapshots) {
      await this.#untilDone(() => blobs.replace(`writers/${log.idHex}/head`, head));
    }
    // If we die here, the archive has everything and the nodes keep their segments: the batches come again and are known.
    const archived = new Map(untold.map((log) => [log, log.archivedSize]));
    snapshots.forEach(({ log, size }) => archived.set(log, size));
    await this.#publishWatermarks(archived);
    // If we die here, watermarks are published twice.
    const offsets = this.#progress.committable(covered, pending.batches);
    if (offsets.length > 0) {
      await this.#untilDone(() => bus.commit(CONSUMER, TOPICS.batches.name, offsets));
    }
    // If we die here, superseded partial tiles stay behind: harmless, they hold true hashes of a smaller tree.
    for (const snapshot of snapshots) {
      for (const name of snapshot.log.archived(snapshot)) {
        await blobs.remove(name).catch(() => undefined);
      }
    }
    for (const object of objects) {
      onArchived(object);
    }
  }

  async #publishWatermarks(archived: ReadonlyMap<WriterLog, number>): Promise<void> {
    for (const [log, size] of archived) {
      const writerId = Buffer.from(log.idHex, 'hex');
      const value = encodeAck({ type: ACK_TYPES.watermark, writerId, index: size, reason: '' });
      await this.#untilDone(() =>
        this.#options.bus.publish(TOPICS.acks.name, ackKey(writerId), [value], { acks: 'all' }),
      );
    }
  }

  /** Archive or bus down: everything waits, the bus keeps what comes meanwhile. A contradiction ends it. */
  async #untilDone<T>(step: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await step();
      } catch (error) {
        if (this.#closed || (error instanceof GatewayError && error.code === 'evidence_altered')) {
          throw error;
        }
        stalledChannel.publish({ attempt, cause: error });
        const delayMs = Math.min(RETRY_MS * 2 ** (attempt - 1), RETRY_MAX_MS);
        await this.#sleep(delayMs);
      }
    }
  }

  async #sleep(delayMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        this.#wake.delete(wake);
        resolve();
      };
      this.#wake.add(wake);
      this.#options.clock.after(delayMs, wake);
    });
  }

  async #log(writerHex: string): Promise<WriterLog | null> {
    const known = this.#logs.get(writerHex);
    if (known !== undefined) {
      return known;
    }
    const loaded = await this.#untilDone(() => WriterLog.load(this.#options.blobs, writerHex));
    if (loaded !== null) {
      this.#logs.set(writerHex, loaded);
    }
    return loaded;
  }
}

function isRecovered(batch: Batch): boolean {
  try {
    return decodeHead(batch.head).signerKind === SIGNER_KINDS.recovery;
  } catch {
    // `checkBatch` refuses a head that does not decode.
    return false;
  }
}

/** The part of a batch from `first` on, as a batch of its own: the signed head is at its end and stays true. */
function slice(batch: Batch, first: number, compact: readonly Buffer[]): Buffer {
  const records = batch.records.slice(first - batch.first);
  return encodeBatch({
    ...batch,
    first,
    count: records.length,
    compact,
    records,
    epoch: first === 0 ? batch.epoch : null,
  });
}

/** Records as views over the batch that is archived, because rows name their place in it. They were checked before. */
function recordsOf(value: Buffer): CheckedRecord[] {
  const batch = decodeBatch(value);
  return batch.records.map((bytes, i) => {
    const record = checkRecord(bytes, batch.writerId, batch.first + i);
    assert(typeof record !== 'string', 'a part of a batch that was accepted is accepted');
    return record;
  });
}

function ackKey(writerId: Buffer): Buffer {
  return Buffer.from(writerId.toString('hex'), 'ascii');
}

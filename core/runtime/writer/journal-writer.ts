import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { assert, defined } from '../../kernel/assert.ts';
import type { Clock } from '../../kernel/clock.ts';
import { GatewayError } from '../../kernel/errors.ts';
import { LIMITS } from '../../kernel/limits.ts';
import { encodeEpochEntry } from '../../ledger/cluster-leaf.ts';
import { publicKeyRaw } from '../../ledger/ed25519.ts';
import { WRITER_ROLES, type WriterRole, type WriterRoleNumber } from '../../ledger/epoch.ts';
import { recordSize } from '../../ledger/record.ts';
import type { Disk } from '../disk.ts';
import type { CommitGroup, DurableCallback } from './commit-group.ts';
import { CommitPipeline } from './commit-pipeline.ts';
import { type EpochDetails, epochClose, epochOpen } from './epoch-records.ts';
import type { Appended, EvidenceWriter, RecordInput } from './evidence-writer.ts';
import { diskFailure, isFull, Outage } from './outage.ts';
import type { HeadSink } from './head-publisher.ts';
import { type BatchSink, EvidencePublisher, type PublisherStatus } from './publisher.ts';
import { RecordEncoder } from './record-encoder.ts';
import { ReleaseQueue } from './release-queue.ts';
import type { RandomFill } from './salt-pool.ts';
import { SegmentFiles, type SegmentFilesEvents } from './segment-files.ts';
import type { Segment } from './segment.ts';
import { type WriterLimits, writerLimits } from './writer-limits.ts';

export interface JournalWriterOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly role: WriterRole;
  /** What `epoch.open` says about node, configuration and, for the control writer, the journals that were found. */
  readonly epoch: EpochDetails;
  /** Gives the encoded epoch certificate, signed by the node key (`signEpoch`). In a worker it asks the main thread. */
  readonly certify: (
    publicKey: Buffer,
    writerId: Buffer,
    role: WriterRoleNumber,
    createdNs: bigint,
  ) => Promise<Buffer> | Buffer;
  readonly batches: BatchSink;
  readonly heads: HeadSink;
  /** Called when the writer stops accepting, with what `failure` is then; again when a full disk turns out to be broken. */
  readonly onFailure?: (failure: GatewayError) => void;
  /** Called when a full disk has room again and records are accepted. */
  readonly onRecovered?: () => void;
  readonly limits?: Partial<WriterLimits>;
  /** For tests that need the same bytes each time. */
  readonly deterministic?: { readonly writerId: Buffer; readonly key: KeyObject; readonly randomFill: RandomFill };
}

export interface WriterStatus {
  readonly appended: number;
  readonly durable: number;
  /** Bytes that wait for the disk. */
  readonly queuedBytes: number;
  /** Groups made durable, and their bytes. */
  readonly commits: number;
  readonly committedBytes: number;
  /** How long the commit in flight has been waiting for the disk; 0 when there is none. */
  readonly commitAgeMs: number;
  readonly segments: number;
  readonly refusedAppends: number;
  readonly publisher: PublisherStatus;
}

export interface ClosedEpoch {
  /** False when the disk did not take the last record: the next start recovers this journal as after a crash. */
  readonly clean: boolean;
  readonly size: number;
  /** False when the bus did not take everything in time: the next start publishes the rest. */
  readonly published: boolean;
}

interface WriterIdentity {
  readonly writerId: Buffer;
  readonly key: KeyObject;
  readonly publicKey: Buffer;
  readonly createdNs: bigint;
  readonly certificate: Buffer;
}

/**
 * The journal of one epoch: a key that lives in memory, a file that holds what was said, and the tree over it.
 *
 * Who owns what: `CommitPipeline` the way onto the disk, `SegmentFiles` the files, `Outage` what happens when the disk
 * refuses, `EvidencePublisher` the way to the bus and the tree, `ReleaseQueue` the waiters. This class owns the epoch.
 * Invariant: a waiter gets `null` only out of `#durable`, which the pipeline calls for whole, flushed groups.
 */
export class JournalWriter implements EvidenceWriter {
  readonly writerId: Buffer;
  readonly writerIdHex: string;
  /** Raw Ed25519, 32 bytes. */
  readonly publicKey: Buffer;
  /** Encoded epoch certificate. */
  readonly epochCertificate: Buffer;
  /** The epoch's private key: the control writer signs with it for the dead writers that it recovered. Never stored. */
  readonly signingKey: KeyObject;
  readonly #clock: Clock;
  readonly #limits: WriterLimits;
  readonly #files: SegmentFiles;
  readonly #pipeline: CommitPipeline;
  readonly #outage: Outage;
  readonly #publisher: EvidencePublisher;
  readonly #releases: ReleaseQueue;
  #opening: Buffer = Buffer.alloc(0);
  #closing = false;

  private constructor(options: JournalWriterOptions, identity: WriterIdentity, files: SegmentFiles) {
    const { writerId } = identity;
    const { clock, disk, batches, heads } = options;
    const limits = writerLimits(options.limits);
    this.writerId = writerId;
    this.writerIdHex = writerId.toString('hex');
    this.publicKey = identity.publicKey;
    this.epochCertificate = identity.certificate;
    this.signingKey = identity.key;
    this.#clock = clock;
    this.#limits = limits;
    this.#files = files;
    this.#pipeline = new CommitPipeline({
      writerId,
      clock,
      limits,
      files,
      first: defined(files.takeNext(0), 'the first segment was just made'),
      encoder: new RecordEncoder(writerId, clock, options.deterministic?.randomFill),
      events: {
        onDurable: (group) => this.#durable(group),
        onWriteFailed: (error) => this.#writeFailed(error),
      },
    });
    this.#releases = new ReleaseQueue((done) => this.#pipeline.released(done));
    const { key, certificate: epoch } = identity;
    this.#publisher = new EvidencePublisher({ disk, clock, limits, files, writerId, key, epoch, batches, heads });
    this.#outage = new Outage({
      clock,
      limits,
      files,
      pipeline: this.#pipeline,
      onFailure: options.onFailure ?? (() => undefined),
      onRecovered: options.onRecovered ?? (() => undefined),
    });
  }

  /**
   * Begins an epoch: has the key certified, makes the files, and resolves when leaf 0 is durable. Rejects
   * `disk_full | disk_failed`, or with what `certify` rejected.
   */
  static async open(options: JournalWriterOptions): Promise<JournalWriter> {
    const identity = await makeIdentity(options);
    // Nothing is created in the background before the writer exists.
    let events: SegmentFilesEvents = { onReady: () => undefined, onCreateFailed: () => undefined };
    let files: SegmentFiles;
    try {
      files = await SegmentFiles.open({
        disk: options.disk,
        clock: options.clock,
        writerId: identity.writerId,
        limits: writerLimits(options.limits),
        epoch: identity.certificate,
        events: {
          onReady: (segment) => events.onReady(segment),
          onCreateFailed: (segment, taken, error) => events.onCreateFailed(segment, taken, error),
        },
      });
    } catch (error) {
      // If we die here, or fail, there are files of zeros: the next recovery removes them.
      throw diskFailure(error);
    }
    const writer = new JournalWriter(options, identity, files);
    events = {
      onReady: () => writer.#pipeline.pump(),
      onCreateFailed: (segment, taken, error) => writer.#createFailed(segment, taken, error),
    };
    await writer.#begin(options, identity);
    return writer;
  }

  get nextIndex(): number {
    return this.#pipeline.nextIndex;
  }

  get failure(): GatewayError | null {
    return this.#outage.failure;
  }

  /** Body of a value of type 1 of `evidence.heads.v1`: epoch certificate with leaf 0. */
  get opening(): Buffer {
    return this.#opening;
  }

  get status(): WriterStatus {
    return {
      appended: this.#pipeline.nextIndex,
      durable: this.#pipeline.durable,
      queuedBytes: this.#pipeline.queuedBytes,
      commits: this.#pipeline.commits,
      committedBytes: this.#pipeline.committedBytes,
      commitAgeMs: this.#pipeline.commitAgeMs,
      segments: this.#files.segments.length,
      refusedAppends: this.#outage.refusedAppends,
      publisher: this.#publisher.status,
    };
  }

  append(record: RecordInput): Appended {
    const failure = this.#outage.failure;
    if (failure !== null || this.#closing) {
      this.#outage.refusedAppends++;
      throw failure ?? new GatewayError('recorder_unavailable', 'the writer is closed');
    }
    const bodyBytes = recordSize(record);
    assert(bodyBytes <= LIMITS.recordBytesMax, 'a record is within its limit');
    if (this.#pipeline.queuedBytes + bodyBytes > this.#limits.writerQueueBytesMax) {
      this.#outage.refusedAppends++;
      throw new GatewayError('overloaded', 'too much evidence waits for the disk');
    }
    const appended = this.#pipeline.append(record, bodyBytes);
    if (appended === null) {
      // What was accepted before has its place in segments that exist: nothing is stranded.
      this.#outage.refusedAppends++;
      throw this.#outage.begin(this.#files.createError, false);
    }
    return appended;
  }

  whenDurable(index: number, callback: DurableCallback): void {
    assert(index >= 0 && index < this.nextIndex, 'only an appended record can become durable');
    if (index < this.#pipeline.durable) {
      queueMicrotask(() => callback(null));
    } else if (!this.#pipeline.wait(index, callback)) {
      // Stranded. Its other waiters were told that it failed, so this one is told the same, whatever becomes of it.
      const failure = this.#outage.failure ?? new GatewayError('recorder_unavailable');
      queueMicrotask(() => callback(failure));
    }
  }

  whenPublished(index: number, timeoutMs: number): Promise<void> {
    assert(index >= 0 && index < this.nextIndex, 'only an appended record can be published');
    const failure = this.#outage.failure;
    if (failure !== null && index >= this.#pipeline.durable) {
      return Promise.reject(failure);
    }
    return this.#publisher.whenPublished(index, timeoutMs);
  }

  /** The archive watermark: every record below `index` is archived, and segments that end below it are freed. */
  archived(index: number): void {
    this.#publisher.archived(index);
  }

  /** Ingest refused the batch at `first`: everything from there on is sent again from the journal. */
  nack(first: number): void {
    this.#publisher.nack(first);
  }

  /** Ends the epoch: `epoch.close` durable, then published with the final head, if the bus takes it in time. */
  async close(): Promise<ClosedEpoch> {
    assert(!this.#closing, 'a writer is closed once');
    this.#closing = true;
    await this.#pipeline.idle();
    await this.#outage.stop();
    const clean = await this.#appendClose();
    // If we die here the epoch is clean, and what the bus does not have yet is published by the next start.
    const published = await this.#publisher.close();
    await this.#files.close();
    return { clean, size: this.#pipeline.durable, published };
  }

  async #begin(options: JournalWriterOptions, identity: WriterIdentity): Promise<void> {
    const record = epochOpen(options.role, options.epoch, identity.certificate);
    const appended = this.#pipeline.append(record, recordSize(record), identity.createdNs);
    assert(appended !== null && appended.index === 0, 'an empty segment has room');
    const leaf0 = this.#pipeline.copyOfNewest();
    await new Promise<void>((resolve, reject) => {
      this.whenDurable(0, (failure) => (failure === null ? resolve() : reject(failure)));
    });
    // If we die here nobody knows the epoch: recovery lists it, and the control writer publishes its one record.
    this.#opening = encodeEpochEntry({ epoch: identity.certificate, record: leaf0 });
    this.#publisher.start();
  }

  #durable(group: CommitGroup): void {
    this.#publisher.accept(group);
    this.#releases.push(group.waiters, null);
  }

  #writeFailed(error: unknown): void {
    // A short count is the kernel's way to say that there is no room.
    const cause = error ?? { code: 'ENOSPC' };
    const waiters = this.#pipeline.strand(null);
    this.#refuse(cause, !isFull(cause), waiters);
  }

  #createFailed(segment: Segment, taken: boolean, error: unknown): void {
    if (taken) {
      this.#refuse(error, false, this.#pipeline.strand(segment));
    } else if (this.#outage.failure === null && !this.#closing) {
      // Records still have room in the current segment: try again until they have none.
      this.#clock.after(this.#limits.diskRetryMs, () => this.#prepareAgain());
    }
  }

  #prepareAgain(): void {
    if (this.#outage.failure === null && !this.#closing) {
      this.#files.prepareNext();
    }
  }

  #refuse(error: unknown, permanent: boolean, waiters: DurableCallback[]): void {
    const failure = this.#outage.begin(error, permanent);
    this.#publisher.refuse(this.#pipeline.durable, failure);
    this.#releases.push(waiters, failure);
  }

  async #appendClose(): Promise<boolean> {
    if (this.#pipeline.strandedCount > 0) {
      return false;
    }
    let appended = this.#pipeline.append(epochClose());
    if (appended === null) {
      const reserve = await this.#files.takeReserve(this.#pipeline.planIndex);
      if (reserve === null) {
        return false;
      }
      this.#pipeline.moveTo(reserve);
      appended = this.#pipeline.append(epochClose());
    }
    await this.#pipeline.idle();
    return appended !== null && appended.index < this.#pipeline.durable;
  }
}

/** A fresh id and key: a restored image or two nodes with one configuration never continue the same log. */
async function makeIdentity(options: JournalWriterOptions): Promise<WriterIdentity> {
  const writerId = options.deterministic?.writerId ?? randomBytes(16);
  const key = options.deterministic?.key ?? generateKeyPairSync('ed25519').privateKey;
  const publicKey = publicKeyRaw(key);
  const createdNs = options.clock.nowNs();
  const certificate = await options.certify(publicKey, writerId, WRITER_ROLES[options.role], createdNs);
  return { writerId, key, publicKey, createdNs, certificate };
}

import { assert } from '../../kernel/assert.ts';
import type { Clock } from '../../kernel/clock.ts';
import { FRAME_HEADER_SIZE, SEGMENT_HEADER_SIZE } from '../../ledger/journal-format.ts';
import { recordSize } from '../../ledger/record.ts';
import { ChunkPool, CommitGroup, type DurableCallback } from './commit-group.ts';
import type { Appended, RecordInput } from './evidence-writer.ts';
import type { RecordEncoder } from './record-encoder.ts';
import type { SegmentFiles } from './segment-files.ts';
import type { Segment } from './segment.ts';
import type { WriterLimits } from './writer-limits.ts';

export interface CommitPipelineEvents {
  /** All bytes of `group` are durable. The receiver calls its waiters and reports with `released`. */
  onDurable(group: CommitGroup): void;
  /** `group` was cut short (`error` undefined) or its write or flush failed. The segment takes nothing more. */
  onWriteFailed(error: unknown): void;
}

export interface CommitPipelineOptions {
  readonly writerId: Buffer;
  readonly clock: Clock;
  readonly limits: WriterLimits;
  readonly files: SegmentFiles;
  readonly first: Segment;
  readonly encoder: RecordEncoder;
  readonly events: CommitPipelineEvents;
}

/** A record that could not be made durable where it was planned. */
interface StrandedRecord {
  readonly body: Buffer;
  readonly leafHash: Buffer;
}

/** Part of the disk's own time for which a group waits for more at most. */
const GATHER_FRACTION = 0.5;
/** Fewer waiters than these say nothing about how long one takes. */
const RELEASE_SAMPLE_MIN = 16;

/**
 * Records into groups, groups into segments, one group at a time onto the disk.
 *
 * Invariants. (1) Groups are written one at a time, in order of index; `durable` moves only when every byte of a group was
 * taken and flushed. (2) [`durable`, `nextIndex`) lies in order in `#inFlight`, `#sealed`, `#open`, `#stranded`, and
 * `#stranded` is only followed by nothing: while it is not empty nobody appends. (3) A stranded record is written again
 * elsewhere **with the same body**, or never: for one index there is ever only one record, so it does not matter which
 * of two copies a recovery finds. (4) `#offset` is where the next frame is planned in `#segment`.
 */
export class CommitPipeline {
  readonly #writerId: Buffer;
  readonly #clock: Clock;
  readonly #limits: WriterLimits;
  readonly #files: SegmentFiles;
  readonly #encoder: RecordEncoder;
  readonly #events: CommitPipelineEvents;
  readonly #chunks: ChunkPool;
  #segment: Segment;
  #offset = 0;
  #groupNumber = 0;
  /** The index that the next planned frame has: that of a stranded record while these are written again. */
  #planIndex = 0;
  #open: CommitGroup | null = null;
  #sealed: CommitGroup[] = [];
  #inFlight: CommitGroup | null = null;
  #inFlightSinceMs = 0;
  #stranded: StrandedRecord[] = [];
  #kicked = false;
  /** Waiters of the newest group are being called, and the next one has not gone out. */
  #releasing = false;
  #newestBytes = 0;
  #committedMs = 0;
  #newestCount = 0;
  /** How long the disk took for the newest group. */
  #diskMs = 0;
  /** How long releasing takes for each record, with all that its waiter does at once. */
  #releaseMs = 0;
  #idleWaiters: (() => void)[] = [];
  #nextIndex = 0;
  #durable = 0;
  #queuedBytes = 0;
  commits = 0;
  committedBytes = 0;

  constructor(options: CommitPipelineOptions) {
    this.#writerId = options.writerId;
    this.#clock = options.clock;
    this.#limits = options.limits;
    this.#files = options.files;
    this.#encoder = options.encoder;
    this.#events = options.events;
    this.#segment = options.first;
    this.#chunks = new ChunkPool(options.limits.groupCommitBytesMax + SEGMENT_HEADER_SIZE);
  }

  get nextIndex(): number {
    return this.#nextIndex;
  }

  /** Records that are on the disk: a count, so one past the newest of them. */
  get durable(): number {
    return this.#durable;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  get strandedCount(): number {
    return this.#stranded.length;
  }

  get commitAgeMs(): number {
    return this.#inFlight === null ? 0 : this.#clock.monotonicMs() - this.#inFlightSinceMs;
  }

  /** Null when no segment has room for it, and none can be had. */
  append(record: RecordInput, bodyBytes = recordSize(record), timeNs?: bigint): Appended | null {
    assert(this.#stranded.length === 0, 'nothing is appended behind stranded records');
    const group = this.#place(FRAME_HEADER_SIZE + bodyBytes);
    if (group === null) {
      return null;
    }
    const index = this.#nextIndex;
    const leafHash = this.#encoder.encode(group.chunk, group.begin(bodyBytes), index, record, timeNs);
    this.#placed(group, bodyBytes, leafHash);
    this.#nextIndex = index + 1;
    this.#queuedBytes += bodyBytes;
    this.#kick();
    return { index, leafHash };
  }

  /** The body of the newest record that has not gone out. */
  copyOfNewest(): Buffer {
    assert(this.#open !== null, 'something was just appended');
    return Buffer.from(this.#open.body(this.#open.count - 1));
  }

  /** Whether `callback` will be called when `index` becomes durable or can no longer; false for stranded records. */
  wait(index: number, callback: DurableCallback): boolean {
    const group = this.#groupOf(index);
    group?.waiters.push(callback);
    return group !== undefined;
  }

  /** Sends the next group if the disk is free and there is one. */
  pump(): void {
    if (this.#inFlight !== null) {
      return;
    }
    this.#releasing = false;
    const group = this.#sealed[0] ?? this.#open;
    if (group === null || group.count === 0) {
      this.#idleWaiters.splice(0).forEach((resolve) => resolve());
      return;
    }
    const { file } = group.segment;
    if (file === null) {
      return; // Still being made; the owner pumps again when it is there.
    }
    if (group === this.#open) {
      this.#open = null;
    } else {
      this.#sealed.shift();
    }
    group.seal();
    this.#inFlight = group;
    this.#inFlightSinceMs = this.#clock.monotonicMs();
    file.writeDurable([group.chunk.subarray(0, group.bytes)], group.position).then(
      (taken) => this.#written(group, taken),
      (error: unknown) => this.#failed(group, error),
    );
  }

  /** Some waiters of the newest group were called; `done`: all. */
  released(done: boolean): void {
    if (done && this.#newestCount >= RELEASE_SAMPLE_MIN) {
      this.#releaseMs = (this.#clock.monotonicMs() - this.#committedMs) / this.#newestCount;
    }
    if (this.#inFlight !== null || !this.#releasing) {
      return;
    }
    if (this.#isDue() || (done && this.#isEnough())) {
      this.pump();
    } else if (done) {
      this.#releasing = false;
      this.#kick(); // A turn later: promises of those who were called append in between.
    }
  }

  /** Resolves when nothing is in flight and nothing waits but stranded records. */
  idle(): Promise<void> {
    if (this.#inFlight === null && this.#sealed.length === 0 && (this.#open?.count ?? 0) === 0) {
      return Promise.resolve();
    }
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  /**
   * Takes what is planned for `segment` and after it, everything when null, out of the queue. Returns the waiters, which
   * the caller tells why. The records are kept for `rewrite`.
   */
  strand(segment: Segment | null): DurableCallback[] {
    const groups = (this.#open?.count ?? 0) === 0 ? this.#sealed : [...this.#sealed, this.#open as CommitGroup];
    const from = segment === null ? 0 : groups.findIndex((group) => group.segment === segment);
    const cut = from < 0 ? [] : groups.slice(from);
    this.#open = null;
    this.#sealed = groups.slice(0, groups.length - cut.length);
    if (this.#inFlight !== null && segment === null) {
      cut.unshift(this.#inFlight);
      this.#inFlight = null;
    }
    const waiters: DurableCallback[] = [];
    const records: StrandedRecord[] = [];
    for (const group of cut) {
      group.seal();
      waiters.push(...group.waiters);
      group.leafHashes.forEach((leafHash, i) => records.push({ body: group.body(i), leafHash }));
    }
    this.#stranded = [...records, ...this.#stranded];
    this.#planIndex = this.#nextIndex - this.#stranded.length;
    this.pump();
    return waiters;
  }

  /** Whether everything stranded and `extraBytes` more fit a segment of this size. */
  strandedFits(segmentBytes: number, extraBytes: number): boolean {
    let bytes = SEGMENT_HEADER_SIZE + extraBytes;
    for (const { body } of this.#stranded) {
      bytes += FRAME_HEADER_SIZE + body.length;
    }
    return bytes <= segmentBytes;
  }

  /** The index of the first record that the next segment will get. */
  get planIndex(): number {
    return this.#planIndex;
  }

  /** Plans go on in `segment`, whatever room the current one has left. */
  moveTo(segment: Segment): void {
    assert(this.#sealed.length === 0 && this.#inFlight === null, 'nothing is planned elsewhere');
    this.#sealOpen();
    this.#enter(segment);
  }

  /** Plans the stranded records again, as far as there is room, with the bodies that they have. */
  rewrite(): void {
    let done = 0;
    for (const { body, leafHash } of this.#stranded) {
      const group = this.#place(FRAME_HEADER_SIZE + body.length);
      if (group === null) {
        break;
      }
      body.copy(group.chunk, group.begin(body.length));
      this.#placed(group, body.length, leafHash);
      done++;
    }
    this.#stranded.splice(0, done);
    this.#kick();
  }

  #written(group: CommitGroup, taken: number): void {
    if (taken !== group.bytes) {
      // ENOSPC shows as a short count without an error. Part of a group is nothing: nobody is told that it is durable.
      this.#failed(group, undefined);
      return;
    }
    // If we die here the group is on the disk and nobody was told: recovery finds records that nothing was released on.
    assert(this.#inFlight === group && group.firstIndex === this.#durable, 'groups become durable in order');
    this.#inFlight = null;
    this.#durable = group.endIndex;
    group.segment.endIndex = group.endIndex;
    this.#queuedBytes -= group.bytes - group.framesStart - group.count * FRAME_HEADER_SIZE;
    this.commits++;
    this.committedBytes += group.bytes;
    this.#newestBytes = group.bytes;
    this.#committedMs = this.#clock.monotonicMs();
    this.#newestCount = group.count;
    this.#diskMs = this.#committedMs - this.#inFlightSinceMs;
    this.#releasing = true;
    if (this.#isDue() && this.#isEnough()) {
      this.pump();
    }
    this.#events.onDurable(group);
    this.#chunks.give(group.chunk);
  }

  /**
   * Those who are released now come back with their next record. When releasing them takes less time than the disk does,
   * it is better to wait for all of them: one flush then carries everybody, where two would take turns with half of them
   * each. When it takes longer, the disk must not stand still meanwhile; only a group that is tiny against the last one
   * is given a moment to grow, so that groups of 1 and 255 do not take turns.
   */
  #isDue(): boolean {
    const diskIsFaster = this.#newestCount * this.#releaseMs >= this.#diskMs;
    const elapsedMs = this.#clock.monotonicMs() - this.#committedMs;
    return (diskIsFaster && this.#isEnough()) || elapsedMs >= this.#diskMs * GATHER_FRACTION;
  }

  #isEnough(): boolean {
    return this.#queuedBytes * 2 >= this.#newestBytes;
  }

  #failed(group: CommitGroup, error: unknown): void {
    assert(this.#inFlight === group, 'only the group in flight can fail');
    // Never retry the file: after a failed flush the kernel may have dropped the pages and call them clean.
    this.#events.onWriteFailed(error);
    assert(this.#inFlight === null, 'a failed group was stranded');
  }

  #kick(): void {
    if (this.#inFlight === null && !this.#kicked) {
      this.#kicked = true;
      // After the callbacks of this turn, so that all their records share the first flush.
      setImmediate(() => {
        this.#kicked = false;
        if (!this.#releasing || this.#isDue()) {
          this.pump();
        }
      });
    }
  }

  #placed(group: CommitGroup, bodyBytes: number, leafHash: Buffer): void {
    group.commit(bodyBytes, leafHash);
    this.#offset += FRAME_HEADER_SIZE + bodyBytes;
    this.#planIndex++;
  }

  /** The group that takes a frame of this size next; null when there is no room and no further segment. */
  #place(frameBytes: number): CommitGroup | null {
    const { groupCommitBytesMax } = this.#limits;
    const open = this.#open;
    if (this.#offset + (this.#offset === 0 ? SEGMENT_HEADER_SIZE : 0) + frameBytes > this.#segment.sizeBytes) {
      if (!this.#roll()) {
        return null;
      }
    } else if (open !== null && open.bytes + frameBytes <= groupCommitBytesMax) {
      return open;
    }
    this.#sealOpen();
    if (this.#offset === 0 && this.#files.createError === undefined) {
      this.#files.prepareNext(); // While this one fills: it is ready long before it is needed.
    }
    const position = this.#offset;
    const headerBytes = position === 0 ? SEGMENT_HEADER_SIZE : 0;
    const chunk = this.#chunks.take(Math.max(groupCommitBytesMax, frameBytes) + headerBytes);
    this.#groupNumber++;
    this.#open = new CommitGroup(this.#writerId, this.#segment, this.#groupNumber, position, this.#planIndex, chunk);
    this.#offset += headerBytes;
    return this.#open;
  }

  #roll(): boolean {
    assert(this.#offset > 0, 'a record fits an empty segment');
    if (!this.#files.hasNext && this.#files.createError === undefined) {
      this.#files.prepareNext();
    }
    const next = this.#files.takeNext(this.#planIndex);
    if (next === null) {
      return false;
    }
    this.#sealOpen();
    this.#enter(next);
    return true;
  }

  #enter(segment: Segment): void {
    this.#segment = segment;
    this.#offset = 0;
    this.#groupNumber = 0;
  }

  #sealOpen(): void {
    const open = this.#open;
    this.#open = null;
    if (open === null) {
      return;
    }
    if (open.count === 0) {
      // The record that it was opened for was refused as a bug of its room; its place is free again.
      this.#offset = open.position;
      this.#groupNumber--;
      return;
    }
    open.seal();
    this.#sealed.push(open);
  }

  #groupOf(index: number): CommitGroup | undefined {
    const holds = (group: CommitGroup | null): boolean =>
      group !== null && index >= group.firstIndex && index < group.endIndex;
    // The newest first: that is whom nearly every caller waits for.
    if (this.#open !== null && holds(this.#open)) {
      return this.#open;
    }
    return this.#inFlight !== null && holds(this.#inFlight) ? this.#inFlight : this.#sealed.find(holds);
  }
}

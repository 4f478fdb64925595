import { assert } from '../../kernel/assert.ts';
import type { Clock } from '../../kernel/clock.ts';
import { CompactRange } from '../../ledger/compact-range.ts';
import { segmentName } from '../../ledger/journal-format.ts';
import type { Disk, DiskFile } from '../disk.ts';
import { JournalBaseFile } from './journal-base.ts';
import type { Segment } from './segment.ts';
import type { WriterLimits } from './writer-limits.ts';

export interface SegmentFilesEvents {
  /** A segment that was taken while it was being created has its file now. */
  onReady(segment: Segment): void;
  /** The creation of `segment` failed; `taken` says whether records were planned for it already. */
  onCreateFailed(segment: Segment, taken: boolean, error: unknown): void;
}

export function reserveName(writerId: Buffer): string {
  return `${writerId.toString('hex')}.reserve`;
}

/**
 * The files of one living writer: segments in order, one more prepared ahead, a reserve, and the base.
 *
 * Segments are made in the background, really zeroed, before they are needed, because a commit into initialised extents
 * flushes no metadata. The reserve is made at the start, so that the last words of a writer on a full disk have a place.
 * Invariants: `segments` is in order of `number` and of `firstIndex`, and holds every segment with a record that is not
 * freed; numbers are never used twice, not even after a failed creation.
 */
export class SegmentFiles {
  readonly segments: Segment[] = [];
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #writerId: Buffer;
  readonly #limits: WriterLimits;
  readonly #events: SegmentFilesEvents;
  readonly #base: JournalBaseFile;
  readonly #epoch: Buffer;
  readonly #creating = new Set<Promise<void>>();
  #next: Segment | null = null;
  #nextNumber = 0;
  #reserve = false;
  #releasing: Promise<void> = Promise.resolve();
  /** Why the newest creation failed; undefined when it did not, and as soon as one is tried again. */
  createError: unknown;

  private constructor(base: JournalBaseFile, options: SegmentFilesOptions) {
    this.#base = base;
    this.#disk = options.disk;
    this.#clock = options.clock;
    this.#writerId = options.writerId;
    this.#limits = options.limits;
    this.#events = options.events;
    this.#epoch = options.epoch;
  }

  /** Makes base, reserve and the first segment. Rejects with the error of the disk. */
  static async open(options: SegmentFilesOptions): Promise<SegmentFiles> {
    const { disk, writerId, epoch } = options;
    const base = await JournalBaseFile.create(disk, { writerId, firstIndex: 0, range: new CompactRange(), epoch });
    const files = new SegmentFiles(base, options);
    await files.makeReserve();
    files.#next = await files.#create();
    return files;
  }

  /** Whether the next segment exists or is on its way. */
  get hasNext(): boolean {
    return this.#next !== null;
  }

  /** Size of the next segment when it is ready to be written, else 0. */
  get readySegmentBytes(): number {
    return this.#next === null || this.#next.file === null ? 0 : this.#next.sizeBytes;
  }

  /** Starts to make the next segment unless that is done or under way. */
  prepareNext(): void {
    if (this.#next !== null) {
      return;
    }
    this.createError = undefined;
    const segment = this.#plan();
    this.#next = segment;
    this.#track(this.#makeNext(segment));
  }

  /** The next segment becomes the one to plan for; null when there is none. Its file may still be on its way. */
  takeNext(firstIndex: number): Segment | null {
    const segment = this.#next;
    if (segment !== null) {
      this.#next = null;
      this.#adopt(segment, firstIndex);
    }
    return segment;
  }

  /** Makes sure that the next segment is there, for a writer that heals. Rejects with the error of the disk. */
  async makeSegment(): Promise<void> {
    if (this.#next === null || this.#next.file === null) {
      this.#next = null;
      this.#next = await this.#create();
      this.createError = undefined;
    }
  }

  async makeReserve(): Promise<void> {
    if (!this.#reserve) {
      const file = await this.#disk.createZeroed(reserveName(this.#writerId), this.#limits.reserveSegmentBytes);
      await file.close();
      this.#reserve = true;
    }
  }

  /** The reserve takes its place among the segments. Null when it is used up or cannot be had. */
  async takeReserve(firstIndex: number): Promise<Segment | null> {
    if (!this.#reserve) {
      return null;
    }
    this.#reserve = false;
    // A creation under way would come after the reserve with a lower number: its file is removed when it arrives.
    assert(this.#next === null || this.#next.file === null, 'a segment that is ready goes before the reserve');
    this.#next = null;
    const segment = { ...this.#plan(), sizeBytes: this.#limits.reserveSegmentBytes };
    try {
      await this.#disk.rename(reserveName(this.#writerId), segment.name);
      // If we die here there is one more segment of zeros: recovery ignores it.
      segment.file = await this.#disk.open(segment.name);
    } catch {
      return null; // The caller fails closed already; the cause is the same disk.
    }
    this.#adopt(segment, firstIndex);
    return segment;
  }

  /** Room for a regular segment, with the reserve beside it and some more, so that healing does not flap. */
  async hasRoom(): Promise<boolean> {
    const { segmentBytes, reserveSegmentBytes } = this.#limits;
    return (await this.#disk.freeBytes()) >= segmentBytes + 2 * reserveSegmentBytes;
  }

  /**
   * Frees every segment whose records are all below `index`, the archive watermark; never the newest. Calls are done one
   * after the other. Rejects when the disk refuses; what was not freed is freed by a later call or the next recovery.
   */
  release(index: number): Promise<void> {
    const done = this.#releasing.then(() => this.#release(index));
    this.#releasing = done.catch(() => undefined);
    return done;
  }

  /** Waits for creations under way, removes what was never used, closes everything. */
  async close(): Promise<void> {
    await Promise.all(this.#creating);
    await this.#releasing;
    const unused = this.#next;
    this.#next = null;
    if (unused !== null && unused.file !== null) {
      await unused.file.close();
      await this.#disk.remove(unused.name);
    }
    if (this.#reserve) {
      this.#reserve = false;
      await this.#disk.remove(reserveName(this.#writerId));
    }
    for (const segment of this.segments) {
      await segment.file?.close();
      segment.file = null;
    }
    await this.#base.close();
  }

  async #release(index: number): Promise<void> {
    const kept = this.segments.findIndex((segment, i) => {
      const next = this.segments[i + 1];
      return next === undefined || next.firstIndex > index || segment.endIndex > index;
    });
    const first = this.segments[kept];
    if (kept <= 0 || first === undefined || first.rangeAtFirst === null) {
      return;
    }
    const { firstIndex, rangeAtFirst: range } = first;
    await this.#base.write({ writerId: this.#writerId, firstIndex, range, epoch: this.#epoch });
    for (const segment of this.segments.splice(0, kept)) {
      await segment.file?.close();
      await this.#disk.remove(segment.name);
      // If we die here some of the freed segments remain: recovery removes what is below the base.
    }
  }

  async #makeNext(segment: Segment): Promise<void> {
    let file: DiskFile;
    try {
      file = await this.#disk.createZeroed(segment.name, segment.sizeBytes);
    } catch (error) {
      const at = this.segments.indexOf(segment);
      if (at >= 0) {
        this.segments.splice(at, 1);
      } else if (this.#next === segment) {
        this.#next = null;
      }
      this.createError = error;
      this.#events.onCreateFailed(segment, at >= 0, error);
      return;
    }
    if (this.#next !== segment && !this.segments.includes(segment)) {
      await file.close();
      await this.#disk.remove(segment.name).catch(() => undefined); // Zeros: the next recovery removes them.
      return;
    }
    segment.file = file;
    this.#events.onReady(segment);
  }

  async #create(): Promise<Segment> {
    const segment = this.#plan();
    segment.file = await this.#disk.createZeroed(segment.name, segment.sizeBytes);
    return segment;
  }

  #plan(): Segment {
    const number = this.#nextNumber++;
    return {
      number,
      name: segmentName(this.#writerId, number),
      sizeBytes: this.#limits.segmentBytes,
      createdNs: this.#clock.nowNs(),
      file: null,
      firstIndex: -1,
      endIndex: -1,
      rangeAtFirst: null,
    };
  }

  #adopt(segment: Segment, firstIndex: number): void {
    const previous = this.segments.at(-1);
    assert(previous === undefined || previous.number < segment.number, 'segments are used in order');
    segment.firstIndex = firstIndex;
    segment.endIndex = firstIndex;
    this.segments.push(segment);
  }

  #track(creating: Promise<void>): void {
    this.#creating.add(creating);
    void creating.finally(() => this.#creating.delete(creating));
  }
}

export interface SegmentFilesOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly writerId: Buffer;
  readonly limits: WriterLimits;
  readonly events: SegmentFilesEvents;
  /** Encoded epoch certificate, kept in the base. */
  readonly epoch: Buffer;
}

import { assert } from '../../kernel/assert.ts';
import type { Clock } from '../../kernel/clock.ts';
import { GatewayError } from '../../kernel/errors.ts';
import { LIMITS } from '../../kernel/limits.ts';
import { compactSegments } from './compact-segments.ts';
import type { LogFile, LogFiles } from './log-files.ts';
import { recoverSegment } from './recover-segment.ts';
import { Segment } from './segment.ts';
import { RECORD_HEADER_SIZE, SEGMENT_HEADER_SIZE, segmentBase, writeRecordHead } from './segment-format.ts';

export interface PartitionLogOptions {
  readonly files: LogFiles;
  readonly clock: Clock;
  /** Names the partition in errors. */
  readonly name: string;
  readonly cleanup: 'delete' | 'compact';
  readonly retentionMs: number;
  /** Retention by size of `delete` topics: whole segments go while the rest is larger. */
  readonly partitionBytesMax?: number;
  readonly segmentBytes?: number;
}

interface Waiting {
  readonly key: Buffer;
  readonly values: readonly Buffer[];
  readonly bytes: number;
  readonly resolve: (firstOffset: number) => void;
  readonly reject: (error: GatewayError) => void;
}

interface Group {
  readonly members: Waiting[];
  readonly buffers: Buffer[];
  readonly sizes: number[];
  readonly bytes: number;
}

/** Values below this are copied next to their header: fewer, larger vectors for the kernel. */
const COPY_BELOW_BYTES = 4 * 1024;
/** A compacted topic is short: small segments keep a read from its start short as well. */
const COMPACT_SEGMENT_BYTES = 4 * 1024 * 1024;
/** An active segment is closed at this share of the retention, so that its oldest records can go in time. */
const ROLL_SHARE = 4;

/**
 * One partition on disk. Single writer.
 *
 * Group commit without a timer: while one write and its flush are in flight the next group gathers.
 * Invariants: at most one group is in flight; `end` and the active segment's `size` move only after the flush that
 * covers them, and readers see nothing past them; `#segments` ascend, the last is the active one, and is never removed;
 * after a failed flush nothing is written any more (`failure`), because the kernel may have dropped the bytes.
 */
export class PartitionLog {
  readonly #options: PartitionLogOptions;
  readonly #segmentBytes: number;
  readonly #segments: Segment[];
  #activeFile: LogFile;
  #nextGroup: number;
  #end: number;
  #queue: Waiting[] = [];
  #committing: Promise<void> | null = null;
  #compacting: Promise<void> | null = null;
  #rollWanted = false;
  #failure: GatewayError | null = null;
  #closed = false;
  readonly #listeners = new Set<() => void>();

  private constructor(
    options: PartitionLogOptions,
    segments: Segment[],
    activeFile: LogFile,
    recovered: { end: number; nextGroup: number },
  ) {
    this.#options = options;
    const wanted = options.segmentBytes ?? LIMITS.busSegmentBytes;
    this.#segmentBytes = options.cleanup === 'compact' ? Math.min(wanted, COMPACT_SEGMENT_BYTES) : wanted;
    this.#segments = segments;
    this.#activeFile = activeFile;
    this.#end = recovered.end;
    this.#nextGroup = recovered.nextGroup;
  }

  /** Opens or creates the partition; throws `bus_damaged` when acknowledged records cannot be read back. */
  static async open(options: PartitionLogOptions): Promise<PartitionLog> {
    const segments = await loadSegments(options);
    const active = segments.at(-1);
    if (active === undefined) {
      const header = { base: 0, compactedTo: 0, createdMs: options.clock.nowMs() };
      const first = await Segment.create(options.files, header);
      return new PartitionLog(options, [first], await keepOpen(first), { end: 0, nextGroup: 1 });
    }
    const recovered = await recoverSegment(active);
    return new PartitionLog(options, segments, await active.acquire(), recovered);
  }

  /** The oldest kept offset, or more exactly the base of the oldest kept segment. */
  get start(): number {
    return (this.#segments[0] as Segment).header.base;
  }

  /** The next offset to be written; everything below it is durable. */
  get end(): number {
    return this.#end;
  }

  get failure(): GatewayError | null {
    return this.#failure;
  }

  /** Resolves with the offset of the first value when all are durable. The buffers MUST stay unchanged until then. */
  append(key: Buffer, values: readonly Buffer[]): Promise<number> {
    if (this.#failure !== null || this.#closed) {
      return Promise.reject(this.#failure ?? this.#unavailable('is closed'));
    }
    if (values.length === 0) {
      return Promise.resolve(this.#end);
    }
    let bytes = 0;
    for (const value of values) {
      bytes += RECORD_HEADER_SIZE + key.length + value.length;
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ key, values, bytes, resolve, reject });
      this.#kick();
    });
  }

  /** Calls `listener` after each commit until it is removed. */
  onCommit(listener: () => void): void {
    this.#listeners.add(listener);
  }

  offCommit(listener: () => void): void {
    this.#listeners.delete(listener);
  }

  /** The segment that holds the first record at or past `offset`, which is below `end`. */
  segmentFor(offset: number): Segment {
    assert(offset < this.#end, 'only what is durable is read');
    for (let i = this.#segments.length - 1; i > 0; i--) {
      const segment = this.#segments[i] as Segment;
      if (segment.header.base <= offset) {
        return segment;
      }
    }
    return this.#segments[0] as Segment;
  }

  /** Deletes or compacts what the settings allow as of now. */
  async applyRetention(): Promise<void> {
    const nowMs = this.#options.clock.nowMs();
    if (this.#options.cleanup === 'compact') {
      await this.#compact();
      return;
    }
    const active = this.#segments.at(-1) as Segment;
    if (active.size > SEGMENT_HEADER_SIZE && active.header.createdMs + this.#options.retentionMs / ROLL_SHARE < nowMs) {
      this.#rollWanted = true;
      this.#kick();
      await this.#committing;
    }
    while (this.#segments.length > 1 && this.#mayDrop(nowMs)) {
      const dropped = this.#segments.shift() as Segment;
      await this.#options.files.remove(dropped.name);
      // If we die here the segment may come back: it is a valid oldest segment, and is dropped again.
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    while (this.#committing !== null) {
      await this.#committing;
    }
    await this.#compacting;
    await (this.#segments.at(-1) as Segment).release();
  }

  #mayDrop(nowMs: number): boolean {
    // The next segment was created when the last record of this one was already there.
    const next = this.#segments[1] as Segment;
    if (next.header.createdMs + this.#options.retentionMs < nowMs) {
      return true;
    }
    const bytesMax = this.#options.partitionBytesMax ?? Number.POSITIVE_INFINITY;
    return this.#segments.reduce((sum, s) => sum + s.size, 0) > bytesMax;
  }

  #kick(): void {
    if (this.#committing === null) {
      this.#committing = this.#commitAll().finally(() => {
        this.#committing = null;
      });
    }
  }

  async #commitAll(): Promise<void> {
    // One turn of the loop lets every publish that arrived in this turn join the group.
    await Promise.resolve();
    while (this.#failure === null && (this.#queue.length > 0 || this.#rollWanted)) {
      const members = this.#takeMembers();
      try {
        await this.#rollIfNeeded(members);
      } catch (error) {
        rejectAll(members, this.#unavailable('cannot make a segment', error));
        continue;
      }
      if (members.length > 0) {
        await this.#commit(this.#layOut(members));
      }
    }
    if (this.#failure !== null) {
      rejectAll(this.#queue.splice(0), this.#failure);
    }
  }

  #takeMembers(): Waiting[] {
    let bytes = 0;
    let count = 0;
    while (count < this.#queue.length) {
      bytes += (this.#queue[count] as Waiting).bytes;
      if (count > 0 && bytes > LIMITS.busGroupBytesMax) {
        break;
      }
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  async #rollIfNeeded(members: readonly Waiting[]): Promise<void> {
    const active = this.#segments.at(-1) as Segment;
    const bytes = members.reduce((sum, m) => sum + m.bytes, 0);
    const full = active.size > SEGMENT_HEADER_SIZE && active.size + bytes > this.#segmentBytes;
    if (!full && !this.#rollWanted) {
      return;
    }
    this.#rollWanted = false;
    const header = { base: this.#end, compactedTo: 0, createdMs: this.#options.clock.nowMs() };
    const next = await Segment.create(this.#options.files, header);
    this.#activeFile = await keepOpen(next);
    active.sealedEnd = this.#end;
    this.#segments.push(next);
    this.#nextGroup = 1;
    await active.release();
    if (this.#options.cleanup === 'compact') {
      this.#compact().catch(() => undefined); // Kept uncompacted is correct, only longer; the next roll tries again.
    }
  }

  #layOut(members: Waiting[]): Group {
    const timestampMs = this.#options.clock.nowMs();
    const group = this.#nextGroup;
    let arenaBytes = 0;
    for (const { key, values } of members) {
      for (const value of values) {
        arenaBytes += RECORD_HEADER_SIZE + key.length + (value.length < COPY_BELOW_BYTES ? value.length : 0);
      }
    }
    const arena = Buffer.allocUnsafe(arenaBytes);
    const buffers: Buffer[] = [];
    const sizes: number[] = [];
    let at = 0;
    let runStart = 0;
    let offset = this.#end;
    let bytes = 0;
    members.forEach(({ key, values }, memberIndex) => {
      values.forEach((value, valueIndex) => {
        const lastOfGroup = memberIndex === members.length - 1 && valueIndex === values.length - 1;
        at += writeRecordHead(arena, at, { offset, timestampMs, group, lastOfGroup, key, value });
        if (value.length < COPY_BELOW_BYTES) {
          at += value.copy(arena, at);
        } else {
          buffers.push(arena.subarray(runStart, at), value);
          runStart = at;
        }
        const size = RECORD_HEADER_SIZE + key.length + value.length;
        sizes.push(size);
        bytes += size;
        offset += 1;
      });
    });
    if (runStart < at) {
      buffers.push(arena.subarray(runStart, at));
    }
    return { members, buffers, sizes, bytes };
  }

  async #commit(group: Group): Promise<void> {
    const active = this.#segments.at(-1) as Segment;
    const position = active.size;
    try {
      const written = await this.#activeFile.writev(group.buffers, position);
      if (written !== group.bytes) {
        await this.#undo(group, position);
        return;
      }
    } catch (error) {
      await this.#undo(group, position, error);
      return;
    }
    // If we die here the group may be on disk: nobody was told so, and the next start keeps it only if it is whole.
    try {
      await this.#activeFile.datasync();
    } catch (error) {
      this.#failure = this.#unavailable('a flush failed; restart on a healthy disk', error);
      rejectAll(group.members, this.#failure);
      return;
    }
    // If we die here the group is durable and unacknowledged: publishers send again, readers dedupe by content.
    this.#publishGroup(group, active, position);
  }

  #publishGroup(group: Group, active: Segment, position: number): void {
    let at = position;
    let offset = this.#end;
    for (const size of group.sizes) {
      active.indexRecord(offset, at, size);
      at += size;
      offset += 1;
    }
    const firstOffset = this.#end;
    active.size = at;
    this.#end = offset;
    this.#nextGroup += 1;
    let next = firstOffset;
    for (const { values, resolve } of group.members) {
      resolve(next);
      next += values.length;
    }
    for (const listener of this.#listeners) {
      listener();
    }
  }

  /** A write that failed or was cut short: nothing of the group may stay, or the next group would follow rubbish. */
  async #undo(group: Group, position: number, cause?: unknown): Promise<void> {
    const failure = this.#unavailable('the disk took only part of a write', cause);
    try {
      await this.#activeFile.truncate(position);
    } catch (error) {
      this.#failure = this.#unavailable('a partial write could not be undone; restart on a healthy disk', error);
    }
    rejectAll(group.members, failure);
  }

  #compact(): Promise<void> {
    this.#compacting ??= this.#compactSealed().finally(() => {
      this.#compacting = null;
    });
    return this.#compacting;
  }

  async #compactSealed(): Promise<void> {
    const sealed = this.#segments.slice(0, -1);
    if (sealed.length === 0 || (sealed.length === 1 && (sealed[0] as Segment).header.compactedTo > 0)) {
      return;
    }
    const compactedTo = (this.#segments[sealed.length] as Segment).header.base;
    const compacted = await compactSegments(this.#options.files, this.#options.clock, sealed, compactedTo);
    // If we die here the next start finds the compacted segment and the ones it replaces, and removes those.
    this.#segments.splice(0, sealed.length, compacted);
    for (const segment of sealed) {
      if (segment.name !== compacted.name) {
        await this.#options.files.remove(segment.name);
      }
    }
  }

  #unavailable(what: string, cause?: unknown): GatewayError {
    return new GatewayError('bus_unavailable', `${this.#options.name}: ${what}`, cause === undefined ? {} : { cause });
  }
}

async function loadSegments(options: PartitionLogOptions): Promise<Segment[]> {
  const names: string[] = [];
  for (const name of (await options.files.list()).sort()) {
    if (segmentBase(name) !== null) {
      names.push(name);
    } else if (name.endsWith('.tmp')) {
      await options.files.remove(name);
    }
  }
  const segments: Segment[] = [];
  let compactedTo = 0;
  for (const name of names) {
    if ((segmentBase(name) as number) < compactedTo) {
      await options.files.remove(name); // Replaced by a compacted segment; the process died before it was removed.
      continue;
    }
    const segment = await Segment.load(options.files, name);
    compactedTo = Math.max(compactedTo, segment.header.compactedTo);
    const previous = segments.at(-1);
    if (previous !== undefined) {
      previous.sealedEnd ??= segment.header.base;
    }
    segments.push(segment);
  }
  return segments;
}

/** A created segment is already in use once: its file is the one that the log writes to. */
async function keepOpen(segment: Segment): Promise<LogFile> {
  const file = await segment.acquire();
  await segment.release();
  return file;
}

function rejectAll(members: readonly Waiting[], error: GatewayError): void {
  for (const member of members) {
    member.reject(error);
  }
}

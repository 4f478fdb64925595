import { CompactRange } from '../../ledger/compact-range.ts';
import { leafHash } from '../../ledger/hash.ts';
import {
  decodeSegmentHeader,
  findFrame,
  parseSegmentName,
  SEGMENT_HEADER_SIZE,
  type SegmentHeader,
} from '../../ledger/journal-format.ts';
import { decodeLeaf, KINDS, LEAF_SIZE } from '../../ledger/leaf.ts';
import type { Disk } from '../disk.ts';
import { baseName, type JournalBase, readJournalBase } from './journal-base.ts';
import type { RecordFile } from './record-reader.ts';
import { type DamageItem, type FrameItem, isUnused, looksTorn, walkSegment } from './segment-scan.ts';

/** Where a record lies: the frame begins at `offset` of `file` and its body has `bodyBytes`. */
export interface RecordLocation {
  readonly file: string;
  readonly offset: number;
  readonly bodyBytes: number;
}

export interface JournalRecord {
  readonly type: 'record';
  readonly index: number;
  readonly location: RecordLocation;
  /** Record body (docs/formats.md), a view. */
  readonly body: Buffer;
  readonly leafHash: Buffer;
  /** A record before it is missing: it is kept and shown, but no root covers it. */
  readonly afterGap: boolean;
}

/**
 * Something that is not as the writer left it. `torn`: the last group was cut by a crash, nothing in it was ever
 * acknowledged. `altered`: bytes changed after they were durable. `missing`: records should be here and are not.
 * `fork`: two different records claim one index.
 */
export interface JournalFinding {
  readonly type: 'finding';
  readonly finding: 'torn' | 'altered' | 'missing' | 'fork';
  /** The first record concerned, and how many; 0 when no record is lost by it. */
  readonly index: number;
  readonly count: number;
  readonly file: string;
  readonly offset: number;
  readonly detail: string;
}

export interface JournalEnd {
  readonly type: 'end';
  readonly state: 'clean' | 'crash' | 'torn';
  /** Records from the start of the log without a hole. */
  readonly size: number;
  /** The compact range [0, `size`); null when older segments are gone and the base with them. */
  readonly range: CompactRange | null;
  readonly base: JournalBase | null;
  /** The files that hold [base, `size`), for reading it again. */
  readonly files: readonly RecordFile[];
  /** Files in which something was altered or missing, and those after them. */
  readonly suspect: readonly string[];
  /** Files that hold nothing that is not archived: never used, or below the base. */
  readonly unused: readonly string[];
}

export type JournalEvent = JournalRecord | JournalFinding | JournalEnd;

export const QUARANTINED = '.quarantined';

interface SegmentEntry {
  readonly name: string;
  readonly number: number;
  readonly firstIndex: number;
  /** False when the header was changed; the frames behind it tell where the segment begins. */
  readonly headerIntact: boolean;
}

/** `firstIndex` null: the first group was cut by a crash before its header got there. */
type FoundSegment = Omit<SegmentEntry, 'firstIndex'> & { readonly firstIndex: number | null };

/** Writers that have files on this disk, in hex. */
export async function listJournals(disk: Disk): Promise<string[]> {
  const writers = new Set<string>();
  for (const name of await disk.list()) {
    const match = /^([0-9a-f]{32})(?:-\d{8}\.seg(?:\.quarantined)?|\.base|\.reserve)$/.exec(name);
    if (match?.[1] !== undefined) {
      writers.add(match[1]);
    }
  }
  return [...writers].sort();
}

/**
 * Reads a journal that nobody writes: every record in order of index, every finding where it is met, and one `end`. Only
 * reads. Memory: one segment.
 */
export function readJournal(disk: Disk, writerId: Buffer): AsyncGenerator<JournalEvent> {
  return new JournalReader(disk, writerId).events();
}

/**
 * Invariants: `#expected` is the index that the next record must have; `#range` covers [0, `#size`), and `#size` stops for
 * good at the first hole. Only whole groups are given out, except before and behind damage inside a group that a later
 * one proves to have been acknowledged.
 */
class JournalReader {
  readonly #disk: Disk;
  readonly #writerId: Buffer;
  #expected = 0;
  #size = 0;
  #range: CompactRange | null = new CompactRange();
  #broken = false;
  #damaged = false;
  #lastKind = 0;
  #files: RecordFile[] = [];
  readonly #suspect: string[] = [];
  readonly #unused: string[] = [];
  readonly #unreadable: string[] = [];
  /** The compact range where the next segment begins, when this one reaches beyond it. */
  #rangeAtNext: CompactRange | null = null;
  /** Leaf hashes of records that the next segment has again. */
  #repeated = new Map<number, Buffer>();

  constructor(disk: Disk, writerId: Buffer) {
    this.#disk = disk;
    this.#writerId = writerId;
  }

  async *events(): AsyncGenerator<JournalEvent> {
    const base = await this.#readBase();
    const entries = await this.#entries();
    const first = entries[0];
    this.#expected = base?.firstIndex ?? first?.firstIndex ?? 0;
    this.#range = base?.range.clone() ?? (this.#expected === 0 ? new CompactRange() : null);
    if (base === null && this.#expected > 0 && first !== undefined) {
      yield this.#finding('missing', 0, this.#expected, first.name, 0, 'the base of the journal');
    }
    this.#size = this.#expected;
    for (const [i, found] of entries.entries()) {
      const entry = { ...found, firstIndex: found.firstIndex ?? this.#expected };
      const nextFirst = entries[i + 1]?.firstIndex ?? null;
      if (base !== null && nextFirst !== null && nextFirst <= base.firstIndex) {
        this.#unused.push(entry.name);
        continue;
      }
      yield* this.#segment(entry, nextFirst);
    }
    for (const name of this.#unreadable) {
      this.#suspect.push(name);
      yield this.#finding('altered', this.#expected, 0, name, 0, 'a segment without one valid frame');
    }
    const ended = this.#lastKind === KINDS['epoch.close'] ? 'clean' : 'crash';
    yield {
      type: 'end',
      state: this.#damaged ? 'torn' : ended,
      size: this.#size,
      range: this.#range,
      base,
      files: this.#files,
      suspect: this.#suspect,
      unused: this.#unused,
    };
  }

  async *#segment(entry: SegmentEntry, nextFirst: number | null): AsyncGenerator<JournalEvent> {
    const bytes = await readWhole(this.#disk, entry.name);
    const brokenBefore = this.#broken;
    if (!entry.headerIntact) {
      this.#suspect.push(entry.name);
      yield this.#finding('altered', entry.firstIndex, 0, entry.name, 0, 'segment header');
    }
    if (entry.firstIndex > this.#expected) {
      yield* this.#hole('missing', entry.firstIndex, entry.name, 0, 'records before this segment');
    }
    const rangeAtFirst = this.#rangeAtNext ?? (this.#size === entry.firstIndex ? (this.#range?.clone() ?? null) : null);
    this.#rangeAtNext = null;
    const repeated = this.#repeated;
    this.#repeated = new Map();
    yield* this.#items(entry, bytes, nextFirst, repeated);
    if (nextFirst !== null && nextFirst > this.#expected) {
      yield* this.#hole('missing', nextFirst, entry.name, bytes.length, 'records at the end of this segment');
    }
    if (!brokenBefore) {
      const endIndex = Math.min(this.#size, nextFirst ?? this.#size);
      const { name, number, firstIndex } = entry;
      this.#files.push({ name, number, firstIndex, endIndex: Math.max(endIndex, firstIndex), rangeAtFirst });
    }
    if (this.#broken && !this.#suspect.includes(entry.name)) {
      this.#suspect.push(entry.name);
    }
  }

  *#items(
    entry: SegmentEntry,
    bytes: Buffer,
    nextFirst: number | null,
    repeated: ReadonlyMap<number, Buffer>,
  ): Generator<JournalEvent> {
    const items = [...walkSegment(bytes, this.#writerId, entry.number, entry.firstIndex)];
    let newestGroup = 0;
    for (const item of items) {
      newestGroup = item.kind === 'frame' ? Math.max(newestGroup, item.frame.group) : newestGroup;
    }
    let group: FrameItem[] = [];
    for (const item of items) {
      if (item.kind === 'frame') {
        group.push(item);
        if (item.frame.groupEnd) {
          yield* this.#records(entry, group, nextFirst, repeated);
          group = [];
        }
        continue;
      }
      if (nextFirst !== null && item.index >= nextFirst) {
        return; // Given up by the writer and written again in the next segment.
      }
      const last = nextFirst === null && newestGroup <= item.group;
      if (last && looksTorn(bytes, this.#writerId, item)) {
        yield this.#torn(entry, group[0] ?? item, items);
        return;
      }
      // A later group, or the shape of the damage, says that this was whole once: what is left of the group counts.
      yield* this.#records(entry, group, nextFirst, repeated);
      group = [];
      yield* this.#altered(entry, item, nextFirst);
    }
    yield* this.#openGroup(entry, group, nextFirst, repeated, items);
  }

  /** Frames at the end of a segment whose group has no last frame. */
  *#openGroup(
    entry: SegmentEntry,
    group: readonly FrameItem[],
    nextFirst: number | null,
    repeated: ReadonlyMap<number, Buffer>,
    items: readonly (FrameItem | DamageItem)[],
  ): Generator<JournalEvent> {
    const first = group[0];
    if (first === undefined) {
      return;
    }
    if (nextFirst === null && !this.#broken) {
      yield this.#torn(entry, first, items);
    } else {
      const kept = group.filter(({ frame }) => nextFirst === null || frame.index < nextFirst);
      yield* this.#records(entry, kept, nextFirst, repeated);
    }
  }

  *#records(
    entry: SegmentEntry,
    items: readonly FrameItem[],
    nextFirst: number | null,
    repeated: ReadonlyMap<number, Buffer>,
  ): Generator<JournalEvent> {
    for (const { frame, offset } of items) {
      const { index, body } = frame;
      const hash = leafHash(body.subarray(0, LEAF_SIZE));
      const leaf = decodeLeaf(body.subarray(0, LEAF_SIZE));
      if (leaf.index !== index || !leaf.writerId.equals(this.#writerId)) {
        yield this.#finding('fork', index, 1, entry.name, offset, 'the leaf names another place');
        continue;
      }
      if (index < this.#expected) {
        const known = repeated.get(index);
        if (known !== undefined && !known.equals(hash)) {
          yield this.#finding('fork', index, 1, entry.name, offset, 'two records for one index');
        }
        continue;
      }
      if (nextFirst !== null && index >= nextFirst) {
        this.#repeated.set(index, hash);
        if (index === nextFirst) {
          this.#rangeAtNext = this.#broken ? null : (this.#range?.clone() ?? null);
        }
      }
      this.#expected = index + 1;
      this.#lastKind = leaf.kind;
      if (!this.#broken) {
        this.#range?.append(hash);
        this.#size = index + 1;
      }
      const location = { file: entry.name, offset, bodyBytes: body.length };
      yield { type: 'record', index, location, body, leafHash: hash, afterGap: this.#broken };
    }
  }

  #torn(entry: SegmentEntry, from: FrameItem | DamageItem, items: readonly (FrameItem | DamageItem)[]): JournalFinding {
    const index = from.kind === 'frame' ? from.frame.index : from.index;
    const last = items.findLast((item) => item.kind === 'frame');
    const count = Math.max(1, last?.kind === 'frame' ? last.frame.index + 1 - index : 1);
    return this.#finding('torn', index, count, entry.name, from.offset, 'the last group was not written whole');
  }

  *#altered(entry: SegmentEntry, damage: DamageItem, nextFirst: number | null): Generator<JournalEvent> {
    const next = damage.next?.index ?? nextFirst ?? damage.index + 1;
    this.#suspect.push(entry.name);
    yield* this.#hole('altered', next, entry.name, damage.offset, 'the bytes of the frame');
  }

  *#hole(
    finding: 'altered' | 'missing',
    next: number,
    file: string,
    offset: number,
    detail: string,
  ): Generator<JournalEvent> {
    const count = next - this.#expected;
    yield this.#finding(finding, this.#expected, count, file, offset, detail);
    if (count > 0) {
      this.#broken = true;
      this.#expected = next;
    }
  }

  #finding(
    finding: JournalFinding['finding'],
    index: number,
    count: number,
    file: string,
    offset: number,
    detail: string,
  ): JournalFinding {
    this.#damaged = true;
    return { type: 'finding', finding, index, count, file, offset, detail };
  }

  async #readBase(): Promise<JournalBase | null> {
    const names = await this.#disk.list();
    return names.includes(baseName(this.#writerId))
      ? ((await readJournalBase(this.#disk, this.#writerId)) ?? null)
      : null;
  }

  /** Segments that hold something, by number. */
  async #entries(): Promise<FoundSegment[]> {
    const entries: FoundSegment[] = [];
    for (const name of await this.#disk.list()) {
      const plain = name.endsWith(QUARANTINED) ? name.slice(0, -QUARANTINED.length) : name;
      const parsed = parseSegmentName(plain);
      if (parsed !== undefined && parsed.writerId.equals(this.#writerId)) {
        const entry = await this.#entry(name, parsed.segment);
        if (entry !== null) {
          entries.push(entry);
        }
      }
    }
    return entries.sort((a, b) => a.number - b.number);
  }

  async #entry(name: string, number: number): Promise<FoundSegment | null> {
    const head = await readWhole(this.#disk, name, SEGMENT_HEADER_SIZE);
    const header = headerOf(head);
    if (header?.segment === number && header.writerId.equals(this.#writerId)) {
      return { name, number, firstIndex: header.firstIndex, headerIntact: true };
    }
    const bytes = await readWhole(this.#disk, name);
    const found = findFrame(bytes, 0, { writerId: this.#writerId, segment: number });
    if (found?.offset === SEGMENT_HEADER_SIZE || (found !== undefined && !isUnused(head))) {
      return { name, number, firstIndex: found.frame.index, headerIntact: false };
    }
    if (found !== undefined) {
      return { name, number, firstIndex: null, headerIntact: true };
    }
    (isUnused(head) ? this.#unused : this.#unreadable).push(name);
    return null;
  }
}

function headerOf(bytes: Buffer): SegmentHeader | null {
  try {
    return decodeSegmentHeader(bytes);
  } catch {
    return null; // Never written, cut by a crash, or altered: the frames tell.
  }
}

async function readWhole(disk: Disk, name: string, bytesMax = Infinity): Promise<Buffer> {
  const size = Math.min(await disk.size(name), bytesMax);
  const bytes = Buffer.allocUnsafeSlow(size);
  const file = await disk.open(name);
  try {
    return bytes.subarray(0, await file.read(bytes, 0));
  } finally {
    await file.close();
  }
}

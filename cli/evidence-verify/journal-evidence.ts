import { crc32 } from 'node:zlib';
import { join } from 'node:path';
import type { Clock } from '../../core/kernel/clock.ts';
import {
  decodeSegmentHeader,
  findFrame,
  parseSegmentName,
  readFrame,
  SEGMENT_HEADER_SIZE,
  type SegmentHeader,
} from '../../core/ledger/journal-format.ts';
import { baseName, type JournalBase, readJournalBase } from '../../core/runtime/writer/journal-base.ts';
import {
  type JournalFinding,
  listJournals,
  QUARANTINED,
  readJournal,
} from '../../core/runtime/writer/journal-reader.ts';
import { walkSegment } from '../../core/runtime/writer/segment-scan.ts';
import { type Evidence, problemOf } from './evidence.ts';
import { firstNonZero, ReadOnlyDisk, readWhole } from './evidence-files.ts';
import type { Place } from './findings.ts';
import { SOURCES } from './leaf-table.ts';
import type { WriterEvidence } from './writer-evidence.ts';

const KIND = 'journal';
const BASE_SLOT_SIZE = 16 * 1024;
const BASE_FIXED_SIZE = 37;
/** A cut write leaves whole pages or a beginning; fewer bytes than these in the middle of zeros are neither. */
const TORN_BYTES_MIN = 64;
const LIVE_RETRIES = 3;
const LIVE_RETRY_MS = 50;

export interface JournalOptions {
  readonly directory: string;
  /** Of file names in findings. */
  readonly prefix: string;
  /** The node may be writing: what does not hold is looked at again before it counts. */
  readonly live: boolean;
  readonly clock: Clock;
}

/** Reads the journals of a node. The number of journals, 0 when there is no directory. */
export async function readJournals(evidence: Evidence, options: JournalOptions): Promise<number> {
  const disk = new ReadOnlyDisk(options.directory);
  const ids = (await listJournals(disk)).filter((id) => evidence.wants(id));
  for (const id of ids) {
    await new JournalVerifier(evidence, evidence.writer(id), disk, options).run();
  }
  return ids.length;
}

/**
 * One journal. The common case, every frame as it should be, is one pass over each segment without a promise for a
 * record; as soon as anything is not, the reader of the recovery looks at the whole journal and says what it is.
 */
class JournalVerifier {
  readonly #evidence: Evidence;
  readonly #writer: WriterEvidence;
  readonly #disk: ReadOnlyDisk;
  readonly #o: JournalOptions;

  constructor(evidence: Evidence, writer: WriterEvidence, disk: ReadOnlyDisk, options: JournalOptions) {
    this.#evidence = evidence;
    this.#writer = writer;
    this.#disk = disk;
    this.#o = options;
  }

  async run(): Promise<void> {
    const base = await this.#base();
    if (await this.#quickly(base)) {
      return;
    }
    let findings = await this.#slowly();
    for (let left = LIVE_RETRIES; this.#o.live && findings.length > 0 && left > 0; left--) {
      await new Promise<void>((resolve) => void this.#o.clock.after(LIVE_RETRY_MS, resolve));
      findings = await this.#slowly();
    }
    for (const finding of findings) {
      this.#report(finding);
    }
    await this.#checkUnused();
  }

  /**
   * Space at which the reader of the recovery does not look: segments made ahead, and what stands behind the last record
   * of a segment that is continued in the next. A group that was given up may be there; a few bytes are none.
   */
  async #checkUnused(): Promise<void> {
    const names = await this.#disk.list();
    const own = names.filter((name) => parseSegmentName(name)?.writerId.equals(this.#writer.idBytes) === true).sort();
    for (const [i, name] of own.entries()) {
      const bytes = readWhole(join(this.#o.directory, name)) ?? Buffer.alloc(0);
      const { segment = 0 } = parseSegmentName(name) ?? {};
      const header = tryHeader(bytes);
      const neverUsed = firstNonZero(bytes.subarray(0, SEGMENT_HEADER_SIZE), 0) < 0;
      if (neverUsed && findFrame(bytes, 0, { writerId: this.#writer.idBytes, segment }) === undefined) {
        this.#mustBeUnused(bytes, 0, name, 'a segment that was made ahead');
      } else if (header !== null && i < own.length - 1) {
        const items = [...walkSegment(bytes, this.#writer.idBytes, segment, header.firstIndex)];
        const last = items.at(-1);
        if (last?.kind === 'damage') {
          this.#mustBeUnused(bytes, last.offset, name, 'space behind the last record, which was never used');
        }
      }
    }
  }

  #mustBeUnused(bytes: Buffer, from: number, name: string, what: string): void {
    if (!this.#looksCut(name, from)) {
      this.#mustBeZero(bytes, from, name, what);
    }
  }

  /** Base and reserve: what is in them, and that what was never used is zero. */
  async #base(): Promise<JournalBase | null> {
    const names = await this.#disk.list();
    const { idBytes, id } = this.#writer;
    for (const name of names) {
      if (name === `${id}.reserve`) {
        const bytes = readWhole(join(this.#o.directory, name));
        this.#mustBeZero(bytes ?? Buffer.alloc(0), 0, name, 'the reserve segment, which was never used');
      }
    }
    if (!names.includes(baseName(idBytes))) {
      return null;
    }
    const base = (await readJournalBase(this.#disk, idBytes)) ?? null;
    this.#checkSlots(baseName(idBytes));
    if (base !== null) {
      const place = this.#place(`${id}.base`, 0);
      this.#evidence.takeEpoch(base.epoch, place, id);
      const { size } = base.range;
      const what = 'the compact range of the journal base';
      this.#writer.claims.push({ size, root: base.range.root(), what, place, head: null });
    }
    return base;
  }

  /**
   * Limit: what a longer slot left behind a shorter one is not covered by any checksum; only slots that were written once
   * must be followed by zeros. A slot that a crash tore in two is told from a changed one by nothing: it counts as altered.
   */
  #checkSlots(name: string): void {
    const bytes = readWhole(join(this.#o.directory, name)) ?? Buffer.alloc(0);
    for (let start = 0; start < bytes.length; start += BASE_SLOT_SIZE) {
      const slot = bytes.subarray(start, start + BASE_SLOT_SIZE);
      if (firstNonZero(slot, 0) < 0) {
        continue;
      }
      const end = slotEnd(slot);
      if (end < 0 || slot.readUInt32BE(end) !== crc32(slot.subarray(0, end))) {
        const about = { writer: this.#writer.id, index: 0, place: this.#place(name, start) };
        this.#evidence.findings.add('ALTERED', 'the base of the journal does not give its checksum', about);
      } else if (slot.readUInt32BE(8) <= 2) {
        this.#mustBeZero(slot, end + 4, name, 'space behind the base of the journal', start);
      }
    }
  }

  /** True when every frame of every segment is as it should be; nothing was reported then. */
  async #quickly(base: JournalBase | null): Promise<boolean> {
    const { idBytes } = this.#writer;
    const names = await this.#disk.list();
    if (names.some((name) => name.startsWith(this.#writer.id) && name.endsWith(QUARANTINED))) {
      return false;
    }
    const segments = names
      .map((name) => ({ name, parsed: parseSegmentName(name) }))
      .filter(({ parsed }) => parsed?.writerId.equals(idBytes) === true)
      .sort((a, b) => (a.parsed?.segment ?? 0) - (b.parsed?.segment ?? 0));
    let expected = base?.firstIndex ?? 0;
    const firstIndex = expected;
    for (const { name, parsed } of segments) {
      const bytes = readWhole(join(this.#o.directory, name));
      if (bytes === null || firstNonZero(bytes.subarray(0, SEGMENT_HEADER_SIZE), 0) < 0) {
        if (bytes !== null && firstNonZero(bytes, 0) >= 0) {
          return false;
        }
        continue; // Freed while we read, or made ahead and never used.
      }
      const header = tryHeader(bytes);
      if (header === null || header.segment !== parsed?.segment || !header.writerId.equals(idBytes)) {
        return false;
      }
      if (header.firstIndex < expected && base !== null && header.firstIndex < base.firstIndex) {
        continue; // Below the base: archived, and about to be freed.
      }
      const end = header.firstIndex === expected ? this.#segment(bytes, header, name) : -1;
      if (end < 0) {
        return false;
      }
      expected = end;
    }
    this.#writer.journal = { firstIndex, size: expected, torn: null };
    return base !== null || segments.length === 0;
  }

  /** Index after the last record of a segment in which everything holds, else -1. */
  #segment(bytes: Buffer, header: SegmentHeader, file: string): number {
    const at = { kind: KIND, file: `${this.#o.prefix}${file}` };
    const { idBytes } = this.#writer;
    let index = header.firstIndex;
    let offset = SEGMENT_HEADER_SIZE;
    let whole = true;
    for (;;) {
      const frame = readFrame(bytes, offset, { writerId: idBytes, segment: header.segment, index });
      if (typeof frame === 'string') {
        const done = frame === 'end' && whole && firstNonZero(bytes, offset) < 0;
        this.#evidence.takeRun(this.#writer, header.firstIndex, index, { ...at, offset: SEGMENT_HEADER_SIZE });
        return done ? index : -1;
      }
      this.#evidence.takeRecord(this.#writer, frame.body, index, SOURCES.journal, at, offset);
      whole = frame.groupEnd;
      offset = frame.end;
      index++;
    }
  }

  async #slowly(): Promise<JournalFinding[]> {
    const findings: JournalFinding[] = [];
    for await (const event of readJournal(this.#disk, this.#writer.idBytes)) {
      if (event.type === 'record') {
        const at = { kind: KIND, file: `${this.#o.prefix}${event.location.file}` };
        const { index, location } = event;
        this.#evidence.takeRecord(this.#writer, event.body, index, SOURCES.journal, at, location.offset);
        this.#evidence.takeRun(this.#writer, index, index + 1, { ...at, offset: location.offset });
      } else if (event.type === 'finding') {
        findings.push(event);
      } else {
        const cut = findings.find(({ finding }) => finding === 'torn');
        const torn = cut === undefined ? null : this.#place(cut.file, cut.offset);
        this.#writer.journal = { firstIndex: event.base?.firstIndex ?? 0, size: event.size, torn };
      }
    }
    return findings;
  }

  #report({ finding, index, count, file, offset, detail }: JournalFinding): void {
    const place = this.#place(file, offset);
    const about = { writer: this.#writer.id, index, place };
    if (finding === 'torn') {
      if (this.#writer.leaves.has(index, SOURCES.archive | SOURCES.bus)) {
        // Nobody publishes what is not durable: whatever this looks like, it was whole once.
        this.#evidence.findings.add('ALTERED', 'journal: a record that was published is not whole', about);
      } else if (!this.#looksCut(file, offset)) {
        this.#evidence.findings.add(
          'ALTERED',
          'space behind the last record, which was never used, is not zero',
          about,
        );
      }
      return;
    }
    if (finding === 'missing') {
      return; // Whether a record is missing is told from all places where it may be.
    }
    const declared = this.#evidence.gaps.get(this.#writer.id) ?? [];
    const covers = declared.some((gap) => gap.first <= index && index + count <= gap.first + gap.count);
    if (file.endsWith(QUARANTINED) && count > 0 && covers) {
      return; // Recovery kept the file and the control writer declared the gap: that is the finding.
    }
    this.#evidence.findings.add('ALTERED', `journal: ${detail}`, about);
    if (count > 0) {
      this.#writer.damaged.push({ first: index, count });
    }
  }

  /** A cut write begins where the frame begins, or left whole pages; a few bytes in the middle of zeros were put there. */
  #looksCut(file: string, offset: number): boolean {
    const bytes = (readWhole(join(this.#o.directory, file)) ?? Buffer.alloc(0)).subarray(offset);
    const first = firstNonZero(bytes, 0);
    if (first < 0) {
      return true;
    }
    if (first === 0 && bytes[0] === this.#writer.idBytes[0]) {
      return true;
    }
    let count = 0;
    for (let at = first; at < bytes.length && count < TORN_BYTES_MIN; at++) {
      count += bytes[at] === 0 ? 0 : 1;
    }
    return count >= TORN_BYTES_MIN;
  }

  #mustBeZero(bytes: Buffer, from: number, name: string, what: string, fileOffset = 0): void {
    const at = firstNonZero(bytes, from);
    if (at >= 0) {
      const index = Math.max(0, this.#writer.leaves.size - 1);
      const about = { writer: this.#writer.id, index, place: this.#place(name, fileOffset + at) };
      this.#evidence.findings.add('ALTERED', `${what}, is not zero`, about);
    }
  }

  #place(name: string, offset: number): Place {
    return { kind: KIND, file: `${this.#o.prefix}${name}`, offset };
  }
}

function tryHeader(bytes: Buffer): SegmentHeader | null {
  try {
    return decodeSegmentHeader(bytes);
  } catch (error) {
    problemOf(error);
    return null;
  }
}

/** Where the checksum of a base slot stands by its own lengths (`journal-base.ts`); -1 when that is not in the slot. */
function slotEnd(slot: Buffer): number {
  const epochLengthAt = BASE_FIXED_SIZE + slot.readUInt8(BASE_FIXED_SIZE - 1) * 32;
  if (epochLengthAt + 4 > slot.length) {
    return -1;
  }
  const end = epochLengthAt + 4 + slot.readUInt32BE(epochLengthAt);
  return end + 4 <= slot.length ? end : -1;
}

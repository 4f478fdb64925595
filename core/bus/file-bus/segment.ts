import { assert } from '../../kernel/assert.ts';
import { GatewayError } from '../../kernel/errors.ts';
import { LIMITS } from '../../kernel/limits.ts';
import type { LogFile, LogFiles } from './log-files.ts';
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  readRecord,
  RECORD_HEADER_SIZE,
  recordOffsetAt,
  recordSizeAt,
  SEGMENT_HEADER_SIZE,
  segmentName,
  type SegmentHeader,
  type StoredRecord,
} from './segment-format.ts';

const INDEX_STEP_BYTES = 256 * 1024;
const WINDOW_BYTES = 4 * 1024 * 1024;

/**
 * One segment file. `size` is the durable size: bytes past it are never read. The file is open while it is active or
 * while a cursor reads it, so a segment that retention has unlinked can still be read to its end.
 *
 * Invariants: `#offsets` and `#positions` ascend together and have an entry at least each 256 KiB up to `#indexedTo`.
 */
export class Segment {
  readonly header: SegmentHeader;
  readonly name: string;
  readonly #files: LogFiles;
  #file: LogFile | null;
  #opening: Promise<LogFile> | null = null;
  #users = 0;
  #offsets: number[] = [];
  #positions: number[] = [];
  #indexedTo = SEGMENT_HEADER_SIZE;
  size: number;
  /** Offset after the last record, once the segment is sealed. */
  sealedEnd: number | null;

  private constructor(files: LogFiles, header: SegmentHeader, file: LogFile | null, size: number) {
    this.#files = files;
    this.header = header;
    this.name = segmentName(header.base);
    this.#file = file;
    this.size = size;
    this.sealedEnd = header.compactedTo > 0 ? header.compactedTo : null;
  }

  /** Creates an empty segment, durable with its directory entry. It is open and used once. */
  static async create(files: LogFiles, header: SegmentHeader): Promise<Segment> {
    const temporary = `${segmentName(header.base)}.tmp`;
    const file = await files.open(temporary, true);
    try {
      await file.truncate(0);
      const written = await file.writev([encodeSegmentHeader(header)], 0);
      if (written !== SEGMENT_HEADER_SIZE) {
        throw new GatewayError('bus_unavailable', 'the disk took only part of a segment header');
      }
      await file.datasync();
      // If we die here a `.tmp` file is left, which the next start removes.
      await files.rename(temporary, segmentName(header.base));
      // If we die here the segment is empty and valid.
    } catch (error) {
      await file.close();
      throw error;
    }
    const segment = new Segment(files, header, file, SEGMENT_HEADER_SIZE);
    segment.#users = 1;
    return segment;
  }

  /** Opens an existing segment to read its header; its size is what the file has. */
  static async load(files: LogFiles, name: string): Promise<Segment> {
    const file = await files.open(name);
    try {
      const bytes = Buffer.alloc(SEGMENT_HEADER_SIZE);
      await file.read(bytes, 0);
      const header = decodeSegmentHeader(bytes);
      if (header === null || segmentName(header.base) !== name) {
        throw new GatewayError('bus_damaged', `segment ${name} has no valid header`);
      }
      return new Segment(files, header, null, await file.size());
    } finally {
      await file.close();
    }
  }

  /** Opens the file for a user. Every `acquire` needs its `release`. */
  async acquire(): Promise<LogFile> {
    this.#users += 1;
    if (this.#file !== null) {
      return this.#file;
    }
    this.#opening ??= this.#files.open(this.name);
    try {
      this.#file = await this.#opening;
      return this.#file;
    } catch (error) {
      this.#users -= 1;
      throw error;
    } finally {
      this.#opening = null;
    }
  }

  async release(): Promise<void> {
    assert(this.#users > 0, 'a segment is released as often as it was acquired');
    this.#users -= 1;
    if (this.#users === 0 && this.#file !== null) {
      const file = this.#file;
      this.#file = null;
      await file.close();
    }
  }

  /** Extends the index by a record that is durable at `position`. */
  indexRecord(offset: number, position: number, size: number): void {
    const last = this.#positions.at(-1);
    if (last === undefined || position - last >= INDEX_STEP_BYTES) {
      this.#offsets.push(offset);
      this.#positions.push(position);
    }
    this.#indexedTo = Math.max(this.#indexedTo, position + size);
  }

  /** Position of the first record whose offset is at or past `offset`; `size` when there is none. Needs `acquire`. */
  async locate(offset: number): Promise<number> {
    const file = this.#openFile();
    if (this.#indexedTo < this.size) {
      await this.#buildIndex(file);
    }
    let position = this.#positions[lastAtOrBelow(this.#offsets, offset)] ?? SEGMENT_HEADER_SIZE;
    while (position < this.size) {
      const window = await readWindow(file, position, this.size);
      let at = 0;
      for (let size = recordSizeAt(window, at); size > 0 && at + size <= window.length;) {
        if (recordOffsetAt(window, at) >= offset) {
          return position + at;
        }
        at += size;
        size = recordSizeAt(window, at);
      }
      if (at === 0) {
        throw new GatewayError('bus_damaged', `segment ${this.name} at ${position}`);
      }
      position += at;
    }
    return this.size;
  }

  /** Whole records from `position`, at most `bytesMax` unless the first alone is larger. Needs `acquire`. */
  async readWhole(position: number, bytesMax: number): Promise<Buffer> {
    const file = this.#openFile();
    const available = this.size - position;
    let chunk = await readExactly(file, position, Math.min(available, Math.max(bytesMax, RECORD_HEADER_SIZE)));
    const firstSize = recordSizeAt(chunk, 0);
    if (firstSize === 0 || firstSize > available) {
      throw new GatewayError('bus_damaged', `segment ${this.name} at ${position}`);
    }
    if (firstSize > chunk.length) {
      chunk = await readExactly(file, position, firstSize);
    }
    let end = 0;
    for (let size = firstSize; size > 0 && end + size <= chunk.length; size = recordSizeAt(chunk, end)) {
      end += size;
    }
    return chunk.subarray(0, end);
  }

  #openFile(): LogFile {
    assert(this.#file !== null, 'a segment is acquired before it is read');
    return this.#file;
  }

  async #buildIndex(file: LogFile): Promise<void> {
    const end = await walkRecords(file, this.#indexedTo, this.size, (record, position) =>
      this.indexRecord(record.offset, position, record.size),
    );
    if (end !== this.size) {
      throw new GatewayError('bus_damaged', `segment ${this.name} at ${end}`);
    }
  }
}

/** Calls `onRecord` for each whole, undamaged record from `from`, and returns the position where that ends. */
export async function walkRecords(
  file: LogFile,
  from: number,
  to: number,
  onRecord: (record: StoredRecord, position: number) => void,
): Promise<number> {
  let position = from;
  for (;;) {
    const window = await readWindow(file, position, to);
    let at = 0;
    for (let record = readRecord(window, at); record !== null; record = readRecord(window, at)) {
      onRecord(record, position + at);
      at += record.size;
    }
    if (at === 0) {
      return position;
    }
    position += at;
  }
}

async function readWindow(file: LogFile, position: number, to: number): Promise<Buffer> {
  return readExactly(file, position, Math.min(WINDOW_BYTES, to - position));
}

async function readExactly(file: LogFile, position: number, size: number): Promise<Buffer> {
  const target = Buffer.allocUnsafe(size);
  let filled = 0;
  while (filled < size) {
    const count = await file.read(target.subarray(filled), position + filled);
    if (count === 0) {
      break;
    }
    filled += count;
  }
  return target.subarray(0, filled);
}

function lastAtOrBelow(offsets: readonly number[], offset: number): number {
  let low = 0;
  let high = offsets.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((offsets[middle] as number) <= offset) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low - 1;
}

const LARGEST_RECORD_BYTES = RECORD_HEADER_SIZE + LIMITS.busKeyBytesMax + LIMITS.busValueBytesMax;
assert(WINDOW_BYTES > LARGEST_RECORD_BYTES, 'a window holds at least one record');

import { GatewayError } from '../../kernel/errors.ts';
import { LIMITS } from '../../kernel/limits.ts';
import type { CompactRange } from '../../ledger/compact-range.ts';
import { leafHash } from '../../ledger/hash.ts';
import { FRAME_HEADER_SIZE, readFrame, SEGMENT_HEADER_SIZE } from '../../ledger/journal-format.ts';
import { LEAF_SIZE } from '../../ledger/leaf.ts';
import type { Disk } from '../disk.ts';

/** A file with the records [`firstIndex`, `endIndex`) of one writer. What lies behind them in it does not count. */
export interface RecordFile {
  readonly name: string;
  /** The number inside the frames. */
  readonly number: number;
  readonly firstIndex: number;
  readonly endIndex: number;
  /** The compact range [0, `firstIndex`); null while unknown. */
  readonly rangeAtFirst: CompactRange | null;
}

/** Where the frame of `index` begins. */
export interface RecordPosition {
  readonly segment: number;
  readonly offset: number;
  readonly index: number;
}

export interface RecordRun {
  /** Bodies, views over one buffer that is theirs alone. */
  readonly records: Buffer[];
  readonly leafHashes: Buffer[];
  readonly next: RecordPosition;
}

/** One record always fits. */
const WINDOW_BYTES = 2 * LIMITS.recordBytesMax;

/**
 * Reads records back that are known to be durable, for batches that no longer are in memory. Memory is bounded by one
 * window a call. Anything else than the expected frame is `evidence_altered`: somebody changed the file.
 */
export class RecordReader {
  readonly #disk: Disk;
  readonly #writerId: Buffer;
  readonly #files: () => readonly RecordFile[];

  constructor(disk: Disk, writerId: Buffer, files: () => readonly RecordFile[]) {
    this.#disk = disk;
    this.#writerId = writerId;
    this.#files = files;
  }

  /** Records from `from` on, at least one, until about `bytesMax` or the end of the file. */
  async read(from: RecordPosition, bytesMax: number): Promise<RecordRun> {
    const file = this.#fileOf(from);
    const window = Buffer.allocUnsafeSlow(Math.max(WINDOW_BYTES, bytesMax));
    let { offset } = file.number === from.segment ? from : { offset: SEGMENT_HEADER_SIZE };
    const start = offset;
    const available = window.subarray(0, await readAt(this.#disk, file.name, window, start));
    const records: Buffer[] = [];
    const leafHashes: Buffer[] = [];
    let { index } = from;
    for (let bytes = 0; index < file.endIndex && bytes < bytesMax; index++) {
      const frame = readFrame(available, offset - start, { writerId: this.#writerId, segment: file.number, index });
      if (typeof frame === 'string') {
        if (records.length > 0) {
          break; // Cut by the window: the next read begins with it.
        }
        throw new GatewayError('evidence_altered', `record ${index} of ${file.name}`);
      }
      records.push(frame.body);
      leafHashes.push(leafHash(frame.body.subarray(0, LEAF_SIZE)));
      bytes += frame.body.length + FRAME_HEADER_SIZE;
      offset = start + frame.end;
    }
    return { records, leafHashes, next: { segment: file.number, offset, index } };
  }

  /** The place of `index`, and the compact range [0, `index`): read from the start of its segment. */
  async locate(index: number): Promise<{ readonly position: RecordPosition; readonly range: CompactRange }> {
    const begins = (each: RecordFile): boolean => each.rangeAtFirst !== null;
    const file = this.#files().findLast((each) => begins(each) && each.firstIndex <= index && index <= each.endIndex);
    if (file === undefined || file.rangeAtFirst === null) {
      throw new GatewayError('evidence_incomplete', `record ${index} is not kept any more`);
    }
    const range = file.rangeAtFirst.clone();
    let position: RecordPosition = { segment: file.number, offset: SEGMENT_HEADER_SIZE, index: file.firstIndex };
    while (position.index < index) {
      const run = await this.read(position, WINDOW_BYTES);
      let { offset } = position;
      for (let i = 0; i < run.records.length && range.size < index; i++) {
        range.append(run.leafHashes[i] as Buffer);
        offset += FRAME_HEADER_SIZE + (run.records[i] as Buffer).length;
      }
      position = { segment: file.number, offset, index: range.size };
    }
    return { position, range };
  }

  #fileOf(position: RecordPosition): RecordFile {
    const { index } = position;
    // A file that is continued elsewhere ends where the next begins; an index on the border is in the later one.
    const file = this.#files().findLast((each) => each.firstIndex <= index && index < each.endIndex);
    if (file === undefined) {
      throw new GatewayError('evidence_incomplete', `record ${index} is not kept any more`);
    }
    return file;
  }
}

async function readAt(disk: Disk, name: string, target: Buffer, position: number): Promise<number> {
  const file = await disk.open(name);
  try {
    return await file.read(target, position);
  } finally {
    await file.close();
  }
}

import type { Clock } from '../../kernel/clock.ts';
import { GatewayError } from '../../kernel/errors.ts';
import type { LogFile, LogFiles } from './log-files.ts';
import { Segment, walkRecords } from './segment.ts';
import { encodeSegmentHeader, readRecord, SEGMENT_HEADER_SIZE, segmentName } from './segment-format.ts';

const WRITE_BYTES = 1024 * 1024;

/**
 * Writes one segment with the newest record of each key out of `sealed`, under the name of the first of them, and returns
 * it. Records keep their offsets and bytes. The others are the caller's to remove.
 *
 * Limit: the keys of a compacted topic are held in memory while this runs.
 */
export async function compactSegments(
  files: LogFiles,
  clock: Clock,
  sealed: readonly Segment[],
  compactedTo: number,
): Promise<Segment> {
  const first = sealed[0] as Segment;
  const newest = new Map<string, number>();
  for (const segment of sealed) {
    await walkSegment(segment, (offset, key) => newest.set(key.toString('latin1'), offset));
  }
  const name = segmentName(first.header.base);
  const temporary = `${name}.tmp`;
  const target = await files.open(temporary, true);
  try {
    await target.truncate(0);
    const header = { base: first.header.base, compactedTo, createdMs: clock.nowMs() };
    const out = new Appender(target, encodeSegmentHeader(header));
    for (const segment of sealed) {
      await copySegment(segment, out, newest);
    }
    await out.flush();
    await target.datasync();
  } finally {
    await target.close();
  }
  // If we die here a `.tmp` file is left, which the next start removes.
  await files.rename(temporary, name);
  return Segment.load(files, name);
}

async function walkSegment(segment: Segment, onRecord: (offset: number, key: Buffer) => void): Promise<void> {
  const file = await segment.acquire();
  try {
    const end = await walkRecords(file, SEGMENT_HEADER_SIZE, segment.size, (r) => onRecord(r.offset, r.key));
    if (end !== segment.size) {
      throw new GatewayError('bus_damaged', `segment ${segment.name} at ${end}`);
    }
  } finally {
    await segment.release();
  }
}

async function copySegment(segment: Segment, out: Appender, newest: ReadonlyMap<string, number>): Promise<void> {
  await segment.acquire();
  try {
    for (let position = SEGMENT_HEADER_SIZE; position < segment.size;) {
      const chunk = await segment.readWhole(position, WRITE_BYTES);
      for (let at = 0; at < chunk.length;) {
        const record = readRecord(chunk, at);
        if (record === null) {
          throw new GatewayError('bus_damaged', `segment ${segment.name} at ${position + at}`);
        }
        if (newest.get(record.key.toString('latin1')) === record.offset) {
          out.push(chunk.subarray(at, at + record.size));
        }
        at += record.size;
      }
      await out.flush();
      position += chunk.length;
    }
  } finally {
    await segment.release();
  }
}

class Appender {
  readonly #file: LogFile;
  #position = 0;
  #pending: Buffer[];

  constructor(file: LogFile, header: Buffer) {
    this.#file = file;
    this.#pending = [header];
  }

  push(bytes: Buffer): void {
    this.#pending.push(bytes);
  }

  async flush(): Promise<void> {
    const buffers = this.#pending;
    this.#pending = [];
    const bytes = buffers.reduce((sum, b) => sum + b.length, 0);
    if (bytes > 0 && (await this.#file.writev(buffers, this.#position)) !== bytes) {
      throw new GatewayError('bus_unavailable', 'the disk took only part of a compacted segment');
    }
    this.#position += bytes;
  }
}

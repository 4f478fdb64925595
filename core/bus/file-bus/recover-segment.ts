import { GatewayError } from '../../kernel/errors.ts';
import type { Segment } from './segment.ts';
import { walkRecords } from './segment.ts';
import { readRecord, SEGMENT_HEADER_SIZE } from './segment-format.ts';

/** What the scan of the newest segment found. */
export interface RecoveredSegment {
  /** Offset after the last kept record. */
  readonly end: number;
  /** Number of the next commit group. */
  readonly nextGroup: number;
  /** Bytes of a torn tail that were cut off: 0 after a clean stop. */
  readonly tornBytes: number;
}

/**
 * Scans the newest segment, cuts a torn tail off and makes what it keeps durable. The segment must be acquired.
 *
 * Whole groups are kept, nothing else: the records of the last group were acknowledged together, after its flush. So a
 * bad record is a torn tail when nothing but its own group follows it. A later group exists only because the flush of
 * this one returned: then acknowledged bytes have changed, and the segment is left alone (`bus_damaged`).
 */
export async function recoverSegment(segment: Segment): Promise<RecoveredSegment> {
  const file = await segment.acquire();
  try {
    const fileSize = segment.size;
    let end = segment.header.base;
    let keepSize = SEGMENT_HEADER_SIZE;
    let group = 1;
    let pending: { offset: number; position: number; size: number }[] = [];
    const stop = await walkRecords(file, SEGMENT_HEADER_SIZE, fileSize, (record, position) => {
      pending.push({ offset: record.offset, position, size: record.size });
      group = record.lastOfGroup ? record.group + 1 : record.group;
      if (record.lastOfGroup) {
        for (const kept of pending) {
          segment.indexRecord(kept.offset, kept.position, kept.size);
        }
        pending = [];
        end = record.offset + 1;
        keepSize = position + record.size;
      }
    });
    const rest = Buffer.alloc(fileSize - stop);
    await file.read(rest, stop);
    if (hasLaterGroup(rest, end, group)) {
      throw new GatewayError('bus_damaged', `segment ${segment.name} at ${stop}: valid records follow`);
    }
    if (keepSize !== fileSize) {
      await file.truncate(keepSize);
    }
    // Kept records of a killed process may be in the page cache only, and tails will see them as durable.
    await file.datasync();
    // If we die here the next start finds a clean end.
    segment.size = keepSize;
    return { end, nextGroup: group, tornBytes: fileSize - keepSize };
  } finally {
    await segment.release();
  }
}

/** True when `rest` holds a valid record of a group after `tornGroup`. Slow: looks at every byte position. */
function hasLaterGroup(rest: Buffer, offsetMin: number, tornGroup: number): boolean {
  for (let at = 1; at < rest.length; at++) {
    const record = readRecord(rest, at);
    if (record !== null && record.group > tornGroup && record.offset >= offsetMin) {
      return true;
    }
  }
  return false;
}

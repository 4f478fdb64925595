import { sha256 } from '../../ledger/hash.ts';
import {
  findFrame,
  type Frame,
  FRAME_HEADER_SIZE,
  readFrame,
  SEGMENT_HEADER_SIZE,
} from '../../ledger/journal-format.ts';
import { decodeLeaf, LEAF_SIZE } from '../../ledger/leaf.ts';
import { decodeRecord, SALT_SIZE } from '../../ledger/record.ts';
import { LIMITS } from '../../kernel/limits.ts';

export interface FrameItem {
  readonly kind: 'frame';
  readonly offset: number;
  readonly frame: Frame;
}

/** Bytes at `offset` that should have been the frame of `index` and are not. */
export interface DamageItem {
  readonly kind: 'damage';
  readonly offset: number;
  readonly index: number;
  /** The group that it belonged to. */
  readonly group: number;
  /** Where its group begins: earlier bytes were durable before. */
  readonly groupOffset: number;
  /** The next valid frame, null when there is none in this segment. */
  readonly next: { readonly offset: number; readonly index: number } | null;
}

export type SegmentItem = FrameItem | DamageItem;

/** What a disk writes whole or not at all. */
const SECTOR_SIZE = 512;
/** A short write leaves zeros to the end of the frame; fewer than these may as well be data. */
const CUT_ZEROS_MIN = 16;
const ZERO_BLOCK = Buffer.alloc(64 * 1024);

/** Every valid frame of the segment in order, and every place where one is missing. */
export function* walkSegment(
  bytes: Buffer,
  writerId: Buffer,
  segment: number,
  firstIndex: number,
): Generator<SegmentItem> {
  let offset = SEGMENT_HEADER_SIZE;
  let groupOffset = offset;
  let index = firstIndex;
  let group = 1;
  for (;;) {
    const frame = readFrame(bytes, offset, { writerId, segment, index });
    if (typeof frame !== 'string') {
      yield { kind: 'frame', offset, frame };
      offset = frame.end;
      index++;
      group = frame.groupEnd ? frame.group + 1 : frame.group;
      groupOffset = frame.groupEnd ? frame.end : groupOffset;
      continue;
    }
    if (frame === 'end' && endOfData(bytes, offset) === offset) {
      return;
    }
    const found = findNext(bytes, offset, writerId, segment, index);
    const next = found === undefined ? null : { offset: found.offset, index: found.frame.index };
    yield { kind: 'damage', offset, index, group, groupOffset, next };
    if (found === undefined) {
      return;
    }
    groupOffset = found.frame.group === group ? groupOffset : found.offset;
    ({ offset } = found);
    ({ index, group } = found.frame);
  }
}

/** Whether nothing but zeros is in `bytes`. */
export function isUnused(bytes: Buffer): boolean {
  return endOfData(bytes, 0) === 0;
}

/**
 * Whether damage at the very end of a journal looks like a write that was cut by a crash, and not like bytes that were
 * changed later. Segments are zeroed before use and every byte is written once, so a cut write leaves whole sectors of
 * zeros (power loss) or zeros up to the end of the frame (short write). Damage without such zeros was done afterwards.
 *
 * Limit: whoever changes the last, unconfirmed group can make it look torn; a published head above it tells.
 */
export function looksTorn(bytes: Buffer, writerId: Buffer, damage: DamageItem): boolean {
  const { offset: start, groupOffset, index } = damage;
  const intactEnd = intactBodyEnd(bytes, start, writerId, index);
  const end = damage.next?.offset ?? intactEnd ?? announcedEnd(bytes, start);
  for (let sector = Math.floor(start / SECTOR_SIZE); sector * SECTOR_SIZE < end; sector++) {
    const from = Math.max(sector * SECTOR_SIZE, groupOffset);
    const to = Math.min((sector + 1) * SECTOR_SIZE, bytes.length);
    if (to > start && isZero(bytes, from, to)) {
      return true;
    }
  }
  return damage.next === null && intactEnd === null && isZero(bytes, Math.max(start, end - CUT_ZEROS_MIN), end);
}

/** The offset after the last byte that is not zero, at least `from`. */
function endOfData(bytes: Buffer, from: number): number {
  let end = bytes.length;
  while (end > from) {
    const start = Math.max(from, end - ZERO_BLOCK.length);
    if (!isZero(bytes, start, end)) {
      while (bytes[end - 1] === 0) {
        end--;
      }
      return end;
    }
    end = start;
  }
  return from;
}

function isZero(bytes: Buffer, from: number, to: number): boolean {
  for (let start = from; start < to; start += ZERO_BLOCK.length) {
    const end = Math.min(to, start + ZERO_BLOCK.length);
    if (bytes.compare(ZERO_BLOCK, 0, end - start, start, end) !== 0) {
      return false;
    }
  }
  return true;
}

function findNext(
  bytes: Buffer,
  from: number,
  writerId: Buffer,
  segment: number,
  index: number,
): { offset: number; frame: Frame } | undefined {
  let found = findFrame(bytes, from, { writerId, segment });
  // A lower index was read already; a copy of it further on is no way to go on.
  while (found !== undefined && found.frame.index < index) {
    found = findFrame(bytes, found.offset + 1, { writerId, segment });
  }
  return found;
}

/** Where the frame ends by its own length, or where the data end when that says nothing sensible. */
function announcedEnd(bytes: Buffer, start: number): number {
  const dataEnd = Math.max(endOfData(bytes, start), Math.min(start + FRAME_HEADER_SIZE, bytes.length));
  if (start + FRAME_HEADER_SIZE > bytes.length) {
    return dataEnd;
  }
  const size = bytes.readUInt32BE(start + 28);
  const end = start + FRAME_HEADER_SIZE + size;
  return size > 0 && size <= LIMITS.recordBytesMax && end <= bytes.length ? Math.max(end, dataEnd) : dataEnd;
}

/** The end of the frame when its body is whole although its header is not: then all of it was written once. */
function intactBodyEnd(bytes: Buffer, start: number, writerId: Buffer, index: number): number | null {
  const bodyStart = start + FRAME_HEADER_SIZE;
  const metaLengthAt = bodyStart + LEAF_SIZE + SALT_SIZE;
  try {
    let end = metaLengthAt + 4;
    end += bytes.readUInt32BE(metaLengthAt);
    const units = bytes.readUInt8(end++);
    for (let i = 0; i < units && i < 2; i++) {
      end += 5 + bytes.readUInt32BE(end + 1);
    }
    const body = decodeRecord(bytes.subarray(bodyStart, end));
    const leaf = decodeLeaf(body.leaf);
    const whole =
      leaf.index === index && leaf.writerId.equals(writerId) && leaf.metaCommit.equals(sha256(body.salt, body.meta));
    return whole ? end : null;
  } catch {
    return null; // Not even the shape of a record.
  }
}

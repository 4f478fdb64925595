import { crc32 } from 'node:zlib';
import { join } from 'node:path';
import {
  decodeSegmentHeader,
  readRecord,
  RECORD_HEADER_SIZE,
  recordSizeAt,
  SEGMENT_HEADER_SIZE,
  segmentBase,
  type StoredRecord,
} from '../../core/bus/file-bus/segment-format.ts';
import { listFiles, readWhole } from './evidence-files.ts';

/** One message of a partition, as found. Views over the segment, valid until the next one. */
export interface BusRecord extends StoredRecord {
  /** Relative to the evidence. */
  readonly file: string;
  /** Where the value begins in the file. */
  readonly valueAt: number;
}

/** Bytes that should be a message and are not. */
export interface BusDamage {
  readonly file: string;
  readonly offset: number;
  readonly detail: string;
  /** The bytes that stand where the value should be, as far as the length can be believed. */
  readonly value: Buffer;
}

export interface PartitionEvents {
  readonly onRecord: (record: BusRecord) => void;
  readonly onDamage: (damage: BusDamage) => void;
}

export interface BusPartition {
  readonly topic: string;
  readonly partition: number;
  /** Segments, oldest first, relative to the directory of the bus. */
  readonly files: readonly string[];
}

/** The partitions of the bus in `directory`; the offsets of consumers are no evidence and not among them. */
export function busPartitions(directory: string): BusPartition[] {
  const partitions = new Map<string, { topic: string; partition: number; files: string[] }>();
  for (const name of listFiles(directory)) {
    const match = /^topics\/([^/]+)\/(\d+)\/([^/]+)$/.exec(name);
    const [, topic, number, file] = match ?? [];
    if (topic === undefined || number === undefined || file === undefined || segmentBase(file) === null) {
      continue;
    }
    const key = `${topic}/${number}`;
    const known = partitions.get(key) ?? { topic, partition: Number(number), files: [] };
    partitions.set(key, known);
    known.files.push(name);
  }
  return [...partitions.values()];
}

/**
 * Every message of a partition in order. The last group may be cut off where the copy was taken or the process died:
 * that is no damage, nobody was told that it is there. Memory: one segment.
 */
export function readPartition(
  directory: string,
  prefix: string,
  { files }: BusPartition,
  events: PartitionEvents,
): void {
  let expected = -1;
  for (const [i, name] of files.entries()) {
    const bytes = readWhole(join(directory, name));
    if (bytes === null) {
      continue; // Dropped by retention while we read.
    }
    expected = readSegment(bytes, `${prefix}${name}`, i === files.length - 1, expected, events);
  }
}

/** The offset after the segment, -1 when that is not known. */
function readSegment(bytes: Buffer, file: string, isLast: boolean, expected: number, events: PartitionEvents): number {
  const damage = (offset: number, detail: string, value: Buffer = Buffer.alloc(0)): void =>
    events.onDamage({ file, offset, detail, value });
  const header = decodeSegmentHeader(bytes);
  const base = segmentBase(file.slice(file.lastIndexOf('/') + 1));
  if (header === null || header.base !== base) {
    damage(0, 'the header of the segment');
  }
  const compacted = header !== null && header.compactedTo > 0;
  if (expected >= 0 && base !== null && base !== expected && !compacted) {
    damage(0, `messages ${expected} to ${base - 1} are not there`);
  }
  let next = base ?? 0;
  for (let at = SEGMENT_HEADER_SIZE; at < bytes.length;) {
    const record = readRecord(bytes, at);
    if (record === null) {
      const resumed = resume(bytes, at, next);
      if (isLast && isTorn(bytes, at, resumed)) {
        return next;
      }
      const size = recordSizeAt(bytes, at);
      const end = resumed ?? (size > 0 ? Math.min(bytes.length, at + size) : bytes.length);
      damage(at, 'a message does not give its checksum', valueOf(bytes, at, end));
      at = end;
      next++;
      continue;
    }
    if (record.offset !== next && !compacted) {
      damage(at, `message ${next} is expected, ${record.offset} found`);
    }
    next = record.offset + 1;
    const valueAt = at + record.size - record.value.length;
    events.onRecord({ ...record, file, valueAt });
    at += record.size;
  }
  return compacted ? header.compactedTo : next;
}

/** Where the next message begins that can be read; undefined when there is none. */
function resume(bytes: Buffer, damagedAt: number, offsetMin: number): number | undefined {
  const size = recordSizeAt(bytes, damagedAt);
  // The length is mostly right: then the next message is where it says, and nothing needs to be searched.
  if (size > 0 && damagedAt + size < bytes.length && readRecord(bytes, damagedAt + size) !== null) {
    return damagedAt + size;
  }
  for (let at = damagedAt + 1; at + RECORD_HEADER_SIZE <= bytes.length; at++) {
    const length = recordSizeAt(bytes, at);
    if (length > 0 && at + length <= bytes.length) {
      const record = readRecord(bytes, at);
      if (record !== null && record.offset >= offsetMin) {
        return at;
      }
    }
  }
  return undefined;
}

/** Whether the file ends inside a message: cut off by a crash or a copy, not changed. */
function isTorn(bytes: Buffer, at: number, resumed: number | undefined): boolean {
  if (resumed !== undefined) {
    return false;
  }
  const available = bytes.length - at;
  if (available < RECORD_HEADER_SIZE) {
    return true;
  }
  const size = recordSizeAt(bytes, at);
  if (size === 0 || at + size <= bytes.length) {
    // All of it is there and it does not hold; only zeros can be a write that never got to the disk.
    return bytes.subarray(at).every((byte) => byte === 0);
  }
  // Longer than the file: if the checksum holds with the length that is there, the length itself was changed.
  const length = Buffer.alloc(4);
  length.writeUInt32BE(available - 8);
  const crc = crc32(bytes.subarray(at + 8), crc32(length));
  return crc !== bytes.readUInt32BE(at + 4);
}

function valueOf(bytes: Buffer, at: number, end: number): Buffer {
  if (at + RECORD_HEADER_SIZE > end) {
    return Buffer.alloc(0);
  }
  const valueAt = at + RECORD_HEADER_SIZE + bytes.readUInt16BE(at + 30);
  return bytes.subarray(Math.min(valueAt, end), end);
}

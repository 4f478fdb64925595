import { crc32 } from 'node:zlib';
import { readU64, writeU64 } from '../../kernel/bytes.ts';
import { LIMITS } from '../../kernel/limits.ts';

/**
 * A segment of one partition: `<base offset, 16 digits>.seg`. Integers are big-endian.
 *
 *     segment = header || record*
 *     header  = "CFB1" || version u8 = 1 || zero bytes3 || base offset u64 || compacted to u64 || created ms u64
 *               || crc u32 over the 32 bytes before it
 *     record  = length u32 || crc u32 || offset u64 || timestamp ms u64 || group u32 || flags u8 || zero u8
 *               || key length u16 || key || value
 *
 * `length` = bytes after `crc`; `crc` = CRC-32 (IEEE) over them and the length. `group` counts the commits of a segment
 * from 1; flag bit 0 marks the last record of its group. `compacted to` is zero, or the end of the range of offsets that
 * this segment replaces. A record on the wire of a tail is the same bytes: the server never re-encodes.
 */
export const SEGMENT_HEADER_SIZE = 36;
export const RECORD_HEADER_SIZE = 32;
export const FLAG_LAST_OF_GROUP = 1;

const MAGIC = 0x43464231;
const VERSION = 1;
const LENGTH_AND_CRC_SIZE = 8;
const RECORD_BYTES_MAX = RECORD_HEADER_SIZE + LIMITS.busKeyBytesMax + LIMITS.busValueBytesMax;

export interface SegmentHeader {
  readonly base: number;
  readonly compactedTo: number;
  readonly createdMs: number;
}

/** One record as found at a position: views over `source`, valid as long as it is. */
export interface StoredRecord {
  readonly offset: number;
  readonly timestampMs: number;
  readonly group: number;
  readonly lastOfGroup: boolean;
  readonly key: Buffer;
  readonly value: Buffer;
  /** Whole size in the segment. */
  readonly size: number;
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const out = Buffer.alloc(SEGMENT_HEADER_SIZE);
  out.writeUInt32BE(MAGIC, 0);
  out.writeUInt8(VERSION, 4);
  writeU64(out, header.base, 8);
  writeU64(out, header.compactedTo, 16);
  writeU64(out, header.createdMs, 24);
  out.writeUInt32BE(crc32(out.subarray(0, 32)), 32);
  return out;
}

/** Null when the bytes are not a header of this version. */
export function decodeSegmentHeader(source: Buffer): SegmentHeader | null {
  if (source.length < SEGMENT_HEADER_SIZE || source.readUInt32BE(0) !== MAGIC || source[4] !== VERSION) {
    return null;
  }
  if (source.readUInt32BE(32) !== crc32(source.subarray(0, 32))) {
    return null;
  }
  return { base: readU64(source, 8), compactedTo: readU64(source, 16), createdMs: readU64(source, 24) };
}

/** Writes the header of a record whose key and value follow it, and returns the size of header and key. */
export function writeRecordHead(
  target: Buffer,
  at: number,
  record: { offset: number; timestampMs: number; group: number; lastOfGroup: boolean; key: Buffer; value: Buffer },
): number {
  const { key, value } = record;
  target.writeUInt32BE(RECORD_HEADER_SIZE - LENGTH_AND_CRC_SIZE + key.length + value.length, at);
  writeU64(target, record.offset, at + 8);
  writeU64(target, record.timestampMs, at + 16);
  target.writeUInt32BE(record.group, at + 24);
  target.writeUInt8(record.lastOfGroup ? FLAG_LAST_OF_GROUP : 0, at + 28);
  target.writeUInt8(0, at + 29);
  target.writeUInt16BE(key.length, at + 30);
  key.copy(target, at + RECORD_HEADER_SIZE);
  const size = RECORD_HEADER_SIZE + key.length;
  let crc = crc32(target.subarray(at, at + 4));
  crc = crc32(target.subarray(at + LENGTH_AND_CRC_SIZE, at + size), crc);
  target.writeUInt32BE(value.length === 0 ? crc : crc32(value, crc), at + 4);
  return size;
}

/** Size of the record at `at` by its length field; 0 when there are too few bytes or the length is impossible. */
export function recordSizeAt(source: Buffer, at: number): number {
  if (source.length - at < RECORD_HEADER_SIZE) {
    return 0;
  }
  const size = source.readUInt32BE(at) + LENGTH_AND_CRC_SIZE;
  return size < RECORD_HEADER_SIZE || size > RECORD_BYTES_MAX ? 0 : size;
}

/** The record at `at`, or null when the bytes there are not one whole, undamaged record. */
export function readRecord(source: Buffer, at: number): StoredRecord | null {
  const size = recordSizeAt(source, at);
  if (size === 0 || source.length - at < size) {
    return null;
  }
  const crc = crc32(source.subarray(at + LENGTH_AND_CRC_SIZE, at + size), crc32(source.subarray(at, at + 4)));
  const keyEnd = at + RECORD_HEADER_SIZE + source.readUInt16BE(at + 30);
  if (crc !== source.readUInt32BE(at + 4) || keyEnd > at + size) {
    return null;
  }
  return {
    offset: readU64(source, at + 8),
    timestampMs: readU64(source, at + 16),
    group: source.readUInt32BE(at + 24),
    lastOfGroup: (source.readUInt8(at + 28) & FLAG_LAST_OF_GROUP) !== 0,
    key: source.subarray(at + RECORD_HEADER_SIZE, keyEnd),
    value: source.subarray(keyEnd, at + size),
    size,
  };
}

/** Offset field of the record at `at`, unchecked: for walking bytes that were checked when they were written. */
export function recordOffsetAt(source: Buffer, at: number): number {
  return readU64(source, at + 8);
}

export function segmentName(base: number): string {
  return `${String(base).padStart(16, '0')}.seg`;
}

/** Base offset in a segment's file name, or null when it is the name of something else. */
export function segmentBase(name: string): number | null {
  const match = /^(\d{16})\.seg$/.exec(name);
  return match === null ? null : Number(match[1]);
}

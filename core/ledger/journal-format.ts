import { crc32 } from 'node:zlib';
import { assert } from '../kernel/assert.ts';
import { readU64, writeU64, ZERO16 } from '../kernel/bytes.ts';
import { LIMITS } from '../kernel/limits.ts';
import { ByteReader } from './byte-reader.ts';

/*
 * Journal segment (docs/formats.md, "Journal"): a 64-byte header, then frames back to back, then zeros.
 *
 *   segment = "CHJ1" | version u8 = 1 | zero 3 | writer id 16 | segment number u32 | first index u64 | created ns u64
 *             | crc u32 over the 44 bytes before it | zero to 64
 *   frame   = writer id 16 | segment number u32 | index u64 | length u32 | group u32 | flags u8 | zero 3 | crc u32 | body
 *
 * The frame's crc covers the 40 bytes before it and the body. 44 zero bytes, or what is left of the file, are the end.
 */
export const SEGMENT_HEADER_SIZE = 64;
export const FRAME_HEADER_SIZE = 44;
/** Set on the last frame of a commit group. */
export const FRAME_FLAG_GROUP_END = 1;

const MAGIC = 'CHJ1';
const VERSION = 1;
const SEGMENT_CRC_OFFSET = 44;
const FRAME_CRC_OFFSET = 40;
const ZERO_HEADER = Buffer.alloc(FRAME_HEADER_SIZE);
const SEGMENT_NAME = /^([0-9a-f]{32})-([0-9]{8})\.seg$/;

export interface SegmentHeader {
  readonly writerId: Buffer;
  readonly segment: number;
  /** Index of the first record of the segment. */
  readonly firstIndex: number;
  readonly createdNs: bigint;
}

export interface FrameHeader {
  readonly writerId: Buffer;
  readonly segment: number;
  readonly index: number;
  /** Number of the commit group in this segment, from 1. */
  readonly group: number;
  /** Whether this is the last frame of its group. */
  readonly groupEnd: boolean;
}

export interface Frame extends FrameHeader {
  /** View over the source. */
  readonly body: Buffer;
  /** Offset after the frame. */
  readonly end: number;
}

/** What the reader knows about the next frame. `index` is left out when searching. */
export interface ExpectedFrame {
  readonly writerId: Buffer;
  readonly segment: number;
  readonly index?: number;
}

export function segmentName(writerId: Buffer, segment: number): string {
  assert(writerId.length === 16 && segment >= 0 && segment < 100_000_000, 'a segment number has at most 8 digits');
  return `${writerId.toString('hex')}-${String(segment).padStart(8, '0')}.seg`;
}

/** Undefined when `name` is not the name of a segment. */
export function parseSegmentName(name: string): { writerId: Buffer; segment: number } | undefined {
  const match = SEGMENT_NAME.exec(name);
  if (match === null) {
    return undefined;
  }
  return { writerId: Buffer.from(match[1] ?? '', 'hex'), segment: Number(match[2]) };
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  assert(header.writerId.length === 16, 'a writer id is 16 bytes');
  const bytes = Buffer.alloc(SEGMENT_HEADER_SIZE);
  bytes.write(MAGIC, 0, 'latin1');
  bytes[4] = VERSION;
  bytes.set(header.writerId, 8);
  bytes.writeUInt32BE(header.segment, 24);
  writeU64(bytes, header.firstIndex, 28);
  bytes.writeBigUInt64BE(header.createdNs, 36);
  bytes.writeUInt32BE(crc32(bytes.subarray(0, SEGMENT_CRC_OFFSET)), SEGMENT_CRC_OFFSET);
  return bytes;
}

/** Reads the header at the start of `source`, which may be longer. Throws GatewayError `evidence_malformed`. */
export function decodeSegmentHeader(source: Buffer): SegmentHeader {
  const bytes = source.subarray(0, SEGMENT_HEADER_SIZE);
  const reader = new ByteReader(bytes, 'segment header');
  reader.magic(MAGIC, VERSION);
  reader.zeros(3, 'reserved bytes');
  const writerId = reader.bytes(16, 'writer id');
  const segment = reader.u32('segment number');
  const firstIndex = reader.u64('first index');
  const createdNs = reader.big64('created');
  if (reader.u32('crc') !== crc32(bytes.subarray(0, SEGMENT_CRC_OFFSET))) {
    throw reader.refuse('crc');
  }
  reader.zeros(SEGMENT_HEADER_SIZE - reader.offset, 'padding');
  reader.end();
  return { writerId, segment, firstIndex, createdNs };
}

/**
 * Writes the 44 bytes before a body that lies at `offset + FRAME_HEADER_SIZE` already, or is given as `body` when it is
 * written from elsewhere (writev). Hot path: no allocation.
 */
export function writeFrameHeader(target: Buffer, offset: number, header: FrameHeader, body: Buffer): void {
  assert(target.length - offset >= FRAME_HEADER_SIZE, 'the target holds a frame header');
  assert(header.writerId.length === 16 && header.group > 0 && body.length > 0, 'a frame has a writer, a group, a body');
  target.set(header.writerId, offset);
  target.writeUInt32BE(header.segment, offset + 16);
  writeU64(target, header.index, offset + 20);
  target.writeUInt32BE(body.length, offset + 28);
  target.writeUInt32BE(header.group, offset + 32);
  target.writeUInt32BE(header.groupEnd ? FRAME_FLAG_GROUP_END << 24 : 0, offset + 36);
  target.writeUInt32BE(frameCrc(target, offset, body), offset + FRAME_CRC_OFFSET);
}

/**
 * The frame at `offset`: `end` when nothing was written there, `torn` when what is there is not the expected frame.
 * `torn` does not say whether the write was cut or the bytes were changed later: `findFrame` tells, because after a
 * torn tail nothing valid follows.
 */
export function readFrame(source: Buffer, offset: number, expected: ExpectedFrame): Frame | 'end' | 'torn' {
  const available = Math.min(FRAME_HEADER_SIZE, source.length - offset);
  if (available <= 0 || source.compare(ZERO_HEADER, 0, available, offset, offset + available) === 0) {
    return 'end';
  }
  if (available < FRAME_HEADER_SIZE) {
    return 'torn';
  }
  const size = source.readUInt32BE(offset + 28);
  const start = offset + FRAME_HEADER_SIZE;
  const index = readU64(source, offset + 20);
  const flags = source.readUInt32BE(offset + 36);
  if (
    size === 0 ||
    size > LIMITS.recordBytesMax ||
    start + size > source.length ||
    source.compare(expected.writerId, 0, ZERO16.length, offset, offset + ZERO16.length) !== 0 ||
    source.readUInt32BE(offset + 16) !== expected.segment ||
    index < 0 ||
    (expected.index !== undefined && index !== expected.index) ||
    (flags !== 0 && flags !== FRAME_FLAG_GROUP_END << 24)
  ) {
    return 'torn';
  }
  const body = source.subarray(start, start + size);
  if (source.readUInt32BE(offset + FRAME_CRC_OFFSET) !== frameCrc(source, offset, body)) {
    return 'torn';
  }
  return {
    writerId: source.subarray(offset, offset + ZERO16.length),
    segment: expected.segment,
    index,
    group: source.readUInt32BE(offset + 32),
    groupEnd: flags !== 0,
    body,
    end: start + size,
  };
}

/** The first valid frame of this writer and segment at or after `from`, wherever it starts; undefined when there is none. */
export function findFrame(
  source: Buffer,
  from: number,
  expected: ExpectedFrame,
): { offset: number; frame: Frame } | undefined {
  let offset = source.indexOf(expected.writerId, from);
  while (offset >= 0) {
    const frame = readFrame(source, offset, expected);
    if (typeof frame !== 'string') {
      return { offset, frame };
    }
    offset = source.indexOf(expected.writerId, offset + 1);
  }
  return undefined;
}

function frameCrc(header: Buffer, offset: number, body: Buffer): number {
  return crc32(body, crc32(header.subarray(offset, offset + FRAME_CRC_OFFSET)));
}

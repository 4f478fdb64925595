import { assert } from '../kernel/assert.ts';
import { writeU64 } from '../kernel/bytes.ts';
import { ByteReader } from './byte-reader.ts';

/*
 * Value of `evidence.acks.v1` (docs/formats.md, "Acks"):
 *
 *   "CHA1" | type u8 (1 archive watermark, 2 nack) | writer id 16 | index u64 | reason length u16 | reason ASCII
 *
 * Watermark: every record below `index` is archived; its reason is empty. Nack: the batch that starts at `index` was
 * refused. The digit of the magic is the version.
 */
const MAGIC = 'CHA1';
const FIXED_SIZE = 4 + 1 + 16 + 8 + 2;
const REASON_BYTES_MAX = 1024;

export const ACK_TYPES = { watermark: 1, nack: 2 } as const;

export interface Ack {
  readonly type: 1 | 2;
  readonly writerId: Buffer;
  readonly index: number;
  readonly reason: string;
}

export function encodeAck(ack: Ack): Buffer {
  const reason = Buffer.from(ack.reason, 'latin1');
  assert(reason.length <= REASON_BYTES_MAX && reason.every((byte) => byte < 0x80), 'a reason is short ASCII');
  assert(ack.writerId.length === 16, 'a writer id is 16 bytes');
  const bytes = Buffer.alloc(FIXED_SIZE + reason.length);
  bytes.write(MAGIC, 0, 'latin1');
  bytes[4] = ack.type;
  bytes.set(ack.writerId, 5);
  writeU64(bytes, ack.index, 21);
  bytes.writeUInt16BE(reason.length, 29);
  bytes.set(reason, FIXED_SIZE);
  return bytes;
}

export function decodeAck(bytes: Buffer): Ack {
  const reader = new ByteReader(bytes, 'ack');
  if (reader.bytes(MAGIC.length, 'magic').toString('latin1') !== MAGIC) {
    throw reader.refuse('magic');
  }
  const type = reader.oneOf(reader.u8('type'), [1, 2] as const, 'type');
  const writerId = reader.bytes(16, 'writer id');
  const index = reader.u64('index');
  const size = reader.u16('reason length');
  const reason = reader.bytes(size, 'reason');
  if (size > REASON_BYTES_MAX || reason.some((byte) => byte >= 0x80)) {
    throw reader.refuse('reason');
  }
  reader.end();
  return { type, writerId, index, reason: reason.toString('latin1') };
}

import { assert } from '../kernel/assert.ts';
import { writeU64 } from '../kernel/bytes.ts';
import { LIMITS } from '../kernel/limits.ts';
import { ByteReader } from './byte-reader.ts';
import { compactCount } from './compact-range.ts';
import { HASH_SIZE } from './hash.ts';
import { HEAD_SIZE } from './head.ts';

/*
 * Batch: a range of a writer log, one message of `evidence.batches.v1` (docs/formats.md, "Batch"):
 *
 *   "CHB1" | version u8 = 1 | codec u8 = 0 | writer id 16 | first u64 | count u32
 *   | compact count u8 | compact hashes 32 each | root after 32 | head 161
 *   | epoch flag u8 | [epoch length u32 | epoch certificate] | (length u32 | record body) x count
 */
const MAGIC = 'CHB1';
const VERSION = 1;
const CODEC_NONE = 0;
const FIXED_SIZE = 4 + 1 + 1 + 16 + 8 + 4 + 1 + HASH_SIZE + HEAD_SIZE + 1;
const RECORD_HEADER_SIZE = 4;

export interface Batch {
  readonly writerId: Buffer;
  /** Index of the first record. */
  readonly first: number;
  readonly count: number;
  /** Compact range [0, first): `CompactRange.hashes` at that size. */
  readonly compact: readonly Buffer[];
  /** Root at size first + count. */
  readonly rootAfter: Buffer;
  readonly head: Buffer;
  /** Epoch certificate; present when `first` is 0. */
  readonly epoch: Buffer | null;
  readonly records: readonly Buffer[];
}

/** Bytes that a batch has apart from its records, for the one who decides when a batch is full. */
export function batchOverhead(compactCount: number, epoch: Buffer | null): number {
  return FIXED_SIZE + compactCount * HASH_SIZE + (epoch === null ? 0 : 4 + epoch.length);
}

/** Bytes that one more record adds. */
export function batchRecordSize(recordBytes: number): number {
  return RECORD_HEADER_SIZE + recordBytes;
}

export function encodeBatch(batch: Batch): Buffer {
  assert(batch.count === batch.records.length && batch.count > 0, 'count is the number of records, at least one');
  assert(batch.compact.length === compactCount(batch.first), 'the compact range is that of `first`');
  assert((batch.first === 0) === (batch.epoch !== null), 'exactly the first batch carries the epoch certificate');
  assert(batch.writerId.length === 16 && batch.rootAfter.length === HASH_SIZE, 'ids and roots have their sizes');
  assert(batch.head.length === HEAD_SIZE, 'a head is 161 bytes');
  let size = batchOverhead(batch.compact.length, batch.epoch);
  for (const record of batch.records) {
    size += batchRecordSize(record.length);
  }
  assert(size <= LIMITS.batchBytesMax, 'a batch is within its limit');
  const target = Buffer.allocUnsafe(size);
  target.write(MAGIC, 0, 'latin1');
  target[4] = VERSION;
  target[5] = CODEC_NONE;
  target.set(batch.writerId, 6);
  writeU64(target, batch.first, 22);
  target.writeUInt32BE(batch.count, 30);
  let at = target.writeUInt8(batch.compact.length, 34);
  for (const hash of batch.compact) {
    at = put(target, at, hash);
  }
  at = put(target, at, batch.rootAfter);
  at = put(target, at, batch.head);
  at = target.writeUInt8(batch.epoch === null ? 0 : 1, at);
  for (const part of batch.epoch === null ? batch.records : [batch.epoch, ...batch.records]) {
    at = target.writeUInt32BE(part.length, at);
    at = put(target, at, part);
  }
  assert(at === size, 'the size was counted right');
  return target;
}

/** Views over `bytes`, which must be one batch exactly. Records are not decoded, nothing is verified: `verifyBatch`. */
export function decodeBatch(bytes: Buffer): Batch {
  const reader = new ByteReader(bytes, 'batch');
  if (bytes.length > LIMITS.batchBytesMax) {
    throw reader.refuse('size over the limit');
  }
  reader.magic(MAGIC, VERSION);
  if (reader.u8('codec') !== CODEC_NONE) {
    throw reader.refuse('codec');
  }
  const writerId = reader.bytes(16, 'writer id');
  const first = reader.u64('first');
  const count = reader.u32('count');
  // A record body has hundreds of bytes, so this bounds the loop below by the input's own size.
  if (count === 0 || count > bytes.length / RECORD_HEADER_SIZE) {
    throw reader.refuse('count');
  }
  if (reader.u8('compact count') !== compactCount(first)) {
    throw reader.refuse('compact count');
  }
  const compact: Buffer[] = [];
  for (let i = compactCount(first); i > 0; i--) {
    compact.push(reader.bytes(HASH_SIZE, 'compact hash'));
  }
  const rootAfter = reader.bytes(HASH_SIZE, 'root after');
  const head = reader.bytes(HEAD_SIZE, 'head');
  const hasEpoch = reader.oneOf(reader.u8('epoch flag'), [0, 1] as const, 'epoch flag') === 1;
  if (hasEpoch !== (first === 0)) {
    throw reader.refuse('epoch flag');
  }
  const epoch = hasEpoch ? reader.bytes(reader.u32('epoch length'), 'epoch certificate') : null;
  const records: Buffer[] = [];
  for (let i = 0; i < count; i++) {
    records.push(reader.bytes(reader.u32('record length'), 'record'));
  }
  reader.end();
  return { writerId, first, count, compact, rootAfter, head, epoch, records };
}

function put(target: Buffer, at: number, bytes: Buffer): number {
  target.set(bytes, at);
  return at + bytes.length;
}

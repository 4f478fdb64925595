import { assert } from '../kernel/assert.ts';
import { LIMITS } from '../kernel/limits.ts';
import { ByteReader } from './byte-reader.ts';
import { LEAF_SIZE } from './leaf.ts';

/*
 * Record body (docs/formats.md, "Record body"):
 *
 *   leaf 299 | salt 16 | meta length u32 | meta | unit count u8 (0..2) | units
 *   unit = class u8 (1 payload, 2 originals) | length u32 | sealed unit
 *
 * At most one unit of each class, payload first.
 */
export const SALT_SIZE = 16;
const FIXED_SIZE = LEAF_SIZE + SALT_SIZE + 4 + 1;
const UNIT_HEADER_SIZE = 1 + 4;
const UNITS_MAX = 2;

export type UnitClass = 1 | 2;

export interface RecordUnitBytes {
  readonly unitClass: UnitClass;
  /** The whole sealed unit; its SHA-256 is the commit of the leaf. */
  readonly bytes: Buffer;
}

export interface RecordBody {
  readonly leaf: Buffer;
  readonly salt: Buffer;
  /** `chaperone.evidence.v1.Event` as written. */
  readonly meta: Buffer;
  readonly units: readonly RecordUnitBytes[];
}

export function recordSize(body: {
  readonly meta: Uint8Array;
  readonly units: readonly { readonly bytes: Uint8Array }[];
}): number {
  let size = FIXED_SIZE + body.meta.length;
  for (const unit of body.units) {
    size += UNIT_HEADER_SIZE + unit.bytes.length;
  }
  return size;
}

export function encodeRecord(body: RecordBody): Buffer {
  const target = Buffer.allocUnsafe(recordSize(body));
  const end = encodeRecordInto(target, 0, body);
  assert(end === target.length, 'recordSize and encodeRecordInto agree');
  return target;
}

/** Writes the body at `offset` and returns the offset after it. The caller has checked `recordSize` against the limit. */
export function encodeRecordInto(target: Buffer, offset: number, body: RecordBody): number {
  assert(body.leaf.length === LEAF_SIZE && body.salt.length === SALT_SIZE, 'leaf and salt have their fixed sizes');
  assert(body.units.length <= UNITS_MAX, 'at most one unit of each class');
  assert(body.meta.length <= LIMITS.metaBytesMax, 'meta is within its limit');
  assert(recordSize(body) <= LIMITS.recordBytesMax, 'a record is within its limit');
  target.set(body.leaf, offset);
  target.set(body.salt, offset + LEAF_SIZE);
  let at = target.writeUInt32BE(body.meta.length, offset + LEAF_SIZE + SALT_SIZE);
  target.set(body.meta, at);
  at = target.writeUInt8(body.units.length, at + body.meta.length);
  let previousClass = 0;
  for (const unit of body.units) {
    assert(unit.unitClass > previousClass, 'units are in order of their class, one of each');
    previousClass = unit.unitClass;
    at = target.writeUInt8(unit.unitClass, at);
    at = target.writeUInt32BE(unit.bytes.length, at);
    target.set(unit.bytes, at);
    at += unit.bytes.length;
  }
  return at;
}

/** Views over `bytes`, which must be one record body exactly. The leaf is not decoded here. */
export function decodeRecord(bytes: Buffer): RecordBody {
  const reader = new ByteReader(bytes, 'record');
  if (bytes.length > LIMITS.recordBytesMax) {
    throw reader.refuse('size over the limit');
  }
  const leaf = reader.bytes(LEAF_SIZE, 'leaf');
  const salt = reader.bytes(SALT_SIZE, 'salt');
  const metaSize = reader.u32('meta length');
  if (metaSize > LIMITS.metaBytesMax) {
    throw reader.refuse('meta length over the limit');
  }
  const meta = reader.bytes(metaSize, 'meta');
  const count = reader.u8('unit count');
  if (count > UNITS_MAX) {
    throw reader.refuse('unit count');
  }
  const units: RecordUnitBytes[] = [];
  let previousClass = 0;
  for (let i = 0; i < count; i++) {
    const unitClass = reader.oneOf(reader.u8('unit class'), [1, 2] as const, 'unit class');
    if (unitClass <= previousClass) {
      throw reader.refuse('order of the units');
    }
    previousClass = unitClass;
    units.push({ unitClass, bytes: reader.bytes(reader.u32('unit length'), 'unit') });
  }
  reader.end();
  return { leaf, salt, meta, units };
}

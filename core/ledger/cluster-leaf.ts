import { assert } from '../kernel/assert.ts';
import { writeU64 } from '../kernel/bytes.ts';
import { ByteReader } from './byte-reader.ts';
import { HASH_SIZE } from './hash.ts';
import { HEAD_SIZE } from './head.ts';

/*
 * Cluster leaf `cl1` (docs/formats.md, "Cluster leaf"):
 *
 *   version u8 = 1 | type u8 | input offset u64 | body
 *   body of type 1 (epoch):   epoch certificate length u32 | epoch certificate | leaf 0 body length u32 | record body
 *   body of type 2 (head):    head 161
 *   body of type 3 (event):   record body without units
 *   body of type 4 (refused): reason length u16 | reason ASCII | SHA-256 of the input value 32
 *
 * Value of `evidence.heads.v1`: type u8 | body, types 1 to 3. The sequencer puts version and offset around it.
 */
const VERSION = 1;
const HEADER_SIZE = 1 + 1 + 8;
/** An entry of an entry bundle has a u16 length (C2SP tlog-tiles). */
export const CLUSTER_LEAF_BYTES_MAX = 0xffff;
export const HEADS_VALUE_BYTES_MAX = CLUSTER_LEAF_BYTES_MAX - (HEADER_SIZE - 1);

export const CLUSTER_LEAF_TYPES = { epoch: 1, head: 2, event: 3, refused: 4 } as const;
export type ClusterLeafType = (typeof CLUSTER_LEAF_TYPES)[keyof typeof CLUSTER_LEAF_TYPES];
const TYPES: readonly ClusterLeafType[] = [1, 2, 3, 4];
const INPUT_TYPES: readonly HeadsValue['type'][] = [1, 2, 3];

export interface ClusterLeaf {
  readonly type: ClusterLeafType;
  /** Offset of the input in `evidence.heads.v1`. */
  readonly inputOffset: number;
  readonly body: Buffer;
}

export interface HeadsValue {
  readonly type: 1 | 2 | 3;
  readonly body: Buffer;
}

export interface EpochEntry {
  readonly epoch: Buffer;
  /** Record body of leaf 0, without units. */
  readonly record: Buffer;
}

export interface RefusedEntry {
  /** ASCII. */
  readonly reason: string;
  readonly inputHash: Buffer;
}

export function encodeClusterLeaf(leaf: ClusterLeaf): Buffer {
  const bytes = Buffer.allocUnsafe(HEADER_SIZE + leaf.body.length);
  assert(bytes.length <= CLUSTER_LEAF_BYTES_MAX, 'a cluster leaf fits an entry bundle');
  bytes[0] = VERSION;
  bytes[1] = leaf.type;
  writeU64(bytes, leaf.inputOffset, 2);
  bytes.set(leaf.body, HEADER_SIZE);
  return bytes;
}

/** The body is not decoded: `decodeEpochEntry`, `decodeHead`, `decodeRecord`, `decodeRefusedEntry`. */
export function decodeClusterLeaf(bytes: Buffer): ClusterLeaf {
  const reader = new ByteReader(bytes, 'cluster leaf');
  if (reader.u8('version') !== VERSION) {
    throw reader.refuse('version');
  }
  const type = reader.oneOf(reader.u8('type'), TYPES, 'type');
  const inputOffset = reader.u64('input offset');
  const body = reader.bytes(reader.remaining, 'body');
  checkHeadSize(reader, type, body);
  return { type, inputOffset, body };
}

export function encodeHeadsValue(value: HeadsValue): Buffer {
  assert(value.body.length < HEADS_VALUE_BYTES_MAX, 'a value of the heads topic fits a cluster leaf');
  return Buffer.concat([Buffer.of(value.type), value.body]);
}

export function decodeHeadsValue(bytes: Buffer): HeadsValue {
  const reader = new ByteReader(bytes, 'heads value');
  if (bytes.length > HEADS_VALUE_BYTES_MAX) {
    throw reader.refuse('size over the limit');
  }
  const type = reader.oneOf(reader.u8('type'), INPUT_TYPES, 'type');
  const body = reader.bytes(reader.remaining, 'body');
  checkHeadSize(reader, type, body);
  return { type, body };
}

export function encodeEpochEntry(entry: EpochEntry): Buffer {
  const lengths = [Buffer.alloc(4), Buffer.alloc(4)] as const;
  lengths[0].writeUInt32BE(entry.epoch.length);
  lengths[1].writeUInt32BE(entry.record.length);
  return Buffer.concat([lengths[0], entry.epoch, lengths[1], entry.record]);
}

export function decodeEpochEntry(body: Buffer): EpochEntry {
  const reader = new ByteReader(body, 'epoch entry');
  const epoch = reader.bytes(reader.u32('epoch length'), 'epoch certificate');
  const record = reader.bytes(reader.u32('record length'), 'record');
  reader.end();
  return { epoch, record };
}

export function encodeRefusedEntry(entry: RefusedEntry): Buffer {
  const reason = Buffer.from(entry.reason, 'latin1');
  assert(reason.length <= 0xffff && isAscii(reason), 'a reason is short ASCII');
  assert(entry.inputHash.length === HASH_SIZE, 'a digest is 32 bytes');
  const length = Buffer.alloc(2);
  length.writeUInt16BE(reason.length);
  return Buffer.concat([length, reason, entry.inputHash]);
}

export function decodeRefusedEntry(body: Buffer): RefusedEntry {
  const reader = new ByteReader(body, 'refused entry');
  const reason = reader.bytes(reader.u16('reason length'), 'reason');
  if (!isAscii(reason)) {
    throw reader.refuse('reason');
  }
  const inputHash = reader.bytes(HASH_SIZE, 'input hash');
  reader.end();
  return { reason: reason.toString('latin1'), inputHash };
}

function checkHeadSize(reader: ByteReader, type: ClusterLeafType, body: Buffer): void {
  if (type === CLUSTER_LEAF_TYPES.head && body.length !== HEAD_SIZE) {
    throw reader.refuse('size of the head');
  }
}

function isAscii(bytes: Buffer): boolean {
  return bytes.every((byte) => byte < 0x80);
}

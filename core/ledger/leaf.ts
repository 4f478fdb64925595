import { assert } from '../kernel/assert.ts';
import { readU64, writeU64, ZERO16, ZERO32 } from '../kernel/bytes.ts';
import { malformed } from './byte-reader.ts';
import { sha256 } from './hash.ts';

/*
 * Leaf `ev1`, 299 bytes, big-endian (docs/formats.md, "Leaf"):
 *
 *   0 version u8 = 1 | 1 kind u8 | 2 writer id 16 | 18 index u64 | 26 time ns u64 | 34 tenant tag 16 | 50 session id 16
 *   | 66 strand seq u32 | 70 strand previous 32 | 102 bundle digest 32 | 134 decision u8 | 135 obligation bits u32
 *   | 139 approval leaf hash 32 | 171 meta commit 32 | 203 payload commit 32 | 235 originals commit 32
 *   | 267 payload key id 16 | 283 originals key id 16 | 299
 */
export const LEAF_SIZE = 299;
export const LEAF_VERSION = 1;

/** Record kinds by name. A decoder accepts numbers that are not here: `kindName` shows them as `unknown.<n>`. */
export const KINDS = {
  'epoch.open': 1,
  'epoch.close': 2,
  'session.open': 3,
  'session.close': 4,
  operation: 10,
  'request.part': 11,
  'response.part': 12,
  response: 13,
  delivery: 14,
  'approval.asked': 20,
  'approval.granted': 21,
  'approval.denied': 22,
  'approval.expired': 23,
  'approval.claimed': 24,
  'policy.activated': 30,
  'config.activated': 31,
  'node.enrolled': 32,
  'approver.enrolled': 33,
  'people.changed': 34,
  'key.rotated': 35,
  'key.shredded': 36,
  'retention.pruned': 37,
  'hold.set': 38,
  'hold.released': 39,
  'unmask.requested': 40,
  'unmask.served': 41,
  'payload.viewed': 42,
  'pack.made': 43,
  'review.signed': 44,
  'script.reviewed': 45,
  'schema.unknown': 50,
  'wire.refused': 51,
  'auth.refused': 52,
  'batch.quarantined': 60,
  'gap.declared': 61,
  probe: 62,
} as const;
export type KindName = keyof typeof KINDS;

/** Bits of the field `obligations`. */
export const OBLIGATIONS = {
  record_full: 1 << 0,
  terminate_session: 1 << 1,
  payload_in_response: 1 << 2,
  read_fast_path: 1 << 3,
  replicated: 1 << 4,
  cached_decision: 1 << 5,
  final_unit: 1 << 6,
  aborted: 1 << 7,
} as const;
export type ObligationName = keyof typeof OBLIGATIONS;

export const DECISIONS = { none: 0, allow: 1, deny: 2, approve: 3 } as const;

export interface LeafFields {
  readonly kind: number;
  /** 16 bytes. */
  readonly writerId: Buffer;
  readonly index: number;
  readonly timeNs: bigint;
  /** 16 bytes, `tenantTag(name)`. */
  readonly tenantTag: Buffer;
  /** 16 bytes, zero without a session. */
  readonly sessionId: Buffer;
  readonly strandSeq: number;
  /** Leaf hash of the previous record of the strand; zero at sequence 0. */
  readonly strandPrevious: Buffer;
  readonly bundleDigest: Buffer;
  readonly decision: 0 | 1 | 2 | 3;
  readonly obligations: number;
  readonly approvalLeafHash: Buffer;
  readonly metaCommit: Buffer;
  /** SHA-256 of the sealed unit, or zero; likewise `originalsCommit`. */
  readonly payloadCommit: Buffer;
  readonly originalsCommit: Buffer;
  /** 16 bytes, or zero; likewise `originalsKeyId`. */
  readonly payloadKeyId: Buffer;
  readonly originalsKeyId: Buffer;
}

const KIND_NAMES = new Map<number, string>(Object.entries(KINDS).map(([name, number]) => [number, name]));
const TENANT_DOMAIN = Buffer.from('chaperone/tenant/v1\n', 'ascii');
const TAG_SIZE = 16;

export function kindName(kind: number): string {
  return KIND_NAMES.get(kind) ?? `unknown.${kind}`;
}

export function tenantTag(name: string): Buffer {
  return sha256(TENANT_DOMAIN, Buffer.from(name, 'utf8')).subarray(0, TAG_SIZE);
}

export function encodeLeaf(fields: LeafFields): Buffer {
  const target = Buffer.allocUnsafe(LEAF_SIZE);
  encodeLeafInto(target, 0, fields);
  return target;
}

/** Hot path of the writer: no allocation. Writes exactly `LEAF_SIZE` bytes at `offset`. */
export function encodeLeafInto(target: Buffer, offset: number, fields: LeafFields): void {
  assert(target.length - offset >= LEAF_SIZE, 'the target holds a leaf');
  assert(fields.kind > 0 && fields.kind <= 0xff, 'a kind is one byte and not zero');
  target[offset] = LEAF_VERSION;
  target[offset + 1] = fields.kind;
  put16(target, offset + 2, fields.writerId);
  writeU64(target, fields.index, offset + 18);
  target.writeBigUInt64BE(fields.timeNs, offset + 26);
  put16(target, offset + 34, fields.tenantTag);
  put16(target, offset + 50, fields.sessionId);
  target.writeUInt32BE(fields.strandSeq, offset + 66);
  put32(target, offset + 70, fields.strandPrevious);
  put32(target, offset + 102, fields.bundleDigest);
  target[offset + 134] = fields.decision;
  target.writeUInt32BE(fields.obligations, offset + 135);
  put32(target, offset + 139, fields.approvalLeafHash);
  put32(target, offset + 171, fields.metaCommit);
  put32(target, offset + 203, fields.payloadCommit);
  put32(target, offset + 235, fields.originalsCommit);
  put16(target, offset + 267, fields.payloadKeyId);
  put16(target, offset + 283, fields.originalsKeyId);
}

/** Views over `bytes`, which must be one leaf exactly. Throws GatewayError `evidence_malformed`. */
export function decodeLeaf(bytes: Buffer): LeafFields {
  if (bytes.length !== LEAF_SIZE) {
    throw malformed('leaf: size');
  }
  if (bytes[0] !== LEAF_VERSION) {
    throw malformed('leaf: version');
  }
  const kind = bytes.readUInt8(1);
  const index = readU64(bytes, 18);
  const decision = bytes.readUInt8(134);
  if (kind === 0) {
    throw malformed('leaf: kind');
  }
  if (index < 0) {
    throw malformed('leaf: index');
  }
  if (decision !== 0 && decision !== 1 && decision !== 2 && decision !== 3) {
    throw malformed('leaf: decision');
  }
  return {
    kind,
    writerId: bytes.subarray(2, 18),
    index,
    timeNs: bytes.readBigUInt64BE(26),
    tenantTag: bytes.subarray(34, 50),
    sessionId: bytes.subarray(50, 66),
    strandSeq: bytes.readUInt32BE(66),
    strandPrevious: bytes.subarray(70, 102),
    bundleDigest: bytes.subarray(102, 134),
    decision,
    obligations: bytes.readUInt32BE(135),
    approvalLeafHash: bytes.subarray(139, 171),
    metaCommit: bytes.subarray(171, 203),
    payloadCommit: bytes.subarray(203, 235),
    originalsCommit: bytes.subarray(235, 267),
    payloadKeyId: bytes.subarray(267, 283),
    originalsKeyId: bytes.subarray(283, 299),
  };
}

/** The names of the obligation bits that are set; bits without a name are left out. */
export function obligationNames(bits: number): ObligationName[] {
  const names: ObligationName[] = [];
  for (const [name, bit] of Object.entries(OBLIGATIONS)) {
    if ((bits & bit) !== 0) {
      names.push(name as ObligationName);
    }
  }
  return names;
}

function put16(target: Buffer, offset: number, value: Buffer): void {
  assert(value.length === ZERO16.length, 'an id or tag is 16 bytes');
  target.set(value, offset);
}

function put32(target: Buffer, offset: number, value: Buffer): void {
  assert(value.length === ZERO32.length, 'a digest is 32 bytes');
  target.set(value, offset);
}

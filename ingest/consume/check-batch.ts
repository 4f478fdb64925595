import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import { readU64 } from '../../core/kernel/bytes.ts';
import type { Batch } from '../../core/ledger/batch.ts';
import { CompactRange } from '../../core/ledger/compact-range.ts';
import { publicKeyObject } from '../../core/ledger/ed25519.ts';
import { decodeEpoch, verifyEpochChain } from '../../core/ledger/epoch.ts';
import { leafHash, sha256 } from '../../core/ledger/hash.ts';
import { decodeHead, SIGNER_KINDS, verifyHead } from '../../core/ledger/head.ts';
import type { Head } from '../../core/ledger/head.ts';
import { KINDS, LEAF_SIZE, LEAF_VERSION } from '../../core/ledger/leaf.ts';
import { decodeRecord, SALT_SIZE } from '../../core/ledger/record.ts';
import type { RecordBody, RecordUnitBytes } from '../../core/ledger/record.ts';
import { Event } from '../../proto/gen/chaperone/evidence/v1/event.ts';

/** A record that was checked against its leaf. Views over the batch. */
export interface CheckedRecord extends RecordBody {
  readonly leafHash: Buffer;
}

/** Short ASCII words: they go into the nack, the quarantine and the metric label. */
export type RefusalReason =
  | 'malformed'
  | 'gap'
  | 'fork'
  | 'epoch'
  | 'node-certificate'
  | 'head'
  | 'signature'
  | 'compact-range'
  | 'record'
  | 'leaf'
  | 'meta-commit'
  | 'unit-commit'
  | 'root'
  | 'recovery-signer'
  | 'recovery-not-listed'
  | 'recovery-too-large';

export type BatchCheck =
  | {
      readonly outcome: 'accepted';
      /** Records that are new: the batch without what the log had already. */
      readonly records: readonly CheckedRecord[];
      /** Index of the first of `records`. */
      readonly first: number;
      readonly range: CompactRange;
      readonly head: Head;
    }
  /** Everything in it is known and equal, as far as the root says. `size` is where it ends. */
  | { readonly outcome: 'known'; readonly size: number; readonly root: Buffer }
  | { readonly outcome: 'refused'; readonly reason: RefusalReason };

/** Who a writer is, from its epoch certificate. */
export interface Identity {
  readonly epoch: Buffer;
  readonly publicKey: ReturnType<typeof publicKeyObject>;
  readonly role: number;
}

/** What a head must be signed with; null when the signer is not (yet) known. */
export type SignerOf = (head: Head) => Identity['publicKey'] | null;

const refused = (reason: RefusalReason): BatchCheck => ({ outcome: 'refused', reason });

/**
 * Checks a batch against what is known of its writer: head signature, compact range, every leaf against its meta and
 * units, contiguity and the root at its end. A batch that begins below the size of the log is sliced; the root at its
 * end binds also what was cut off. `range` is not changed; the accepted one is a copy.
 *
 * What is wholly known is only compared by its end: the caller compares `root` with its own at that size.
 */
export function checkBatch(batch: Batch, range: CompactRange, signerOf: SignerOf): BatchCheck {
  const end = batch.first + batch.count;
  const head = headOf(batch);
  if (head === null) {
    return refused('head');
  }
  const signer = signerOf(head);
  if (signer === null || !verifyHead(batch.head, signer)) {
    return refused(head.signerKind === SIGNER_KINDS.recovery && signer === null ? 'recovery-signer' : 'signature');
  }
  if (batch.first > range.size) {
    return refused('gap');
  }
  if (end <= range.size) {
    return { outcome: 'known', size: end, root: batch.rootAfter };
  }
  if (batch.first === range.size && !sameHashes(batch.compact, range.hashes)) {
    return refused('compact-range');
  }
  const next = range.clone();
  const skip = range.size - batch.first;
  const records: CheckedRecord[] = [];
  for (const [i, bytes] of batch.records.slice(skip).entries()) {
    const record = checkRecord(bytes, batch.writerId, range.size + i);
    if (typeof record === 'string') {
      return refused(record);
    }
    next.append(record.leafHash);
    records.push(record);
  }
  if (!next.root().equals(batch.rootAfter)) {
    // With an overlap the difference can lie in what was cut off: the writer said something else there before.
    return refused(skip > 0 ? 'fork' : 'root');
  }
  return { outcome: 'accepted', records, first: range.size, range: next, head };
}

/**
 * One record: its leaf has the expected place and commits to exactly this meta and these units.
 *
 * Hot path: the layout of docs/formats.md, "Record body", read in place; `decodeRecord` and `decodeLeaf` of the ledger
 * are the oracle in the test. No exception for bad input.
 */
export function checkRecord(bytes: Buffer, writerId: Buffer, index: number): CheckedRecord | RefusalReason {
  if (bytes.length < META_AT + 1 || bytes.length > LIMITS.recordBytesMax) {
    return 'record';
  }
  if (bytes[0] !== LEAF_VERSION || bytes[1] === 0 || (bytes[134] as number) > 3) {
    return 'leaf';
  }
  if (bytes.compare(writerId, 0, 16, 2, 18) !== 0 || readU64(bytes, 18) !== index) {
    return 'leaf';
  }
  const metaEnd = META_AT + bytes.readUInt32BE(META_AT - 4);
  if (metaEnd - META_AT > LIMITS.metaBytesMax || metaEnd >= bytes.length) {
    return 'record';
  }
  // Salt and meta are committed without the length between them.
  const salt = bytes.subarray(LEAF_SIZE, LEAF_SIZE + SALT_SIZE);
  const meta = bytes.subarray(META_AT, metaEnd);
  if (!commits(bytes, META_COMMIT_AT, sha256(salt, meta))) {
    return 'meta-commit';
  }
  const units = checkUnits(bytes, metaEnd);
  if (typeof units === 'string') {
    return units;
  }
  const leaf = bytes.subarray(0, LEAF_SIZE);
  return { leaf, salt, meta, units, leafHash: leafHash(leaf) };
}

const META_AT = LEAF_SIZE + SALT_SIZE + 4;
const META_COMMIT_AT = 171;
const UNIT_COMMITS_AT = { 1: 203, 2: 235 } as const;
const NO_UNITS: CheckedRecord['units'] = [];

/** The units behind the meta, which end the record; the leaf commits to each, or to none by zeros. */
function checkUnits(bytes: Buffer, countAt: number): CheckedRecord['units'] | RefusalReason {
  const count = bytes[countAt] as number;
  if (count === 0) {
    const bare = countAt + 1 === bytes.length;
    return !bare ? 'record' : isZero(bytes, UNIT_COMMITS_AT[1], UNIT_COMMITS_AT[2] + 32) ? NO_UNITS : 'unit-commit';
  }
  const units: RecordUnitBytes[] = [];
  let at = countAt + 1;
  let previous = 0;
  for (let i = 0; i < count; i++) {
    const unitClass = bytes[at];
    if ((unitClass !== 1 && unitClass !== 2) || unitClass <= previous || at + 5 > bytes.length) {
      return 'record';
    }
    const end = at + 5 + bytes.readUInt32BE(at + 1);
    if (end > bytes.length) {
      return 'record';
    }
    const unit = bytes.subarray(at + 5, end);
    if (!commits(bytes, UNIT_COMMITS_AT[unitClass], sha256(unit))) {
      return 'unit-commit';
    }
    units.push({ unitClass, bytes: unit });
    previous = unitClass;
    at = end;
  }
  if (at !== bytes.length) {
    return 'record';
  }
  for (const unitClass of [1, 2] as const) {
    const commitAt = UNIT_COMMITS_AT[unitClass];
    if (!units.some((unit) => unit.unitClass === unitClass) && !isZero(bytes, commitAt, commitAt + 32)) {
      return 'unit-commit';
    }
  }
  return units;
}

/** The identity that the first batch of a writer brings, checked up to the cluster CA and against leaf 0. */
export function checkEpoch(batch: Batch, clusterCas: readonly (string | Buffer)[]): Identity | RefusalReason {
  const bytes = batch.epoch;
  if (bytes === null) {
    return 'epoch';
  }
  try {
    if (verifyEpochChain(bytes, clusterCas) !== null) {
      return 'node-certificate';
    }
    const epoch = decodeEpoch(bytes);
    const opening = decodeRecord(batch.records[0] as Buffer);
    const { epoch: open } = Event.decode(opening.meta);
    const agrees =
      epoch.writerId.equals(batch.writerId) &&
      opening.leaf[1] === KINDS['epoch.open'] &&
      open !== undefined &&
      epoch.publicKey.equals(open.publicKey);
    return agrees ? { epoch: bytes, publicKey: publicKeyObject(epoch.publicKey), role: epoch.role } : 'epoch';
  } catch (error) {
    return malformedOr(error, 'epoch');
  }
}

function headOf(batch: Batch): Head | null {
  try {
    const head = decodeHead(batch.head);
    const agrees =
      head.writerId.equals(batch.writerId) &&
      head.size === batch.first + batch.count &&
      head.root.equals(batch.rootAfter);
    return agrees ? head : null;
  } catch (error) {
    malformedOr(error, 'head');
    return null;
  }
}

/** A decoder refused: that is the sender's fault. Any other failure is ours and goes on. */
function malformedOr(error: unknown, reason: RefusalReason): RefusalReason {
  if (error instanceof GatewayError || (error instanceof Error && error.name !== 'InvariantError')) {
    return reason;
  }
  throw error;
}

function sameHashes(left: readonly Buffer[], right: readonly Buffer[]): boolean {
  return left.length === right.length && left.every((hash, i) => hash.equals(right[i] as Buffer));
}

function commits(leaf: Buffer, offset: number, hash: Buffer): boolean {
  return leaf.compare(hash, 0, 32, offset, offset + 32) === 0;
}

function isZero(bytes: Buffer, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    if (bytes[i] !== 0) {
      return false;
    }
  }
  return true;
}

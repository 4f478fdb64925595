import { readU64 } from '../../core/kernel/bytes.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import { sha256 } from '../../core/ledger/hash.ts';
import { KINDS, LEAF_SIZE, LEAF_VERSION } from '../../core/ledger/leaf.ts';
import { SALT_SIZE } from '../../core/ledger/record.ts';
import { UNIT_HEADER_SIZE, UNIT_OVERHEAD } from '../../core/ledger/sealed-unit.ts';

const SALT_AT = LEAF_SIZE;
const META_LENGTH_AT = SALT_AT + SALT_SIZE;
const META_AT = META_LENGTH_AT + 4;
const META_COMMIT_AT = 171;
const UNIT_FRAME_SIZE = 5;
/** Class, commit and key id of the two kinds of unit in the leaf. */
const UNITS = [
  { unitClass: 1, name: 'payload', commitAt: 203, keyAt: 267 },
  { unitClass: 2, name: 'originals', commitAt: 235, keyAt: 283 },
] as const;

/**
 * What is wrong with a record body, null when nothing is: form, place, and every commit of the leaf. The leaf itself is
 * bound by the tree only.
 *
 * Hot path: reads at fixed offsets instead of decoding, two digests and no object for a record that is as it was written.
 */
export function recordProblem(bytes: Buffer, writerId: Buffer, index: number): string | null {
  if (bytes.length < META_AT + 1 || bytes.length > LIMITS.recordBytesMax) {
    return 'not the size of a record';
  }
  if (bytes[0] !== LEAF_VERSION || bytes[1] === 0 || (bytes[134] as number) > 3) {
    return 'version, kind or decision of the leaf';
  }
  if (!equalAt(bytes, 2, writerId, 0, 16)) {
    return 'the leaf is of another writer';
  }
  if (readU64(bytes, 18) !== index) {
    return 'the leaf names another index';
  }
  if ((bytes[1] === KINDS['epoch.open']) !== (index === 0)) {
    return 'epoch.open is the first record, and only that';
  }
  const metaEnd = META_AT + bytes.readUInt32BE(META_LENGTH_AT);
  if (metaEnd - META_AT > LIMITS.metaBytesMax || metaEnd >= bytes.length) {
    return 'the length of the meta';
  }
  const commit = sha256(bytes.subarray(SALT_AT, META_LENGTH_AT), bytes.subarray(META_AT, metaEnd));
  if (!equalAt(bytes, META_COMMIT_AT, commit, 0, 32)) {
    return 'meta or salt is not what the leaf commits to';
  }
  return unitsProblem(bytes, metaEnd);
}

/** Milliseconds since 1970, whole; what is past 2^53 ns loses digits that nobody compares. */
export function leafTimeMs(leaf: Buffer): number {
  return (leaf.readUInt32BE(26) * 0x1_0000_0000 + leaf.readUInt32BE(30)) / 1_000_000;
}

/** Kind of a leaf or a record body. */
export function kindOf(leaf: Buffer): number {
  return leaf[1] as number;
}

/** Salt and meta of a record body that `recordProblem` accepted. */
export function metaOf(bytes: Buffer): Buffer {
  return bytes.subarray(META_AT, META_AT + bytes.readUInt32BE(META_LENGTH_AT));
}

function unitsProblem(bytes: Buffer, metaEnd: number): string | null {
  let left = bytes[metaEnd] as number;
  let at = metaEnd + 1;
  if (left > UNITS.length) {
    return 'the number of units';
  }
  for (const { unitClass, name, commitAt, keyAt } of UNITS) {
    if (left === 0 || bytes[at] !== unitClass) {
      if (!isZero(bytes, commitAt, 32)) {
        return `the ${name} unit is not there`;
      }
      if (!isZero(bytes, keyAt, 16)) {
        return `the leaf names a key for ${name} and has no unit`;
      }
      continue;
    }
    if (at + UNIT_FRAME_SIZE > bytes.length) {
      return 'a unit is cut off';
    }
    const start = at + UNIT_FRAME_SIZE;
    const end = start + bytes.readUInt32BE(at + 1);
    if (end > bytes.length || end - start < UNIT_OVERHEAD) {
      return 'the length of a unit';
    }
    const commit = sha256(bytes.subarray(start, end));
    if (!equalAt(bytes, commitAt, commit, 0, 32)) {
      return `the ${name} unit is not what the leaf commits to`;
    }
    if (!unitHeaderHolds(bytes, start, end, unitClass, keyAt)) {
      return `the header of the ${name} unit is not that of the leaf`;
    }
    at = end;
    left--;
  }
  return left === 0 && at === bytes.length ? null : 'bytes after the units';
}

/** Class, key id and length in the header of a sealed unit (docs/formats.md, "Sealed unit"). */
function unitHeaderHolds(bytes: Buffer, start: number, end: number, unitClass: number, keyAt: number): boolean {
  return (
    bytes.readUInt32BE(start) === 0x43485531 &&
    bytes[start + 4] === 1 &&
    bytes[start + 5] === unitClass &&
    equalAt(bytes, keyAt, bytes, start + 8, 16) &&
    bytes.readUInt32BE(start + UNIT_HEADER_SIZE - 4) === end - start - UNIT_OVERHEAD
  );
}

/** Loops, because a native call with offsets costs several times what comparing 32 bytes does. */
export function equalAt(left: Buffer, leftAt: number, right: Buffer, rightAt: number, size: number): boolean {
  for (let i = 0; i < size; i++) {
    if (left[leftAt + i] !== right[rightAt + i]) {
      return false;
    }
  }
  return true;
}

export function isZero(bytes: Buffer, at: number, size: number): boolean {
  for (let i = at; i < at + size; i++) {
    if (bytes[i] !== 0) {
      return false;
    }
  }
  return true;
}

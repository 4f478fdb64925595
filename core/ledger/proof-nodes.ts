import { assert } from '../kernel/assert.ts';
import { EMPTY_ROOT, nodeHash } from './hash.ts';

/**
 * The hash of the full subtree [index * 2^level, (index + 1) * 2^level). Level 0 is the leaf hashes. Trees in memory and
 * trees in tiles are both read through this, so proofs are built in one way.
 */
export type HashSource = (level: number, index: number) => Buffer;

/**
 * Root of the subtree [start, end) (RFC 6962 section 2.1, MTH of the range). `start` must be a multiple of the smallest
 * power of two that is not below the size of the range, else the range is no subtree.
 */
export function rangeRoot(start: number, end: number, source: HashSource): Buffer {
  assert(isSubtree(start, end), 'the range is a subtree');
  if (start === end) {
    return Buffer.from(EMPTY_ROOT);
  }
  const roots: Buffer[] = [];
  let at = start;
  while (at < end) {
    const level = log2Floor(end - at);
    const size = 2 ** level;
    roots.push(source(level, at / size));
    at += size;
  }
  return roots.reduceRight((right, left) => nodeHash(left, right));
}

/** Audit path of leaf `index` in the tree of `size` (RFC 6962 section 2.1.1), from the leaf's sibling upwards. */
export function inclusionProof(index: number, size: number, source: HashSource): Buffer[] {
  assert(Number.isSafeInteger(size) && index >= 0 && index < size, 'the leaf is in the tree');
  const path: Buffer[] = [];
  let start = 0;
  let end = size;
  while (end - start > 1) {
    const split = start + powerOfTwoBelow(end - start);
    if (index < split) {
      path.push(rangeRoot(split, end, source));
      end = split;
    } else {
      path.push(rangeRoot(start, split, source));
      start = split;
    }
  }
  return path.reverse();
}

/** Proof that the tree of `size1` is a prefix of that of `size2` (RFC 6962 section 2.1.2). Empty when equal. */
export function consistencyProof(size1: number, size2: number, source: HashSource): Buffer[] {
  assert(size1 > 0, 'the empty tree needs no proof: its rule is at the call site');
  return subtreeConsistencyProof(0, size1, size2, source);
}

/** Proof that the subtree [start, end) belongs to the tree of `size` (draft-ietf-plants-merkle-tree-certs section 4.4). */
export function subtreeConsistencyProof(start: number, end: number, size: number, source: HashSource): Buffer[] {
  assert(Number.isSafeInteger(size) && start < end && end <= size && isSubtree(start, end), 'a subtree of the tree');
  const path: Buffer[] = [];
  let low = 0;
  let high = size;
  // False once the walk went right below a split inside the subtree: then the verifier does not have this hash already.
  let known = true;
  while (low !== start || high !== end) {
    const split = low + powerOfTwoBelow(high - low);
    if (end <= split) {
      path.push(rangeRoot(split, high, source));
      high = split;
    } else {
      path.push(rangeRoot(low, split, source));
      if (start < split) {
        known = false;
        start = split;
      }
      low = split;
    }
  }
  if (!known) {
    path.push(rangeRoot(low, high, source));
  }
  return path.reverse();
}

/** Whether [start, end) is a subtree: start is a multiple of the smallest power of two >= end - start. Empty counts. */
export function isSubtree(start: number, end: number): boolean {
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || start > end) {
    return false;
  }
  const size = end - start;
  const width = size <= 1 ? 1 : 2 * powerOfTwoBelow(size);
  return start % width === 0;
}

/** The largest power of two below `size`, which is at least 2. */
function powerOfTwoBelow(size: number): number {
  const level = log2Floor(size);
  return 2 ** level === size ? size / 2 : 2 ** level;
}

/** Exact for safe integers, where Math.log2 is not. */
function log2Floor(value: number): number {
  const high = Math.floor(value / 0x1_0000_0000);
  return high > 0 ? 63 - Math.clz32(high) : 31 - Math.clz32(value);
}

import { assert } from '../kernel/assert.ts';
import { EMPTY_ROOT, HASH_SIZE, nodeHash, nodePairHashInto } from './hash.ts';
import { consistencyProof, inclusionProof, isSubtree, rangeRoot } from './proof-nodes.ts';

const CAPACITY_FIRST = 64;

/**
 * An RFC 6962 tree that keeps the hash of every full subtree, 64 bytes a leaf, so that any proof at any past size is a
 * few look-ups. For a log that only grows and never proves, `CompactRange` is enough.
 *
 * Invariant: level `l` of `#levels` holds exactly floor(size / 2^l) hashes, those of the full subtrees of 2^l leaves.
 */
export class MerkleTree {
  readonly #levels: { bytes: Buffer; count: number }[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  append(leafHash: Buffer): void {
    assert(leafHash.length === HASH_SIZE, 'a hash is 32 bytes');
    const bottom = this.#reserve(0);
    bottom.bytes.set(leafHash, bottom.count * HASH_SIZE);
    bottom.count++;
    this.#size++;
    for (let level = 0; ; level++) {
      const children = this.#levels[level];
      if (children === undefined || children.count % 2 === 1) {
        return;
      }
      const parents = this.#reserve(level + 1);
      const left = (children.count - 2) * HASH_SIZE;
      nodePairHashInto(children.bytes, left, parents.bytes, parents.count * HASH_SIZE);
      parents.count++;
    }
  }

  root(size: number = this.#size): Buffer {
    assert(size <= this.#size, 'a past size');
    return rangeRoot(0, size, this.hashAt);
  }

  /** From the leaf's sibling upwards. */
  inclusionProof(index: number, size: number = this.#size): Buffer[] {
    assert(size <= this.#size, 'a past size');
    return inclusionProof(index, size, this.hashAt);
  }

  consistencyProof(size1: number, size2: number = this.#size): Buffer[] {
    assert(size1 <= size2 && size2 <= this.#size, 'past sizes in order');
    return consistencyProof(size1, size2, this.hashAt);
  }

  /** A `HashSource`; a view, valid until the next `append`. */
  readonly hashAt = (level: number, index: number): Buffer => {
    const stored = this.#levels[level];
    assert(stored !== undefined && index >= 0 && index < stored.count, 'the subtree is full');
    return stored.bytes.subarray(index * HASH_SIZE, (index + 1) * HASH_SIZE);
  };

  #reserve(level: number): { bytes: Buffer; count: number } {
    let stored = this.#levels[level];
    if (stored === undefined) {
      stored = { bytes: Buffer.allocUnsafe(CAPACITY_FIRST * HASH_SIZE), count: 0 };
      this.#levels[level] = stored;
    }
    if (stored.count * HASH_SIZE === stored.bytes.length) {
      const larger = Buffer.allocUnsafe(2 * stored.bytes.length);
      stored.bytes.copy(larger);
      stored.bytes = larger;
    }
    return stored;
  }
}

/** RFC 9162 section 2.1.3.2. False for anything that is not a proof; never throws on what a peer sent. */
export function verifyInclusion(
  index: number,
  size: number,
  leafHash: Buffer,
  proof: readonly Buffer[],
  root: Buffer,
): boolean {
  return inclusionRoot(index, size, leafHash, proof)?.equals(root) === true;
}

/** The root that `proof` leads to, or null when it cannot be a proof for this index and size. */
export function inclusionRoot(index: number, size: number, leafHash: Buffer, proof: readonly Buffer[]): Buffer | null {
  if (!isSize(index) || !isSize(size) || index >= size || !areHashes([leafHash, ...proof])) {
    return null;
  }
  let node = index;
  let last = size - 1;
  let hash = leafHash;
  for (const sibling of proof) {
    if (last === 0) {
      return null;
    }
    if (node % 2 === 1 || node === last) {
      hash = nodeHash(sibling, hash);
      // A right edge without a sibling on some levels: it is carried up unchanged.
      while (node % 2 === 0 && node !== 0) {
        node /= 2;
        last = Math.floor(last / 2);
      }
    } else {
      hash = nodeHash(hash, sibling);
    }
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  return last === 0 ? hash : null;
}

/**
 * RFC 9162 section 2.1.4.2. `size1` = 0 is false: nothing is proved by it. Where an empty old tree is allowed (a C2SP
 * witness that sees a log for the first time), the caller decides that before it comes here.
 */
export function verifyConsistency(
  size1: number,
  size2: number,
  root1: Buffer,
  root2: Buffer,
  proof: readonly Buffer[],
): boolean {
  if (!isSize(size1) || size1 === 0) {
    return false;
  }
  if (size1 === size2) {
    return proof.length === 0 && root1.equals(root2);
  }
  return verifySubtreeConsistency(0, size1, size2, root1, root2, proof);
}

/** Inclusion of leaf `index` in the subtree [start, end) with root `root`. */
export function verifySubtreeInclusion(
  index: number,
  start: number,
  end: number,
  leafHash: Buffer,
  proof: readonly Buffer[],
  root: Buffer,
): boolean {
  if (!isSize(index) || !isSubtree(start, end) || index < start) {
    return false;
  }
  return verifyInclusion(index - start, end - start, leafHash, proof, root);
}

/**
 * Whether the subtree [start, end) with `subtreeRoot` belongs to the tree of `size` with `root`
 * (draft-ietf-plants-merkle-tree-certs section 4.4.3). The empty subtree belongs to every tree, with an empty proof.
 */
export function verifySubtreeConsistency(
  start: number,
  end: number,
  size: number,
  subtreeRoot: Buffer,
  root: Buffer,
  proof: readonly Buffer[],
): boolean {
  if (!isSubtree(start, end) || !isSize(size) || end > size) {
    return false;
  }
  if (start === end) {
    return proof.length === 0 && subtreeRoot.equals(EMPTY_ROOT);
  }
  // Without a proof the roots are only compared with each other, whatever they are.
  if (proof.length > 0 && !areHashes([subtreeRoot, root, ...proof])) {
    return false;
  }
  let first = start;
  let node = end - 1;
  let last = size - 1;
  // Up to the largest full subtree that ends where the subtree ends: that is where the proof begins.
  while (first !== node && (node === last || node % 2 === 1)) {
    [first, node, last] = [half(first), half(node), half(last)];
  }
  let at = 0;
  let subtreeHash = subtreeRoot;
  let treeHash = subtreeRoot;
  if (first !== node) {
    const seed = proof[at++];
    if (seed === undefined) {
      return false;
    }
    subtreeHash = seed;
    treeHash = seed;
  }
  for (const sibling of proof.slice(at)) {
    if (last === 0) {
      return false;
    }
    if (node % 2 === 1 || node === last) {
      if (first < node) {
        subtreeHash = nodeHash(sibling, subtreeHash);
      }
      treeHash = nodeHash(sibling, treeHash);
      while (node % 2 === 0 && node !== 0) {
        [first, node, last] = [half(first), half(node), half(last)];
      }
    } else {
      treeHash = nodeHash(treeHash, sibling);
    }
    [first, node, last] = [half(first), half(node), half(last)];
  }
  return last === 0 && subtreeHash.equals(subtreeRoot) && treeHash.equals(root);
}

function half(value: number): number {
  return Math.floor(value / 2);
}

function isSize(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function areHashes(hashes: readonly Buffer[]): boolean {
  return hashes.every((hash) => hash.length === HASH_SIZE);
}

import { assert } from '../kernel/assert.ts';
import { EMPTY_ROOT, HASH_SIZE, nodeHash, nodePairHashInto } from './hash.ts';

/** Ones in a safe integer, and a place for the leaf that is being appended. */
const LEVELS_MAX = 54;

/**
 * The roots of the perfect subtrees of [0, size), largest first: all that is needed to append leaves and to know the
 * root of an RFC 6962 tree. 32 bytes for each one in the binary form of the size.
 *
 * Invariant: `#stack` holds `#count` hashes, the roots of the perfect subtrees of the ones of `#size` in binary, the
 * largest first; `#count` is the number of those ones.
 */
export class CompactRange {
  readonly #stack = Buffer.alloc(LEVELS_MAX * HASH_SIZE);
  #count = 0;
  #size = 0;

  /** `hashes` must be exactly those of `size`, largest subtree first. */
  static fromHashes(size: number, hashes: readonly Buffer[]): CompactRange {
    assert(Number.isSafeInteger(size) && size >= 0, 'a size is a non-negative safe integer');
    assert(hashes.length === compactCount(size), 'one hash for each one in the binary form of the size');
    const range = new CompactRange();
    for (const hash of hashes) {
      assert(hash.length === HASH_SIZE, 'a hash is 32 bytes');
      range.#stack.set(hash, range.#count * HASH_SIZE);
      range.#count++;
    }
    range.#size = size;
    return range;
  }

  get size(): number {
    return this.#size;
  }

  /** Copies, largest subtree first. */
  get hashes(): Buffer[] {
    return Array.from({ length: this.#count }, (_, i) => Buffer.from(this.#at(i)));
  }

  /** Hot path: one node hash on average, no allocation but the digest strings. */
  append(leafHash: Buffer): void {
    assert(leafHash.length === HASH_SIZE, 'a hash is 32 bytes');
    const stack = this.#stack;
    stack.set(leafHash, this.#count * HASH_SIZE);
    let count = this.#count;
    // A one at the end of the size is a subtree as large as the one in hand: the two become one of twice the size.
    for (let rest = this.#size; rest % 2 === 1; rest = (rest - 1) / 2) {
      const left = (count - 1) * HASH_SIZE;
      nodePairHashInto(stack, left, stack, left);
      count--;
    }
    this.#count = count + 1;
    this.#size++;
  }

  root(): Buffer {
    if (this.#count === 0) {
      return Buffer.from(EMPTY_ROOT);
    }
    let root: Buffer = Buffer.from(this.#at(this.#count - 1));
    for (let i = this.#count - 2; i >= 0; i--) {
      root = nodeHash(this.#at(i), root);
    }
    return root;
  }

  clone(): CompactRange {
    const copy = new CompactRange();
    copy.#stack.set(this.#stack);
    copy.#count = this.#count;
    copy.#size = this.#size;
    return copy;
  }

  #at(i: number): Buffer {
    return this.#stack.subarray(i * HASH_SIZE, (i + 1) * HASH_SIZE);
  }
}

/** Number of perfect subtrees that [0, size) decomposes into: its ones in binary. */
export function compactCount(size: number): number {
  let count = 0;
  for (let rest = size; rest > 0; rest = Math.floor(rest / 2)) {
    count += rest % 2;
  }
  return count;
}

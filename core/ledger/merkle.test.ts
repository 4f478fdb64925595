import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { InvariantError } from '../kernel/assert.ts';
import { SeededRandom } from '../kernel/testing/seeded-random.ts';
import { packageRoot } from '../runtime/package-root.ts';
import { CompactRange } from './compact-range.ts';
import { EMPTY_ROOT, leafHash } from './hash.ts';
import {
  MerkleTree,
  verifyConsistency,
  verifyInclusion,
  verifySubtreeConsistency,
  verifySubtreeInclusion,
} from './merkle.ts';
import { isSubtree, subtreeConsistencyProof } from './proof-nodes.ts';
import { oracleConsistency, oraclePath, oracleRoot } from './testing/merkle-oracle.ts';
import { sharedFile } from './testing/shared-folder.ts';

const SCALE = Number(process.env['CHAPERONE_TEST_SCALE'] ?? 1);
const SIZE_MAX = 70;
const ENTRIES = Array.from({ length: SIZE_MAX }, (_, i) => Buffer.from(`entry ${i}`));
const TREE = treeOf(ENTRIES);
const ROOT = packageRoot();

interface Vector {
  readonly name: string;
  readonly wantErr: boolean;
  readonly proof: readonly string[] | null;
  readonly [field: string]: unknown;
}

describe('vectors of transparency-dev/merkle', () => {
  const checks: Record<string, { count: number; check: (vector: Vector, proof: Buffer[]) => boolean }> = {
    inclusion: {
      count: 98,
      check: (v, proof) =>
        verifyInclusion(num(v, 'leafIdx'), num(v, 'treeSize'), b64(v, 'leafHash'), proof, b64(v, 'root')),
    },
    consistency: {
      count: 98,
      check: (v, proof) => verifyConsistency(num(v, 'size1'), num(v, 'size2'), b64(v, 'root1'), b64(v, 'root2'), proof),
    },
    subtreeinclusion: {
      count: 204,
      check: (v, proof) =>
        verifySubtreeInclusion(
          num(v, 'leafIdx'),
          num(v, 'start'),
          num(v, 'end'),
          b64(v, 'leafHash'),
          proof,
          b64(v, 'root'),
        ),
    },
    subtreeconsistency: {
      count: 118,
      check: (v, proof) =>
        verifySubtreeConsistency(
          num(v, 'start'),
          num(v, 'end'),
          num(v, 'size'),
          b64(v, 'root1'),
          b64(v, 'root2'),
          proof,
        ),
    },
  };
  for (const [name, { count, check }] of Object.entries(checks)) {
    const { path, skip } = sharedFile(ROOT, `vectors/rfc6962-${name}.json`);
    test(`${name}: each of ${count} cases is accepted or refused as it should be`, { skip }, () => {
      const vectors = JSON.parse(readFileSync(path, 'utf8')) as Vector[];
      equal(vectors.length, count);
      const wrong = vectors.filter((vector) => {
        const proof = (vector.proof ?? []).map((hash) => Buffer.from(hash, 'base64'));
        return check(vector, proof) === vector.wantErr;
      });
      deepEqual(
        wrong.map((vector) => vector.name),
        [],
      );
    });
  }
});

describe('MerkleTree against the recursive definition', () => {
  test('roots of all sizes, also of past ones', () => {
    for (let size = 0; size <= SIZE_MAX; size++) {
      deepEqual(TREE.root(size), oracleRoot(ENTRIES.slice(0, size)), `size ${size}`);
      deepEqual(treeOf(ENTRIES.slice(0, size)).root(), TREE.root(size), `size ${size}`);
    }
  });

  test('every inclusion proof is the defined path, and is accepted', () => {
    for (let size = 1; size <= SIZE_MAX; size += 1) {
      for (let index = 0; index < size; index++) {
        const proof = TREE.inclusionProof(index, size);
        deepEqual(proof, oraclePath(index, ENTRIES.slice(0, size)), `${index} in ${size}`);
        ok(verifyInclusion(index, size, leafHash(ENTRIES[index] ?? Buffer.alloc(0)), proof, TREE.root(size)));
      }
    }
  });

  test('every consistency proof is the defined one, and is accepted', () => {
    for (let size2 = 1; size2 <= SIZE_MAX; size2++) {
      for (let size1 = 1; size1 <= size2; size1++) {
        const proof = TREE.consistencyProof(size1, size2);
        deepEqual(proof, oracleConsistency(0, size1, ENTRIES.slice(0, size2)), `${size1} to ${size2}`);
        ok(verifyConsistency(size1, size2, TREE.root(size1), TREE.root(size2), proof), `${size1} to ${size2}`);
      }
    }
  });

  test('every subtree of every size up to 34 is proved as defined, and is accepted', () => {
    let seen = 0;
    for (let size = 1; size <= 34; size++) {
      const entries = ENTRIES.slice(0, size);
      for (let start = 0; start < size; start++) {
        for (let end = start + 1; end <= size; end++) {
          if (isSubtree(start, end)) {
            seen++;
            const proof = subtreeConsistencyProof(start, end, size, TREE.hashAt);
            deepEqual(proof, oracleConsistency(start, end, entries), `[${start}, ${end}) of ${size}`);
            const root = oracleRoot(entries.slice(start, end));
            ok(
              verifySubtreeConsistency(start, end, size, root, TREE.root(size), proof),
              `[${start}, ${end}) of ${size}`,
            );
          }
        }
      }
    }
    ok(seen > 1000, `saw ${seen}`);
  });

  test('no proof holds after one of its parts changed', () => {
    const property = fc.property(
      fc.integer({ min: 2, max: SIZE_MAX }),
      fc.nat(),
      fc.nat(),
      fc.nat(),
      (size, indexSeed, partSeed, bitSeed) => {
        const index = indexSeed % size;
        const size1 = 1 + (indexSeed % (size - 1));
        const leaf = leafHash(ENTRIES[index] ?? Buffer.alloc(0));
        const inclusion = [leaf, TREE.root(size), ...TREE.inclusionProof(index, size)].map((hash) => Buffer.from(hash));
        flip(inclusion, partSeed, bitSeed);
        ok(!verifyInclusion(index, size, inclusion[0]!, inclusion.slice(2), inclusion[1]!));
        const consistency = [TREE.root(size1), TREE.root(size), ...TREE.consistencyProof(size1, size)].map((hash) =>
          Buffer.from(hash),
        );
        flip(consistency, partSeed, bitSeed);
        ok(!verifyConsistency(size1, size, consistency[0]!, consistency[1]!, consistency.slice(2)));
      },
    );
    fc.assert(property, { numRuns: 300 * SCALE });
  });

  test('a proof for one index or size is not one for another', () => {
    const proof = TREE.inclusionProof(13, 40);
    for (let index = 0; index < 40; index++) {
      equal(verifyInclusion(index, 40, leafHash(ENTRIES[13]!), proof, TREE.root(40)), index === 13, `index ${index}`);
    }
    ok(!verifyInclusion(40, 40, leafHash(ENTRIES[39]!), TREE.inclusionProof(39, 40), TREE.root(40)));
    ok(!verifyInclusion(-1, 40, leafHash(ENTRIES[0]!), TREE.inclusionProof(0, 40), TREE.root(40)));
    ok(!verifyInclusion(0.5, 40, leafHash(ENTRIES[0]!), TREE.inclusionProof(0, 40), TREE.root(40)));
  });

  test('a tree of 100,003 leaves agrees with the compact range and proves its edges', () => {
    const random = new SeededRandom(7);
    const tree = new MerkleTree();
    const range = new CompactRange();
    const size = 100_003;
    for (let i = 0; i < size; i++) {
      const hash = leafHash(Buffer.from(String(random.below(1_000_000))));
      tree.append(hash);
      range.append(hash);
    }
    deepEqual(tree.root(), range.root());
    for (const index of [0, 1, 65_535, 65_536, size - 2, size - 1]) {
      const leaf = tree.hashAt(0, index);
      ok(verifyInclusion(index, size, leaf, tree.inclusionProof(index), tree.root()), `index ${index}`);
    }
  });

  test('asking beyond the tree is a bug', () => {
    throws(() => TREE.root(SIZE_MAX + 1), InvariantError);
    throws(() => TREE.inclusionProof(SIZE_MAX, SIZE_MAX), InvariantError);
    throws(() => TREE.consistencyProof(0, 5), InvariantError);
    throws(() => TREE.consistencyProof(6, 5), InvariantError);
    throws(() => TREE.hashAt(3, 8), InvariantError);
  });
});

describe('CompactRange', () => {
  test('has the root of the tree at every size, however it was restored on the way', () => {
    let range = new CompactRange();
    deepEqual(range.root(), EMPTY_ROOT);
    for (let size = 1; size <= SIZE_MAX; size++) {
      range.append(leafHash(ENTRIES[size - 1]!));
      deepEqual(range.root(), TREE.root(size), `size ${size}`);
      const restored = CompactRange.fromHashes(range.size, range.hashes);
      deepEqual([restored.size, restored.root()], [size, range.root()]);
      range = size % 2 === 0 ? restored : range.clone();
    }
  });

  test('a clone and its original do not share', () => {
    const range = rangeOf(5);
    const clone = range.clone();
    clone.append(leafHash(ENTRIES[5]!));
    deepEqual([range.root(), clone.root()], [TREE.root(5), TREE.root(6)]);
  });

  test('refuses hashes that cannot be those of the size', () => {
    const { hashes } = rangeOf(5);
    equal(hashes.length, 2);
    throws(() => CompactRange.fromHashes(4, hashes), InvariantError);
    throws(() => CompactRange.fromHashes(5, [Buffer.alloc(31), Buffer.alloc(32)]), InvariantError);
    throws(() => CompactRange.fromHashes(-1, []), InvariantError);
  });

  test('goes on past 2^32 leaves', () => {
    const size = 2 ** 40 + 3;
    const range = CompactRange.fromHashes(size, [leafHash(ENTRIES[0]!), leafHash(ENTRIES[1]!), leafHash(ENTRIES[2]!)]);
    range.append(leafHash(ENTRIES[3]!));
    equal(range.size, size + 1);
    equal(range.hashes.length, 2);
  });
});

function treeOf(entries: readonly Buffer[]): MerkleTree {
  const tree = new MerkleTree();
  for (const entry of entries) {
    tree.append(leafHash(entry));
  }
  return tree;
}

function rangeOf(size: number): CompactRange {
  const range = new CompactRange();
  for (const entry of ENTRIES.slice(0, size)) {
    range.append(leafHash(entry));
  }
  return range;
}

function flip(hashes: readonly Buffer[], part: number, bit: number): void {
  const hash = hashes[part % hashes.length]!;
  hash[(bit >> 3) % hash.length]! ^= 1 << (bit & 7);
}

function num(vector: Vector, field: string): number {
  return vector[field] as number;
}

function b64(vector: Vector, field: string): Buffer {
  return Buffer.from((vector[field] as string | null) ?? '', 'base64');
}

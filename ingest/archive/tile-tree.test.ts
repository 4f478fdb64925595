import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SeededRandom } from '../../core/kernel/testing/seeded-random.ts';
import { leafHash } from '../../core/ledger/hash.ts';
import { MerkleTree, verifyConsistency, verifyInclusion } from '../../core/ledger/merkle.ts';
import { MemoryBlobStore } from './testing/memory-blob-store.ts';
import { TileTree } from './tile-tree.ts';

const SIZES = [1, 2, 255, 256, 257, 511, 512, 700, 65_535, 65_536, 65_537, 66_000];

function leaf(i: number): Buffer {
  return leafHash(Buffer.from(`leaf ${i}`));
}

/** Grows through `sizes`, writing at each; `reopen` forgets what is in memory between them. */
async function grow(blobs: MemoryBlobStore, sizes: readonly number[], reopen: boolean): Promise<TileTree> {
  let tree = await TileTree.open(blobs, 'log/', 0);
  for (const size of sizes) {
    for (let i = tree.size; i < size; i++) {
      tree.append(leaf(i));
    }
    const before = size === sizes[0] ? 0 : (sizes[sizes.indexOf(size) - 1] as number);
    const step = tree.unwritten();
    await blobs.create(step.tiles);
    tree.written(step);
    for (const name of tree.superseded(before)) {
      await blobs.remove(name);
    }
    tree = reopen ? await TileTree.open(blobs, 'log/', size) : tree;
  }
  return tree;
}

describe('a tree in tiles', () => {
  const whole = new MerkleTree();
  for (let i = 0; i < (SIZES.at(-1) as number); i++) {
    whole.append(leaf(i));
  }

  for (const reopen of [false, true]) {
    test(`has the roots and proofs of the slow tree, ${reopen ? 'opened again at each size' : 'in one life'}`, async () => {
      const random = new SeededRandom(7);
      const tree = await grow(new MemoryBlobStore(), SIZES, reopen);
      const { size } = tree;
      ok(tree.root().equals(whole.root(size)));
      for (let round = 0; round < 40; round++) {
        const old = 1 + random.below(size - 1);
        const index = random.below(old);
        ok((await tree.rootAt(old)).equals(whole.root(old)), `root at ${old}, seed ${random.seed}`);
        const consistency = await tree.consistencyProof(old, size);
        ok(verifyConsistency(old, size, whole.root(old), whole.root(size), consistency), `from ${old}`);
        const inclusion = await tree.inclusionProof(index, old);
        ok(verifyInclusion(index, old, leaf(index), inclusion, whole.root(old)), `${index} in ${old}`);
      }
    });
  }

  test('knows the root of sizes that are not written yet', async () => {
    const tree = await grow(new MemoryBlobStore(), [300], false);
    for (let i = 300; i < 600; i++) {
      tree.append(leaf(i));
    }
    for (const size of [0, 1, 299, 300, 301, 512, 599, 600]) {
      ok((await tree.rootAt(size)).equals(whole.root(size)), String(size));
    }
    deepEqual(await tree.consistencyProof(0, 300), []);
  });

  test('keeps no partial tile but those of its size, and says which tile is lost', async () => {
    const blobs = new MemoryBlobStore();
    await grow(blobs, [3, 255, 300, 513], true);
    deepEqual(await blobs.list('log/'), [
      'log/tile/0/000',
      'log/tile/0/001',
      'log/tile/0/002.p/1',
      'log/tile/1/000.p/2',
    ]);
    await blobs.remove('log/tile/0/002.p/1');
    await rejects(TileTree.open(blobs, 'log/', 513), { code: 'evidence_incomplete' });
    equal((await TileTree.open(blobs, 'log/', 512)).size, 512);
  });
});

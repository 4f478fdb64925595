import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { InvariantError } from '../kernel/assert.ts';
import { leafHash } from './hash.ts';
import { MerkleTree, verifyConsistency } from './merkle.ts';
import { consistencyProof, inclusionProof, rangeRoot } from './proof-nodes.ts';
import {
  decodeEntryBundle,
  encodeEntryBundle,
  encodeTile,
  parseTilePath,
  tilePath,
  type TileRef,
  tilesBetween,
  tileSource,
} from './tiles.ts';

describe('paths of tiles', () => {
  for (const [tile, path] of [
    [{ level: 0, index: 0, width: 256 }, 'tile/0/000'],
    [{ level: 0, index: 0, width: 1 }, 'tile/0/000.p/1'],
    [{ level: 2, index: 999, width: 255 }, 'tile/2/999.p/255'],
    [{ level: 1, index: 1000, width: 256 }, 'tile/1/x001/000'],
    // The example of the specification.
    [{ level: 'entries', index: 1_234_067, width: 256 }, 'tile/entries/x001/x234/067'],
    [{ level: 63, index: Number.MAX_SAFE_INTEGER, width: 3 }, 'tile/63/x009/x007/x199/x254/x740/991.p/3'],
  ] as const) {
    test(path, () => {
      equal(tilePath(tile), path);
      deepEqual(parseTilePath(path), tile);
    });
  }

  for (const path of [
    'tile/00/000',
    'tile/64/000',
    'tile/0/0',
    'tile/0/x000/001',
    'tile/0/001/000',
    'tile/0/x001',
    'tile/0/000.p/0',
    'tile/0/000.p/256',
    'tile/0/000.p/01',
    'tile/0/../000',
    'tile/x/000',
    '/tile/0/000',
    'tile/0/x999/x999/x999/x999/x999/999',
  ]) {
    test(`${path} is none`, () => equal(parseTilePath(path), undefined));
  }
});

describe('tiles of a growing tree', () => {
  // The example of the specification: 273 full and one partial at level 0, one full and one partial at 1, one at 2.
  test('a tree of 70,000 has the tiles that the specification counts', () => {
    const tiles = tilesBetween(0, 70_000);
    const count = (level: TileRef['level'], full: boolean) =>
      tiles.filter((tile) => tile.level === level && (tile.width === 256) === full).length;
    deepEqual([count(0, true), count(0, false), count(1, true), count(1, false), count(2, false)], [273, 1, 1, 1, 1]);
    deepEqual(tiles.filter((tile) => tile.width < 256).map(tilePath), [
      'tile/entries/273.p/112',
      'tile/0/273.p/112',
      'tile/1/001.p/17',
      'tile/2/000.p/1',
    ]);
    equal(tiles.length, 274 + 274 + 2 + 1);
  });

  test('256 leaves are one full tile and one hash above it; growing by nothing adds nothing', () => {
    deepEqual(tilesBetween(0, 256).map(tilePath), ['tile/entries/000', 'tile/0/000', 'tile/1/000.p/1']);
    deepEqual(tilesBetween(256, 256), []);
    deepEqual(tilesBetween(255, 256).map(tilePath), ['tile/entries/000', 'tile/0/000', 'tile/1/000.p/1']);
    deepEqual(tilesBetween(256, 257).map(tilePath), ['tile/entries/001.p/1', 'tile/0/001.p/1']);
  });

  test('roots and proofs from the tiles are those of the tree, at every size that was published', () => {
    const tree = new MerkleTree();
    const store = new Map<string, Buffer>();
    const sizes = [1, 2, 255, 256, 257, 600, 65_535, 65_536, 65_537, 66_000];
    let published = 0;
    for (const size of sizes) {
      while (tree.size < size) {
        tree.append(leafHash(Buffer.from(`entry ${tree.size}`)));
      }
      for (const tile of tilesBetween(published, size)) {
        if (tile.level !== 'entries') {
          ok(!store.has(tilePath(tile)), 'tiles are created once');
          store.set(tilePath(tile), encodeTile(tile, tree.hashAt));
        }
      }
      published = size;
    }
    for (const size of sizes) {
      const source = tileSource(size, (tile) => store.get(tilePath(tile)) ?? Buffer.alloc(0));
      deepEqual(rangeRoot(0, size, source), tree.root(size), `root at ${size}`);
      for (const index of [0, 255, 256, size - 1].filter((each) => each < size)) {
        deepEqual(inclusionProof(index, size, source), tree.inclusionProof(index, size), `${index} in ${size}`);
      }
      for (const older of sizes.filter((each) => each <= size)) {
        const proof = consistencyProof(older, size, source);
        ok(verifyConsistency(older, size, tree.root(older), tree.root(size), proof), `${older} to ${size}`);
      }
    }
  });
});

describe('entry bundles', () => {
  test('come back with entries of 0 to 65,535 bytes, 1 to 256 of them', () => {
    for (const entries of [
      [Buffer.alloc(0)],
      [Buffer.alloc(65_535, 1), Buffer.alloc(1)],
      Array.from({ length: 256 }, (_, i) => Buffer.from([i])),
    ]) {
      deepEqual(decodeEntryBundle(encodeEntryBundle(entries), entries.length), entries);
    }
    throws(() => encodeEntryBundle([]), InvariantError);
    throws(() => encodeEntryBundle([Buffer.alloc(65_536)]), InvariantError);
    throws(() => encodeEntryBundle(Array.from({ length: 257 }, () => Buffer.alloc(0))), InvariantError);
  });

  test('are refused when cut off, too long or of another count', () => {
    const bundle = encodeEntryBundle([Buffer.from('a'), Buffer.from('bc')]);
    for (const [bytes, width] of [
      [bundle, 1],
      [bundle, 3],
      [bundle.subarray(0, -1), 2],
      [bundle.subarray(0, 4), 2],
      [Buffer.concat([bundle, Buffer.from([0])]), 2],
    ] as const) {
      throws(() => decodeEntryBundle(bytes, width), { code: 'evidence_malformed' });
    }
  });
});

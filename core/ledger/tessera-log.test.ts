import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { packageRoot } from '../runtime/package-root.ts';
import { openCheckpoint } from './checkpoint.ts';
import { EMPTY_ROOT, leafHash } from './hash.ts';
import { MerkleTree, verifyConsistency, verifyInclusion } from './merkle.ts';
import { consistencyProof, inclusionProof, rangeRoot } from './proof-nodes.ts';
import { sharedFile } from './testing/shared-folder.ts';
import { decodeEntryBundle, encodeEntryBundle, encodeTile, tilePath, tileSource, withTiles } from './tiles.ts';
import { decodeVerifierKey } from './verifier-key.ts';

/** A log of 15 entries that another program wrote (transparency-dev/tessera). */
const { path: LOG, skip } = sharedFile(packageRoot(), 'vectors/tessera-log');
const KEY = decodeVerifierKey('example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx');
const SIZE = 15;

const checkpointOf = (size: number) => openCheckpoint(readFileSync(join(LOG, `checkpoint.${size}`)), KEY).checkpoint;
const read = (path: string) => readFileSync(join(LOG, path));
const source = (size: number) => tileSource(size, (tile) => read(tilePath(tile)));

describe('the Tessera log', { skip }, () => {
  test('every checkpoint is signed by the log and has the size of its name', () => {
    for (let size = 0; size <= SIZE; size++) {
      equal(checkpointOf(size).size, size);
    }
    deepEqual(openCheckpoint(read('checkpoint'), KEY).checkpoint, checkpointOf(SIZE));
    deepEqual(checkpointOf(0).root, EMPTY_ROOT);
  });

  test('every entry bundle, every hash tile and every root follow from the entries', () => {
    const entries = decodeEntryBundle(read(`tile/entries/000.p/${SIZE}`), SIZE);
    const tree = new MerkleTree();
    for (let size = 1; size <= SIZE; size++) {
      tree.append(leafHash(entries[size - 1]!));
      deepEqual(tree.root(), checkpointOf(size).root, `root at ${size}`);
      const bundle = read(tilePath({ level: 'entries', index: 0, width: size }));
      deepEqual(decodeEntryBundle(bundle, size), entries.slice(0, size));
      deepEqual(encodeEntryBundle(entries.slice(0, size)), bundle);
      const tile = { level: 0, index: 0, width: size };
      deepEqual(encodeTile(tile, tree.hashAt), read(tilePath(tile)), `hash tile at ${size}`);
      deepEqual(rangeRoot(0, size, source(size)), tree.root(), `root from tiles at ${size}`);
    }
  });

  test('every pair of checkpoints is consistent, with proofs built from the tiles', () => {
    for (let size2 = 1; size2 <= SIZE; size2++) {
      for (let size1 = 1; size1 <= size2; size1++) {
        const proof = consistencyProof(size1, size2, source(size2));
        ok(verifyConsistency(size1, size2, checkpointOf(size1).root, checkpointOf(size2).root, proof));
      }
    }
  });

  test('every entry is proved under every checkpoint that has it, also through tiles that are read later', async () => {
    for (let size = 1; size <= SIZE; size++) {
      const entries = decodeEntryBundle(read(`tile/entries/000.p/${size}`), size);
      for (const [index, entry] of entries.entries()) {
        const proof = inclusionProof(index, size, source(size));
        ok(verifyInclusion(index, size, leafHash(entry), proof, checkpointOf(size).root));
        const later = await withTiles(
          size,
          async (tile) => read(tilePath(tile)),
          (hashes) => inclusionProof(index, size, hashes),
        );
        deepEqual(later, proof);
      }
    }
  });

  test('a changed byte in a tile gives another root', () => {
    const tampered = tileSource(SIZE, (tile) => {
      const bytes = read(tilePath(tile));
      bytes[5 * 32 + 3]! ^= 1;
      return bytes;
    });
    ok(!rangeRoot(0, SIZE, tampered).equals(checkpointOf(SIZE).root));
  });

  test('a changed checkpoint is refused', () => {
    const note = read('checkpoint.7').toString();
    throws(() => openCheckpoint(note.replace('\n7\n', '\n8\n'), KEY), { code: 'evidence_altered' });
    const other = decodeVerifierKey('example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k');
    throws(() => openCheckpoint(note, other), { code: 'evidence_altered' });
  });
});

import { assert } from '../../core/kernel/assert.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { CompactRange } from '../../core/ledger/compact-range.ts';
import { HASH_SIZE, nodeHash } from '../../core/ledger/hash.ts';
import { consistencyProof, inclusionProof } from '../../core/ledger/proof-nodes.ts';
import type { HashSource } from '../../core/ledger/proof-nodes.ts';
import { encodeTile, TILE_WIDTH, tilePath, tilesBetween, withTiles } from '../../core/ledger/tiles.ts';
import type { TileRef } from '../../core/ledger/tiles.ts';
import type { BlobStore, NewBlob } from './blob-store.ts';

/** The tiles that bring the store from one size of a tree to another. */
export interface TreeStep {
  readonly tiles: readonly NewBlob[];
  /** The tree after it. */
  readonly range: CompactRange;
}

const TILE_HEIGHT = 8;

/**
 * An RFC 6962 tree whose hashes lie in tlog-tiles under `prefix` of a blob store; in memory is only what the tiles at
 * its right edge still lack.
 *
 * Invariants: `#levels[l]` holds the hashes of tile level l from `first`, a multiple of 256, to the newest; everything
 * left of `first` is in full tiles of the store once `written()` was called for a size at or past it.
 */
export class TileTree {
  readonly #blobs: BlobStore;
  readonly #prefix: string;
  readonly #levels: { first: number; hashes: Buffer[] }[] = [];
  #range: CompactRange;
  /** The compact range at the size that the store has tiles for. */
  #writtenRange: CompactRange;

  private constructor(blobs: BlobStore, prefix: string, range: CompactRange) {
    this.#blobs = blobs;
    this.#prefix = prefix;
    this.#range = range;
    this.#writtenRange = range.clone();
  }

  /** Opens a tree of `size`, whose tiles are all in the store. `prefix` ends in `/` or is empty. */
  static async open(blobs: BlobStore, prefix: string, size: number): Promise<TileTree> {
    const read = (tile: TileRef): Promise<Buffer> => readTile(blobs, prefix, tile);
    const hashes = size === 0 ? [] : await withTiles(size, read, (source) => compactHashes(size, source));
    const tree = new TileTree(blobs, prefix, CompactRange.fromHashes(size, hashes));
    for (let level = 0; TILE_WIDTH ** level <= size; level++) {
      const count = Math.floor(size / TILE_WIDTH ** level);
      const width = count % TILE_WIDTH;
      const first = count - width;
      const bytes = width === 0 ? Buffer.alloc(0) : await read({ level, index: first / TILE_WIDTH, width });
      tree.#levels.push({ first, hashes: splitHashes(bytes) });
    }
    return tree;
  }

  get size(): number {
    return this.#range.size;
  }

  get #writtenSize(): number {
    return this.#writtenRange.size;
  }

  /** Copy of the compact range of the whole tree. */
  get range(): CompactRange {
    return this.#range.clone();
  }

  root(): Buffer {
    return this.#range.root();
  }

  append(leafHash: Buffer): void {
    this.#range.append(leafHash);
    this.#push(0, leafHash);
  }

  /** Appends leaves whose compact range the caller has computed already; `range` is the tree's after them. */
  appendAll(leafHashes: readonly Buffer[], range: CompactRange): void {
    assert(range.size === this.size + leafHashes.length, 'the range is the one after these leaves');
    for (const leafHash of leafHashes) {
      this.#push(0, leafHash);
    }
    this.#range = range.clone();
  }

  /** What the store does not have yet. The caller creates the tiles and then hands it to `written`. */
  unwritten(): TreeStep {
    const tiles = tilesBetween(this.#writtenSize, this.size).filter((tile) => tile.level !== 'entries');
    return {
      range: this.#range.clone(),
      tiles: tiles.map((tile) => ({
        name: `${this.#prefix}${tilePath(tile)}`,
        parts: [encodeTile(tile, this.#recent)],
      })),
    };
  }

  /** Says that the tiles of a step are stored. */
  written({ range }: TreeStep): void {
    assert(range.size >= this.#writtenSize && range.size <= this.size, 'a tree is written forwards');
    this.#writtenRange = range;
    for (const [at, level] of this.#levels.entries()) {
      const full = Math.floor(range.size / TILE_WIDTH ** (at + 1)) * TILE_WIDTH;
      level.hashes.splice(0, Math.max(0, full - level.first));
      level.first = Math.max(level.first, full);
    }
  }

  /** Partial tiles of the tree of `size` that a tree of `#writtenSize` no longer needs: they may be removed. */
  superseded(size: number): string[] {
    const names: string[] = [];
    for (let level = 0; TILE_WIDTH ** level <= size; level++) {
      const scale = TILE_WIDTH ** level;
      const [old, now] = [Math.floor(size / scale), Math.floor(this.#writtenSize / scale)];
      const width = old % TILE_WIDTH;
      if (width > 0 && now !== old) {
        names.push(`${this.#prefix}${tilePath({ level, index: Math.floor(old / TILE_WIDTH), width })}`);
      }
    }
    return names;
  }

  /** The root at any size up to the present one, written or not. */
  async rootAt(size: number): Promise<Buffer> {
    if (size <= this.#writtenSize) {
      return (await this.compactAt(size)).root();
    }
    const leaves = this.#levels[0];
    const range = this.#writtenRange.clone();
    for (let index = range.size; index < size; index++) {
      range.append(leaves?.hashes[index - leaves.first] as Buffer);
    }
    return range.root();
  }

  /** The compact range of [0, size) for a size that is written. */
  async compactAt(size: number): Promise<CompactRange> {
    const hashes = size === 0 ? [] : await this.#over(size, (source) => compactHashes(size, source));
    return CompactRange.fromHashes(size, hashes);
  }

  /** Between written sizes; empty when `oldSize` is 0 (that rule is the caller's) or the sizes are equal. */
  async consistencyProof(oldSize: number, newSize: number): Promise<Buffer[]> {
    if (oldSize === 0 || oldSize === newSize) {
      return [];
    }
    return this.#over(newSize, (source) => consistencyProof(oldSize, newSize, source));
  }

  inclusionProof(index: number, size: number): Promise<Buffer[]> {
    return this.#over(size, (source) => inclusionProof(index, size, source));
  }

  #over<T>(size: number, build: (source: HashSource) => T): Promise<T> {
    assert(size <= this.#writtenSize, 'only what is written can be read');
    // Tiles are asked for as of the written size: smaller partial tiles may have been removed.
    const read = (tile: TileRef): Promise<Buffer> => this.#readAtLeast(tile);
    return withTiles(size, read, build);
  }

  async #readAtLeast(tile: TileRef): Promise<Buffer> {
    assert(tile.level !== 'entries', 'a hash tile has a level');
    const available = Math.floor(this.#writtenSize / TILE_WIDTH ** tile.level) - tile.index * TILE_WIDTH;
    const bytes = await readTile(this.#blobs, this.#prefix, { ...tile, width: Math.min(available, TILE_WIDTH) });
    return bytes.subarray(0, tile.width * HASH_SIZE);
  }

  readonly #recent: HashSource = (level, index) => {
    const at = this.#levels[level / TILE_HEIGHT];
    const hash = at?.hashes[index - at.first];
    assert(hash !== undefined, 'hashes of an unwritten tile are in memory');
    return hash;
  };

  #push(at: number, hash: Buffer): void {
    const level = (this.#levels[at] ??= { first: 0, hashes: [] });
    level.hashes.push(hash);
    const count = level.first + level.hashes.length;
    if (count % TILE_WIDTH === 0) {
      this.#push(at + 1, subtreeRoot(level.hashes.slice(-TILE_WIDTH)));
    }
  }
}

/** Roots of the perfect subtrees of [0, size), largest first. */
export function compactHashes(size: number, source: HashSource): Buffer[] {
  const hashes: Buffer[] = [];
  let start = 0;
  for (let level = Math.floor(Math.log2(size)); level >= 0; level--) {
    const width = 2 ** level;
    if (size - start >= width) {
      hashes.push(Buffer.from(source(level, start / width)));
      start += width;
    }
  }
  return hashes;
}

/** The tile, or as much of the full one: a store may have dropped partial tiles when the full one was there. */
async function readTile(blobs: BlobStore, prefix: string, tile: TileRef): Promise<Buffer> {
  const size = tile.width * HASH_SIZE;
  for (const width of tile.width === TILE_WIDTH ? [TILE_WIDTH] : [tile.width, TILE_WIDTH]) {
    const bytes = await blobs.read(`${prefix}${tilePath({ ...tile, width })}`);
    if (bytes !== null && bytes.length === width * HASH_SIZE) {
      return bytes.subarray(0, size);
    }
  }
  throw new GatewayError('evidence_incomplete', `tile ${prefix}${tilePath(tile)}`);
}

function splitHashes(bytes: Buffer): Buffer[] {
  return Array.from({ length: bytes.length / HASH_SIZE }, (_, i) => bytes.subarray(i * HASH_SIZE, (i + 1) * HASH_SIZE));
}

function subtreeRoot(hashes: readonly Buffer[]): Buffer {
  let row = hashes;
  while (row.length > 1) {
    row = Array.from({ length: row.length / 2 }, (_, i) => nodeHash(row[2 * i] as Buffer, row[2 * i + 1] as Buffer));
  }
  return row[0] as Buffer;
}

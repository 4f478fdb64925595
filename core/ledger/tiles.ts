import { assert } from '../kernel/assert.ts';
import { malformed } from './byte-reader.ts';
import { HASH_SIZE, nodeHash } from './hash.ts';
import type { HashSource } from './proof-nodes.ts';

/*
 * C2SP tlog-tiles, tiles of height 8:
 *
 *   path         = "tile/" level "/" N [".p/" width]   |   "tile/entries/" N [".p/" width]
 *   N            = index in groups of 3 digits, all but the last with an "x": 1234067 is x001/x234/067
 *   hash tile    = hash 32 x width (width 256 when full)
 *   entry bundle = (length u16 | entry) x width
 */
export const TILE_WIDTH = 256;
const TILE_HEIGHT = 8;
const LEVEL_MAX = 63;
const ENTRY_BYTES_MAX = 0xffff;
const PATH = /^tile\/(entries|[0-9]{1,2})\/((?:x[0-9]{3}\/)*[0-9]{3})(?:\.p\/([0-9]{1,3}))?$/;

export interface TileRef {
  readonly level: number | 'entries';
  readonly index: number;
  /** Hashes or entries in it: 1 to 256. */
  readonly width: number;
}

export function tilePath(tile: TileRef): string {
  assert(tile.width >= 1 && tile.width <= TILE_WIDTH, 'a tile has 1 to 256 hashes');
  assert(Number.isSafeInteger(tile.index) && tile.index >= 0, 'a tile index is a non-negative safe integer');
  let path = '';
  let rest = tile.index;
  do {
    const group = String(rest % 1000).padStart(3, '0');
    path = path === '' ? group : `x${group}/${path}`;
    rest = Math.floor(rest / 1000);
  } while (rest > 0);
  return `tile/${tile.level}/${path}${tile.width === TILE_WIDTH ? '' : `.p/${tile.width}`}`;
}

/** Undefined when `path` is not the path of a tile. */
export function parseTilePath(path: string): TileRef | undefined {
  const [, level, groups, width] = PATH.exec(path) ?? [];
  if (level === undefined || groups === undefined) {
    return undefined;
  }
  const tile: TileRef = {
    level: level === 'entries' ? level : Number(level),
    index: Number(groups.replaceAll(/[x/]/g, '')),
    width: width === undefined ? TILE_WIDTH : Number(width),
  };
  const inRange = tile.level === 'entries' || tile.level <= LEVEL_MAX;
  if (!inRange || !Number.isSafeInteger(tile.index) || tile.width < 1 || (width !== undefined && tile.width > 255)) {
    return undefined;
  }
  return tilePath(tile) === path ? tile : undefined; // Leading zeros and the like.
}

/**
 * The hash tiles and entry bundles of a tree of `newSize` that a tree of `oldSize` did not have, lowest level first.
 * Written create-only: a partial tile of another width is another file.
 */
export function tilesBetween(oldSize: number, newSize: number): TileRef[] {
  assert(Number.isSafeInteger(newSize) && oldSize >= 0 && oldSize <= newSize, 'sizes in order');
  const tiles: TileRef[] = tilesOfLevel('entries', oldSize, newSize);
  for (let level = 0; level <= LEVEL_MAX; level++) {
    const scale = TILE_WIDTH ** level;
    if (newSize < scale) {
      break;
    }
    tiles.push(...tilesOfLevel(level, Math.floor(oldSize / scale), Math.floor(newSize / scale)));
  }
  return tiles;
}

/** Bytes of a hash tile. */
export function encodeTile(tile: TileRef, source: HashSource): Buffer {
  const { level } = tile;
  assert(level !== 'entries', 'a hash tile has a level');
  const first = tile.index * TILE_WIDTH;
  return Buffer.concat(
    Array.from({ length: tile.width }, (_, i) => Buffer.from(source(level * TILE_HEIGHT, first + i))),
  );
}

export function encodeEntryBundle(entries: readonly Buffer[]): Buffer {
  assert(entries.length >= 1 && entries.length <= TILE_WIDTH, 'a bundle has 1 to 256 entries');
  return Buffer.concat(
    entries.flatMap((entry) => {
      assert(entry.length <= ENTRY_BYTES_MAX, 'an entry has at most 65,535 bytes');
      const length = Buffer.alloc(2);
      length.writeUInt16BE(entry.length);
      return [length, entry];
    }),
  );
}

/** Views. Throws GatewayError `evidence_malformed` unless there are exactly `width` entries and nothing else. */
export function decodeEntryBundle(bytes: Buffer, width: number): Buffer[] {
  const entries: Buffer[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    const start = offset + 2;
    const end = start <= bytes.length ? start + bytes.readUInt16BE(offset) : Infinity;
    if (end > bytes.length || entries.length === width) {
      throw malformed('entry bundle');
    }
    entries.push(bytes.subarray(start, end));
    offset = end;
  }
  if (entries.length !== width) {
    throw malformed('entry bundle: count');
  }
  return entries;
}

/** The tile of the tree of `size` from which the hash of a full subtree comes. */
export function tileOf(level: number, index: number, size: number): TileRef {
  const tileLevel = Math.floor(level / TILE_HEIGHT);
  const first = index * 2 ** (level % TILE_HEIGHT);
  const tileIndex = Math.floor(first / TILE_WIDTH);
  const available = Math.floor(size / TILE_WIDTH ** tileLevel) - tileIndex * TILE_WIDTH;
  assert(first + 2 ** (level % TILE_HEIGHT) <= tileIndex * TILE_WIDTH + available, 'the subtree is in the tree');
  return { level: tileLevel, index: tileIndex, width: Math.min(available, TILE_WIDTH) };
}

/**
 * The hashes of a tree of `size` that lies in tiles. `read` gets only tiles that a tree of that size has; the hashes
 * inside a tile are computed, so a changed tile gives another root and is found by comparing that.
 */
export function tileSource(size: number, read: (tile: TileRef) => Buffer): HashSource {
  return (level, index) => {
    const tile = tileOf(level, index, size);
    const bytes = read(tile);
    if (bytes.length !== tile.width * HASH_SIZE) {
      throw malformed('hash tile: size');
    }
    const inside = level % TILE_HEIGHT;
    return subtreeOfTile(bytes, inside, index % (TILE_WIDTH / 2 ** inside));
  };
}

/**
 * Runs `build` (a root or a proof) over tiles that are read asynchronously: once to see which it needs, then, when all
 * are there, for the result. `build` must ask for the same hashes whatever their values are, as the proof builders do.
 */
export async function withTiles<T>(
  size: number,
  read: (tile: TileRef) => Promise<Buffer>,
  build: (source: HashSource) => T,
): Promise<T> {
  const wanted = new Map<string, TileRef>();
  const blank = Buffer.alloc(HASH_SIZE);
  build((level, index) => {
    const tile = tileOf(level, index, size);
    wanted.set(tilePath(tile), tile);
    return blank;
  });
  const tiles = new Map<string, Buffer>();
  await Promise.all([...wanted].map(async ([path, tile]) => void tiles.set(path, await read(tile))));
  return build(
    tileSource(size, (tile) => {
      const bytes = tiles.get(tilePath(tile));
      assert(bytes !== undefined, 'both runs ask for the same tiles');
      return bytes;
    }),
  );
}

function tilesOfLevel(level: TileRef['level'], oldCount: number, newCount: number): TileRef[] {
  const tiles: TileRef[] = [];
  for (let index = Math.floor(oldCount / TILE_WIDTH); index * TILE_WIDTH < newCount; index++) {
    const width = Math.min(newCount - index * TILE_WIDTH, TILE_WIDTH);
    if (index * TILE_WIDTH + width > oldCount) {
      tiles.push({ level, index, width });
    }
  }
  return tiles;
}

function subtreeOfTile(bytes: Buffer, level: number, index: number): Buffer {
  if (level === 0) {
    return bytes.subarray(index * HASH_SIZE, (index + 1) * HASH_SIZE);
  }
  return nodeHash(subtreeOfTile(bytes, level - 1, 2 * index), subtreeOfTile(bytes, level - 1, 2 * index + 1));
}

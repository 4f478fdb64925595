import { join } from 'node:path';
import { HASH_SIZE, leafHash, sha256 } from '../../core/ledger/hash.ts';
import {
  CLUSTER_LEAF_TYPES,
  type ClusterLeaf,
  decodeClusterLeaf,
  decodeEpochEntry,
  decodeRefusedEntry,
  encodeHeadsValue,
} from '../../core/ledger/cluster-leaf.ts';
import { decodeHead } from '../../core/ledger/head.ts';
import { LEAF_SIZE } from '../../core/ledger/leaf.ts';
import { MerkleTree } from '../../core/ledger/merkle.ts';
import { readU64 } from '../../core/kernel/bytes.ts';
import { decodeEntryBundle, encodeTile, parseTilePath, TILE_WIDTH, type TileRef } from '../../core/ledger/tiles.ts';
import { checkClusterEvent } from './check-event.ts';
import { type CheckpointKeys, readCheckpoint, type SeenCheckpoint } from './checkpoints.ts';
import { type Evidence, problemOf } from './evidence.ts';
import { listFiles, readWhole } from './evidence-files.ts';
import type { Place } from './findings.ts';

/** The cluster log as its files have it. */
export interface ClusterLogView {
  readonly tree: MerkleTree;
  /** Entries by cluster index; null where the bundle cannot be read. */
  readonly entries: readonly (Buffer | null)[];
  /** The newest checkpoint that the log signed; null when there is none that holds. */
  readonly newest: SeenCheckpoint | null;
  /** The newest one that a known witness cosigned. */
  readonly cosigned: SeenCheckpoint | null;
  /** SHA-256 of the value of `evidence.heads.v1` that each leaf was made of, by its offset. */
  readonly inputs: ReadonlyMap<number, Buffer>;
  /** Offsets of inputs that the sequencer refused: what they say does not count. */
  readonly refused: ReadonlySet<number>;
}

interface BundleFile {
  readonly ref: TileRef;
  readonly file: string;
  readonly bytes: Buffer;
}

const KIND_TILE = 'tile';

/**
 * Reads a cluster log in tlog-tiles layout and takes what its leaves say: registrations, heads, global events. Every file
 * of the log is compared: entry bundles with each other and with the checkpoint, hash tiles with the entries.
 *
 * `prefix` names the folder in findings. Null when there is no cluster log there.
 */
export function readClusterLog(
  evidence: Evidence,
  directory: string,
  prefix: string,
  keys: CheckpointKeys,
): ClusterLogView | null {
  const names = listFiles(directory);
  const bundles: BundleFile[] = [];
  const tiles: BundleFile[] = [];
  // Checkpoints first: whatever they name was written before them.
  const checkpoints = ['checkpoint.cosigned', 'checkpoint'].flatMap((name) =>
    names.includes(name) ? readCheckpoint(evidence, join(directory, name), `${prefix}${name}`, keys) : [],
  );
  for (const name of names) {
    const ref = parseTilePath(name);
    const bytes = ref === undefined ? null : readWhole(join(directory, name));
    if (ref !== undefined && bytes !== null) {
      (ref.level === 'entries' ? bundles : tiles).push({ ref, file: `${prefix}${name}`, bytes });
    }
  }
  if (checkpoints.length === 0 && bundles.length === 0 && tiles.length === 0) {
    return null;
  }
  const newest = checkpoints.reduce<SeenCheckpoint | null>((best, each) => larger(best, each), null);
  const cosigned = checkpoints
    .filter(({ cosignatures }) => cosignatures.length > 0)
    .reduce<SeenCheckpoint | null>((best, each) => larger(best, each), null);
  const { entries, tree } = chooseTree(evidence, bundles, tiles, newest);
  reportEnd(evidence, tree.size, newest, bundles, prefix);
  const inputs = new Map<number, Buffer>();
  const refused = new Set<number>();
  const view = { tree, entries, newest, cosigned, inputs, refused };
  for (const checkpoint of checkpoints) {
    checkCheckpoint(evidence, view, checkpoint);
  }
  takeEntries(evidence, view, prefix);
  checkFiles(evidence, view, bundles, tiles);
  return view;
}

/** Whether a checkpoint is one of this tree. */
export function checkCheckpoint(evidence: Evidence, view: ClusterLogView, checkpoint: SeenCheckpoint): void {
  const { size, root, place } = checkpoint;
  if (size > view.tree.size) {
    const detail = `the cluster log has ${view.tree.size} entries, a checkpoint says ${size}`;
    evidence.findings.add('MISSING', detail, { index: view.tree.size, place });
  } else if (!view.tree.root(size).equals(root)) {
    const detail = `the entries of the cluster log do not give the root of the checkpoint of size ${size}`;
    evidence.findings.add('ALTERED', detail, { index: Math.max(0, size - 1), place });
  }
}

/**
 * The entries and their tree. Bundles overlap (a larger one replaces a smaller) and tiles have the same hashes once more:
 * the first choice that gives the signed root is right, so that what differs from it can be named.
 */
function chooseTree(
  evidence: Evidence,
  bundles: readonly BundleFile[],
  tiles: readonly BundleFile[],
  newest: SeenCheckpoint | null,
): { entries: (Buffer | null)[]; tree: MerkleTree } {
  const decoded = new Map(bundles.map((bundle) => [bundle, tryBundle(evidence, bundle)]));
  const widest = collectEntries(decoded, () => true);
  const agreeing = collectEntries(decoded, (entries, index) => agrees(entries, index, tiles));
  const size = newest?.size ?? 0;
  const fits = (tree: MerkleTree): boolean =>
    newest === null || (tree.size >= size && tree.root(size).equals(newest.root));
  const hashesOf = (entries: readonly (Buffer | null)[]): (Buffer | null)[] =>
    entries.map((entry, i) => (entry === null ? tileHash(tiles, i) : leafHash(entry)));
  for (const entries of [widest, agreeing]) {
    const tree = treeOf(hashesOf(entries));
    if (fits(tree)) {
      return { entries, tree };
    }
  }
  const hashes = hashesOf(widest);
  const count = Math.max(hashes.length, size);
  const fromTiles = treeOf(Array.from({ length: count }, (_, i) => tileHash(tiles, i) ?? hashes[i] ?? null));
  return { entries: widest, tree: fits(fromTiles) ? fromTiles : treeOf(hashes) };
}

/** The widest bundle of each index that can be read, one that `prefers` before others; null for what no bundle has. */
function collectEntries(
  decoded: ReadonlyMap<BundleFile, Buffer[] | null>,
  prefers: (entries: readonly Buffer[], index: number) => boolean,
): (Buffer | null)[] {
  const entries: (Buffer | null)[] = [];
  const all = [...decoded].sort(([a], [b]) => b.ref.width - a.ref.width);
  const last = Math.max(-1, ...all.map(([{ ref }]) => ref.index));
  for (let index = 0; index <= last; index++) {
    const own = all.filter(([{ ref }]) => ref.index === index);
    const usable = own.flatMap(([, found]) => (found === null ? [] : [found]));
    const best = usable.find((found) => prefers(found, index)) ?? usable[0] ?? [];
    const width = index < last ? TILE_WIDTH : Math.max(best.length, own[0]?.[0].ref.width ?? 0);
    entries.push(...best, ...Array.from({ length: width - best.length }, () => null));
  }
  return entries;
}

function treeOf(hashes: readonly (Buffer | null)[]): MerkleTree {
  const tree = new MerkleTree();
  for (const hash of hashes) {
    if (hash === null) {
      break;
    }
    tree.append(hash);
  }
  return tree;
}

function reportEnd(
  evidence: Evidence,
  size: number,
  newest: SeenCheckpoint | null,
  bundles: readonly BundleFile[],
  prefix: string,
): void {
  const bundled = bundles.reduce((end, { ref }) => Math.max(end, ref.index * TILE_WIDTH + ref.width), 0);
  if (newest !== null && Math.min(size, bundled) < newest.size) {
    const place = { kind: KIND_TILE, file: `${prefix}tile/entries`, offset: 0 };
    const detail = `entry bundles end at ${Math.min(size, bundled)}, the checkpoint says ${newest.size}`;
    evidence.findings.add('MISSING', detail, { index: Math.min(size, bundled), place });
  }
}

function tryBundle(evidence: Evidence, { ref, file, bytes }: BundleFile): Buffer[] | null {
  try {
    return decodeEntryBundle(bytes, ref.width);
  } catch (error) {
    const detail = `entry bundle of the cluster log: ${problemOf(error)}`;
    const place = { kind: KIND_TILE, file, offset: 0 };
    evidence.findings.add('ALTERED', detail, { index: ref.index * TILE_WIDTH, place });
    return null;
  }
}

/** Whether the hash tiles have these entries, as far as they reach. */
function agrees(entries: readonly Buffer[], index: number, tiles: readonly BundleFile[]): boolean {
  return entries.every((entry, i) => tileHash(tiles, index * TILE_WIDTH + i)?.equals(leafHash(entry)) !== false);
}

/** The hash of an entry in the widest level 0 tile; null when there is none. */
function tileHash(tiles: readonly BundleFile[], index: number): Buffer | null {
  let widest: BundleFile | null = null;
  for (const tile of tiles) {
    const { level, index: at, width } = tile.ref;
    if (level === 0 && at === Math.floor(index / TILE_WIDTH) && width > (widest?.ref.width ?? 0)) {
      widest = tile;
    }
  }
  const hash = hashIn(widest?.bytes ?? Buffer.alloc(0), index % TILE_WIDTH);
  return hash.length === HASH_SIZE ? hash : null;
}

function takeEntries(
  evidence: Evidence,
  view: ClusterLogView & { readonly inputs: Map<number, Buffer>; readonly refused: Set<number> },
  prefix: string,
): void {
  let last = -1;
  for (const [index, bytes] of view.entries.entries()) {
    if (bytes === null || (index < view.tree.size && !leafHash(bytes).equals(view.tree.hashAt(0, index)))) {
      continue; // Altered: `checkFiles` says where. What it says does not count.
    }
    const place = { kind: 'cluster leaf', file: `${prefix}tile/entries`, offset: index };
    try {
      const leaf = decodeClusterLeaf(bytes);
      if (leaf.inputOffset <= last) {
        evidence.findings.add('ALTERED', 'cluster leaves are not in the order of their input', { index, place });
      }
      last = leaf.inputOffset;
      view.inputs.set(leaf.inputOffset, inputDigest(leaf));
      if (leaf.type === CLUSTER_LEAF_TYPES.refused) {
        view.refused.add(leaf.inputOffset);
      }
      takeEntry(evidence, leaf, index, place);
    } catch (error) {
      evidence.findings.add('ALTERED', `cluster leaf: ${problemOf(error)}`, { index, place });
    }
  }
}

function takeEntry(evidence: Evidence, leaf: ClusterLeaf, index: number, place: Place): void {
  if (leaf.type === CLUSTER_LEAF_TYPES.epoch) {
    const entry = decodeEpochEntry(leaf.body);
    const id = evidence.takeEpoch(entry.epoch, place);
    if (id !== null && evidence.wants(id)) {
      evidence.writer(id).registeredAt ??= index;
    }
    checkClusterEvent(evidence, entry.record, place, id);
  } else if (leaf.type === CLUSTER_LEAF_TYPES.head) {
    evidence.takeHead(leaf.body, place, index);
  } else if (leaf.type === CLUSTER_LEAF_TYPES.event) {
    checkClusterEvent(evidence, leaf.body, place, null);
  } else {
    decodeRefusedEntry(leaf.body);
  }
}

function inputDigest(leaf: ClusterLeaf): Buffer {
  return leaf.type === CLUSTER_LEAF_TYPES.refused
    ? decodeRefusedEntry(leaf.body).inputHash
    : sha256(encodeHeadsValue({ type: leaf.type, body: leaf.body }));
}

/** Every bundle and tile against the tree; what is past the tree is being written now. */
function checkFiles(
  evidence: Evidence,
  view: ClusterLogView,
  bundles: readonly BundleFile[],
  tiles: readonly BundleFile[],
): void {
  for (const { ref, file, bytes } of bundles) {
    evidence.checked.tiles++;
    if (evidence.findings.alteredIn(file)) {
      continue;
    }
    let offset = 0;
    for (const [i, entry] of decodeEntryBundle(bytes, ref.width).entries()) {
      const index = ref.index * TILE_WIDTH + i;
      if (index < view.tree.size && !leafHash(entry).equals(view.tree.hashAt(0, index))) {
        const about = { ...nearestRecord(entry, index), place: { kind: KIND_TILE, file, offset: offset + 2 } };
        evidence.findings.add('ALTERED', `entry ${index} of the cluster log is not the one that was hashed`, about);
      }
      offset += 2 + entry.length;
    }
  }
  for (const { ref, file, bytes } of tiles) {
    evidence.checked.tiles++;
    checkHashTile(evidence, view, ref as TileRef & { level: number }, file, bytes);
  }
}

function checkHashTile(
  evidence: Evidence,
  view: ClusterLogView,
  ref: TileRef & { readonly level: number },
  file: string,
  bytes: Buffer,
): void {
  const scale = TILE_WIDTH ** ref.level;
  const available = Math.floor(view.tree.size / scale) - ref.index * TILE_WIDTH;
  const width = Math.min(ref.width, Math.max(0, available));
  const first = ref.index * TILE_WIDTH * scale;
  if (bytes.length !== ref.width * HASH_SIZE) {
    const place = { kind: KIND_TILE, file, offset: bytes.length };
    evidence.findings.add('ALTERED', 'a hash tile has another size than its name says', { index: first, place });
    return;
  }
  if (width === 0) {
    return;
  }
  const expected = encodeTile({ ...ref, width }, view.tree.hashAt);
  for (let i = 0; i < width; i++) {
    if (hashIn(bytes, i).compare(expected, i * HASH_SIZE, (i + 1) * HASH_SIZE) !== 0) {
      const index = first + i * scale;
      const place = { kind: KIND_TILE, file, offset: i * HASH_SIZE };
      const about = { ...nearestRecord(view.entries[index] ?? Buffer.alloc(0), index), place };
      evidence.findings.add('ALTERED', `hash ${i} of a tile of the cluster log is not that of its entries`, about);
    }
  }
}

/** The writer and record that a cluster leaf is about; the index in the cluster log when that cannot be said. */
export function nearestRecord(entry: Buffer, clusterIndex: number): { writer: string | null; index: number } {
  try {
    const leaf = decodeClusterLeaf(entry);
    if (leaf.type === CLUSTER_LEAF_TYPES.head) {
      const { writerId, size } = decodeHead(leaf.body);
      return { writer: writerId.toString('hex'), index: Math.max(0, size - 1) };
    }
    if (leaf.type !== CLUSTER_LEAF_TYPES.refused) {
      const record = leaf.type === CLUSTER_LEAF_TYPES.epoch ? decodeEpochEntry(leaf.body).record : leaf.body;
      const index = record.length < LEAF_SIZE ? -1 : readU64(record, 18);
      return index < 0 ? { writer: null, index: clusterIndex } : { writer: record.toString('hex', 2, 18), index };
    }
  } catch (error) {
    problemOf(error);
  }
  return { writer: null, index: clusterIndex };
}

function hashIn(bytes: Buffer, at: number): Buffer {
  return bytes.subarray(at * HASH_SIZE, (at + 1) * HASH_SIZE);
}

function larger(best: SeenCheckpoint | null, each: SeenCheckpoint): SeenCheckpoint {
  return best === null || each.size > best.size ? each : best;
}

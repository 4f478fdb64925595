import { join } from 'node:path';
import { decodeBatch } from '../../core/ledger/batch.ts';
import { publicKeyObject } from '../../core/ledger/ed25519.ts';
import { HASH_SIZE } from '../../core/ledger/hash.ts';
import { SIGNER_KINDS, verifyHead } from '../../core/ledger/head.ts';
import { MerkleTree } from '../../core/ledger/merkle.ts';
import {
  encodeTile,
  parseTilePath,
  TILE_WIDTH,
  tilePath,
  tilesBetween,
  type TileRef,
} from '../../core/ledger/tiles.ts';
import type { ArchiveView } from './archive-evidence.ts';
import { type Evidence, problemOf } from './evidence.ts';
import { listFiles, readPart, readWhole } from './evidence-files.ts';
import type { Place } from './findings.ts';
import { RECORD_SOURCES, SOURCES } from './leaf-table.ts';
import type { Claim, OtherLeaf, Run, WriterEvidence } from './writer-evidence.ts';

interface TileFile {
  readonly ref: TileRef & { readonly level: number };
  readonly file: string;
  readonly bytes: Buffer;
}

export interface SettleContext {
  readonly evidence: Evidence;
  readonly archive: ArchiveView | null;
  /** Absolute path of a file of the evidence by its name in findings. */
  readonly resolve: (file: string) => string;
}

/** How often leaves may be put right before the rest counts as not locatable. */
const REPAIRS_MAX = 64;

/**
 * Brings everything that was seen of one writer together in its tree: each signed or implied root, each leaf from each
 * place, each tile. Where two differ, the signed roots tell which one was changed. Returns the tree.
 */
export function settleWriter(context: SettleContext, writer: WriterEvidence): MerkleTree {
  checkSignatures(context.evidence, writer);
  const tiles = context.archive === null ? [] : readTiles(context.archive, writer);
  fillFromTiles(writer, tiles);
  const tree = new Settlement(context, writer, tiles).run();
  compareLeaves(context.evidence, writer);
  compareTiles(context.evidence, writer, tiles, tree);
  missingTiles(context, writer, tiles, tree);
  const altered = context.evidence.findings
    .ofWriter(writer.id)
    .some(({ verdict }) => verdict === 'ALTERED' || verdict === 'MISSING');
  if (!altered) {
    // With an altered record the one after it in its strand looks wrong too, and is innocent.
    for (const { index, detail, place } of writer.strandProblems) {
      context.evidence.findings.add('ALTERED', detail, { writer: writer.id, index, place });
    }
  }
  return tree;
}

function checkSignatures(evidence: Evidence, writer: WriterEvidence): void {
  for (const seen of writer.heads.values()) {
    const { head, bytes, place } = seen;
    const own = head.signerKind === SIGNER_KINDS.writer;
    const signer = own ? writer : evidence.writers.get(head.signerWriterId.toString('hex'));
    const about = { writer: writer.id, index: Math.max(0, head.size - 1), place };
    if (signer === undefined || signer.publicKey === null || (!own && signer.role !== 'control')) {
      if (!own) {
        seen.signed = false;
        evidence.findings.add('ALTERED', `the head of size ${head.size} names no known control writer`, about);
      }
      continue; // A writer without a certificate: `judgeWriter` says so.
    }
    signer.verifyingKey ??= publicKeyObject(signer.publicKey);
    const key = signer.verifyingKey;
    seen.signed = verifyHead(bytes, key);
    if (!seen.signed) {
      evidence.findings.add('ALTERED', `the head of size ${head.size} is not signed by its signer`, about);
    }
  }
}

function readTiles(archive: ArchiveView, writer: WriterEvidence): TileFile[] {
  const folder = join(archive.directory, 'writers', writer.id);
  const tiles: TileFile[] = [];
  for (const name of listFiles(join(folder, 'tile'))) {
    const ref = parseTilePath(`tile/${name}`);
    const bytes = readWhole(join(folder, 'tile', name));
    if (ref !== undefined && ref.level !== 'entries' && bytes !== null) {
      const file = `${archive.prefix}writers/${writer.id}/tile/${name}`;
      tiles.push({ ref: { ...ref, level: ref.level }, file, bytes });
    }
  }
  return tiles.sort((a, b) => b.ref.width - a.ref.width);
}

/** Where no place has the record (any more), the tile still has its hash: the tree goes on over the hole. */
function fillFromTiles(writer: WriterEvidence, tiles: readonly TileFile[]): void {
  for (const { ref, bytes } of tiles) {
    for (let i = 0; ref.level === 0 && i < ref.width && (i + 1) * HASH_SIZE <= bytes.length; i++) {
      const index = ref.index * TILE_WIDTH + i;
      if (!writer.leaves.has(index, RECORD_SOURCES)) {
        writer.leaves.put(index, bytes.subarray(i * HASH_SIZE, (i + 1) * HASH_SIZE), SOURCES.tile, 0);
      }
    }
  }
}

/** Finds a tree that all signed roots agree with, and who is wrong where there is more than one. */
class Settlement {
  readonly #context: SettleContext;
  readonly #writer: WriterEvidence;
  readonly #tiles: readonly TileFile[];
  readonly #end: number;

  constructor(context: SettleContext, writer: WriterEvidence, tiles: readonly TileFile[]) {
    this.#context = context;
    this.#writer = writer;
    this.#tiles = tiles;
    this.#end = writer.leaves.runEnd(0, RECORD_SOURCES | SOURCES.tile);
  }

  run(): MerkleTree {
    let tree = this.#build();
    for (let repairs = 0; ; repairs++) {
      const { bad, goodSize } = this.#judge(tree);
      const suspect = bad.filter(({ size }) => size > goodSize);
      const nearest = suspect[0];
      if (nearest === undefined) {
        bad.forEach((claim) => this.#reportClaim(claim));
        return tree;
      }
      if (repairs >= REPAIRS_MAX || !this.#repair(tree, goodSize, suspect)) {
        this.#reportBad(bad, suspect, goodSize);
        return tree;
      }
      tree = this.#build();
    }
  }

  #build(): MerkleTree {
    const tree = new MerkleTree();
    for (let index = 0; index < this.#end; index++) {
      tree.append(this.#writer.leaves.hashAt(index) as Buffer);
    }
    return tree;
  }

  /** Claims that the tree does not bear out, smallest first, and the largest size at which one is borne out. */
  #judge(tree: MerkleTree): { bad: Claim[]; goodSize: number } {
    const roots = new Map<number, Buffer>();
    const bad: Claim[] = [];
    let goodSize = 0;
    for (const claim of this.#writer.claims) {
      if (claim.size > tree.size || claim.head?.signed === false) {
        continue; // Not there to compare (`judgeWriter`), or found out already.
      }
      let root = roots.get(claim.size);
      if (root === undefined) {
        root = tree.root(claim.size);
        roots.set(claim.size, root);
      }
      if (root.equals(claim.root)) {
        goodSize = Math.max(goodSize, claim.size);
      } else {
        bad.push(claim);
      }
    }
    return { bad: bad.sort((a, b) => a.size - b.size), goodSize };
  }

  /** Puts leaves between the last root that holds and the first that does not right. False when that cannot be done. */
  #repair(tree: MerkleTree, goodSize: number, suspect: readonly Claim[]): boolean {
    const { leaves, others } = this.#writer;
    const size = suspect[0]?.size ?? 0;
    const roots = suspect.filter((claim) => claim.size === size).map(({ root }) => root);
    const inRange = others.filter(({ index }) => index >= goodSize && index < size);
    const fromTiles = this.#tileLeaves(goodSize, size);
    for (const candidates of [inRange, fromTiles, ...inRange.map((one) => [one]), ...fromTiles.map((one) => [one])]) {
      const different = candidates.filter(({ index, hash }) => leaves.hashAt(index)?.equals(hash) === false);
      if (different.length > 0 && this.#gives(tree, different, size, roots)) {
        for (const other of different) {
          this.#blame(other);
        }
        return true;
      }
    }
    return false;
  }

  #gives(tree: MerkleTree, changes: readonly OtherLeaf[], size: number, roots: readonly Buffer[]): boolean {
    const changed = new Map(changes.map(({ index, hash }) => [index, hash]));
    const other = new MerkleTree();
    for (let index = 0; index < size; index++) {
      other.append(changed.get(index) ?? tree.hashAt(0, index));
    }
    const root = other.root();
    return roots.some((each) => each.equals(root));
  }

  #tileLeaves(from: number, to: number): OtherLeaf[] {
    const found: OtherLeaf[] = [];
    for (const { ref, bytes, file } of this.#tiles) {
      const first = ref.index * TILE_WIDTH;
      for (let i = Math.max(0, from - first); ref.level === 0 && i < ref.width && first + i < to; i++) {
        const hash = bytes.subarray(i * HASH_SIZE, (i + 1) * HASH_SIZE);
        if (hash.length === HASH_SIZE && this.#writer.leaves.hashAt(first + i)?.equals(hash) === false) {
          const place = { kind: 'tile', file, offset: i * HASH_SIZE };
          found.push({ index: first + i, hash, source: SOURCES.tile, place });
        }
      }
    }
    return found;
  }

  /** The table had the wrong leaf: the place that it came from was changed. */
  #blame({ index, hash, source }: OtherLeaf): void {
    const { leaves, damaged, id } = this.#writer;
    const run = this.#writer.runs.find((each) => index >= each.first && index < each.end);
    const place = run === undefined ? null : exactPlace(this.#context, run, index);
    const detail = 'the leaf is not the one in the tree';
    this.#context.evidence.findings.add('ALTERED', detail, { writer: id, index, place });
    damaged.push({ first: index, count: 1 });
    leaves.replace(index, Buffer.from(hash), source ?? SOURCES.tile);
  }

  #reportClaim({ size, what, place }: Claim): void {
    const about = { writer: this.#writer.id, index: Math.max(0, size - 1), place };
    this.#context.evidence.findings.add('ALTERED', `${what} at size ${size} is not the root of the records`, about);
  }

  /** No leaf explains it: a fork, or damage in more than one place. */
  #reportBad(bad: readonly Claim[], suspect: readonly Claim[], goodSize: number): void {
    bad.filter((claim) => !suspect.includes(claim)).forEach((claim) => this.#reportClaim(claim));
    const nearest = suspect[0] as Claim;
    const run = this.#writer.runs.find((each) => goodSize >= each.first && goodSize < each.end);
    const about = { writer: this.#writer.id, index: goodSize, place: run?.place ?? nearest.place };
    const detail = `records ${goodSize} to ${nearest.size - 1} do not give ${nearest.what} at size ${nearest.size}`;
    this.#context.evidence.findings.add('ALTERED', detail, about);
    suspect.slice(0, 4).forEach((claim) => this.#reportClaim(claim));
  }
}

/** Leaves of other places than the one that the tree has them from. */
function compareLeaves(evidence: Evidence, writer: WriterEvidence): void {
  for (const { index, hash, place } of writer.others) {
    if (writer.leaves.hashAt(index)?.equals(hash) === false) {
      const detail = 'the leaf is not the one in the tree';
      evidence.findings.add('ALTERED', detail, { writer: writer.id, index, place });
      writer.damaged.push({ first: index, count: 1 });
    }
  }
}

/** Every tile file, also those that a larger one replaced, byte for byte. */
function compareTiles(evidence: Evidence, writer: WriterEvidence, tiles: readonly TileFile[], tree: MerkleTree): void {
  for (const { ref, file, bytes } of tiles) {
    evidence.checked.tiles++;
    const scale = TILE_WIDTH ** ref.level;
    const first = ref.index * TILE_WIDTH * scale;
    const width = Math.min(ref.width, Math.max(0, Math.floor(tree.size / scale) - ref.index * TILE_WIDTH));
    if (bytes.length !== ref.width * HASH_SIZE) {
      const about = { writer: writer.id, index: first, place: { kind: 'tile', file, offset: bytes.length } };
      evidence.findings.add('ALTERED', 'a hash tile has another size than its name says', about);
      continue;
    }
    const expected = width === 0 ? Buffer.alloc(0) : encodeTile({ ...ref, width }, tree.hashAt);
    for (let at = 0; at < expected.length; at += HASH_SIZE) {
      if (bytes.compare(expected, at, at + HASH_SIZE, at, at + HASH_SIZE) !== 0) {
        const index = first + (at / HASH_SIZE) * scale;
        const about = { writer: writer.id, index, place: { kind: 'tile', file, offset: at } };
        evidence.findings.add('ALTERED', `hash ${at / HASH_SIZE} of the tile is not that of the records`, about);
      }
    }
  }
}

/** The tiles of the size that the archive's own head names must be there, or wider ones. */
function missingTiles(
  { evidence, archive }: SettleContext,
  writer: WriterEvidence,
  tiles: readonly TileFile[],
  tree: MerkleTree,
): void {
  if (archive === null || writer.archivedHead > tree.size) {
    return; // What a head covers and is not there is missing altogether.
  }
  for (const wanted of tilesBetween(0, writer.archivedHead)) {
    const { level, index, width } = wanted;
    const isThere = tiles.some(({ ref }) => ref.level === level && ref.index === index && ref.width >= width);
    if (level !== 'entries' && !isThere) {
      const file = `${archive.prefix}writers/${writer.id}/${tilePath(wanted)}`;
      const about = { writer: writer.id, index: index * TILE_WIDTH, place: { kind: 'tile', file, offset: 0 } };
      evidence.findings.add('MISSING', 'a hash tile of the archived size is not there', about);
    }
  }
}

/** Where a record of a batch begins; the place of the run when that cannot be said. */
function exactPlace({ resolve }: SettleContext, run: Run, index: number): Place {
  if (run.bytes === 0) {
    return run.place;
  }
  try {
    const bytes = readPart(resolve(run.place.file), run.place.offset, run.bytes);
    const record = bytes === null ? undefined : decodeBatch(bytes).records[index - run.first];
    const inBatch = record === undefined || bytes === null ? 0 : record.byteOffset - bytes.byteOffset;
    return { ...run.place, offset: run.place.offset + inBatch };
  } catch (error) {
    problemOf(error);
    return run.place;
  }
}

import { randomBytes } from 'node:crypto';
import { assert } from '../../core/kernel/assert.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { leafHash } from '../../core/ledger/hash.ts';
import { decodeEntryBundle, encodeEntryBundle, TILE_WIDTH, tilePath, tilesBetween } from '../../core/ledger/tiles.ts';
import type { BlobStore, NewBlob } from '../archive/blob-store.ts';
import { TileTree } from '../archive/tile-tree.ts';

/** What the lock object says: the log is this, whether or not its tiles are written yet. */
export interface LogLock {
  readonly size: number;
  /** Hex. */
  readonly root: string;
  /** The next offset of the input to be read. */
  readonly inputOffset: number;
  /** Size before the last step, whose leaves are staged. */
  readonly oldSize: number;
  /** Who swapped it in: two that read the same input would else write the same lock and both think that they had won. */
  readonly holder: string;
}

/** Another sequencer has moved the lock: this one must not write or sign any more. */
export class FencedError extends Error {
  override readonly name = 'FencedError';
}

const LOCK = 'lock';

/**
 * The cluster log in a blob store: `lock` (versions), `staging/…`, `tile/…` and `checkpoint`.
 *
 * A step is: stage the new leaves -> swap the lock -> write tiles (create-only). The lock decides: what it names is the
 * log, and whoever opens it finishes its tiles from the staged leaves. Two sequencers can both stage; one swap succeeds.
 *
 * Invariant: everything below `oldSize` of the lock has its tiles; the leaves from there to `size` are staged until they
 * have theirs.
 */
export class ClusterLog {
  readonly #blobs: BlobStore;
  readonly tree: TileTree;
  #version: number;
  #lock: LogLock;
  /** Entries of the bundle at the right edge. */
  #edge: Buffer[];
  /** Partial tiles of the step before the last: no checkpoint that is shown still names them. */
  #superseded: string[] = [];
  #finishedSize = -1;
  readonly #holder = randomBytes(16).toString('hex');

  private constructor(blobs: BlobStore, tree: TileTree, edge: Buffer[], version: number, lock: LogLock) {
    this.#blobs = blobs;
    this.tree = tree;
    this.#edge = edge;
    this.#version = version;
    this.#lock = lock;
  }

  static async open(blobs: BlobStore): Promise<ClusterLog> {
    const latest = await blobs.latest(LOCK);
    if (latest === null) {
      const tree = await TileTree.open(blobs, '', 0);
      const lock = { size: 0, root: tree.root().toString('hex'), inputOffset: 0, oldSize: 0, holder: '' };
      return new ClusterLog(blobs, tree, [], 0, lock);
    }
    const lock = JSON.parse(latest.bytes.toString('utf8')) as LogLock;
    const tree = await TileTree.open(blobs, '', lock.oldSize);
    const log = new ClusterLog(blobs, tree, await edgeEntries(blobs, lock.oldSize), latest.version, lock);
    await log.finish();
    return log;
  }

  get lock(): LogLock {
    return this.#lock;
  }

  /** Leaves [from, size), in order. */
  async *leaves(from: number): AsyncGenerator<Buffer> {
    const { size } = this.#lock;
    for (let index = Math.floor(from / TILE_WIDTH); index * TILE_WIDTH < size; index++) {
      const width = Math.min(size - index * TILE_WIDTH, TILE_WIDTH);
      const entries = await readBundle(this.#blobs, index, width);
      yield* entries.slice(Math.max(0, from - index * TILE_WIDTH));
    }
  }

  /** False while the tiles of the newest step are not all written: `finish` before anything else. */
  get finished(): boolean {
    return this.#lock.oldSize === this.#lock.size || this.#finishedSize === this.#lock.size;
  }

  /** Stages leaves and moves the lock. Throws `FencedError` when another sequencer was faster. */
  async commit(leaves: readonly Buffer[], inputOffset: number): Promise<void> {
    assert(this.finished, 'one step is finished before the next');
    const range = this.tree.range;
    for (const leaf of leaves) {
      range.append(leafHash(leaf));
    }
    const next: LogLock = {
      size: range.size,
      root: range.root().toString('hex'),
      inputOffset,
      oldSize: this.#lock.size,
      holder: this.#holder,
    };
    await this.#blobs.create([{ name: stagingName(next), parts: [encodeStaged(leaves)] }]);
    // If we die here, a staged object stays behind that no lock names.
    await this.#swap(next);
    // If we die here, the log has these leaves and lacks tiles for them: the successor writes them before anything else.
  }

  /** Writes the tiles between `oldSize` and `size` of the lock. Create-only, so doing it twice is the same. */
  async finish(): Promise<void> {
    const { oldSize, size, root } = this.#lock;
    if (this.finished) {
      return;
    }
    const leaves = await this.#staged();
    for (const leaf of leaves.slice(this.tree.size - oldSize)) {
      this.tree.append(leafHash(leaf));
    }
    if (this.tree.size !== size || this.tree.root().toString('hex') !== root) {
      throw new GatewayError('evidence_altered', 'cluster log: staged leaves and lock');
    }
    const entries = [...this.#edge, ...leaves];
    const step = this.tree.unwritten();
    await this.#blobs.create([...step.tiles, ...bundlesOf(oldSize, size, entries)]);
    // If we die here, nothing of this size was signed; the successor finds the tiles there already.
    this.tree.written(step);
    this.#edge = entries.slice(Math.floor(size / TILE_WIDTH) * TILE_WIDTH - (size - entries.length));
    this.#finishedSize = size;
    for (const name of [...this.#superseded, stagingName(this.#lock)]) {
      await this.#blobs.remove(name);
    }
    this.#superseded = [...this.tree.superseded(oldSize), ...supersededBundles(oldSize, size)];
  }

  /** Whether the lock is still the one of this instance. */
  async holdsLock(): Promise<boolean> {
    return (await this.#blobs.latest(LOCK))?.version === this.#version;
  }

  async #swap(next: LogLock): Promise<void> {
    const bytes = Buffer.from(JSON.stringify(next));
    let failure: unknown = new FencedError('another sequencer holds the log');
    let won = false;
    try {
      won = await this.#blobs.swap(LOCK, this.#version, bytes);
    } catch (error) {
      failure = error;
    }
    if (!won) {
      // A swap that failed may have been applied, now or at an earlier attempt: the lock itself says.
      const latest = await this.#blobs.latest(LOCK);
      if (latest?.version !== this.#version + 1 || !latest.bytes.equals(bytes)) {
        throw failure;
      }
    }
    this.#version++;
    this.#lock = next;
  }

  async #staged(): Promise<Buffer[]> {
    const name = stagingName(this.#lock);
    const bytes = await this.#blobs.read(name);
    if (bytes !== null) {
      return decodeStaged(bytes);
    }
    // The step was finished and its staged object removed: the tiles are there.
    const { oldSize, size } = this.#lock;
    const leaves: Buffer[] = [];
    for (let index = Math.floor(oldSize / TILE_WIDTH); index * TILE_WIDTH < size; index++) {
      const width = Math.min(size - index * TILE_WIDTH, TILE_WIDTH);
      const entries = await readBundle(this.#blobs, index, width);
      leaves.push(...entries.slice(Math.max(0, oldSize - index * TILE_WIDTH)));
    }
    return leaves;
  }
}

function stagingName({ size, root }: LogLock): string {
  return `staging/${String(size).padStart(16, '0')}-${root}`;
}

async function edgeEntries(blobs: BlobStore, size: number): Promise<Buffer[]> {
  const width = size % TILE_WIDTH;
  return width === 0 ? [] : readBundle(blobs, Math.floor(size / TILE_WIDTH), width);
}

async function readBundle(blobs: BlobStore, index: number, width: number): Promise<Buffer[]> {
  for (const stored of width === TILE_WIDTH ? [width] : [width, TILE_WIDTH]) {
    const bytes = await blobs.read(tilePath({ level: 'entries', index, width: stored }));
    if (bytes !== null) {
      return decodeEntryBundle(bytes, stored).slice(0, width);
    }
  }
  throw new GatewayError('evidence_incomplete', `cluster log: entry bundle ${index}`);
}

/** The entry bundles of a tree of `size` that one of `oldSize` did not have; `entries` are its newest. */
function bundlesOf(oldSize: number, size: number, entries: readonly Buffer[]): NewBlob[] {
  return tilesBetween(oldSize, size)
    .filter((tile) => tile.level === 'entries')
    .map((tile) => {
      const start = tile.index * TILE_WIDTH - (size - entries.length);
      return { name: tilePath(tile), parts: [encodeEntryBundle(entries.slice(start, start + tile.width))] };
    });
}

function supersededBundles(oldSize: number, size: number): string[] {
  const width = oldSize % TILE_WIDTH;
  const index = Math.floor(oldSize / TILE_WIDTH);
  return width === 0 || size === oldSize ? [] : [tilePath({ level: 'entries', index, width })];
}

/** (length u32 | leaf) x n */
function encodeStaged(leaves: readonly Buffer[]): Buffer {
  return Buffer.concat(
    leaves.flatMap((leaf) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(leaf.length);
      return [length, leaf];
    }),
  );
}

function decodeStaged(bytes: Buffer): Buffer[] {
  const leaves: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = at + 4 + bytes.readUInt32BE(at);
    leaves.push(bytes.subarray(at + 4, end));
    at = end;
  }
  return leaves;
}

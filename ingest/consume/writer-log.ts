import { GatewayError } from '../../core/kernel/errors.ts';
import type { CompactRange } from '../../core/ledger/compact-range.ts';
import { publicKeyObject } from '../../core/ledger/ed25519.ts';
import { decodeEpoch, WRITER_ROLES } from '../../core/ledger/epoch.ts';
import { decodeHead } from '../../core/ledger/head.ts';
import { decodeRecord, encodeRecord } from '../../core/ledger/record.ts';
import { Event } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import type { BlobStore, NewBlob } from '../archive/blob-store.ts';
import { TileTree } from '../archive/tile-tree.ts';
import type { TreeStep } from '../archive/tile-tree.ts';
import type { CheckedRecord, Identity } from './check-batch.ts';

/** A journal that a control writer found at its start, and so may publish the tail of. */
export interface FoundTail {
  readonly size: number;
  readonly root: Buffer;
}

/** What a flush must store for one writer, as it was when the flush began. */
export interface WriterSnapshot {
  readonly log: WriterLog;
  readonly fromSize: number;
  readonly size: number;
  readonly step: TreeStep;
  /** Create-only: identity files of a new writer, and tiles. */
  readonly files: readonly NewBlob[];
  readonly head: Buffer;
}

export function writerPrefix(writerHex: string): string {
  return `writers/${writerHex}/`;
}

/**
 * What ingest knows of one writer: who it is, and its tree.
 *
 * `writers/<id>/` holds `epoch` (certificate), `opening` (record body of leaf 0, which lists what a control writer may
 * recover), `head` (newest head) and `tile/…`. The head is written last, so a size that it names has all its tiles.
 *
 * Invariant: archived size <= snapshot size <= verified size; all three only grow.
 */
export class WriterLog {
  readonly idHex: string;
  readonly identity: Identity;
  readonly #tree: TileTree;
  #opening: Buffer | null;
  #found: ReadonlyMap<string, FoundTail>;
  #stored: boolean;
  #head: Buffer | null;
  #archivedSize: number;

  private constructor(idHex: string, identity: Identity, opening: Buffer | null, tree: TileTree, head: Buffer | null) {
    this.idHex = idHex;
    this.identity = identity;
    this.#opening = opening;
    this.#tree = tree;
    this.#stored = head !== null;
    this.#head = head;
    this.#archivedSize = tree.size;
    this.#found = opening === null ? new Map() : foundTails(opening, identity.role);
  }

  /** A writer that nothing is archived of. */
  static async begin(blobs: BlobStore, idHex: string, identity: Identity): Promise<WriterLog> {
    return new WriterLog(idHex, identity, null, await TileTree.open(blobs, writerPrefix(idHex), 0), null);
  }

  /** Null when nothing is archived of it. Throws `evidence_incomplete` when files of it are missing. */
  static async load(blobs: BlobStore, idHex: string): Promise<WriterLog | null> {
    const prefix = writerPrefix(idHex);
    const [head, epoch, opening] = await Promise.all(
      ['head', 'epoch', 'opening'].map((name) => blobs.read(`${prefix}${name}`)),
    );
    if (head === null || head === undefined) {
      return null;
    }
    if (epoch === null || epoch === undefined || opening === null || opening === undefined) {
      throw new GatewayError('evidence_incomplete', `${prefix}: epoch or opening`);
    }
    const { size, root } = decodeHead(head);
    const { publicKey, role } = decodeEpoch(epoch);
    const tree = await TileTree.open(blobs, prefix, size);
    if (!tree.root().equals(root)) {
      throw new GatewayError('evidence_altered', `${prefix}: tiles and head`);
    }
    return new WriterLog(idHex, { epoch, publicKey: publicKeyObject(publicKey), role }, opening, tree, head);
  }

  /** Verified, not yet necessarily archived. */
  get size(): number {
    return this.#tree.size;
  }

  get archivedSize(): number {
    return this.#archivedSize;
  }

  get range(): CompactRange {
    return this.#tree.range;
  }

  rootAt(size: number): Promise<Buffer> {
    return this.#tree.rootAt(size);
  }

  /** What this writer, if it is a control writer, said at its start that it found of another. */
  foundTail(writerHex: string): FoundTail | undefined {
    return this.#found.get(writerHex);
  }

  /** Takes verified records, after which the tree has `range`. `head` is that of the batch they came in. */
  append(records: readonly CheckedRecord[], range: CompactRange, head: Buffer): void {
    const [first] = records;
    if (this.#tree.size === 0 && first !== undefined) {
      this.#opening = encodeRecord({ leaf: first.leaf, salt: first.salt, meta: first.meta, units: [] });
      this.#found = foundTails(this.#opening, this.identity.role);
    }
    this.#tree.appendAll(
      records.map((record) => record.leafHash),
      range,
    );
    this.#head = head;
  }

  /** What must be stored so that the archive holds all that is verified now; null when nothing is new. */
  snapshot(): WriterSnapshot | null {
    if (this.#head === null || this.#opening === null || this.size === this.#archivedSize) {
      return null;
    }
    const prefix = writerPrefix(this.idHex);
    const identity: NewBlob[] = this.#stored
      ? []
      : [
          { name: `${prefix}epoch`, parts: [this.identity.epoch] },
          { name: `${prefix}opening`, parts: [this.#opening] },
        ];
    const step = this.#tree.unwritten();
    const files = [...identity, ...step.tiles];
    return { log: this, fromSize: this.#archivedSize, size: this.size, step, files, head: this.#head };
  }

  /** Says that a snapshot is stored, and gives the names that nothing needs any more. */
  archived(snapshot: WriterSnapshot): string[] {
    this.#stored = true;
    this.#archivedSize = snapshot.size;
    this.#tree.written(snapshot.step);
    return this.#tree.superseded(snapshot.fromSize);
  }
}

function foundTails(opening: Buffer, role: number): ReadonlyMap<string, FoundTail> {
  if (role !== WRITER_ROLES.control) {
    return new Map();
  }
  const { epoch } = Event.decode(decodeRecord(opening).meta);
  const journals = epoch?.journals ?? [];
  return new Map(
    journals
      .filter(({ writerId, root }) => writerId.length === 16 && root.length === 32)
      .map(({ writerId, size, root }) => [writerId.toString('hex'), { size: Number(size), root }]),
  );
}

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SeededRandom } from '../../kernel/testing/seeded-random.ts';
import { archiveObjectName, encodeArchiveObject } from '../archive-object.ts';
import { decodeBatch } from '../batch.ts';
import { encodeCheckpoint, inputOffsetExtension } from '../checkpoint.ts';
import { type ClusterLeafType, encodeClusterLeaf, encodeEpochEntry } from '../cluster-leaf.ts';
import { cosignatureLine } from '../cosignature.ts';
import { publicKeyRaw } from '../ed25519.ts';
import { leafHash } from '../hash.ts';
import { MerkleTree } from '../merkle.ts';
import { addSignature, signNote } from '../note.ts';
import { decodeRecord, encodeRecord } from '../record.ts';
import { encodeEntryBundle, encodeTile, tilePath, tilesBetween } from '../tiles.ts';
import { encodeVerifierKey, SIGNATURE_TYPES, verifierKey } from '../verifier-key.ts';
import { SAMPLE_TIME_NS, SampleWriter } from './sample-evidence.ts';
import { SAMPLE_CA_PEM } from './sample-node.ts';

export const SAMPLE_ORIGIN = 'cluster.example/evidence';

export interface FoundJournal {
  readonly writerId: Buffer;
  readonly size: number;
  readonly root: Buffer;
}

export interface SampleDeployment {
  readonly archive: string;
  readonly clusterLog: string;
  /** PEM file. */
  readonly ca: string;
  readonly logKey: string;
  readonly witnessKey: string;
  /** Ended with epoch.close; 300 records in three batches of two objects. */
  readonly worker: SampleWriter;
  /** Died after its first batch of 4; its last 3 records were recovered by `control`. */
  readonly crashed: SampleWriter;
  /** Found the journal of `crashed` at its start; one of its records is a global event of the cluster log. */
  readonly control: SampleWriter;
}

export interface SampleOptions {
  /** Meta of the control writer's `epoch.open`: an `Event` with these journals. This room does not know protobuf. */
  readonly openMeta: (journals: readonly FoundJournal[]) => Buffer;
  /** Called before the control writer closes, to append more to it. */
  readonly beforeClose?: (control: SampleWriter, crashed: SampleWriter) => void;
  /** Leaves the crashed writer unrecovered. */
  readonly withoutRecovery?: boolean;
  /** Leaves this writer out of the cluster log. */
  readonly unregistered?: 'worker';
  /** Leaves the newest head of the worker out of the cluster log. */
  readonly withoutLastHead?: boolean;
}

/** What an ingest and a sequencer leave on disk for a small history, all of it valid. For tests of verifiers. */
export function writeSampleDeployment(dir: string, options: SampleOptions): SampleDeployment {
  const crashed = new SampleWriter(101);
  appendSession(crashed, 3);
  const batches: Batches = new Map();
  take(batches, crashed);
  appendSession(crashed, 3);
  const found = { writerId: crashed.writerId, size: crashed.size, root: crashed.root };
  const control = new SampleWriter(102, { role: 'control', openMeta: options.openMeta([found]) });
  if (options.withoutRecovery !== true) {
    take(batches, crashed, crashed.head(control));
  }
  const activated = control.append({ kind: 'config.activated' });
  options.beforeClose?.(control, crashed);
  control.append({ kind: 'epoch.close' });
  take(batches, control);
  const worker = new SampleWriter(103);
  for (const size of [100, 120, 79]) {
    appendSession(worker, size - (worker.size + size === 300 ? 1 : 0));
    if (worker.size === 299) {
      worker.append({ kind: 'epoch.close' });
    }
    take(batches, worker);
  }
  const archive = join(dir, 'archive');
  const clusterLog = join(dir, 'cluster');
  writeObjects(archive, batches, [crashed, control, worker]);
  for (const writer of [crashed, control, worker]) {
    writeWriter(archive, writer, batches.get(writer)?.at(-1) ?? Buffer.alloc(0));
  }
  const entries = clusterEntries(batches, activated, [crashed, control, worker], options);
  const keys = writeClusterLog(clusterLog, entries);
  const ca = join(dir, 'ca.pem');
  writeFileSync(ca, SAMPLE_CA_PEM);
  return { archive, clusterLog, ca, ...keys, worker, crashed, control };
}

type Batches = Map<SampleWriter, Buffer[]>;

function take(batches: Batches, writer: SampleWriter, head?: Buffer): void {
  const list = batches.get(writer) ?? [];
  batches.set(writer, list);
  list.push(writer.batch(head === undefined ? {} : { head }));
}

function appendSession(writer: SampleWriter, count: number): void {
  const sessionId = new SeededRandom(writer.size).bytes(16);
  for (let i = 0; i < count; i++) {
    writer.append({ sessionId, ...(i % 3 === 1 ? { payload: Buffer.from(`asked and answered ${i}`) } : {}) });
  }
}

function writeObjects(archive: string, batches: Batches, writers: readonly SampleWriter[]): void {
  const inputs = writers.flatMap((writer) =>
    (batches.get(writer) ?? []).map((batch) => {
      const { first, count } = decodeBatch(batch);
      return { writerId: writer.writerId, first, count, batch };
    }),
  );
  const numbered = inputs.map((input, busOffset) => ({ ...input, busOffset }));
  for (const part of [numbered.slice(0, 4), numbered.slice(4)]) {
    const name = archiveObjectName({
      partition: 3,
      month: 202_601,
      firstOffset: part[0]?.busOffset ?? 0,
      lastOffset: part.at(-1)?.busOffset ?? 0,
    });
    write(join(archive, name), encodeArchiveObject(part));
  }
}

/** Epoch certificate, newest archived head and the tiles of its size. */
function writeWriter(archive: string, writer: SampleWriter, lastBatch: Buffer): void {
  const folder = join(archive, 'writers', writer.writerId.toString('hex'));
  const { head, first, count } = decodeBatch(lastBatch);
  write(join(folder, 'epoch'), writer.epoch);
  write(join(folder, 'head'), head);
  const tree = new MerkleTree();
  for (const hash of writer.leafHashes.slice(0, first + count)) {
    tree.append(hash);
  }
  for (const tile of tilesBetween(0, tree.size)) {
    if (tile.level !== 'entries') {
      write(join(folder, tilePath(tile)), encodeTile(tile, tree.hashAt));
    }
  }
}

function clusterEntries(
  batches: Batches,
  event: Buffer,
  writers: readonly SampleWriter[],
  options: SampleOptions,
): Buffer[] {
  const entries: Buffer[] = [];
  const add = (type: ClusterLeafType, body: Buffer): void => {
    entries.push(encodeClusterLeaf({ type, inputOffset: entries.length * 2, body }));
  };
  for (const [i, writer] of writers.entries()) {
    if (i === 2 && options.unregistered === 'worker') {
      continue;
    }
    const record = encodeRecord({ ...decodeRecord(writer.records[0] ?? Buffer.alloc(0)), units: [] });
    add(1, encodeEpochEntry({ epoch: writer.epoch, record }));
    const list = batches.get(writer) ?? [];
    const heads = list.map((batch) => decodeBatch(batch).head);
    for (const head of i === 2 && options.withoutLastHead === true ? heads.slice(0, -1) : heads) {
      add(2, head);
    }
  }
  add(3, event);
  return entries;
}

function writeClusterLog(dir: string, entries: readonly Buffer[]): { logKey: string; witnessKey: string } {
  const random = new SeededRandom(104);
  const log = { name: SAMPLE_ORIGIN, key: random.bytes(32) };
  const witness = { name: 'witness.example/w1', key: random.bytes(32) };
  const tree = new MerkleTree();
  for (const entry of entries) {
    tree.append(leafHash(entry));
  }
  for (const tile of tilesBetween(0, tree.size)) {
    const bytes =
      tile.level === 'entries' ? encodeEntryBundle(entries.slice(tile.index * 256)) : encodeTile(tile, tree.hashAt);
    write(join(dir, tilePath(tile)), bytes);
  }
  const extensions = [inputOffsetExtension(entries.length * 2)];
  const text = encodeCheckpoint({ origin: SAMPLE_ORIGIN, size: tree.size, root: tree.root(), extensions });
  const timeSeconds = Number(SAMPLE_TIME_NS / 1_000_000_000n);
  write(join(dir, 'checkpoint'), addSignature(signNote(text, [log]), cosignatureLine(witness, text, timeSeconds)));
  return {
    logKey: encodeVerifierKey(verifierKey(log.name, SIGNATURE_TYPES.ed25519, publicKeyRaw(log.key))),
    witnessKey: encodeVerifierKey(verifierKey(witness.name, SIGNATURE_TYPES.cosignature, publicKeyRaw(witness.key))),
  };
}

function write(path: string, content: string | Buffer): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}

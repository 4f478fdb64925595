import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { SystemClock } from '../../core/kernel/clock.ts';
import { MemoryBus, MemoryBusStore } from '../../core/bus/memory-bus.ts';
import { TOPICS } from '../../core/bus/topics.ts';
import { decodeCheckpointValue, inputOffsetOf, openCheckpoint } from '../../core/ledger/checkpoint.ts';
import type { OpenedCheckpoint } from '../../core/ledger/checkpoint.ts';
import { decodeClusterLeaf, decodeRefusedEntry } from '../../core/ledger/cluster-leaf.ts';
import { publicKeyRaw } from '../../core/ledger/ed25519.ts';
import { leafHash } from '../../core/ledger/hash.ts';
import { MerkleTree, verifyConsistency } from '../../core/ledger/merkle.ts';
import { SAMPLE_CA_PEM } from '../../core/ledger/testing/sample-node.ts';
import { SampleWriter } from '../../core/ledger/testing/sample-evidence.ts';
import { decodeEntryBundle, TILE_WIDTH, tilePath } from '../../core/ledger/tiles.ts';
import { SIGNATURE_TYPES, verifierKey } from '../../core/ledger/verifier-key.ts';
import { DiskBlobStore } from '../adapters/disk-blob-store.ts';
import type { BlobStore } from '../archive/blob-store.ts';
import { MemoryBlobStore } from '../archive/testing/memory-blob-store.ts';
import { TileTree } from '../archive/tile-tree.ts';
import { eventually } from '../testing/eventually.ts';
import { headValue, openingValue, publishHeads } from '../testing/heads.ts';
import { openedWriter } from '../testing/sample-log.ts';
import { startWitness } from '../witness/start-witness.ts';
import { ClusterLog, FencedError } from './cluster-log.ts';
import type { Sequencer } from './sequencer.ts';
import { startSequencer } from './start-sequencer.ts';

const ORIGIN = 'clinic.example/evidence';
const LOG_KEY = Buffer.alloc(32, 41);
const WITNESS_KEY = Buffer.alloc(32, 42);
const clock = new SystemClock();
const logVerifier = verifierKey(ORIGIN, SIGNATURE_TYPES.ed25519, publicKeyRaw(LOG_KEY));
const witnessVerifier = verifierKey('witness.example/1', SIGNATURE_TYPES.cosignature, publicKeyRaw(WITNESS_KEY));

class Lab {
  readonly store = new MemoryBusStore();
  readonly bus = new MemoryBus(clock, this.store);
  readonly blobs: BlobStore;
  readonly running: Sequencer[] = [];

  constructor(blobs: BlobStore = new MemoryBlobStore()) {
    this.blobs = blobs;
  }

  async start(witnesses: readonly { url: string; key: typeof witnessVerifier }[] = []): Promise<Sequencer> {
    const sequencer = await startSequencer({
      bus: new MemoryBus(clock, this.store),
      blobs: this.blobs,
      clock,
      signer: { name: ORIGIN, key: LOG_KEY },
      clusterCas: [SAMPLE_CA_PEM],
      witnesses,
      checkpointMs: 1,
      witnessMs: 1,
    });
    this.running.push(sequencer);
    return sequencer;
  }

  async stop(): Promise<void> {
    await Promise.all(this.running.map((sequencer) => sequencer.close()));
  }

  /** Everything published so far, oldest first; each is checked. */
  async checkpoints(): Promise<OpenedCheckpoint[]> {
    const messages = this.store.topics.get(TOPICS.checkpoints.name)?.partitions[0]?.messages ?? [];
    return messages.map(({ value }) =>
      openCheckpoint(decodeCheckpointValue(value).note, logVerifier, [witnessVerifier]),
    );
  }

  async reaches(inputOffset: number): Promise<OpenedCheckpoint> {
    await eventually(
      async () => (await this.checkpoints()).some(({ checkpoint }) => inputOffsetOf(checkpoint) === inputOffset),
      `input offset ${inputOffset}`,
    );
    return (await this.checkpoints()).at(-1) as OpenedCheckpoint;
  }

  /** The leaves of the log, checked against the tiles and the newest checkpoint, by the slow tree. */
  async leaves(): Promise<ReturnType<typeof decodeClusterLeaf>[]> {
    const newest = (await this.checkpoints()).at(-1)?.checkpoint;
    ok(newest !== undefined, 'there is a checkpoint');
    const entries: Buffer[] = [];
    for (let index = 0; index * TILE_WIDTH < newest.size; index++) {
      const width = Math.min(TILE_WIDTH, newest.size - index * TILE_WIDTH);
      const bundle = await this.blobs.read(tilePath({ level: 'entries', index, width }));
      entries.push(...decodeEntryBundle(bundle ?? Buffer.alloc(0), width));
    }
    const tree = new MerkleTree();
    entries.forEach((entry) => tree.append(leafHash(entry)));
    ok(tree.root().equals(newest.root));
    ok((await TileTree.open(this.blobs, '', newest.size)).root().equals(newest.root));
    return entries.map(decodeClusterLeaf);
  }
}

function refusals(leaves: readonly ReturnType<typeof decodeClusterLeaf>[]): string[] {
  return leaves.filter(({ type }) => type === 4).map(({ body }) => decodeRefusedEntry(body).reason);
}

describe('the sequencer', () => {
  test('makes a leaf of each opening and head, in input order, and signs where it is', async () => {
    const lab = new Lab();
    await lab.start();
    const writer = openedWriter(1);
    await publishHeads(lab.bus, openingValue(writer), headValue(writer));
    writer.append();
    await publishHeads(lab.bus, headValue(writer));
    const { checkpoint } = await lab.reaches(3);
    equal(checkpoint.origin, ORIGIN);
    const leaves = await lab.leaves();
    deepEqual(
      leaves.map(({ type, inputOffset }) => [type, inputOffset]),
      [
        [1, 0],
        [2, 1],
        [2, 2],
      ],
    );
    await lab.stop();
  });

  test('an unchanged head is a leaf again only after a minute of its own time', async () => {
    const lab = new Lab();
    await lab.start();
    const writer = openedWriter(2);
    const later = openedWriter(3);
    await publishHeads(lab.bus, openingValue(writer), headValue(writer), headValue(writer), openingValue(later));
    await lab.reaches(4);
    deepEqual(
      (await lab.leaves()).map(({ inputOffset }) => inputOffset),
      [0, 1, 3],
    );
    await lab.stop();
  });

  test('refuses what it cannot vouch for, with the reason in a leaf of its own', async () => {
    const lab = new Lab();
    await lab.start();
    const [known, stranger] = [openedWriter(4), openedWriter(5)];
    const impostor = new SampleWriter(6, { openMeta: Buffer.alloc(0) });
    const flipped = Buffer.from(headValue(known));
    flipped[flipped.length - 1] = (flipped[flipped.length - 1] as number) ^ 1;
    const control = openedWriter(8, 'control');
    await publishHeads(lab.bus, openingValue(known), headValue(stranger), openingValue(impostor), flipped);
    await publishHeads(lab.bus, Buffer.from([9, 9]), openingValue(control), headValue(known, control));
    await lab.reaches(7);
    const leaves = await lab.leaves();
    equal(leaves.length, 7);
    deepEqual(
      refusals(leaves).map((reason) => reason.replace(/:.*/, '')),
      [
        'head of a writer that is not registered',
        'leaf 0 does not name the certified key',
        'signature of the head',
        refusals(leaves)[3]?.replace(/:.*/, ''),
        'recovered head is not in the list of its control writer',
      ],
    );
    await lab.stop();
  });

  test('admits a recovered head at exactly the listed size and root', async () => {
    const lab = new Lab();
    await lab.start();
    const dead = openedWriter(10);
    dead.append();
    const tail = { writerId: dead.writerId, size: dead.size, root: dead.root };
    const control = openedWriter(11, 'control', [tail]);
    await publishHeads(lab.bus, openingValue(dead), openingValue(control), headValue(dead, control));
    dead.append();
    await publishHeads(lab.bus, headValue(dead, control));
    await lab.reaches(4);
    const leaves = await lab.leaves();
    deepEqual(
      leaves.map(({ type }) => type),
      [1, 1, 2, 4],
    );
    await lab.stop();
  });

  test('goes on where it was after a restart, over bundles and tiles', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'chaperone-log-'));
    const lab = new Lab(new DiskBlobStore(directory));
    const writer = openedWriter(12);
    await lab.bus.ensure(TOPICS.heads);
    await publishHeads(lab.bus, openingValue(writer));
    let offset = 1;
    for (const count of [1, 254, 2, 300]) {
      const sequencer = await lab.start();
      const values = Array.from({ length: count }, () => {
        writer.append();
        return headValue(writer);
      });
      await publishHeads(lab.bus, ...values);
      offset += count;
      await lab.reaches(offset);
      await sequencer.close();
    }
    equal((await lab.leaves()).length, offset);
    await rm(directory, { recursive: true });
  });

  test('every checkpoint extends the one before', async () => {
    const lab = new Lab();
    const sequencer = await lab.start();
    const writer = openedWriter(13);
    await publishHeads(lab.bus, openingValue(writer));
    for (let offset = 2; offset <= 12; offset++) {
      writer.append();
      await publishHeads(lab.bus, headValue(writer));
      await lab.reaches(offset);
    }
    await sequencer.close();
    const checkpoints = (await lab.checkpoints()).map(({ checkpoint }) => checkpoint);
    const tree = await TileTree.open(lab.blobs, '', checkpoints.at(-1)?.size ?? 0);
    ok(checkpoints.length > 5);
    for (const [i, next] of checkpoints.slice(1).entries()) {
      const before = checkpoints[i] as typeof next;
      const proof = await tree.consistencyProof(before.size, next.size);
      ok(verifyConsistency(before.size, next.size, before.root, next.root, proof));
    }
  });

  test('of two live sequencers one wins each step, and the log stays one', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'chaperone-duel-'));
    const lab = new Lab(new DiskBlobStore(directory));
    const writer = openedWriter(14);
    const [one, two] = [await lab.start(), await lab.start()];
    const lost: string[] = [];
    one.done.catch((error: Error) => lost.push(error.name));
    two.done.catch((error: Error) => lost.push(error.name));
    await publishHeads(lab.bus, openingValue(writer));
    for (let offset = 2; offset <= 40; offset++) {
      writer.append();
      await publishHeads(lab.bus, headValue(writer));
      if (offset % 10 === 0) {
        await lab.reaches(offset);
      }
    }
    await eventually(() => lost.length === 1, 'one is fenced');
    deepEqual(lost, [FencedError.name]);
    await lab.stop();
    deepEqual(
      (await lab.leaves()).map(({ inputOffset }) => inputOffset),
      Array.from({ length: 40 }, (_, i) => i),
    );
    await consistent(lab);
    await rm(directory, { recursive: true });
  });

  test('two swaps from one version: one is told that it lost, and nothing of it is in the log', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'chaperone-swap-'));
    for (const blobs of [new MemoryBlobStore(), new DiskBlobStore(directory)]) {
      const [a, b] = [await ClusterLog.open(blobs), await ClusterLog.open(blobs)];
      const outcomes = await Promise.allSettled([a.commit([Buffer.from('a')], 1), b.commit([Buffer.from('a')], 1)]);
      deepEqual(outcomes.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
      const successor = await ClusterLog.open(blobs);
      equal(successor.lock.size, 1);
      await rejects((outcomes[0]?.status === 'rejected' ? a : b).commit([Buffer.from('c')], 2), FencedError);
    }
    await rm(directory, { recursive: true });
  });

  test('a death at each call of the store is finished by the successor', async () => {
    const writer = openedWriter(15);
    const values = [openingValue(writer), headValue(writer)];
    writer.append();
    values.push(headValue(writer));
    const calm = new Lab();
    await run(calm, values);
    await calm.stop();
    const calls = (calm.blobs as MemoryBlobStore).calls.length;
    ok(calls >= 6);
    const expected = JSON.stringify(await calm.leaves());
    for (const fault of ['before', 'after'] as const) {
      for (let at = 1; at <= calls; at++) {
        const blobs = new MemoryBlobStore();
        const lab = new Lab(blobs);
        let died: () => void = () => undefined;
        let dead = false;
        const death = new Promise<void>((resolve) => (died = resolve));
        blobs.fault = (_, number) => {
          if (number === at) {
            dead = true;
            died();
            return fault;
          }
          return dead ? 'before' : null;
        };
        await Promise.race([run(lab, values, () => dead).catch(() => undefined), death]);
        await lab.stop();
        blobs.fault = () => null;
        const successor = await lab.start();
        await eventually(async () => {
          const known = await lab.checkpoints();
          return known.some(({ checkpoint }) => inputOffsetOf(checkpoint) === values.length);
        }, 'the successor is at the end');
        await successor.close();
        equal(JSON.stringify(await lab.leaves()), expected);
        await consistent(lab);
      }
    }
  });

  test('a call of the store that fails once, applied or not, is repeated to the same log', async () => {
    const writer = openedWriter(16);
    const values = [openingValue(writer), headValue(writer)];
    writer.append();
    values.push(headValue(writer));
    for (const fault of ['before', 'after'] as const) {
      // The first call that can fail is one of a step: a start on an empty store changes nothing.
      for (let at = 1; at <= 8; at++) {
        const blobs = new MemoryBlobStore();
        const lab = new Lab(blobs);
        blobs.fault = (_, number) => (number === at ? fault : null);
        await run(lab, values);
        await lab.stop();
        deepEqual(
          (await lab.leaves()).map(({ inputOffset }) => inputOffset),
          [0, 1, 2],
        );
        await consistent(lab);
      }
    }
  });

  async function run(lab: Lab, values: readonly Buffer[], over = () => false): Promise<void> {
    await lab.bus.ensure(TOPICS.heads);
    await lab.start();
    await publishHeads(lab.bus, ...values.slice(0, 2));
    const at = async (offset: number): Promise<void> =>
      eventually(async () => {
        return over() || (await lab.checkpoints()).some(({ checkpoint }) => inputOffsetOf(checkpoint) === offset);
      }, `offset ${offset}`);
    await at(2);
    await publishHeads(lab.bus, ...values.slice(2));
    await at(values.length);
  }

  async function consistent(lab: Lab): Promise<void> {
    const bySize = new Map<number, string>();
    for (const { checkpoint } of await lab.checkpoints()) {
      const root = checkpoint.root.toString('hex');
      equal(bySize.get(checkpoint.size) ?? root, root, 'never two roots for one size');
      bySize.set(checkpoint.size, root);
    }
    ok(bySize.size > 0);
  }
});

describe('the sequencer with a witness', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'chaperone-witness-'));
  after(() => rm(directory, { recursive: true }));

  test('publishes cosigned checkpoints, also after the witness was away and after it started anew', async () => {
    const lab = new Lab();
    const options = {
      cosigner: { name: witnessVerifier.name, key: WITNESS_KEY },
      logs: [logVerifier],
      blobs: new DiskBlobStore(directory),
      clock,
    };
    let witness = await startWitness(options);
    const { port } = witness;
    await lab.start([{ url: `http://127.0.0.1:${port}`, key: witnessVerifier }]);
    const writer = openedWriter(20);
    await publishHeads(lab.bus, openingValue(writer));
    const cosigned = async (size: number): Promise<void> =>
      eventually(async () => {
        const all = await lab.checkpoints();
        return all.some(({ checkpoint, cosignatures }) => checkpoint.size === size && cosignatures.length === 1);
      }, `cosigned at ${size}`);
    await cosigned(1);
    await witness.close();
    for (let i = 0; i < 5; i++) {
      writer.append();
      await publishHeads(lab.bus, headValue(writer));
    }
    await lab.reaches(6);
    witness = await startWitness({ ...options, port });
    await cosigned(6);
    await lab.stop();
    await witness.close();
  });
});

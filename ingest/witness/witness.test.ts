import { equal, ok } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ManualClock } from '../../core/kernel/testing/manual-clock.ts';
import { encodeCheckpoint, openCheckpoint } from '../../core/ledger/checkpoint.ts';
import { publicKeyRaw } from '../../core/ledger/ed25519.ts';
import { leafHash } from '../../core/ledger/hash.ts';
import { MerkleTree } from '../../core/ledger/merkle.ts';
import { addSignature, signNote } from '../../core/ledger/note.ts';
import { SIGNATURE_TYPES, verifierKey } from '../../core/ledger/verifier-key.ts';
import { MemoryBlobStore } from '../archive/testing/memory-blob-store.ts';
import { Witness } from './witness.ts';
import type { WitnessReply } from './witness.ts';

const ORIGIN = 'clinic.example/evidence';
const LOG_KEY = Buffer.alloc(32, 1);
const WITNESS_KEY = Buffer.alloc(32, 2);
const NAME = 'witness.example/1';
const logVerifier = verifierKey(ORIGIN, SIGNATURE_TYPES.ed25519, publicKeyRaw(LOG_KEY));
const witnessVerifier = verifierKey(NAME, SIGNATURE_TYPES.cosignature, publicKeyRaw(WITNESS_KEY));

const tree = new MerkleTree();
const fork = new MerkleTree();
for (let i = 0; i < 20; i++) {
  tree.append(leafHash(Buffer.from(`leaf ${i}`)));
  fork.append(leafHash(Buffer.from(i < 5 ? `leaf ${i}` : `other ${i}`)));
}

function noteOf(size: number, from: MerkleTree = tree, origin = ORIGIN, key = LOG_KEY): string {
  const root = from.root(size);
  return signNote(encodeCheckpoint({ origin, size, root, extensions: [] }), [{ name: origin, key }]);
}

function request(old: number, size: number, from: MerkleTree = tree, note = noteOf(size, from)): string {
  const proof = old > 0 && old < size ? from.consistencyProof(old, size) : [];
  return `old ${old}\n${proof.map((hash) => `${hash.toString('base64')}\n`).join('')}\n${note}`;
}

class Lab {
  readonly blobs = new MemoryBlobStore();
  readonly clock = new ManualClock(1_767_225_600_000);
  witness = this.fresh();

  fresh(): Witness {
    const cosigner = { name: NAME, key: WITNESS_KEY };
    return new Witness({ cosigner, logs: [logVerifier], blobs: this.blobs, clock: this.clock });
  }

  /** The witness has seen `size`. */
  async at(size: number): Promise<this> {
    equal((await this.witness.addCheckpoint(request(0, size))).status, 200);
    return this;
  }
}

describe('a witness', () => {
  test('cosigns the first checkpoint and each that extends it', async () => {
    const lab = new Lab();
    let old = 0;
    for (const size of [3, 3, 4, 11, 20]) {
      const reply = await lab.witness.addCheckpoint(request(old, size));
      equal(reply.status, 200, `${old} -> ${size}: ${reply.body}`);
      const opened = openCheckpoint(addSignature(noteOf(size), reply.body), logVerifier, [witnessVerifier]);
      equal(opened.cosignatures[0]?.timeSeconds, 1_767_225_600);
      old = size;
    }
  });

  const refusals: [string, (lab: Lab) => Promise<WitnessReply>, number][] = [
    [
      'a note of a log that it does not know',
      (lab) => lab.witness.addCheckpoint(request(0, 3, tree, noteOf(3, tree, 'other.example/log'))),
      404,
    ],
    [
      'a signature of another key',
      (lab) => lab.witness.addCheckpoint(request(0, 3, tree, noteOf(3, tree, ORIGIN, WITNESS_KEY))),
      403,
    ],
    [
      'an old size past the checkpoint',
      async (lab) => (await lab.at(5)).witness.addCheckpoint(`old 6\n\n${noteOf(5)}`),
      400,
    ],
    [
      'an old size that is not the one it saw',
      async (lab) => (await lab.at(5)).witness.addCheckpoint(request(4, 6)),
      409,
    ],
    ['a log that starts over', async (lab) => (await lab.at(5)).witness.addCheckpoint(request(0, 6)), 409],
    ['another root of the same size', async (lab) => (await lab.at(7)).witness.addCheckpoint(request(7, 7, fork)), 409],
    ['a fork', async (lab) => (await lab.at(7)).witness.addCheckpoint(request(7, 9, fork)), 422],
    [
      'a proof where none may be',
      (lab) => lab.witness.addCheckpoint(`old 0\n${Buffer.alloc(32).toString('base64')}\n\n${noteOf(3)}`),
      422,
    ],
    [
      'no proof where one must be',
      async (lab) => (await lab.at(5)).witness.addCheckpoint(`old 5\n\n${noteOf(6)}`),
      422,
    ],
    ['a body that is no request', (lab) => lab.witness.addCheckpoint(noteOf(3)), 400],
    ['a hash of another size', (lab) => lab.witness.addCheckpoint(`old 0\nAAAA\n\n${noteOf(3)}`), 400],
    [
      '64 hashes',
      (lab) =>
        lab.witness.addCheckpoint(`old 0\n${`${Buffer.alloc(32).toString('base64')}\n`.repeat(64)}\n${noteOf(3)}`),
      400,
    ],
    ['a number with a leading zero', (lab) => lab.witness.addCheckpoint(`old 00\n\n${noteOf(3)}`), 400],
  ];
  for (const [what, ask, status] of refusals) {
    test(`refuses ${what} with ${status}`, async () => {
      const lab = new Lab();
      const reply = await ask(lab);
      equal(reply.status, status, reply.body);
      ok(!reply.body.includes(NAME));
    });
  }

  test('says the size that it saw in the way of the specification', async () => {
    const reply = await (await new Lab().at(5)).witness.addCheckpoint(request(4, 6));
    equal(reply.contentType, 'text/x.tlog.size');
    equal(reply.body, '5\n');
  });

  test('does not cosign what it could not remember, and remembers what it cosigned', async () => {
    const lab = await new Lab().at(5);
    for (const fault of ['before', 'after'] as const) {
      lab.blobs.fault = () => fault;
      await lab.witness.addCheckpoint(request(5, 9)).then(
        () => ok(false, 'no answer without state'),
        () => undefined,
      );
      lab.blobs.fault = () => null;
      lab.witness = lab.fresh();
      equal((await lab.witness.addCheckpoint(request(fault === 'before' ? 5 : 9, 9))).status, 200);
      await lab.blobs.replace(
        (await lab.blobs.list('seen/'))[0] as string,
        Buffer.from(`5 ${tree.root(5).toString('hex')}\n`),
      );
    }
  });

  test('of two checkpoints at once that fork, one is cosigned', async () => {
    const lab = await new Lab().at(5);
    const replies = await Promise.all([
      lab.witness.addCheckpoint(request(5, 9)),
      lab.witness.addCheckpoint(request(5, 9, fork)),
    ]);
    equal(replies.filter(({ status }) => status === 200).length, 1);
  });
});

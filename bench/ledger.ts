import { hash } from 'node:crypto';
import { SeededRandom } from '../core/kernel/testing/seeded-random.ts';
import { CompactRange } from '../core/ledger/compact-range.ts';
import { leafHash } from '../core/ledger/hash.ts';
import { encodeLeafInto, KINDS, LEAF_SIZE, type LeafFields } from '../core/ledger/leaf.ts';
import { MerkleTree, verifyConsistency, verifyInclusion } from '../core/ledger/merkle.ts';
import { SampleWriter } from '../core/ledger/testing/sample-evidence.ts';
import { verifyBatch } from '../core/ledger/verify-batch.ts';
import { type Bench, gateOf, interleave, type MeasuredCase, resultOf } from './harness.ts';

const SEED = 20_260_101;
const LEAVES_PER_SECOND_MIN = 400_000;
const NODE_INPUT_SIZE = 65;

/**
 * What the ledger costs: a leaf as a writer makes it (encode, hash, append), proofs over a large tree, and a batch as
 * ingest checks it. The reference is SHA-256 over the same bytes and nothing else: the price that no code can avoid.
 */
export const bench: Bench = {
  name: 'ledger',
  async run(context) {
    const count = context.smoke ? 2_000 : 400_000;
    const proofs = context.smoke ? 100 : 5_000;
    const fields = leafFields();
    const tree = treeOf(context.smoke ? 1_000 : 500_000);
    const batch = sampleBatch(context.smoke ? 20 : 250);
    const cases: MeasuredCase[] = [
      { ...rate('append', 'leaves'), reference: 'sha256', measure: () => appendLeaves(fields, count) },
      { ...rate('sha256', 'leaves'), measure: () => hashOnly(count) },
      { ...rate('inclusion proofs built', 'proofs'), reference: 'sha256', measure: () => buildInclusion(tree, proofs) },
      {
        ...rate('inclusion proofs verified', 'proofs'),
        reference: 'sha256',
        measure: () => checkInclusion(tree, proofs),
      },
      {
        ...rate('consistency proofs built and verified', 'proofs'),
        reference: 'sha256',
        measure: () => consistency(tree, proofs),
      },
      {
        ...rate('records verified in batches', 'records'),
        reference: 'sha256',
        measure: () => verifyBatches(batch, context.smoke ? 2 : 100),
      },
    ];
    for (const each of cases) {
      await each.measure(0); // The first run of each measures the compiler.
    }
    const results = await interleave(context.rounds, cases, context.log);
    const gate = gateOf(context, {
      name: 'leaves encoded, hashed and appended per second of a core',
      value: resultOf(results, 'append').value,
      bound: LEAVES_PER_SECOND_MIN,
      op: '>=',
      referenceRounds: resultOf(results, 'sha256').rounds,
    });
    return { results, gates: [gate] };
  },
};

function rate(name: string, metric: string): { case: string; metric: string; unit: string } {
  return { case: name, metric, unit: '1/s of a core' };
}

/** What a writer does for each record, without its meta: encode the leaf, hash it, append it. */
function appendLeaves(fields: Mutable<LeafFields>, count: number): number {
  const range = new CompactRange();
  const leaf = Buffer.alloc(LEAF_SIZE);
  const record: Mutable<LeafFields> = { ...fields };
  return perSecond(count, () => {
    for (let index = 0; index < count; index++) {
      record.index = index;
      record.strandSeq = index;
      encodeLeafInto(leaf, 0, record);
      record.strandPrevious = leafHash(leaf);
      range.append(record.strandPrevious);
    }
    range.root();
  });
}

/** The same bytes through SHA-256 and nothing else: one leaf and one inner node for each record. */
function hashOnly(count: number): number {
  const leaf = Buffer.alloc(1 + LEAF_SIZE, 7);
  const node = Buffer.alloc(NODE_INPUT_SIZE, 7);
  return perSecond(count, () => {
    for (let i = 0; i < count; i++) {
      hash('sha256', leaf, 'binary');
      hash('sha256', node, 'binary');
    }
  });
}

function buildInclusion(tree: MerkleTree, count: number): number {
  const step = Math.floor(tree.size / count);
  return perSecond(count, () => {
    for (let i = 0; i < count; i++) {
      tree.inclusionProof(i * step);
    }
  });
}

function checkInclusion(tree: MerkleTree, count: number): number {
  const root = tree.root();
  const index = tree.size - Math.floor(tree.size / 3);
  const proof = tree.inclusionProof(index);
  const leaf = tree.hashAt(0, index);
  return perSecond(count, () => {
    for (let i = 0; i < count; i++) {
      must(verifyInclusion(index, tree.size, leaf, proof, root));
    }
  });
}

function consistency(tree: MerkleTree, count: number): number {
  const root = tree.root();
  const step = Math.floor(tree.size / count);
  return perSecond(count, () => {
    for (let i = 0; i < count; i++) {
      const size = 1 + i * step;
      must(verifyConsistency(size, tree.size, tree.root(size), root, tree.consistencyProof(size)));
    }
  });
}

function verifyBatches(batch: { readonly bytes: Buffer; readonly records: number }, count: number): number {
  return perSecond(count * batch.records, () => {
    for (let i = 0; i < count; i++) {
      const { findings, signature } = verifyBatch(batch.bytes, { known: new CompactRange() });
      must(findings.length === 0 && signature === 'valid');
    }
  });
}

/**
 * Per second of processor time of this process, its helper threads included: a core's second, whoever else runs on the
 * machine. The work is synchronous, so on a machine of its own that is the second of the clock.
 */
function perSecond(count: number, work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return count / ((user + system) / 1e6);
}

function must(holds: boolean): void {
  if (!holds) {
    throw new Error('what is measured must also be right');
  }
}

function treeOf(size: number): MerkleTree {
  const tree = new MerkleTree();
  const entry = Buffer.alloc(8);
  for (let i = 0; i < size; i++) {
    entry.writeUInt32BE(i);
    tree.append(leafHash(entry));
  }
  return tree;
}

/** Records of about 600 bytes, as an operation without a sealed unit is. */
function sampleBatch(records: number): { bytes: Buffer; records: number } {
  const writer = new SampleWriter(SEED);
  const meta = new SeededRandom(SEED).bytes(260);
  while (writer.size < records) {
    writer.append({ meta });
  }
  return { bytes: writer.batch(), records };
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

function leafFields(): Mutable<LeafFields> {
  const random = new SeededRandom(SEED);
  return {
    kind: KINDS.operation,
    writerId: random.bytes(16),
    index: 0,
    timeNs: 1_767_225_600_000_000_000n,
    tenantTag: random.bytes(16),
    sessionId: random.bytes(16),
    strandSeq: 0,
    strandPrevious: random.bytes(32),
    bundleDigest: random.bytes(32),
    decision: 1,
    obligations: 0,
    approvalLeafHash: random.bytes(32),
    metaCommit: random.bytes(32),
    payloadCommit: random.bytes(32),
    originalsCommit: random.bytes(32),
    payloadKeyId: random.bytes(16),
    originalsKeyId: random.bytes(16),
  };
}

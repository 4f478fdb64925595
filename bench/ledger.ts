import { hash } from 'node:crypto';
import { SeededRandom } from '../core/kernel/testing/seeded-random.ts';
import { CompactRange } from '../core/ledger/compact-range.ts';
import { leafHash } from '../core/ledger/hash.ts';
import { encodeLeafInto, KINDS, LEAF_SIZE, type LeafFields } from '../core/ledger/leaf.ts';
import { type Bench, gateOf, interleave, resultOf } from './harness.ts';

const SEED = 20_260_101;
const LEAVES_PER_SECOND_MIN = 400_000;

export const bench: Bench = {
  name: 'ledger',
  async run(context) {
    const count = context.smoke ? 2_000 : 400_000;
    const fields = leafFields();
    appendLeaves(fields, 2_000); // Warm-up: the first rounds would measure the compiler.
    hashOnly(2_000);
    const results = await interleave(
      context.rounds,
      [
        {
          case: 'append',
          metric: 'leaves',
          unit: '1/s',
          reference: 'sha256',
          measure: () => appendLeaves(fields, count),
        },
        { case: 'sha256', metric: 'leaves', unit: '1/s', measure: () => hashOnly(count) },
      ],
      context.log,
    );
    const append = resultOf(results, 'append');
    return {
      results,
      gates: [
        gateOf(context, {
          name: 'leaves encoded, hashed and appended per second',
          value: append.value,
          bound: LEAVES_PER_SECOND_MIN,
          op: '>=',
          referenceRounds: resultOf(results, 'sha256').rounds,
        }),
      ],
    };
  },
};

/** What a writer does for each record, without its meta: encode the leaf, hash it, append it. */
function appendLeaves(fields: LeafFields, count: number): number {
  const range = new CompactRange();
  const leaf = Buffer.alloc(LEAF_SIZE);
  let previous = fields.strandPrevious;
  const start = performance.now();
  for (let index = 0; index < count; index++) {
    encodeLeafInto(leaf, 0, { ...fields, index, strandSeq: index, strandPrevious: previous });
    previous = leafHash(leaf);
    range.append(previous);
  }
  range.root();
  return count / ((performance.now() - start) / 1000);
}

/** The same number of bytes through SHA-256 and nothing else: one leaf and one inner node for each record. */
function hashOnly(count: number): number {
  const leaf = Buffer.alloc(1 + LEAF_SIZE, 7);
  const node = Buffer.alloc(65, 7);
  const start = performance.now();
  for (let i = 0; i < count; i++) {
    hash('sha256', leaf, 'binary');
    hash('sha256', node, 'binary');
  }
  return count / ((performance.now() - start) / 1000);
}

function leafFields(): LeafFields {
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

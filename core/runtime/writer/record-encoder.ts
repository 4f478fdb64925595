import { assert } from '../../kernel/assert.ts';
import { ZERO16, ZERO32 } from '../../kernel/bytes.ts';
import type { Clock } from '../../kernel/clock.ts';
import { LIMITS } from '../../kernel/limits.ts';
import { leafHash, sha256 } from '../../ledger/hash.ts';
import { encodeLeafInto, LEAF_SIZE } from '../../ledger/leaf.ts';
import { encodeRecordInto, SALT_SIZE } from '../../ledger/record.ts';
import type { RecordInput, RecordUnit } from './evidence-writer.ts';
import { type RandomFill, SaltPool } from './salt-pool.ts';

/**
 * Turns what a room gives into a record body: adds writer, index, time, salt and commits, and hashes the leaf.
 *
 * Hot path: the digests are the price of the design, so little else here allocates. The scratch buffers are shared between
 * calls; every call is synchronous.
 */
export class RecordEncoder {
  readonly #writerId: Buffer;
  readonly #clock: Clock;
  readonly #salts: SaltPool;
  readonly #salt = Buffer.alloc(SALT_SIZE);
  readonly #leaf = Buffer.alloc(LEAF_SIZE);

  constructor(writerId: Buffer, clock: Clock, randomFill?: RandomFill) {
    this.#writerId = writerId;
    this.#clock = clock;
    this.#salts = new SaltPool(randomFill);
  }

  /** Writes the body of `record` at `offset` of `target`, which holds it, and returns the leaf hash. */
  encode(target: Buffer, offset: number, index: number, record: RecordInput, timeNs = this.#clock.nowNs()): Buffer {
    const { units } = record;
    const meta = record.meta as Buffer;
    assert(meta.length <= LIMITS.metaBytesMax, 'meta is within its limit');
    const payload = unitOf(units, 1);
    const originals = unitOf(units, 2);
    this.#salts.take(this.#salt);
    encodeLeafInto(this.#leaf, 0, {
      kind: record.kind,
      writerId: this.#writerId,
      index,
      timeNs,
      tenantTag: record.tenantTag,
      sessionId: record.sessionId,
      strandSeq: record.strandSeq,
      strandPrevious: record.strandPrevious,
      bundleDigest: record.bundleDigest,
      decision: record.decision,
      obligations: record.obligations,
      approvalLeafHash: record.approvalLeafHash,
      metaCommit: sha256(this.#salt, meta),
      payloadCommit: payload === undefined ? ZERO32 : sha256(payload.bytes),
      originalsCommit: originals === undefined ? ZERO32 : sha256(originals.bytes),
      payloadKeyId: payload === undefined ? ZERO16 : payload.keyId,
      originalsKeyId: originals === undefined ? ZERO16 : originals.keyId,
    });
    encodeRecordInto(target, offset, { leaf: this.#leaf, salt: this.#salt, meta, units });
    return leafHash(this.#leaf);
  }
}

function unitOf(units: readonly RecordUnit[], unitClass: 1 | 2): RecordUnit | undefined {
  for (const unit of units) {
    if (unit.unitClass === unitClass) {
      return unit;
    }
  }
  return undefined;
}

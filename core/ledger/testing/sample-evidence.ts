import type { KeyObject } from 'node:crypto';
import { ZERO16, ZERO32 } from '../../kernel/bytes.ts';
import { SeededRandom } from '../../kernel/testing/seeded-random.ts';
import { type Batch, encodeBatch } from '../batch.ts';
import { CompactRange } from '../compact-range.ts';
import { publicKeyRaw } from '../ed25519.ts';
import { signEpoch, WRITER_ROLES, type WriterRole } from '../epoch.ts';
import { leafHash, sha256 } from '../hash.ts';
import { SIGNER_KINDS, signHead } from '../head.ts';
import { encodeLeaf, KINDS, type KindName, type LeafFields, OBLIGATIONS, tenantTag } from '../leaf.ts';
import { encodeRecord, type RecordUnitBytes } from '../record.ts';
import { sealUnit, unitNonce } from '../sealed-unit.ts';
import { SAMPLE_NODE_CERTIFICATE, SAMPLE_NODE_SEED } from './sample-node.ts';

/** 2026-01-01T00:00:00Z. */
export const SAMPLE_TIME_NS = 1_767_225_600_000_000_000n;

export interface SampleRecordInput {
  readonly kind?: KindName;
  readonly sessionId?: Buffer;
  readonly meta?: Buffer;
  readonly payload?: Buffer;
  readonly originals?: Buffer;
}

/**
 * A writer as the formats see it, for tests and golden vectors: seeded, in memory, and slow. Everything that it makes
 * is valid evidence.
 */
export class SampleWriter {
  readonly writerId: Buffer;
  readonly key: Buffer;
  readonly role: WriterRole;
  readonly epoch: Buffer;
  readonly records: Buffer[] = [];
  readonly leafHashes: Buffer[] = [];
  readonly #random: SeededRandom;
  readonly #range = new CompactRange();
  readonly #strands = new Map<string, { seq: number; previous: Buffer }>();
  #published = 0;
  #publishedRange = new CompactRange();

  constructor(
    seed: number,
    options: {
      readonly role?: WriterRole;
      readonly nodeKey?: KeyObject | Buffer;
      readonly nodeCertificate?: Buffer;
      /** Meta of `epoch.open`. */
      readonly openMeta?: Buffer;
    } = {},
  ) {
    this.#random = new SeededRandom(seed);
    this.writerId = this.#random.bytes(16);
    this.key = this.#random.bytes(32);
    this.role = options.role ?? 'worker';
    this.epoch = signEpoch(
      {
        writerId: this.writerId,
        publicKey: publicKeyRaw(this.key),
        role: WRITER_ROLES[this.role],
        createdNs: SAMPLE_TIME_NS,
        nodeCertificate: options.nodeCertificate ?? SAMPLE_NODE_CERTIFICATE,
      },
      options.nodeKey ?? SAMPLE_NODE_SEED,
    );
    this.append({ kind: 'epoch.open', meta: options.openMeta ?? Buffer.from('opened') });
  }

  get size(): number {
    return this.records.length;
  }

  get root(): Buffer {
    return this.#range.root();
  }

  append(input: SampleRecordInput = {}): Buffer {
    const sessionId = input.sessionId ?? ZERO16;
    const strand = this.#strands.get(sessionId.toString('hex')) ?? { seq: 0, previous: ZERO32 };
    const salt = this.#random.bytes(16);
    const meta = input.meta ?? Buffer.from(`meta ${this.size}`);
    const units = this.#units(input, sessionId);
    const kind = input.kind ?? (strand.seq === 0 && input.sessionId !== undefined ? 'session.open' : 'operation');
    const leaf = encodeLeaf({
      kind: KINDS[kind],
      writerId: this.writerId,
      index: this.size,
      timeNs: SAMPLE_TIME_NS + BigInt(this.size) * 1_000_000n,
      tenantTag: tenantTag('default'),
      sessionId,
      strandSeq: strand.seq,
      strandPrevious: strand.previous,
      bundleDigest: sha256(Buffer.from('bundle')),
      decision: kind === 'operation' ? 1 : 0,
      obligations: kind === 'operation' ? OBLIGATIONS.record_full | OBLIGATIONS.read_fast_path : 0,
      approvalLeafHash: ZERO32,
      metaCommit: sha256(salt, meta),
      ...commits(units),
    });
    const record = encodeRecord({ leaf, salt, meta, units: units.map(({ unit }) => unit) });
    const hash = leafHash(leaf);
    this.#range.append(hash);
    this.records.push(record);
    this.leafHashes.push(hash);
    if (input.sessionId !== undefined) {
      const closed = kind === 'session.close';
      this.#strands.set(
        sessionId.toString('hex'),
        closed ? { seq: 0, previous: ZERO32 } : { seq: strand.seq + 1, previous: hash },
      );
    }
    return record;
  }

  /** A batch of everything since the last one. */
  batch(overrides: Partial<Batch> = {}): Buffer {
    const first = this.#published;
    const batch: Batch = {
      writerId: this.writerId,
      first,
      count: this.size - first,
      compact: this.#publishedRange.hashes,
      rootAfter: this.root,
      head: this.head(),
      epoch: first === 0 ? this.epoch : null,
      records: this.records.slice(first),
      ...overrides,
    };
    this.#published = this.size;
    this.#publishedRange = this.#range.clone();
    return encodeBatch(batch);
  }

  /** Signed head of the log as it is, or by the control writer `recovery`. */
  head(recovery?: SampleWriter): Buffer {
    return signHead(
      {
        writerId: this.writerId,
        size: this.size,
        root: this.root,
        timeNs: SAMPLE_TIME_NS + BigInt(this.size) * 1_000_000n,
        signerKind: recovery === undefined ? SIGNER_KINDS.writer : SIGNER_KINDS.recovery,
        signerWriterId: (recovery ?? this).writerId,
      },
      (recovery ?? this).key,
    );
  }

  #units(input: SampleRecordInput, sessionId: Buffer): { unit: RecordUnitBytes; keyId: Buffer }[] {
    const units: { unit: RecordUnitBytes; keyId: Buffer }[] = [];
    for (const [unitClass, plaintext] of [
      [1, input.payload],
      [2, input.originals],
    ] as const) {
      if (plaintext !== undefined) {
        const keyId = this.#random.bytes(16);
        const bytes = sealUnit({
          key: this.#random.bytes(32),
          unitClass,
          direction: 3,
          final: true,
          keyId,
          nonce: unitNonce(this.#random.bytes(8), 0),
          plaintext,
          writerId: this.writerId,
          index: this.size,
          tenantTag: tenantTag('default'),
          sessionId,
          planDigest: sha256(Buffer.from('plan')),
        });
        units.push({ unit: { unitClass, bytes }, keyId });
      }
    }
    return units;
  }
}

function commits(
  units: readonly { unit: RecordUnitBytes; keyId: Buffer }[],
): Pick<LeafFields, 'payloadCommit' | 'originalsCommit' | 'payloadKeyId' | 'originalsKeyId'> {
  const payload = units.find(({ unit }) => unit.unitClass === 1);
  const originals = units.find(({ unit }) => unit.unitClass === 2);
  return {
    payloadCommit: payload === undefined ? ZERO32 : sha256(payload.unit.bytes),
    originalsCommit: originals === undefined ? ZERO32 : sha256(originals.unit.bytes),
    payloadKeyId: payload?.keyId ?? ZERO16,
    originalsKeyId: originals?.keyId ?? ZERO16,
  };
}

import { generateKeyPairSync } from 'node:crypto';
import { ZERO16, ZERO32 } from '../../../kernel/bytes.ts';
import type { Clock } from '../../../kernel/clock.ts';
import { ManualClock } from '../../../kernel/testing/manual-clock.ts';
import { decodeBatch } from '../../../ledger/batch.ts';
import { signEpoch } from '../../../ledger/epoch.ts';
import { KINDS, LEAF_SIZE } from '../../../ledger/leaf.ts';
import { decodeRecord } from '../../../ledger/record.ts';
import type { Disk } from '../../disk.ts';
import type { EpochDetails } from '../epoch-records.ts';
import type { RecordInput } from '../evidence-writer.ts';
import { JournalWriter, type JournalWriterOptions } from '../journal-writer.ts';
import type { WriterLimits } from '../writer-limits.ts';

const NODE_KEY = generateKeyPairSync('ed25519').privateKey;

export const EPOCH_DETAILS: EpochDetails = {
  node: 'node-under-test',
  configDigest: ZERO32,
  binaryDigest: ZERO32,
  bundleDigest: ZERO32,
};

/** Small files, so that a test crosses every border with a few records. */
export const SMALL_LIMITS: Partial<WriterLimits> = {
  segmentBytes: 16 * 1024,
  reserveSegmentBytes: 16 * 1024,
  groupCommitBytesMax: 4 * 1024,
  batchBytes: 4 * 1024,
};

/** A node that vouches for any writer. The certificate is not X.509: no test of this room looks into it. */
export const certify: JournalWriterOptions['certify'] = (publicKey, writerId, role, createdNs) =>
  signEpoch({ publicKey, writerId, role, createdNs, nodeCertificate: Buffer.from('a node') }, NODE_KEY);

/** A bus in memory that refuses on demand, with what it took. */
export class CollectingSink {
  readonly batches: { readonly first: number; readonly count: number; readonly bytes: Buffer }[] = [];
  readonly heads: Buffer[] = [];
  /** Set: publishing fails with it. */
  failure: Error | null = null;
  /** Called before each batch is taken; the batch waits for it. */
  before: () => Promise<void> = () => Promise.resolve();
  /** Called after each batch. */
  after: (upTo: number) => void = () => undefined;

  async publish(bytes: Buffer, _writerId: Buffer, first?: number, count?: number): Promise<void> {
    if (first === undefined || count === undefined) {
      this.#check();
      this.heads.push(bytes);
      return;
    }
    await this.before();
    this.#check();
    this.batches.push({ first, count, bytes });
    this.after(first + count);
  }

  /** Bodies by index, as published last. */
  records(): Map<number, Buffer> {
    const all = new Map<number, Buffer>();
    for (const { bytes } of this.batches) {
      const batch = decodeBatch(bytes);
      batch.records.forEach((body, i) => all.set(batch.first + i, body));
    }
    return all;
  }

  #check(): void {
    if (this.failure !== null) {
      throw this.failure;
    }
  }
}

export function openWriter(
  disk: Disk,
  options: Partial<Omit<JournalWriterOptions, 'disk'>> & { readonly clock?: Clock } = {},
): Promise<JournalWriter> {
  const sink = new CollectingSink();
  return JournalWriter.open({
    disk,
    clock: new ManualClock(),
    role: 'worker',
    epoch: EPOCH_DETAILS,
    certify,
    batches: sink,
    heads: sink,
    ...options,
    limits: { ...SMALL_LIMITS, ...options.limits },
  });
}

export function record(meta: Uint8Array, changes: Partial<RecordInput> = {}): RecordInput {
  return {
    kind: KINDS.operation,
    sessionId: ZERO16,
    strandSeq: 0,
    strandPrevious: ZERO32,
    tenantTag: ZERO16,
    bundleDigest: ZERO32,
    decision: 1,
    obligations: 0,
    approvalLeafHash: ZERO32,
    meta,
    units: [],
    ...changes,
  };
}

export function leafOf(body: Buffer): Buffer {
  return body.subarray(0, LEAF_SIZE);
}

export function metaOf(body: Buffer): string {
  return decodeRecord(body).meta.toString('utf8');
}

/** Resolves `null` when durable, else with the failure. */
export function durable(writer: JournalWriter, index: number): Promise<Error | null> {
  return new Promise((resolve) => writer.whenDurable(index, resolve));
}

/** Lets everything that does not wait for a fault or a clock happen. */
export async function settle(turns = 20): Promise<void> {
  for (let i = 0; i < turns; i++) {
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
  }
}

import { GatewayError } from '../kernel/errors.ts';
import { type Batch, decodeBatch } from './batch.ts';
import { CompactRange } from './compact-range.ts';
import type { PublicKey } from './ed25519.ts';
import { decodeEpoch, verifyEpochChain } from './epoch.ts';
import { leafHash } from './hash.ts';
import { decodeHead, type Head, SIGNER_KINDS, verifyHead } from './head.ts';
import { KINDS } from './leaf.ts';
import type { StrandCheck } from './strand-check.ts';
import { type Finding, type FindingCode, type ReadRecord, readRecord, verifyRecordCommits } from './verify-record.ts';

/** What the verifier knows before it looks. Whatever is left out is not checked; the result says so. */
export interface BatchContext {
  /** The state of the writer log that this batch must go on from. */
  readonly known?: CompactRange;
  /** Key of the writer; without it, that of the epoch certificate in the batch (only the first has one). */
  readonly writerPublicKey?: PublicKey;
  /** Certificates of the cluster CA, for a batch with an epoch certificate. */
  readonly clusterCas?: readonly (string | Buffer)[];
  /** Key of the control writer that signed the head of a recovered writer; undefined when it is not known. */
  readonly recoveryKey?: (signerWriterId: Buffer) => PublicKey | undefined;
  /** Leaf hash of an index from somewhere else (a hash tile): then the changed record can be named. */
  readonly expectedLeafHash?: (index: number) => Buffer | undefined;
  /** Follows the strands of the writer; batches must then come in order. */
  readonly strands?: StrandCheck;
}

export interface VerifiedRecord extends ReadRecord {
  readonly leafHash: Buffer;
  readonly bytes: Buffer;
}

export interface BatchVerdict {
  /** Nothing is wrong when this is empty; what was not checked is below. */
  readonly findings: readonly Finding[];
  /** Null when the bytes are no batch. */
  readonly batch: Batch | null;
  readonly head: Head | null;
  /** Only records that could be decoded. */
  readonly records: readonly VerifiedRecord[];
  /** The writer log after this batch, computed from its records; null when a record could not be decoded. */
  readonly after: CompactRange | null;
  /** `unchecked`: no key was known for the signer of the head. */
  readonly signature: 'valid' | 'invalid' | 'unchecked';
  /** Key that the epoch certificate of this batch names, for the batches after it. */
  readonly epochPublicKey: Buffer | null;
}

/**
 * Verifies one batch: form, positions, commits, root, head, signature, certificate. Pure, and never throws on what a
 * peer sent. Cost: a digest for each leaf, meta and unit, and two signatures.
 */
export function verifyBatch(bytes: Buffer, context: BatchContext = {}): BatchVerdict {
  const findings: Finding[] = [];
  const batch = tryDecode(() => decodeBatch(bytes), 'malformed', findings);
  if (batch === null) {
    return { findings, batch, head: null, records: [], after: null, signature: 'unchecked', epochPublicKey: null };
  }
  const { records, after } = verifyRecords(bytes, batch, context, findings);
  const epochPublicKey = batch.epoch === null ? null : verifyEpochPart(batch, batch.epoch, context, findings);
  const head = tryDecode(() => decodeHead(batch.head), 'head', findings);
  const signature = head === null ? 'unchecked' : verifyHeadPart(batch, head, context, epochPublicKey, findings);
  return { findings, batch, head, records, after, signature, epochPublicKey };
}

function verifyRecords(
  bytes: Buffer,
  batch: Batch,
  context: BatchContext,
  findings: Finding[],
): { records: VerifiedRecord[]; after: CompactRange | null } {
  const range = CompactRange.fromHashes(batch.first, batch.compact);
  const { known } = context;
  if (known !== undefined && (known.size !== batch.first || !known.root().equals(range.root()))) {
    const detail =
      known.size === batch.first
        ? 'the batch goes on from another log than the one that is known'
        : `the batch begins at ${batch.first}, the known log ends at ${known.size}`;
    findings.push({ code: 'compact', detail, index: batch.first });
  }
  const records: VerifiedRecord[] = [];
  let complete = true;
  for (const [i, recordBytes] of batch.records.entries()) {
    const offset = recordBytes.byteOffset - bytes.byteOffset;
    const record = readRecord(recordBytes);
    if (typeof record === 'string') {
      findings.push({ code: 'malformed', detail: record, index: batch.first + i, offset });
      complete = false;
      continue;
    }
    const hash = leafHash(record.body.leaf);
    range.append(hash);
    records.push({ ...record, leafHash: hash, bytes: recordBytes });
    for (const finding of recordFindings(record, hash, batch, batch.first + i, context)) {
      findings.push({ ...finding, offset });
    }
  }
  if (complete && !range.root().equals(batch.rootAfter)) {
    findings.push({ code: 'root', detail: 'the records do not give the root of the batch', index: batch.first });
  }
  return { records, after: complete ? range : null };
}

function* recordFindings(
  record: ReadRecord,
  hash: Buffer,
  batch: Batch,
  index: number,
  context: BatchContext,
): Generator<Finding> {
  const { leaf } = record;
  if (!leaf.writerId.equals(batch.writerId)) {
    yield { code: 'writer', detail: 'the leaf is of another writer', index };
  }
  if (leaf.index !== index) {
    yield { code: 'index', detail: `the leaf says index ${leaf.index}`, index };
  }
  if ((leaf.kind === KINDS['epoch.open']) !== (index === 0)) {
    yield { code: 'epoch', detail: 'epoch.open is the first record, and only that', index };
  }
  const expected = context.expectedLeafHash?.(index);
  if (expected?.equals(hash) === false) {
    yield { code: 'leaf_hash', detail: 'the leaf is not the one in the tree', index };
  }
  for (const finding of verifyRecordCommits(record)) {
    yield { ...finding, index };
  }
  const strand = context.strands?.next(leaf, hash) ?? null;
  if (strand !== null) {
    yield { ...strand, index };
  }
}

function verifyEpochPart(batch: Batch, bytes: Buffer, context: BatchContext, findings: Finding[]): Buffer | null {
  const epoch = tryDecode(() => decodeEpoch(bytes), 'epoch', findings);
  if (epoch === null) {
    return null;
  }
  if (!epoch.writerId.equals(batch.writerId)) {
    findings.push({ code: 'epoch', detail: 'the epoch certificate is of another writer', index: 0 });
  }
  const problem = context.clusterCas === undefined ? null : verifyEpochChain(bytes, context.clusterCas);
  if (problem !== null) {
    findings.push({ code: 'epoch', detail: problem, index: 0 });
  }
  return epoch.publicKey;
}

function verifyHeadPart(
  batch: Batch,
  head: Head,
  context: BatchContext,
  epochPublicKey: Buffer | null,
  findings: Finding[],
): BatchVerdict['signature'] {
  const size = batch.first + batch.count;
  if (!head.writerId.equals(batch.writerId) || head.size !== size || !head.root.equals(batch.rootAfter)) {
    findings.push({ code: 'head', detail: 'the head is not that of the end of the batch', index: batch.first });
  }
  const key =
    head.signerKind === SIGNER_KINDS.writer
      ? (context.writerPublicKey ?? epochPublicKey ?? undefined)
      : context.recoveryKey?.(head.signerWriterId);
  if (key === undefined) {
    return 'unchecked';
  }
  if (verifyHead(batch.head, key)) {
    return 'valid';
  }
  findings.push({ code: 'signature', detail: 'the head is not signed by its signer', index: batch.first });
  return 'invalid';
}

function tryDecode<T>(decode: () => T, code: FindingCode, findings: Finding[]): T | null {
  try {
    return decode();
  } catch (error) {
    if (error instanceof GatewayError) {
      findings.push({ code, detail: error.detail });
      return null;
    }
    throw error;
  }
}

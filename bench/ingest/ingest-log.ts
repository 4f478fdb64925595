import { randomBytes } from 'node:crypto';
import { LIMITS } from '../../core/kernel/limits.ts';
import { ZERO16, ZERO32 } from '../../core/kernel/bytes.ts';
import { batchOverhead, batchRecordSize, encodeBatch } from '../../core/ledger/batch.ts';
import { CompactRange } from '../../core/ledger/compact-range.ts';
import { publicKeyRaw } from '../../core/ledger/ed25519.ts';
import { signEpoch, WRITER_ROLES } from '../../core/ledger/epoch.ts';
import { leafHash, sha256 } from '../../core/ledger/hash.ts';
import { SIGNER_KINDS, signHead } from '../../core/ledger/head.ts';
import { encodeLeaf, KINDS, tenantTag } from '../../core/ledger/leaf.ts';
import type { KindName } from '../../core/ledger/leaf.ts';
import { encodeRecord } from '../../core/ledger/record.ts';
import type { RecordUnitBytes } from '../../core/ledger/record.ts';
import { SAMPLE_NODE_CERTIFICATE, SAMPLE_NODE_SEED } from '../../core/ledger/testing/sample-node.ts';
import { encodeEvent } from '../../ingest/testing/event-from.ts';
import { SAMPLE_SUBJECT } from '../../ingest/testing/sample-log.ts';

const PAYLOAD_BYTES = 2_048;
const ORIGINALS_BYTES = 512;
const SESSIONS = 64;
const TENANT = tenantTag('default');
const BUNDLE = sha256(Buffer.from('bundle'));

/** A writer log of `operations` (operation, response with two sealed units, delivery each) as batches. */
export interface BenchLog {
  readonly writerId: Buffer;
  readonly batches: readonly Buffer[];
  readonly records: number;
  readonly bytes: number;
}

/** Valid in every signature and hash; the sealed units are random bytes, which hash and store as cipher text does. */
export function makeBenchLog(operations: number): BenchLog {
  const writerId = randomBytes(16);
  const key = randomBytes(32);
  const publicKey = publicKeyRaw(key);
  const createdNs = BigInt(Date.now()) * 1_000_000n;
  const epoch = signEpoch(
    { writerId, publicKey, role: WRITER_ROLES.worker, createdNs, nodeCertificate: SAMPLE_NODE_CERTIFICATE },
    SAMPLE_NODE_SEED,
  );
  const range = new CompactRange();
  const sessions = Array.from({ length: SESSIONS }, () => ({ id: randomBytes(16), seq: 0, previous: ZERO32 }));
  const metas = makeMetas();
  const batches: Buffer[] = [];
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let start = range.clone();
  let size = 0;
  const close = (): void => {
    const root = range.root();
    const fields = {
      writerId,
      size,
      root,
      timeNs: createdNs,
      signerKind: SIGNER_KINDS.writer,
      signerWriterId: writerId,
    };
    const first = start.size;
    batches.push(
      encodeBatch({
        writerId,
        first,
        count: pending.length,
        compact: start.hashes,
        rootAfter: root,
        head: signHead(fields, key),
        epoch: first === 0 ? epoch : null,
        records: pending,
      }),
    );
    start = range.clone();
    pending = [];
    pendingBytes = 0;
  };
  const append = (kind: KindName, session: (typeof sessions)[number], meta: Buffer, units: RecordUnitBytes[]): void => {
    const salt = randomBytes(16);
    const commit = (unitClass: 1 | 2): Buffer => {
      const unit = units.find((each) => each.unitClass === unitClass);
      return unit === undefined ? ZERO32 : sha256(unit.bytes);
    };
    const leaf = encodeLeaf({
      kind: KINDS[kind],
      writerId,
      index: size,
      timeNs: createdNs + BigInt(size) * 1_000n,
      tenantTag: TENANT,
      sessionId: session.id,
      strandSeq: session.seq,
      strandPrevious: session.previous,
      bundleDigest: BUNDLE,
      decision: kind === 'operation' ? 1 : 0,
      obligations: 0,
      approvalLeafHash: ZERO32,
      metaCommit: sha256(salt, meta),
      payloadCommit: commit(1),
      originalsCommit: commit(2),
      payloadKeyId: ZERO16,
      originalsKeyId: ZERO16,
    });
    const record = encodeRecord({ leaf, salt, meta, units });
    const grown = pendingBytes + batchRecordSize(record.length);
    if (pending.length > 0 && grown + batchOverhead(start.hashes.length, epoch) > LIMITS.batchBytes) {
      close();
    }
    const hash = leafHash(leaf);
    range.append(hash);
    session.seq++;
    session.previous = hash;
    size++;
    pending.push(record);
    pendingBytes += batchRecordSize(record.length);
  };
  const none = { id: Buffer.alloc(16), seq: 0, previous: ZERO32 };
  append('epoch.open', none, encodeEvent({ epoch: { role: 'worker', node: 'bench', publicKey } }), []);
  for (let n = 0; n < operations; n++) {
    const session = sessions[n % SESSIONS] as (typeof sessions)[number];
    append('operation', session, metas.operation(n), []);
    append('response', session, metas.response(n), [
      { unitClass: 1, bytes: randomBytes(PAYLOAD_BYTES) },
      { unitClass: 2, bytes: randomBytes(ORIGINALS_BYTES) },
    ]);
    append('delivery', session, metas.delivery(n), []);
  }
  close();
  return { writerId, batches, records: size, bytes: batches.reduce((sum, batch) => sum + batch.length, 0) };
}

/** Metas as the recorder writes them; a hundred of each, so that making a log is quick. */
function makeMetas(): Record<'operation' | 'response' | 'delivery', (n: number) => Buffer> {
  const many = (make: (n: number) => Buffer): ((n: number) => Buffer) => {
    const made = Array.from({ length: 100 }, (_, n) => make(n));
    return (n) => made[n % made.length] as Buffer;
  };
  return {
    operation: many((n) =>
      encodeEvent({
        subject: SAMPLE_SUBJECT,
        connection: 'clinic',
        operation: {
          class: 'http.read',
          verb: 'GET',
          text: `/patients/{id}/observations?page=${n}`,
          targetDigest: randomBytes(32),
          objects: [{ type: 'table', id: `patients_${n % 10}`, labels: [] }],
          classes: ['direct_identifier', 'clinical'],
          kinds: ['ssn', 'phone'],
        },
        decision: {
          effect: 'allow',
          reasons: [
            { code: 'read.allowed', message: 'reading is allowed', remediation: '', control: '', layer: 'base' },
          ],
          inputDigest: randomBytes(32),
          verdict: Buffer.from('{"effect":"allow","masks":["direct_identifier"]}'),
          bundleDigest: BUNDLE,
          catalogueDigest: BUNDLE,
          planDigest: BUNDLE,
          evidence: 'local',
          bundleRevision: 12n,
        },
        configDigest: BUNDLE,
        traceId: randomBytes(16).toString('hex'),
      }),
    ),
    response: many((n) =>
      encodeEvent({
        connection: 'clinic',
        operationIndex: BigInt(n),
        exchange: {
          status: 200,
          rows: 10n,
          bytes: 2048n,
          mediaType: 'application/json',
          upstreamStatus: 200,
          totalUs: 900n,
        },
        masks: {
          profile: 'default',
          counts: [
            { class: 'direct_identifier', kind: 'ssn', action: 'redact', column: 'patients.ssn', count: 10n },
            { class: 'direct_identifier', kind: 'name', action: 'fixed', column: 'patients.name', count: 10n },
          ],
        },
      }),
    ),
    delivery: many((n) =>
      encodeEvent({ operationIndex: BigInt(n), exchange: { deliveredBytes: 2048n, complete: true } }),
    ),
  };
}

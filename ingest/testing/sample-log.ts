import { SeededRandom } from '../../core/kernel/testing/seeded-random.ts';
import { publicKeyRaw } from '../../core/ledger/ed25519.ts';
import type { WriterRole } from '../../core/ledger/epoch.ts';
import { SampleWriter } from '../../core/ledger/testing/sample-evidence.ts';
import type { Event } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import { encodeEvent } from './event-from.ts';
import type { Partly } from './event-from.ts';

export interface SampleTail {
  readonly writerId: Buffer;
  readonly size: number;
  readonly root: Buffer;
}

/** A sample writer whose `epoch.open` says what a real one says, so that ingest and the sequencer accept it. */
export function openedWriter(
  seed: number,
  role: WriterRole = 'worker',
  journals: readonly SampleTail[] = [],
): SampleWriter {
  const random = new SeededRandom(seed);
  random.bytes(16);
  const publicKey = publicKeyRaw(random.bytes(32));
  const epoch = {
    role,
    node: 'node-1',
    publicKey,
    journals: journals.map(({ writerId, size, root }) => ({ writerId, size: BigInt(size), root, state: 'crash' })),
  };
  return new SampleWriter(seed, { role, openMeta: encodeEvent({ epoch }) });
}

/** One operation with its response and delivery, in a session. */
export function appendExchange(writer: SampleWriter, sessionId: Buffer, n: number): void {
  const operationIndex = BigInt(writer.size);
  writer.append({ kind: 'operation', sessionId, meta: encodeEvent(operationEvent(n)) });
  writer.append({
    kind: 'response',
    sessionId,
    meta: encodeEvent(responseEvent(n, operationIndex)),
    payload: Buffer.alloc(200, n),
    originals: Buffer.alloc(50, n),
  });
  const exchange = { deliveredBytes: 200n, complete: true };
  writer.append({ kind: 'delivery', sessionId, meta: encodeEvent({ operationIndex, exchange }) });
}

export const SAMPLE_SUBJECT = {
  principalIss: 'https://issuer.example',
  principalSub: 'dana',
  principalKind: 'user',
  person: 'Dana Ortiz',
  actors: [{ iss: 'https://issuer.example', sub: 'coder-7', kind: 'ai_agent', verified: true }],
  ci: {
    repoId: '1',
    repository: 'clinic/etl',
    ref: 'refs/heads/main',
    sha: 'abc123',
    workflow: 'export.yaml',
    runId: '991',
    environment: 'staging',
    reviewed: true,
    scriptDigest: 'd'.repeat(64),
  },
  authMethod: 'jwt',
  groups: ['etl', 'analytics'],
  purpose: 'analytics',
  env: 'staging',
  tokenDigest: Buffer.alloc(32, 7),
};

function operationEvent(n: number): Partly<Event> {
  return {
    subject: SAMPLE_SUBJECT,
    connection: 'clinic',
    operation: {
      class: 'http.read',
      verb: 'GET',
      text: `/patients/{id}?page=${n % 3}`,
      targetDigest: Buffer.alloc(16, n),
      objects: [{ type: 'table', id: 'patients', labels: [] }],
      classes: ['direct_identifier', 'clinical'],
      kinds: ['ssn'],
    },
    decision: {
      effect: 'allow',
      reasons: [{ code: 'read.allowed', message: 'm', remediation: '', control: '164.312(a)', layer: 'default' }],
      inputDigest: Buffer.alloc(32, n),
      bundleDigest: Buffer.alloc(32, 9),
      catalogueDigest: Buffer.alloc(32, 8),
      planDigest: Buffer.alloc(32, 5),
      evidence: 'local',
      bundleRevision: 12n,
    },
    configDigest: Buffer.alloc(32, 4),
    traceId: `trace-${n}`,
  };
}

function responseEvent(n: number, operationIndex: bigint): Partly<Event> {
  return {
    subject: SAMPLE_SUBJECT,
    connection: 'clinic',
    operationIndex,
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
        { class: 'direct_identifier', kind: 'phone', action: 'fixed', column: 'patients.phone', count: BigInt(n % 4) },
      ],
      unknownPaths: n % 5 === 0 ? ['patients.shoe_size'] : [],
      withheld: n % 5 === 0 ? 10n : 0n,
    },
  };
}

import { asBuffer } from '../../core/kernel/bytes.ts';
import type { ClusterSecrets, WrappingKey } from '../../core/runtime/key-store.ts';
import type { AskRequest, AskStatus, ClaimGrant, ClaimRequest, ScriptReview } from '../approvals/desk-port.ts';
import type { ConnectionInfo } from '../contract/operation.ts';
import type { MaskProfile } from '../contract/shape.ts';
import type { ClaimMapping } from '../identity/claim-mapping.ts';
import type { EngineBundle } from '../policy/policy-engine.ts';

/** One HTTP connection as a worker opens it. The credential is resolved: it stays in memory and in no record. */
export interface HttpConnectionPlan {
  readonly info: ConnectionInfo;
  /** SHA-256 of the canonical configuration of the connection, hex. */
  readonly digest: string;
  readonly host: string | null;
  readonly pathPrefix: string;
  readonly upstreamHost: string;
  readonly upstreamPort: number;
  readonly credential: { readonly name: string; readonly value: string } | null;
}

/** A verified bundle as it crosses to a worker: the compiled module is shared, the rest is text. */
export interface BundlePlan {
  readonly engine: EngineBundle;
  readonly catalogueJson: string;
  readonly profile: MaskProfile;
  readonly peopleJson: string;
}

/**
 * Everything that a worker thread is given at its start. Structured clone: plain data, bytes as Uint8Array. Secrets are
 * in it because the worker needs them; the plan is never logged.
 */
export interface WorkerPlan {
  readonly index: number;
  readonly workers: number;
  readonly node: string;
  readonly tenant: string;
  readonly journalDirectory: string;
  readonly configDigest: string;
  readonly binaryDigest: string;
  readonly metrics: SharedArrayBuffer;
  readonly listen: { readonly host: string; readonly port: number; readonly adapter: 'auto' | 'uws' | 'node' };
  readonly connections: readonly HttpConnectionPlan[];
  readonly identity: {
    readonly audience: string;
    readonly issuers: readonly { readonly iss: string; readonly jwksFile: string; readonly mapping: ClaimMapping }[];
  };
  readonly bundle: BundlePlan;
  readonly secrets: ClusterSecrets;
  readonly wrappingKeys: readonly WrappingKey[];
  readonly holdMs: number;
  readonly unpublishedMaxMs: number;
  readonly replicatedAvailable: boolean;
  /** What the configuration may change of the built-in limits. */
  readonly limits: WorkerLimits;
  readonly reviews: readonly ScriptReview[];
}

export interface WorkerLimits {
  readonly decisionCacheEntries: number;
  readonly heldBytesPerWorkerMax: number;
  readonly principalEvidenceBytesPerMinute: number;
  readonly sessionIdleMs: number;
  readonly tokenCacheEntries: number;
  readonly upstreamConnectTimeoutMs: number;
  readonly upstreamConnectionsMax: number;
  readonly upstreamResponseTimeoutMs: number;
  readonly writerQueueBytesMax: number;
}

/** What a worker asks of the main thread. Implemented over the thread channel; in benchmarks, in process. */
export interface WorkerHost {
  certify(request: { publicKey: Buffer; writerId: Buffer; role: number; createdNs: bigint }): Promise<Buffer>;
  publishBatch(batch: Buffer, writerId: Buffer, first: number, count: number): Promise<void>;
  publishHead(head: Buffer, writerId: Buffer): Promise<void>;
  putKeys(wrapped: readonly Buffer[]): Promise<void>;
  wrappingKeys(): Promise<WrappingKey[]>;
  ask(request: AskRequest): Promise<AskStatus>;
  wait(id: string, holdMs: number): Promise<AskStatus>;
  claim(request: ClaimRequest): Promise<ClaimGrant | null>;
}

/** Structured clone turns each `Buffer` into a `Uint8Array`: the same plan with buffers where the types say so. */
export function planFromClone(plan: WorkerPlan): WorkerPlan {
  const { secrets } = plan;
  return {
    ...plan,
    secrets: {
      ...secrets,
      sessionKey: asBuffer(secrets.sessionKey),
      approvalsKey: asBuffer(secrets.approvalsKey),
      targetKey: asBuffer(secrets.targetKey),
      scopeKey: asBuffer(secrets.scopeKey),
    },
    wrappingKeys: plan.wrappingKeys.map((key) => ({ ...key, publicKey: asBuffer(key.publicKey) })),
  };
}

import type { ClusterSecrets, WrappingKey } from '../../core/runtime/key-store.ts';
import type { AskRequest, AskStatus, ClaimGrant, ClaimRequest, ScriptReview } from '../approvals/desk-port.ts';
import type { ConnectionInfo } from '../contract/operation.ts';

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
  readonly module: WebAssembly.Module;
  readonly files: BundleFiles;
  readonly digest: string;
  readonly revision: number;
}

export interface BundleFiles {
  readonly data: string;
  readonly catalogue: string;
  readonly masks: string;
  readonly people: string;
  readonly manifest: string;
}

/**
 * Everything that a worker thread is given at its start. Structured clone: plain data, bytes as Uint8Array. Secrets are
 * in it because the worker needs them; the plan is never logged.
 */
export interface WorkerPlan<Bundle = BundlePlan> {
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
    readonly issuers: readonly { readonly iss: string; readonly jwksFile: string; readonly mapping: string }[];
  };
  readonly bundle: Bundle;
  readonly secrets: ClusterSecrets;
  readonly wrappingKeys: readonly WrappingKey[];
  readonly holdMs: number;
  readonly unpublishedMaxMs: number;
  readonly replicatedAvailable: boolean;
  readonly reviews: readonly ScriptReview[];
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

/** What the main thread tells a worker. */
export interface WorkerControl {
  listen(): Promise<{ port: number; adapter: string }>;
  archived(index: number): void;
  nack(first: number, reason: string): void;
  reviewed(review: ScriptReview): void;
  drain(): Promise<{ clean: boolean }>;
}

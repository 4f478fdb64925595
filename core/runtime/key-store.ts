/** The key store as a node sees it. Implemented over gRPC (`vault-client.ts`) and, in workers, over the main thread. */
export interface WrappingKey {
  readonly keyClass: 1 | 2;
  /** YYYYMM */
  readonly month: number;
  /** X25519, 32 bytes. */
  readonly publicKey: Buffer;
}

export interface ClusterSecrets {
  readonly sessionKey: Buffer;
  readonly approvalsKey: Buffer;
  readonly targetKey: Buffer;
  readonly scopeKey: Buffer;
  /** YYYYMMDD of `scopeKey`. */
  readonly scopeDay: number;
}

export interface KeyStore {
  /** Resolves when every wrapped key is durable. Rejects `keystore_unavailable`. */
  putKeys(wrapped: readonly Buffer[]): Promise<void>;
  wrappingKeys(tenant: string): Promise<WrappingKey[]>;
  clusterSecrets(): Promise<ClusterSecrets>;
}

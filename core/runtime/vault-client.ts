import { type CallOptions, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { type ErrorCode, GatewayError } from '../kernel/errors.ts';
import { type Clock, SystemClock } from '../kernel/clock.ts';
import { KeyStoreServiceClient } from '../../proto/gen/chaperone/control/v1/keystore.ts';
import type { ClusterSecrets, KeyStore, WrappingKey } from './key-store.ts';
import { CLIENT_CHANNEL_OPTIONS, clientCredentials } from './mtls/grpc-credentials.ts';
import type { TlsIdentity } from './mtls/tls-files.ts';

export interface VaultClientOptions {
  /** `host:port` */
  readonly address: string;
  /** A gateway's certificate for the `KeyStore` part, an auditor's for `getKeys` and `monthKey`. */
  readonly tls: TlsIdentity;
  readonly timeoutMs?: number;
  readonly clock?: Clock;
}

const TIMEOUT_MS = 2_000;
const SECRET_SIZE = 32;

type Callback<Response> = (error: ServiceError | null, response: Response) => void;
type Method<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: Callback<Response>,
) => unknown;

/**
 * The key store over gRPC. Every call has a deadline and rejects `keystore_unavailable` past it or when the vault is not
 * reached; the channel reconnects by itself. A refusal is `auth_invalid`, an unknown month `evidence_incomplete`.
 */
export class VaultClient implements KeyStore {
  readonly #client: KeyStoreServiceClient;
  readonly #timeoutMs: number;
  readonly #clock: Clock;

  constructor(options: VaultClientOptions) {
    const channelCredentials = clientCredentials(options.tls, 'vault');
    this.#client = new KeyStoreServiceClient(options.address, channelCredentials, CLIENT_CHANNEL_OPTIONS);
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    this.#clock = options.clock ?? new SystemClock();
  }

  async putKeys(wrapped: readonly Buffer[]): Promise<void> {
    const { stored } = await this.#call(this.#client.putKeys.bind(this.#client), { keys: [...wrapped] });
    if (stored !== wrapped.length) {
      throw new GatewayError('keystore_unavailable', 'the key store did not take every key');
    }
  }

  async wrappingKeys(tenant: string): Promise<WrappingKey[]> {
    const { keys } = await this.#call(this.#client.getWrappingKeys.bind(this.#client), { tenant });
    return keys.flatMap(({ class: keyClass, month, publicKey }) =>
      keyClass === 1 || keyClass === 2 ? [{ keyClass, month, publicKey }] : [],
    );
  }

  async clusterSecrets(): Promise<ClusterSecrets> {
    const secrets = await this.#call(this.#client.getClusterSecrets.bind(this.#client), {});
    const { sessionKey, approvalsKey, targetKey, scopeKey, scopeDay } = secrets;
    if ([sessionKey, approvalsKey, targetKey, scopeKey].some((key) => key.length !== SECRET_SIZE)) {
      throw new GatewayError('keystore_unavailable', 'the key store gave an incomplete answer');
    }
    return { sessionKey, approvalsKey, targetKey, scopeKey, scopeDay };
  }

  /** Wrapped data keys in the order asked; undefined where unknown. */
  async getKeys(keyIds: readonly Buffer[]): Promise<(Buffer | undefined)[]> {
    const { keys } = await this.#call(this.#client.getKeys.bind(this.#client), { keyIds: [...keyIds] });
    return keyIds.map((_, i) => {
      const key = keys[i];
      return key === undefined || key.length === 0 ? undefined : key;
    });
  }

  /** A month's private key, sealed to `holder`, who must be the caller. */
  async monthKey(
    name: { readonly tenant: string; readonly keyClass: 1 | 2; readonly month: number },
    holder: string,
  ): Promise<{ enc: Buffer; ciphertext: Buffer; publicKey: Buffer }> {
    const { tenant, keyClass, month } = name;
    return this.#call(this.#client.getMonthKey.bind(this.#client), { tenant, class: keyClass, month, holder });
  }

  close(): void {
    this.#client.close();
  }

  #call<Request, Response>(method: Method<Request, Response>, request: Request): Promise<Response> {
    const deadline = new Date(this.#clock.nowMs() + this.#timeoutMs);
    return new Promise((resolve, reject) => {
      method(request, new Metadata(), { deadline }, (error, response) => {
        if (error === null) {
          resolve(response);
        } else {
          reject(toGatewayError(error));
        }
      });
    });
  }
}

function toGatewayError(error: ServiceError): GatewayError {
  const codes: Partial<Record<status, ErrorCode>> = {
    [status.UNAUTHENTICATED]: 'auth_invalid',
    [status.PERMISSION_DENIED]: 'auth_invalid',
    [status.INVALID_ARGUMENT]: 'evidence_malformed',
    [status.ALREADY_EXISTS]: 'evidence_altered',
    [status.NOT_FOUND]: 'evidence_incomplete',
  };
  const code = codes[error.code] ?? 'keystore_unavailable';
  return new GatewayError(code, `key store: ${status[error.code] ?? 'UNKNOWN'}`);
}

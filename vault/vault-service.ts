import { type sendUnaryData, type ServerUnaryCall, status } from '@grpc/grpc-js';
import { GatewayError } from '../core/kernel/errors.ts';
import { authorize, type GrpcRefusal, isRefusal } from '../core/runtime/mtls/grpc-credentials.ts';
import type { NodeIdentity, NodeRole } from '../core/runtime/mtls/node-certificate.ts';
import type { KeyStoreServiceServer } from '../proto/gen/chaperone/control/v1/keystore.ts';
import type { VaultStore } from './vault-store.ts';

/** Who may call what, by the role in the certificate. Everything that is not here is refused. */
export const VAULT_ROLES = {
  putKeys: ['gateway', 'console'],
  getKeys: ['auditor', 'vault'],
  getWrappingKeys: ['gateway', 'console'],
  getClusterSecrets: ['gateway'],
  getMonthKey: ['auditor', 'vault'],
} as const satisfies Record<string, readonly NodeRole[]>;

/** KeyStoreService over a store. Errors carry a code and words of ours: no key, no payload, no text of a library. */
export function vaultService(store: VaultStore, cluster: string): KeyStoreServiceServer {
  return {
    putKeys: handler(cluster, VAULT_ROLES.putKeys, async ({ keys }) => ({ stored: await store.putKeys(keys) })),
    getKeys: handler(cluster, VAULT_ROLES.getKeys, async ({ keyIds }) => ({ keys: await store.getKeys(keyIds) })),
    getWrappingKeys: handler(cluster, VAULT_ROLES.getWrappingKeys, async ({ tenant }) => {
      const keys = await store.wrappingKeys(tenant);
      return { keys: keys.map(({ keyClass, month, publicKey }) => ({ class: keyClass, month, publicKey })) };
    }),
    getClusterSecrets: handler(cluster, VAULT_ROLES.getClusterSecrets, () => store.clusterSecrets()),
    getMonthKey: handler(cluster, VAULT_ROLES.getMonthKey, async (request, caller) => {
      const { tenant, month, holder } = request;
      const keyClass = request.class === 1 || request.class === 2 ? request.class : null;
      // Payload months are the auditors', each its own wrap; originals are the vault's alone (promise P5).
      const isTheirs = caller.role === 'auditor' ? keyClass === 1 && holder === caller.name : keyClass === 2;
      if (!isTheirs || keyClass === null) {
        throw refusal(status.PERMISSION_DENIED, 'auth_invalid: the key is wrapped to another holder');
      }
      const found = await store.monthKey({ tenant, keyClass, month }, holder);
      if (found === undefined) {
        throw refusal(status.NOT_FOUND, 'no such month key for this holder');
      }
      return found;
    }),
  };
}

function handler<Request, Response>(
  cluster: string,
  roles: readonly NodeRole[],
  handle: (request: Request, caller: NodeIdentity) => Promise<Response>,
): (call: ServerUnaryCall<Request, Response>, reply: sendUnaryData<Response>) => void {
  return (call, reply) => {
    const caller = authorize(call, cluster, roles);
    if (isRefusal(caller)) {
      reply(caller);
      return;
    }
    handle(call.request, caller).then(
      (response) => reply(null, response),
      (error: unknown) => reply(toStatus(error)),
    );
  };
}

class Refusal extends Error implements GrpcRefusal {
  readonly code: status;
  readonly details: string;

  constructor(code: status, details: string) {
    super(details);
    this.code = code;
    this.details = details;
  }
}

function refusal(code: status, details: string): Refusal {
  return new Refusal(code, details);
}

function toStatus(error: unknown): GrpcRefusal {
  if (error instanceof Refusal) {
    return { code: error.code, details: error.details };
  }
  if (error instanceof GatewayError) {
    const details = error.message;
    switch (error.code) {
      case 'evidence_malformed':
        return { code: status.INVALID_ARGUMENT, details };
      case 'evidence_altered':
        return { code: status.ALREADY_EXISTS, details };
      case 'keystore_unavailable':
        return { code: status.UNAVAILABLE, details };
      default:
        return { code: status.INTERNAL, details: error.code };
    }
  }
  return { code: status.INTERNAL, details: 'internal' };
}

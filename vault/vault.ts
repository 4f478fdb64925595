import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Server } from '@grpc/grpc-js';
import { lockDirectory } from '../core/bus/file-bus/directory-lock.ts';
import { type LogFiles, openLogFiles } from '../core/bus/file-bus/log-files.ts';
import { type Clock, SystemClock } from '../core/kernel/clock.ts';
import { GatewayError } from '../core/kernel/errors.ts';
import { serverCredentials } from '../core/runtime/mtls/grpc-credentials.ts';
import type { TlsIdentity } from '../core/runtime/mtls/tls-files.ts';
import { KeyStoreServiceService } from '../proto/gen/chaperone/control/v1/keystore.ts';
import { ClusterSecretsFile } from './cluster-secrets.ts';
import { createHolderKey, readHolderKey } from './key-file.ts';
import { KeyLog } from './key-log.ts';
import type { Holder } from './month-key.ts';
import { vaultService } from './vault-service.ts';
import { VaultStore } from './vault-store.ts';

export interface StartVaultOptions {
  /** Owned by this process alone: `keys/`, `secrets.json`, `vault.key`. Created if absent. */
  readonly directory: string;
  /** Cluster name in the certificates. */
  readonly cluster: string;
  /** Certificate of role `vault`. */
  readonly tls: TlsIdentity;
  /** Public keys to which payload months are wrapped; at least one. */
  readonly auditors: readonly Holder[];
  /** On loopback. Default 0: any free one. */
  readonly port?: number;
  readonly clock?: Clock;
  /** Tests put a fault directory here. */
  readonly openFiles?: (directory: string) => Promise<LogFiles>;
}

export interface RunningVault {
  readonly port: number;
  /** Finishes what is in flight, closes the files and frees the directory. */
  close(): Promise<void>;
}

/** Holder id of the vault's own key, to which originals are wrapped. */
export const VAULT_HOLDER = 'vault';
const GRACE_MS = 2_000;

/**
 * The vault process: key store on loopback gRPC with mTLS. Resolves when it serves. Rejects `keystore_unavailable` when
 * another process owns the directory, `bus_damaged` or `config_invalid` when what is stored cannot be read back.
 */
export async function startVault(options: StartVaultOptions): Promise<RunningVault> {
  const { directory, cluster, tls } = options;
  const clock = options.clock ?? new SystemClock();
  const lock = await lockDirectory(directory).catch((error: unknown) => {
    throw new GatewayError('keystore_unavailable', 'another process owns the vault directory', { cause: error });
  });
  let keys: KeyLog | null = null;
  try {
    const openedKeys = await KeyLog.open(await (options.openFiles ?? openLogFiles)(join(directory, 'keys')), clock);
    keys = openedKeys;
    const vaultKeyPath = join(directory, 'vault.key');
    const secretsPath = join(directory, 'secrets.json');
    if (keys.size > 0 && !(existsSync(vaultKeyPath) && existsSync(secretsPath))) {
      // New ones would look like a working vault whose old originals never open and whose sessions all changed.
      throw new GatewayError('config_invalid', `${directory} has keys, but vault.key or secrets.json is missing`);
    }
    const vault = await ownKey(vaultKeyPath);
    const secrets = await ClusterSecretsFile.open(secretsPath, clock, existsSync(secretsPath));
    const store = new VaultStore({ keys, secrets, clock, auditors: options.auditors, vault });
    const server = new Server();
    server.addService(KeyStoreServiceService, vaultService(store, cluster));
    const port = await bind(server, tls, options.port ?? 0);
    return {
      port,
      close: async () => {
        await shutDown(server);
        await openedKeys.close();
        await lock.release();
      },
    };
  } catch (error) {
    await keys?.close();
    await lock.release();
    throw error;
  }
}

async function ownKey(path: string): Promise<Holder> {
  const { id, publicKey } = existsSync(path) ? await readHolderKey(path) : await createHolderKey(path, VAULT_HOLDER);
  return { id, publicKey };
}

function bind(server: Server, tls: TlsIdentity, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, serverCredentials(tls), (error, bound) => {
      if (error === null) {
        resolve(bound);
      } else {
        reject(new GatewayError('keystore_unavailable', `cannot listen on port ${port}`, { cause: error }));
      }
    });
  });
}

/** Waits for calls in flight, and cuts off what takes longer. */
async function shutDown(server: Server): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([
    new Promise<void>((resolve) => server.tryShutdown(() => resolve())),
    new Promise<void>((resolve) => {
      timer = setTimeout(resolve, GRACE_MS);
    }),
  ]);
  clearTimeout(timer);
  server.forceShutdown();
}

import { runProcess } from '../../core/runtime/launcher/run-process.ts';
import { loadTls, type TlsPaths } from '../../core/runtime/mtls/tls-files.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { readHolderPublicKey } from '../../vault/key-file.ts';
import { startVault, type RunningVault } from '../../vault/vault.ts';

export interface VaultProcessOptions {
  readonly directory: string;
  readonly cluster: string;
  readonly tls: TlsPaths;
  readonly auditors: readonly { readonly id: string; readonly publicKeyFile: string }[];
  readonly port: number;
}

runProcess<VaultProcessOptions, RunningVault>(
  async ({ directory, cluster, tls, auditors, port }) =>
    startVault({
      directory,
      cluster,
      port,
      tls: await loadTls(tls),
      auditors: await Promise.all(
        auditors.map(async ({ id, publicKeyFile }) => {
          const holder = await readHolderPublicKey(publicKeyFile);
          if (holder.id !== id) {
            throw new GatewayError('config_invalid', `${publicKeyFile} is the key of ${holder.id}, not of ${id}`);
          }
          return holder;
        }),
      ),
    }),
  ({ port }) => ({ port }),
);

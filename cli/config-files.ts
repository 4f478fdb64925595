import { accessSync, constants } from 'node:fs';
import type { Config } from '../core/runtime/config/config-schema.ts';

/** Files that the configuration names and that cannot be read, with the key that names them. */
export function missingFiles(config: Config): { path: string; file: string }[] {
  const { policy, identity, auditors, demo } = config;
  const named: [string, string | undefined][] = [
    ['policy.bundle', policy.bundle],
    ...policy.publicKeys.map((file, i): [string, string] => [`policy.publicKeys[${i}]`, file]),
    ...identity.issuers.flatMap(({ jwksFile, claimMapping }, i): [string, string | undefined][] => [
      [`identity.issuers[${i}].jwksFile`, jwksFile],
      // A built-in mapping is a bare word, everything else was made an absolute path.
      [`identity.issuers[${i}].claimMapping`, claimMapping.includes('/') ? claimMapping : undefined],
    ]),
    ...auditors.map(({ publicKeyFile }, i): [string, string] => [`auditors[${i}].publicKeyFile`, publicKeyFile]),
    ['demo.issuerKeyFile', demo.issuerKeyFile],
    ['demo.keyDirectory', demo.keyDirectory],
  ];
  return named.flatMap(([path, file]) => (file === undefined || isReadable(file) ? [] : [{ path, file }]));
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

import { join } from 'node:path';

/** Id of the key pair in policies/keys. Everybody has it: a gateway accepts it in `env: demo` only. */
export const DEVELOPMENT_KEY_ID = 'development-INSECURE';

export function developmentKeyFile(root: string): string {
  return join(root, 'policies', 'keys', 'development.INSECURE.pem');
}

export function developmentPublicKeyFile(root: string): string {
  return join(root, 'policies', 'keys', 'development.INSECURE.pub.pem');
}

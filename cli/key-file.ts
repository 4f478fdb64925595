import { createPrivateKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { GatewayError } from '../core/kernel/errors.ts';
import type { Config } from '../core/runtime/config/config-schema.ts';

/** A person's private key with the id that the people map knows it by. */
export interface PrivateKeyFile {
  readonly keyId: string;
  readonly key: KeyObject;
}

/**
 * Reads a private JWK (RFC 8037) of the given curve. Throws `config_invalid` when others may read the file, unless it is
 * a published demo key; those are refused unless `env: demo`. No message quotes the content.
 */
export function readPrivateJwk(path: string, curve: 'Ed25519' | 'X25519', env: Config['env']): PrivateKeyFile {
  const text = readPrivateText(path, env);
  let jwk: JsonWebKey & { kid?: unknown };
  let key: KeyObject;
  try {
    jwk = JSON.parse(text) as typeof jwk;
    key = createPrivateKey({ key: jwk, format: 'jwk' });
  } catch {
    // Without the cause: the parser's message quotes what it read, and that is a private key.
    throw new GatewayError('config_invalid', `${path} is not a private JSON Web Key`);
  }
  if (jwk.crv !== curve || typeof jwk.kid !== 'string') {
    throw new GatewayError('config_invalid', `${path} is not an ${curve} key with a kid`);
  }
  return { keyId: jwk.kid, key };
}

/** The text of a file that holds a private key, after the checks of `readPrivateJwk` that are not about its form. */
export function readPrivateText(path: string, env: Config['env']): string {
  const isPublished = isPublishedKey(path);
  if (isPublished && env !== 'demo') {
    throw new GatewayError('config_invalid', `${basename(path)} is a published key: it is for env: demo only`);
  }
  let mode: number;
  try {
    mode = statSync(path).mode;
  } catch {
    throw new GatewayError('config_invalid', `cannot read ${path}`);
  }
  if (!isPublished && (mode & 0o077) !== 0) {
    throw new GatewayError('config_invalid', `${path} may be read by others: set its mode to 0600`);
  }
  return readFileSync(path, 'utf8');
}

/** Demo keys are committed for everybody to have; a file mode would protect nothing. */
export function isPublishedKey(path: string): boolean {
  return basename(path).includes('INSECURE');
}

/** The key file of a demo person or auditor, when the configuration has a key directory and the file is there. */
export function demoKeyFile(config: Config, name: string, use: 'ed25519' | 'x25519'): string | undefined {
  const directory = config.demo.keyDirectory;
  if (directory === undefined || !/^[a-z0-9][a-z0-9.-]*$/.test(name)) {
    return undefined;
  }
  const path = join(directory, `${name}.${use}.INSECURE.jwk.json`);
  return existsSync(path) ? path : undefined;
}

import { equal, ok, throws } from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { generateKeyPairSync } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { isPublishedKey, readPrivateJwk } from './key-file.ts';

const directory = mkdtempSync(join(tmpdir(), 'chaperone-keys-'));
after(() => rmSync(directory, { recursive: true, force: true }));

function keyFile(name: string, mode: number, curve: 'ed25519' | 'x25519' = 'ed25519'): string {
  const path = join(directory, name);
  // The two overloads of node:crypto do not take a union.
  const { privateKey } = curve === 'ed25519' ? generateKeyPairSync('ed25519') : generateKeyPairSync('x25519');
  writeFileSync(path, JSON.stringify({ kid: name, ...privateKey.export({ format: 'jwk' }) }));
  chmodSync(path, mode);
  return path;
}

describe('private key files', () => {
  test('are read when only their owner may', () => {
    const { keyId, key } = readPrivateJwk(keyFile('pat.jwk.json', 0o600), 'Ed25519', 'production');
    equal(keyId, 'pat.jwk.json');
    equal(key.asymmetricKeyType, 'ed25519');
  });

  test('are refused when others may read them', () => {
    for (const mode of [0o640, 0o604, 0o644]) {
      throws(() => readPrivateJwk(keyFile('open.jwk.json', mode), 'Ed25519', 'demo'), /0600/);
    }
  });

  test('named INSECURE are for env: demo only, and then need no mode', () => {
    const path = keyFile('pat.INSECURE.jwk.json', 0o644);
    ok(isPublishedKey(path));
    equal(readPrivateJwk(path, 'Ed25519', 'demo').keyId, 'pat.INSECURE.jwk.json');
    for (const env of ['development', 'staging', 'production'] as const) {
      throws(() => readPrivateJwk(path, 'Ed25519', env), /published key/);
    }
  });

  test('of another curve, without a key id, missing or damaged are refused without a word of their content', () => {
    throws(() => readPrivateJwk(keyFile('x.jwk.json', 0o600, 'x25519'), 'Ed25519', 'demo'), /Ed25519/);
    const path = keyFile('damaged.jwk.json', 0o600);
    writeFileSync(path, '{"kty":"OKP","d":"do-not-print-me"');
    throws(
      () => readPrivateJwk(path, 'Ed25519', 'demo'),
      (error: Error) => !`${error.stack}${String(error.cause)}`.includes('do-not-print-me'),
    );
    throws(() => readPrivateJwk(join(directory, 'none'), 'Ed25519', 'demo'), /cannot read/);
  });
});

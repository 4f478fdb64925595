import { deepEqual, equal, throws } from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { describe, test } from 'node:test';
import { parseClaimMapping } from './claim-mapping.ts';
import { parseKeySet } from './key-set.ts';

const ed25519 = generateKeyPairSync('ed25519');
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' });
const rsa1024 = generateKeyPairSync('rsa', { modulusLength: 1024 });

describe('parseKeySet', () => {
  test('keeps the keys that can verify and leaves out those for other uses', () => {
    const keys = parseKeySet(
      set(
        jwk(ed25519.publicKey, { kid: 'a' }),
        jwk(ed25519.publicKey, { kid: 'b', use: 'enc' }),
        jwk(p384.publicKey, {}),
      ),
    );
    deepEqual([...keys.keys()], ['a']);
    equal(keys.get('a')?.algorithm, 'EdDSA');
  });

  const refused: readonly (readonly [string, string])[] = [
    ['text that is not JSON', 'keys'],
    ['something that is no key set', '{"keys":{}}'],
    ['an empty set', '{"keys":[]}'],
    ['a private key', set(jwk(ed25519.privateKey, { kid: 'a' }))],
    ['a symmetric key', set(jwk(ed25519.publicKey, { kid: 'a' }), { kty: 'oct', k: 'AAAA', kid: 'h' })],
    ['a key without kid', set(jwk(ed25519.publicKey, {}))],
    ['two keys of one kid', set(jwk(ed25519.publicKey, { kid: 'a' }), jwk(ed25519.publicKey, { kid: 'a' }))],
    ['an RSA key of 1024 bits', set(jwk(rsa1024.publicKey, { kid: 'a' }))],
    ['only keys of other types', set(jwk(p384.publicKey, { kid: 'a' }))],
    ['a key whose alg contradicts its type', set(jwk(ed25519.publicKey, { kid: 'a', alg: 'RS256' }))],
    ['a key that is no point', set({ kty: 'OKP', crv: 'Ed25519', x: 'AA', kid: 'a' })],
  ];
  for (const [name, text] of refused) {
    test(`refuses ${name}`, () => {
      throws(() => parseKeySet(text), { code: 'config_invalid' });
    });
  }
});

describe('parseClaimMapping', () => {
  test('fills in the claim names of GitHub Actions', () => {
    const mapping = parseClaimMapping('{"version":1,"principalKind":"service","ci":{"runId":"pipeline_id"}}');
    equal(mapping.ci?.runId, 'pipeline_id');
    equal(mapping.ci?.sha, 'sha');
  });
  for (const text of [
    '{}',
    '{"version":2,"principalKind":"user"}',
    '{"version":1,"principalKind":"user","extra":1}',
    '[',
    'x',
  ]) {
    test(`refuses ${text}`, () => {
      throws(() => parseClaimMapping(text), { code: 'config_invalid' });
    });
  }
});

function jwk(key: KeyObject, extra: Record<string, string>): Record<string, unknown> {
  return { ...key.export({ format: 'jwk' }), ...extra };
}

function set(...keys: readonly Record<string, unknown>[]): string {
  return JSON.stringify({ keys });
}

import { deepEqual, equal, throws } from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { describe, test } from 'node:test';
import { DevelopmentIssuer } from './development-issuer.ts';

describe('DevelopmentIssuer', () => {
  test('is the same issuer after its key file was written and read', () => {
    const issuer = DevelopmentIssuer.generate('https://dev.test', 'INSECURE-1');
    const again = DevelopmentIssuer.fromJwk(issuer.privateJwk());
    equal(again.publicJwks(), issuer.publicJwks());
    equal(again.iss, 'https://dev.test');
    equal(again.publicJwks().includes('"d"'), false);
  });

  test('nests act so that the last actor is outermost (RFC 8693)', () => {
    const issuer = DevelopmentIssuer.generate('https://dev.test', 'k');
    const token = issuer.issue({
      audience: 'a',
      sub: 'ada',
      actors: [
        { sub: 'first', kind: 'service' },
        { sub: 'last', kind: 'ai_agent' },
      ],
      nowMs: 1_500,
      ttlMs: 60_000,
    });
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Record<
      string,
      unknown
    >;
    deepEqual(claims['act'], { sub: 'last', kind: 'ai_agent', act: { sub: 'first', kind: 'service' } });
    deepEqual([claims['iat'], claims['exp']], [1, 61]);
  });

  const rsa = JSON.stringify({
    ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }),
    iss: 'i',
    kid: 'k',
  });
  for (const [name, text] of [
    ['text that is not JSON', 'SECRETSECRET'],
    ['a public key', DevelopmentIssuer.generate('i', 'k').publicJwks()],
    ['a key of another type', rsa],
    ['a key without iss', DevelopmentIssuer.generate('i', 'k').privateJwk().replace('"iss"', '"was"')],
  ] as const) {
    test(`refuses ${name} without quoting it`, () => {
      throws(
        () => DevelopmentIssuer.fromJwk(text),
        (error: Error & { code?: string }) => error.code === 'config_invalid' && !error.message.includes('SECRET'),
      );
    });
  }
});

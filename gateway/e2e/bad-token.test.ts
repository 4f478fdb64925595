import { deepEqual, equal, ok } from 'node:assert/strict';
import { createHmac, createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { LIMITS } from '../../core/kernel/limits.ts';
import { DevelopmentIssuer } from '../contract/development-issuer.ts';
import { RawHttpClient } from '../lanes/http/testing/raw-http-client.ts';
import { canariesIn, withoutZeros } from './testing/canary-search.ts';
import { jsonAnswer, RawUpstream } from './testing/raw-upstream.ts';
import { DEMO_ISSUER, demoToken, WorkerHarness } from './testing/worker-harness.ts';

const HOUR_MS = 3_600_000;

describe('credentials, through a whole worker', () => {
  let upstream: RawUpstream;
  let gateway: WorkerHarness;
  const presented: string[] = [];
  const expected = new Map<string, number>();
  before(async () => {
    upstream = await RawUpstream.start();
    gateway = await WorkerHarness.start({ upstreams: { clinic: upstream.port, analytics: upstream.port } });
  });
  after(async () => {
    await gateway.close();
    await upstream.close();
  });

  const cases: readonly (readonly [string, string, (gateway: WorkerHarness) => string])[] = [
    ['expired', 'auth_expired', (g) => g.token({ nowMs: Date.now() - HOUR_MS, ttlMs: 1_000 })],
    ['not valid yet', 'auth_invalid', (g) => g.token({ nowMs: Date.now() + HOUR_MS, ttlMs: HOUR_MS })],
    ['for another audience', 'auth_audience', (g) => g.token({ audience: 'somebody-else' })],
    ['signed by an unknown key', 'auth_unknown_key', () => demoToken(DevelopmentIssuer.generate(DEMO_ISSUER, 'k2'))],
    [
      'signed by another key under a known name',
      'auth_invalid',
      () => demoToken(DevelopmentIssuer.generate(DEMO_ISSUER, 'test-key')),
    ],
    [
      'of an issuer that nobody configured',
      'auth_invalid',
      () => demoToken(DevelopmentIssuer.generate('https://evil.invalid', 'test-key')),
    ],
    ['with `alg: none` and no signature', 'auth_algorithm', (g) => `${withHeader(g, { alg: 'none' })}.`],
    ['with `alg: none` and a signature', 'auth_algorithm', (g) => `${withHeader(g, { alg: 'none' })}.AAAA`],
    ['with HMAC over the public key', 'auth_algorithm', hmacToken],
    ['with a key of its own in the header', 'auth_invalid', ownKeyToken],
    ['with a changed claim', 'auth_invalid', (g) => changed(g.token())],
    ['over the limit of bytes', 'auth_invalid', (g) => g.token({ purpose: 'x'.repeat(LIMITS.tokenBytesMax) })],
    ['that is no token', 'auth_invalid', () => randomBytes(48).toString('base64url')],
    ['with a second signature', 'auth_invalid', (g) => `${g.token()}.${randomBytes(64).toString('base64url')}`],
  ];
  for (const [what, code, make] of cases) {
    test(`a token ${what}: ${code}, and nothing is forwarded`, async () => {
      const token = make(gateway);
      presented.push(token);
      const response = await gateway.fetch('/clinic/patients?limit=1', { token });
      const text = await response.text();
      equal(response.status, 401, text);
      equal((JSON.parse(text) as { code: string }).code, code);
      equal(response.headers.get('www-authenticate'), 'Bearer');
      deepEqual(canariesIn([signatureOf(token)], { answer: text }), []);
      expected.set(code, (expected.get(code) ?? 0) + 1);
      equal(upstream.receivedBytes, 0);
    });
  }

  for (const [what, fields] of [
    ['no credential', ''],
    ['two credentials', 'Authorization: Bearer TOKEN\r\nAuthorization: Bearer TOKEN\r\n'],
    ['another scheme', 'Authorization: Basic YWxhZGRpbjpvcGVuc2VzYW1l\r\n'],
    ['a token in a cookie', 'Cookie: access_token=TOKEN\r\n'],
  ] as const) {
    test(`${what}: auth_missing, and nothing is forwarded`, async () => {
      const client = await RawHttpClient.connect(gateway.port);
      const lines = fields.replaceAll('TOKEN', gateway.token());
      client.send(`GET /clinic/patients HTTP/1.1\r\nHost: gateway.test\r\n${lines}\r\n`);
      const response = await client.readResponse();
      equal(response.status, 401);
      equal((JSON.parse(response.body.toString()) as { code: string }).code, 'auth_missing');
      client.destroy();
      expected.set('auth_missing', (expected.get('auth_missing') ?? 0) + 1);
      equal(upstream.receivedBytes, 0);
    });
  }

  test('a token that expires while its connection is open is refused from then on', async () => {
    const token = gateway.token({ nowMs: Date.now() - HOUR_MS + 2_000, ttlMs: HOUR_MS });
    const client = await RawHttpClient.connect(gateway.port);
    upstream.say(jsonAnswer('[]'));
    let status = 200;
    for (let good = 0; status === 200; good++) {
      client.send(`GET /clinic/patients HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer ${token}\r\n\r\n`);
      const response = await client.readResponse();
      ({ status } = response);
      if (status === 401) {
        equal((JSON.parse(response.body.toString()) as { code: string }).code, 'auth_expired');
        ok(good > 0, 'it was good before');
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    equal(status, 401);
    client.destroy();
    expected.set('auth_expired', (expected.get('auth_expired') ?? 0) + 1);
    presented.push(token);
  });

  test('every refusal is counted by its reason in the records, which hold nothing of a token', async () => {
    await gateway.drain();
    const counts = new Map<string, number>();
    for (const { kind, event } of await gateway.records()) {
      if (kind === 'auth.refused') {
        const code = event.note?.text ?? '';
        counts.set(code, (counts.get(code) ?? 0) + Number(event.note?.count ?? 0n));
      }
    }
    deepEqual(counts, new Map(expected));
    const places = {
      journal: withoutZeros(await gateway.journalFiles()),
      warnings: gateway.warnings.join('\n'),
      metrics: await gateway.metricsText(),
    };
    ok(places.journal.length > 1_000 && places.metrics.length > 1_000);
    deepEqual(canariesIn(presented.map(signatureOf), places), []);
  });
});

/** The last part, which alone makes a token usable; a value of its own when there is none. */
function signatureOf(token: string): string {
  const last = token.split('.').at(-1) ?? '';
  return last.length > 16 ? last : token.slice(-64);
}

function segment(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

function withHeader(gateway: WorkerHarness, header: Readonly<Record<string, unknown>>): string {
  const [, claims = ''] = gateway.token().split('.');
  return `${segment({ kid: 'test-key', typ: 'JWT', ...header })}.${claims}`;
}

/** The old mistake: a public key taken for the secret of an HMAC. */
function hmacToken(gateway: WorkerHarness): string {
  const jwks = JSON.parse(readFileSync(join(gateway.directory, 'jwks.json'), 'utf8')) as { keys: { x: string }[] };
  const secret = Buffer.from(jwks.keys[0]?.x ?? '', 'base64url');
  const signed = withHeader(gateway, { alg: 'HS256' });
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

function ownKeyToken(gateway: WorkerHarness): string {
  const { privateKey } = generateKeyPairSync('ed25519');
  const own = new DevelopmentIssuer(DEMO_ISSUER, 'test-key', privateKey);
  const claims = JSON.parse(Buffer.from(gateway.token().split('.')[1] ?? '', 'base64url').toString()) as object;
  return own.signClaims({ ...claims }, { jwk: createPublicKey(privateKey).export({ format: 'jwk' }) });
}

function changed(token: string): string {
  const [header, claims = '', signature] = token.split('.');
  const parsed = JSON.parse(Buffer.from(claims, 'base64url').toString()) as object;
  return [header, segment({ ...parsed, sub: 'pat@demo.invalid' }), signature].join('.');
}

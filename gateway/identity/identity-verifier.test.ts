import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import {
  createHash,
  createHmac,
  createPrivateKey,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  sign,
} from 'node:crypto';
import { describe, test } from 'node:test';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import { ManualClock } from '../../core/kernel/testing/manual-clock.ts';
import { DevelopmentIssuer } from '../contract/development-issuer.ts';
import { PeopleMap } from '../contract/people-map.ts';
import { type ClaimMapping, GITHUB_ACTIONS_MAPPING, OIDC_MAPPING, parseClaimMapping } from './claim-mapping.ts';
import { bearerToken, IdentityVerifier, type Issuer } from './identity-verifier.ts';
import { fixedKeySource, type KeySource, parseKeySet } from './key-set.ts';

const AUDIENCE = 'https://gateway.test';
const ISS = 'https://issuer.test';
const MINUTE_MS = 60_000;

const issuer = DevelopmentIssuer.generate(ISS, 'key-1');
const stranger = DevelopmentIssuer.generate(ISS, 'key-1');
const people = PeopleMap.parse({
  persons: [
    person('ada', ['engineers'], ['ada@clinic.test', 'actor:ada-gh']),
    person('bo', ['reviewers'], ['bo@clinic.test', 'actor:bo-gh']),
  ],
});

const RUN = {
  repositoryId: '4711',
  repository: 'clinic/etl',
  ref: 'refs/heads/main',
  sha: 'a'.repeat(40),
  workflowRef: 'clinic/etl/.github/workflows/etl.yml@refs/heads/main',
  runId: '99',
  environment: 'staging',
  scriptDigest: 'b'.repeat(64),
};

describe('IdentityVerifier accepts', () => {
  test('a human root with an agent and a run, and joins people, groups and purpose', () => {
    const { clock, verifier } = setUp();
    const token = issuer.issue({
      audience: AUDIENCE,
      sub: 'ada@clinic.test',
      actors: [
        { sub: 'orchestrator', kind: 'service' },
        { sub: 'agent:coder', kind: 'ai_agent' },
      ],
      run: { ...RUN, actor: 'bo-gh' },
      purpose: 'quality-report',
      env: 'staging',
      jti: 'j-1',
      nowMs: clock.nowMs(),
      ttlMs: MINUTE_MS,
    });
    const subject = verifier.verify(token);
    deepEqual(subject.principal, { iss: ISS, sub: 'ada@clinic.test', kind: 'user' });
    deepEqual(
      subject.actors.map(({ sub, kind, verified }) => ({ sub, kind, verified })),
      [
        { sub: 'orchestrator', kind: 'service', verified: true },
        { sub: 'agent:coder', kind: 'ai_agent', verified: true },
      ],
    );
    equal(subject.person, 'ada');
    deepEqual(subject.chainPersons, ['ada', 'bo']);
    deepEqual(subject.groups, ['engineers']);
    deepEqual(subject.ci, {
      repoId: '4711',
      repository: 'clinic/etl',
      ref: 'refs/heads/main',
      sha: 'a'.repeat(40),
      workflow: RUN.workflowRef,
      runId: '99',
      environment: 'staging',
      scriptDigest: 'b'.repeat(64),
    });
    equal(subject.purpose, 'quality-report');
    equal(subject.env, 'staging');
    equal(subject.runOrFamily, '99');
    equal(subject.expiresMs, clock.nowMs() + MINUTE_MS);
    deepEqual(subject.tokenDigest, createHash('sha256').update(token).digest());
    equal(subject.tokenClaims, token.slice(0, token.lastIndexOf('.')));
    ok(!subject.tokenClaims.includes(token.slice(token.lastIndexOf('.') + 1)), 'the signature is not kept');
  });

  for (const [name, algorithm, pair] of keyPairs()) {
    test(`${algorithm} by a ${name} key`, () => {
      const { clock, verifier } = setUp({ keys: keySource(algorithm, pair.publicKey) });
      equal(verifier.verify(signed(algorithm, pair.privateKey, claims(clock))).principal.sub, 'ada@clinic.test');
    });
  }

  test('a token without a run by its jti, without a jti by its digest', () => {
    const { clock, verifier } = setUp();
    equal(verifier.verify(issuer.signClaims({ ...claims(clock), jti: 'family-7' })).runOrFamily, 'family-7');
    const bare = issuer.signClaims(claims(clock));
    equal(verifier.verify(bare).runOrFamily, createHash('sha256').update(bare).digest('hex'));
  });

  test('one audience among several, and nbf and iat within the clock skew', () => {
    const { clock, verifier } = setUp();
    const soonS = (clock.nowMs() + LIMITS.clockSkewMs) / 1000;
    const token = issuer.signClaims({ ...claims(clock), aud: ['other', AUDIENCE], nbf: soonS, iat: soonS });
    equal(verifier.verify(token).person, 'ada');
  });

  test('claims that the client makes of itself, without believing any of them', () => {
    const { clock, verifier } = setUp();
    const token = issuer.signClaims({
      ...claims(clock),
      person: 'bo',
      groups: ['reviewers'],
      kind: 'user',
      verified: true,
    });
    const subject = verifier.verify(token);
    equal(subject.person, 'ada');
    deepEqual(subject.groups, ['engineers']);
    deepEqual(subject.actors, []);
  });

  test('a principal who is not in the people map, as nobody', () => {
    const { clock, verifier } = setUp();
    const subject = verifier.verify(issuer.signClaims({ ...claims(clock), sub: 'eve@clinic.test' }));
    equal(subject.person, null);
    deepEqual(subject.chainPersons, []);
  });

  test(`a chain of ${LIMITS.actorChainMax} actors, nearest to the principal first`, () => {
    const { clock, verifier } = setUp();
    const names = Array.from({ length: LIMITS.actorChainMax }, (_, i) => `agent-${i}`);
    const subject = verifier.verify(issuer.issue(request(clock, names)));
    deepEqual(
      subject.actors.map((actor) => actor.sub),
      names,
    );
  });

  test('an actor of a foreign issuer only as part of an unverified chain, unless the mapping trusts that issuer', () => {
    const actors = [
      { sub: 'a', kind: 'ai_agent', iss: 'https://elsewhere.test' },
      { sub: 'b', kind: 'ai_agent' },
    ] as const;
    const { clock, verifier } = setUp();
    const token = issuer.issue({ ...request(clock, []), actors });
    deepEqual(
      verifier.verify(token).actors.map((actor) => actor.verified),
      [false, false],
    );
    const trusting = setUp({ mapping: { ...GITHUB_ACTIONS_MAPPING, actorIssuers: ['https://elsewhere.test'] } });
    deepEqual(
      trusting.verifier.verify(token).actors.map((actor) => actor.verified),
      [true, true],
    );
  });
});

describe('IdentityVerifier refuses', () => {
  const { clock, verifier } = setUp();
  const good = claims(clock);
  const nowS = clock.nowMs() / 1000;
  const token = issuer.signClaims(good);
  const [head = '', body = '', signature = ''] = token.split('.');
  const cases: readonly (readonly [string, string, GatewayError['code']])[] = [
    ['no token', '', 'auth_missing'],
    ['a word that is no token', 'hello', 'auth_invalid'],
    ['two segments', `${head}.${body}`, 'auth_invalid'],
    ['four segments', `${token}.x`, 'auth_invalid'],
    ['alg none with a signature', issuer.signClaims(good, { alg: 'none' }), 'auth_algorithm'],
    ['alg none without a signature', `${segment({ alg: 'none', kid: 'key-1' })}.${body}.`, 'auth_algorithm'],
    ['alg None in other letters', issuer.signClaims(good, { alg: 'nOnE' }), 'auth_algorithm'],
    ['HMAC keyed with the public key', hmacToken(good), 'auth_algorithm'],
    ['PS256', issuer.signClaims(good, { alg: 'PS256' }), 'auth_algorithm'],
    ['no alg', issuer.signClaims(good, { alg: undefined }), 'auth_algorithm'],
    ['an algorithm that is not the key’s', issuer.signClaims(good, { alg: 'RS256' }), 'auth_algorithm'],
    ['an unknown kid', issuer.signClaims(good, { kid: 'key-2' }), 'auth_unknown_key'],
    ['no kid', issuer.signClaims(good, { kid: undefined }), 'auth_unknown_key'],
    ['another key under the known kid', stranger.signClaims(good), 'auth_invalid'],
    ['changed claims', `${head}.${segment({ ...good, sub: 'bo@clinic.test' })}.${signature}`, 'auth_invalid'],
    ['a changed header', `${segment({ alg: 'EdDSA', kid: 'key-1' })}.${body}.${signature}`, 'auth_invalid'],
    ['an empty signature', `${head}.${body}.`, 'auth_invalid'],
    ['another issuer', issuer.signClaims({ ...good, iss: 'https://other.test' }), 'auth_invalid'],
    ['no issuer', issuer.signClaims({ ...good, iss: undefined }), 'auth_invalid'],
    ['another audience', issuer.signClaims({ ...good, aud: 'https://other.test' }), 'auth_audience'],
    ['no audience', issuer.signClaims({ ...good, aud: undefined }), 'auth_audience'],
    ['other audiences', issuer.signClaims({ ...good, aud: ['a', `${AUDIENCE}/`] }), 'auth_audience'],
    ['an expired token', issuer.signClaims({ ...good, exp: nowS - 1 }), 'auth_expired'],
    ['a token that expires now', issuer.signClaims({ ...good, exp: nowS }), 'auth_expired'],
    ['no exp', issuer.signClaims({ ...good, exp: undefined }), 'auth_invalid'],
    ['exp as text', issuer.signClaims({ ...good, exp: String(nowS + 60) }), 'auth_invalid'],
    ['exp beyond the calendar', issuer.signClaims({ ...good, exp: 1e300 }), 'auth_invalid'],
    ['nbf past the skew', issuer.signClaims({ ...good, nbf: nowS + 61 }), 'auth_invalid'],
    ['iat past the skew', issuer.signClaims({ ...good, iat: nowS + 61 }), 'auth_invalid'],
    ['crit', issuer.signClaims(good, { crit: ['exp'] }), 'auth_invalid'],
    ['an unencoded payload', issuer.signClaims(good, { b64: false }), 'auth_invalid'],
    ['a proof instead of a token', issuer.signClaims(good, { typ: 'dpop+jwt' }), 'auth_invalid'],
    ['no sub', issuer.signClaims({ ...good, sub: undefined }), 'auth_invalid'],
    ['an empty sub', issuer.signClaims({ ...good, sub: '' }), 'auth_invalid'],
    ['a sub with a line break', issuer.signClaims({ ...good, sub: 'ada@clinic.test\nx' }), 'auth_invalid'],
    ['a lone surrogate', rawToken(JSON.stringify(good).replace('ada@', '\\ud800')), 'auth_invalid'],
    ['a member twice', rawToken(`{"sub":"bo@clinic.test",${JSON.stringify(good).slice(1)}`), 'auth_invalid'],
    ['a member twice, once escaped', rawToken(`{"\\u0073ub":"bo",${JSON.stringify(good).slice(1)}`), 'auth_invalid'],
    ['an array for claims', rawToken('[]'), 'auth_invalid'],
    ['text that is not JSON', rawToken('{'), 'auth_invalid'],
    ['bytes that are not UTF-8', rawToken(Buffer.from([0x7b, 0xff, 0x7d])), 'auth_invalid'],
    ['padding', `${head}=.${body}.${signature}`, 'auth_invalid'],
    ['a second spelling of the signature', `${head}.${body}.${otherSpelling(signature)}`, 'auth_invalid'],
    ['act that is no object', issuer.signClaims({ ...good, act: 'agent' }), 'auth_invalid'],
    ['act without sub', issuer.signClaims({ ...good, act: { act: { sub: 'x' } } }), 'auth_invalid'],
    ['an actor of an unknown kind', issuer.signClaims({ ...good, act: { sub: 'x', kind: 'user' } }), 'auth_invalid'],
    [
      'one actor too many',
      issuer.issue(request(clock, Array<string>(LIMITS.actorChainMax + 1).fill('a'))),
      'auth_invalid',
    ],
    ['a run without its commit', issuer.signClaims({ ...good, run_id: '1', repository: 'r' }), 'auth_invalid'],
    [
      'a script digest that is none',
      issuer.issue({ ...request(clock, []), run: { ...RUN, scriptDigest: 'B'.repeat(64) } }),
      'auth_invalid',
    ],
  ];
  for (const [name, presented, code] of cases) {
    test(name, () => {
      for (let attempt = 0; attempt < 2; attempt++) {
        throws(
          () => verifier.verify(presented),
          (error) => error instanceof GatewayError && error.code === code && !leaks(error, presented),
        );
      }
      equal(verifier.verifyCached(presented), undefined);
      equal(verifier.cachedTokens, 0, 'nothing refused is remembered');
    });
  }

  test('a token one byte over the limit, and accepts one of exactly the limit', () => {
    const probe = issuer.signClaims({ ...good, pad: '' }).length;
    const sizes = new Map<number, string>();
    for (let pad = Math.floor(((LIMITS.tokenBytesMax - probe) * 3) / 4) - 4; sizes.size < 12; pad++) {
      const candidate = issuer.signClaims({ ...good, pad: 'x'.repeat(pad) });
      sizes.set(candidate.length, candidate);
      if (candidate.length > LIMITS.tokenBytesMax + 4) {
        break;
      }
    }
    const fitting = [...sizes.keys()].filter((size) => size <= LIMITS.tokenBytesMax);
    const larger = [...sizes.keys()].filter((size) => size > LIMITS.tokenBytesMax);
    ok(
      fitting.some((size) => size >= LIMITS.tokenBytesMax - 1) && larger.length > 0,
      'both sides of the limit were built',
    );
    const own = setUp().verifier;
    for (const size of fitting) {
      equal(own.verify(sizes.get(size) ?? '').person, 'ada');
    }
    for (const size of larger) {
      throws(() => own.verify(sizes.get(size) ?? ''), { code: 'auth_invalid' });
    }
  });

  test('a claim that the mapping requires to have another value', () => {
    const mapping = parseClaimMapping(
      JSON.stringify({ version: 1, principalKind: 'service', require: { repository_owner_id: ['17'] } }),
    );
    const own = setUp({ mapping }).verifier;
    throws(() => own.verify(issuer.signClaims({ ...good, repository_owner_id: '18' })), { code: 'auth_invalid' });
    throws(() => own.verify(issuer.signClaims(good)), { code: 'auth_invalid' });
    equal(own.verify(issuer.signClaims({ ...good, repository_owner_id: 17 })).principal.kind, 'service');
  });
});

describe('the cache of verified tokens', () => {
  test('gives the same subject without another verification, up to exp and not a millisecond longer', () => {
    const { clock, verifier } = setUp();
    const token = issuer.signClaims(claims(clock));
    equal(verifier.verifyCached(token), undefined);
    const subject = verifier.verify(token);
    equal(verifier.verifyCached(token), subject);
    clock.advance(MINUTE_MS - 1);
    equal(verifier.verifyCached(token), subject);
    clock.advance(1);
    equal(verifier.verifyCached(token), undefined);
    throws(() => verifier.verify(token), { code: 'auth_expired' });
    equal(verifier.cachedTokens, 0);
  });

  test('forgets what a removed key had signed', () => {
    let present = true;
    const known = parseKeySet(issuer.publicJwks());
    const keys: KeySource = {
      get version() {
        return present ? 1 : 2;
      },
      find: (kid) => (present ? known.get(kid) : undefined),
    };
    const { clock, verifier } = setUp({ keys });
    const token = issuer.signClaims(claims(clock));
    verifier.verify(token);
    present = false;
    equal(verifier.verifyCached(token), undefined);
    throws(() => verifier.verify(token), { code: 'auth_unknown_key' });
  });

  test('forgets subjects when the people change', () => {
    const { clock, verifier } = setUp();
    const token = issuer.signClaims(claims(clock));
    equal(verifier.verify(token).person, 'ada');
    verifier.setPeople(PeopleMap.empty);
    equal(verifier.verify(token).person, null);
  });

  test('holds no more entries than its bound, the oldest leave first', () => {
    const { clock, verifier } = setUp({ cacheEntries: 3 });
    const tokens = Array.from({ length: 4 }, (_, i) => issuer.signClaims({ ...claims(clock), jti: `j${i}` }));
    for (const token of tokens) {
      verifier.verify(token);
    }
    equal(verifier.cachedTokens, 3);
    deepEqual(
      tokens.map((token) => verifier.verifyCached(token) !== undefined),
      [false, true, true, true],
    );
  });
});

describe('bearerToken', () => {
  for (const value of [undefined, '', 'Bearer', 'Bearer ', 'Basic abc', 'Bearer a b', 'Bearer a,b', 'bearera']) {
    test(`refuses ${JSON.stringify(value)}`, () => {
      throws(() => bearerToken(value), { code: 'auth_missing' });
    });
  }
  test('takes the token in any spelling of the scheme', () => {
    equal(bearerToken('Bearer abc.def.ghi'), 'abc.def.ghi');
    equal(bearerToken('bearer  abc'), 'abc');
  });
});

function setUp(options: { keys?: KeySource; mapping?: ClaimMapping; cacheEntries?: number } = {}) {
  const clock = new ManualClock();
  const trusted: Issuer = {
    iss: ISS,
    keys: options.keys ?? fixedKeySource(parseKeySet(issuer.publicJwks())),
    mapping: options.mapping ?? GITHUB_ACTIONS_MAPPING,
  };
  const second: Issuer = { iss: 'https://sso.test', keys: trusted.keys, mapping: OIDC_MAPPING };
  const verifier = new IdentityVerifier({
    audience: AUDIENCE,
    issuers: [trusted, second],
    people,
    clock,
    cacheEntries: options.cacheEntries ?? 100,
  });
  return { clock, verifier };
}

function claims(clock: ManualClock): Record<string, unknown> {
  const nowS = clock.nowMs() / 1000;
  return { iss: ISS, sub: 'ada@clinic.test', aud: AUDIENCE, iat: nowS, exp: nowS + 60, principal_kind: 'user' };
}

function request(clock: ManualClock, actors: readonly string[]) {
  return {
    audience: AUDIENCE,
    sub: 'ada@clinic.test',
    actors: actors.map((sub) => ({ sub, kind: 'ai_agent' as const })),
    nowMs: clock.nowMs(),
    ttlMs: MINUTE_MS,
  };
}

function person(id: string, groups: readonly string[], subs: readonly string[]) {
  return { id, name: id, groups, identities: subs.map((sub) => ({ iss: ISS, sub })), keys: [] };
}

function keyPairs() {
  return [
    ['Ed25519', 'EdDSA', generateKeyPairSync('ed25519')],
    ['P-256', 'ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' })],
    ['2048-bit RSA', 'RS256', generateKeyPairSync('rsa', { modulusLength: 2048 })],
  ] as const;
}

function keySource(alg: string, key: KeyObject): KeySource {
  return fixedKeySource(parseKeySet(JSON.stringify({ keys: [{ ...key.export({ format: 'jwk' }), kid: 'k', alg }] })));
}

function signed(alg: string, key: KeyObject, payload: unknown): string {
  const text = `${segment({ alg, kid: 'k' })}.${segment(payload)}`;
  const digest = alg === 'EdDSA' ? null : 'sha256';
  return `${text}.${sign(digest, Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
}

function rawToken(payload: string | Buffer): string {
  const text = `${segment({ alg: 'EdDSA', kid: 'key-1' })}.${Buffer.from(payload).toString('base64url')}`;
  const key = createPrivateKey({ key: JSON.parse(issuer.privateJwk()) as JsonWebKey, format: 'jwk' });
  return `${text}.${sign(null, Buffer.from(text), key).toString('base64url')}`;
}

function hmacToken(payload: unknown): string {
  const text = `${segment({ alg: 'HS256', kid: 'key-1' })}.${segment(payload)}`;
  return `${text}.${createHmac('sha256', issuer.publicJwks()).update(text).digest('base64url')}`;
}

function segment(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

/** Same bytes, other unused bits in the last character. */
function otherSpelling(segmentText: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const last = alphabet.indexOf(segmentText.at(-1) ?? '');
  const spelled = segmentText.slice(0, -1) + (alphabet[last ^ 1] ?? '');
  deepEqual(Buffer.from(spelled, 'base64url'), Buffer.from(segmentText, 'base64url'));
  return spelled;
}

function leaks(error: GatewayError, presented: string): boolean {
  return presented.split('.').some((part) => part.length > 8 && error.message.includes(part));
}

import { hash, verify as verifySignature } from 'node:crypto';
import type { JsonValue } from '../../core/kernel/canonical-json.ts';
import type { Clock } from '../../core/kernel/clock.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import type { PeopleMap } from '../contract/people-map.ts';
import type { Subject } from '../contract/subject.ts';
import type { ClaimMapping } from './claim-mapping.ts';
import { type Algorithm, ALGORITHMS, type KeySource, type VerificationKey } from './key-set.ts';
import { type Claims, isObject, mapClaims } from './map-claims.ts';
import { parseStrictJson } from './strict-json.ts';

export interface Issuer {
  readonly iss: string;
  readonly keys: KeySource;
  readonly mapping: ClaimMapping;
}

export interface IdentityOptions {
  /** What `aud` must hold. */
  readonly audience: string;
  readonly issuers: readonly Issuer[];
  readonly people: PeopleMap;
  readonly clock: Clock;
  readonly cacheEntries?: number;
}

interface CacheEntry {
  readonly subject: Subject;
  readonly keys: KeySource;
  readonly keysVersion: number;
}

interface ParsedToken {
  readonly header: Claims;
  readonly claims: Claims;
  /** `header.claims` as presented: what is signed, and what evidence keeps. */
  readonly signedText: string;
  readonly signature: Buffer;
}

const SEGMENT = /^[A-Za-z0-9_-]+$/;
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const TOKEN_TYPES = new Set(['jwt', 'at+jwt', 'application/jwt', 'application/at+jwt']);
/** Year 9999: a later time is a mistake of the issuer, and would not fit the arithmetic everywhere. */
const SECONDS_MAX = 253_402_300_799;

/**
 * Turns a presented bearer token (JWT, RFC 7519; checked after RFC 8725) into a Subject. One instance a worker.
 *
 * Nothing in a token chooses how it is checked: the issuer names the key set, the key decides the algorithm. Claims are
 * judged only after the signature held, so every code but those for the envelope speaks of an authentic token.
 * `exp` has no leeway; `nbf` and `iat` have the clock skew.
 *
 * Invariants: the cache holds only tokens that verified under the key set version that they are stored with; an entry is
 * never used at or after its `exp`; at most `cacheEntries` entries.
 */
export class IdentityVerifier {
  readonly #audience: string;
  readonly #issuers = new Map<string, Issuer>();
  readonly #clock: Clock;
  readonly #cacheEntries: number;
  readonly #cache = new Map<string, CacheEntry>();
  #people: PeopleMap;

  constructor(options: IdentityOptions) {
    this.#audience = options.audience;
    this.#people = options.people;
    this.#clock = options.clock;
    this.#cacheEntries = options.cacheEntries ?? LIMITS.tokenCacheEntries;
    for (const issuer of options.issuers) {
      if (this.#issuers.has(issuer.iss)) {
        throw new GatewayError('config_invalid', 'two issuers have one name');
      }
      this.#issuers.set(issuer.iss, issuer);
    }
  }

  /** Hot path: one hash and one look-up. `undefined` says only that `verify` must be asked. */
  verifyCached(token: string): Subject | undefined {
    if (token.length > LIMITS.tokenBytesMax) {
      return undefined;
    }
    const key = cacheKey(token);
    const entry = this.#cache.get(key);
    if (entry === undefined) {
      return undefined;
    }
    if (entry.keys.version !== entry.keysVersion || entry.subject.expiresMs <= this.#clock.nowMs()) {
      this.#cache.delete(key);
      return undefined;
    }
    return entry.subject;
  }

  /** Synchronous, 50 to 150 µs when not cached. Throws GatewayError `auth_*`; details never hold bytes of the token. */
  verify(token: string): Subject {
    if (token === '') {
      throw new GatewayError('auth_missing');
    }
    const cached = this.verifyCached(token);
    if (cached !== undefined) {
      return cached;
    }
    const parsed = parseToken(token);
    const algorithm = checkHeader(parsed.header);
    const iss = parsed.claims['iss'];
    const issuer = typeof iss === 'string' ? this.#issuers.get(iss) : undefined;
    if (issuer === undefined) {
      throw new GatewayError('auth_invalid', 'claim iss: no such issuer is configured');
    }
    const keysVersion = issuer.keys.version;
    const key = findKey(issuer.keys, parsed.header, algorithm);
    if (!isSignedBy(parsed, key)) {
      throw new GatewayError('auth_invalid', 'signature');
    }
    const subject = this.#subject(token, parsed, issuer);
    this.#remember(token, { subject, keys: issuer.keys, keysVersion });
    return subject;
  }

  /** A new bundle brought other people: cached subjects were joined with the old ones. */
  setPeople(people: PeopleMap): void {
    this.#people = people;
    this.#cache.clear();
  }

  get cachedTokens(): number {
    return this.#cache.size;
  }

  #subject(token: string, parsed: ParsedToken, issuer: Issuer): Subject {
    const { claims } = parsed;
    const nowMs = this.#clock.nowMs();
    const expiresMs = timeClaim(claims, 'exp');
    if (expiresMs === undefined) {
      throw new GatewayError('auth_invalid', 'claim exp');
    }
    if (expiresMs <= nowMs) {
      throw new GatewayError('auth_expired');
    }
    const issuedMs = timeClaim(claims, 'iat') ?? 0;
    if ((timeClaim(claims, 'nbf') ?? 0) > nowMs + LIMITS.clockSkewMs || issuedMs > nowMs + LIMITS.clockSkewMs) {
      throw new GatewayError('auth_invalid', 'the token is not valid yet');
    }
    checkAudience(claims['aud'], this.#audience);
    const { mfa, ...mapped } = mapClaims(issuer.iss, claims, issuer.mapping, this.#people);
    const tokenDigest = Buffer.from(hash('sha256', token, 'hex'), 'hex');
    const jti = claims['jti'];
    const family = typeof jti === 'string' && jti !== '' ? jti : tokenDigest.toString('hex');
    return {
      ...mapped,
      auth: { method: 'jwt', issuer: issuer.iss, mfa, issuedMs },
      expiresMs,
      runOrFamily: mapped.ci?.runId ?? family,
      tokenDigest,
      tokenClaims: parsed.signedText,
    };
  }

  #remember(token: string, entry: CacheEntry): void {
    if (this.#cache.size >= this.#cacheEntries) {
      // Limit: oldest first, not least recently used; a hit then costs no write.
      const oldest = this.#cache.keys().next();
      if (oldest.done !== true) {
        this.#cache.delete(oldest.value);
      }
    }
    this.#cache.set(cacheKey(token), entry);
  }
}

/** The token of an `Authorization` value. Throws GatewayError `auth_missing` when there is none (RFC 6750 section 2.1). */
export function bearerToken(authorization: string | undefined): string {
  const match = authorization === undefined ? null : /^Bearer +([^\s,]+)$/i.exec(authorization);
  if (match?.[1] === undefined) {
    throw new GatewayError('auth_missing');
  }
  return match[1];
}

function cacheKey(token: string): string {
  return hash('sha256', token, 'binary');
}

function parseToken(token: string): ParsedToken {
  if (token.length > LIMITS.tokenBytesMax) {
    throw new GatewayError('auth_invalid', `the token is larger than ${LIMITS.tokenBytesMax} bytes`);
  }
  const segments = token.split('.');
  const [header = '', claims = '', signature = ''] = segments;
  if (segments.length !== 3) {
    throw new GatewayError('auth_invalid', 'the token is not a signed JWT');
  }
  return {
    header: decodeObject(header, 'header'),
    claims: decodeObject(claims, 'claims'),
    signedText: `${header}.${claims}`,
    // Empty for `alg: none`, which the header check refuses with its own code.
    signature: signature === '' ? Buffer.alloc(0) : decodeSegment(signature, 'signature'),
  };
}

/** Canonical base64url only: else one token has many spellings, each with its own digest. */
function decodeSegment(segment: string, what: string): Buffer {
  const bytes = Buffer.from(segment, 'base64url');
  if (!SEGMENT.test(segment) || bytes.toString('base64url') !== segment) {
    throw new GatewayError('auth_invalid', `the ${what} of the token is not base64url`);
  }
  return bytes;
}

function decodeObject(segment: string, what: string): Claims {
  const bytes = decodeSegment(segment, what);
  let text: string;
  try {
    text = UTF8.decode(bytes);
  } catch {
    throw new GatewayError('auth_invalid', `the ${what} of the token is not UTF-8`);
  }
  const value: JsonValue | undefined = parseStrictJson(text);
  if (value === undefined || !isObject(value)) {
    throw new GatewayError('auth_invalid', `the ${what} of the token is not one JSON object with distinct members`);
  }
  return value;
}

function checkHeader(header: Claims): Algorithm {
  const algorithm = ALGORITHMS.find((name) => name === header['alg']) ?? (header['alg'] === 'Ed25519' ? 'EdDSA' : null);
  if (algorithm === null) {
    throw new GatewayError('auth_algorithm');
  }
  if (header['crit'] !== undefined || header['b64'] !== undefined) {
    throw new GatewayError('auth_invalid', 'critical header extensions are not supported');
  }
  const type = header['typ'];
  if (type !== undefined && (typeof type !== 'string' || !TOKEN_TYPES.has(type.toLowerCase()))) {
    throw new GatewayError('auth_invalid', 'this type of token is not an access token');
  }
  return algorithm;
}

function findKey(keys: KeySource, header: Claims, algorithm: Algorithm): VerificationKey {
  const kid = header['kid'];
  const key = typeof kid === 'string' ? keys.find(kid) : undefined;
  if (key === undefined) {
    throw new GatewayError('auth_unknown_key');
  }
  if (key.algorithm !== algorithm) {
    throw new GatewayError('auth_algorithm', 'the key is for another algorithm');
  }
  return key;
}

function isSignedBy({ signedText, signature }: ParsedToken, { algorithm, key }: VerificationKey): boolean {
  const data = Buffer.from(signedText, 'latin1');
  switch (algorithm) {
    case 'EdDSA':
      return verifySignature(null, data, key, signature);
    case 'ES256':
      return verifySignature('sha256', data, { key, dsaEncoding: 'ieee-p1363' }, signature);
    case 'RS256':
      return verifySignature('sha256', data, key, signature);
  }
}

function checkAudience(aud: JsonValue | undefined, audience: string): void {
  const audiences = Array.isArray(aud) ? (aud as readonly JsonValue[]) : [aud];
  if (!audiences.includes(audience)) {
    throw new GatewayError('auth_audience');
  }
}

/** NumericDate (RFC 7519 section 2) in milliseconds. */
function timeClaim(claims: Claims, name: string): number | undefined {
  const value = claims[name];
  if (value === undefined) {
    return undefined;
  }
  if (typeof value !== 'number' || value < 0 || value > SECONDS_MAX) {
    throw new GatewayError('auth_invalid', `claim ${name}`);
  }
  return Math.floor(value * 1000);
}

import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import { GatewayError } from '../../core/kernel/errors.ts';
import { parseStrictJson } from './strict-json.ts';

/** The only algorithms that are ever accepted. `none` and HMAC are not in the list and cannot be configured in. */
export const ALGORITHMS = ['EdDSA', 'ES256', 'RS256'] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

export interface VerificationKey {
  readonly kid: string;
  readonly algorithm: Algorithm;
  readonly key: KeyObject;
}

/** The keys of one issuer as they are now. `version` changes whenever a key may have come or gone. */
export interface KeySource {
  readonly version: number;
  find(kid: string): VerificationKey | undefined;
}

const RSA_BITS_MIN = 2048;
const KEYS_MAX = 64;
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];

const jwkSchema = z.looseObject({
  kty: z.string(),
  kid: z.string().min(1).max(256).optional(),
  use: z.string().optional(),
  alg: z.string().optional(),
  crv: z.string().optional(),
});
const setSchema = z.looseObject({ keys: z.array(jwkSchema).max(KEYS_MAX) });
type Jwk = z.infer<typeof jwkSchema>;

/**
 * Reads a JWK set (RFC 7517). Keys for other uses and of other types are left out; a private or symmetric key in the
 * file is a mistake that must not go unseen, so the whole file is refused. Throws GatewayError `config_invalid`.
 */
export function parseKeySet(text: string): ReadonlyMap<string, VerificationKey> {
  const parsed = setSchema.safeParse(parseStrictJson(text));
  if (!parsed.success) {
    throw new GatewayError('config_invalid', 'the key set is not a JWK set');
  }
  const keys = new Map<string, VerificationKey>();
  for (const jwk of parsed.data.keys) {
    if (jwk.kty === 'oct' || PRIVATE_MEMBERS.some((member) => jwk[member] !== undefined)) {
      throw new GatewayError(
        'config_invalid',
        'the key set holds a private or symmetric key; give the public ones only',
      );
    }
    const algorithm = algorithmOf(jwk);
    if (algorithm === null || (jwk.use !== undefined && jwk.use !== 'sig')) {
      continue;
    }
    if (jwk.kid === undefined) {
      throw new GatewayError('config_invalid', 'a key of the key set has no kid');
    }
    if (keys.has(jwk.kid)) {
      throw new GatewayError('config_invalid', 'two keys of the key set have one kid');
    }
    keys.set(jwk.kid, { kid: jwk.kid, algorithm, key: importKey(jwk) });
  }
  if (keys.size === 0) {
    throw new GatewayError('config_invalid', 'the key set has no key for EdDSA, ES256 or RS256');
  }
  return keys;
}

/** A key source that never changes. */
export function fixedKeySource(keys: ReadonlyMap<string, VerificationKey>): KeySource {
  return { version: 0, find: (kid) => keys.get(kid) };
}

/** The one algorithm of a key: the type decides, so a token cannot choose how its key is used. */
function algorithmOf(jwk: Jwk): Algorithm | null {
  const byType =
    jwk.kty === 'OKP' && jwk.crv === 'Ed25519'
      ? 'EdDSA'
      : jwk.kty === 'EC' && jwk.crv === 'P-256'
        ? 'ES256'
        : jwk.kty === 'RSA'
          ? 'RS256'
          : null;
  // RFC 9864 names Ed25519 directly; it is the same algorithm.
  const alg = jwk.alg === 'Ed25519' ? 'EdDSA' : jwk.alg;
  return byType !== null && alg !== undefined && alg !== byType ? null : byType;
}

function importKey(jwk: Jwk): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' });
  } catch (cause) {
    throw new GatewayError('config_invalid', 'a key of the key set cannot be read', { cause });
  }
  const bits = key.asymmetricKeyDetails?.modulusLength;
  if (bits !== undefined && bits < RSA_BITS_MIN) {
    throw new GatewayError('config_invalid', 'an RSA key of the key set is shorter than 2048 bits');
  }
  return key;
}

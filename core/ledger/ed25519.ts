import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { assert } from '../kernel/assert.ts';

export const SIGNATURE_SIZE = 64;
export const PUBLIC_KEY_SIZE = 32;

/** DER of the SubjectPublicKeyInfo of an Ed25519 key without its 32 bytes (RFC 8410 section 4). */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
/** DER of the PKCS #8 of an Ed25519 private key without its 32-byte seed (RFC 8410 section 7). */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');

/** A private key as a `KeyObject`, or the raw 32-byte seed. */
export type PrivateKey = KeyObject | Buffer;
/** A public key as a `KeyObject`, or its raw 32 bytes. */
export type PublicKey = KeyObject | Buffer;

export function privateKeyObject(key: PrivateKey): KeyObject {
  if (!Buffer.isBuffer(key)) {
    assert(key.asymmetricKeyType === 'ed25519', 'a signing key is Ed25519');
    return key;
  }
  assert(key.length === PUBLIC_KEY_SIZE, 'an Ed25519 seed is 32 bytes');
  return createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, key]), format: 'der', type: 'pkcs8' });
}

export function publicKeyObject(key: PublicKey): KeyObject {
  if (!Buffer.isBuffer(key)) {
    return key;
  }
  assert(key.length === PUBLIC_KEY_SIZE, 'an Ed25519 public key is 32 bytes');
  return createPublicKey({ key: Buffer.concat([SPKI_PREFIX, key]), format: 'der', type: 'spki' });
}

/** The raw 32 bytes of a public key, also of the public half of a private one. */
export function publicKeyRaw(key: PrivateKey | PublicKey): Buffer {
  const object = Buffer.isBuffer(key) ? createPublicKey(privateKeyObject(key)) : key;
  const half = object.type === 'private' ? createPublicKey(object) : object;
  assert(half.asymmetricKeyType === 'ed25519', 'the key is Ed25519');
  return half.export({ format: 'der', type: 'spki' }).subarray(SPKI_PREFIX.length);
}

export function signBytes(key: PrivateKey, message: Buffer): Buffer {
  return sign(null, message, privateKeyObject(key));
}

/** False for a wrong signature and for a key that is not Ed25519; never throws on what a peer sent. */
export function verifyBytes(key: PublicKey, message: Buffer, signature: Buffer): boolean {
  if (signature.length !== SIGNATURE_SIZE || (Buffer.isBuffer(key) && key.length !== PUBLIC_KEY_SIZE)) {
    return false;
  }
  const object = publicKeyObject(key);
  return object.asymmetricKeyType === 'ed25519' && verify(null, message, object, signature);
}

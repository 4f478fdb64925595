import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';
import { asBuffer } from '../../kernel/bytes.ts';
import { GatewayError } from '../../kernel/errors.ts';

/** Raw X25519 keys, 32 bytes each. */
export interface X25519Pair {
  readonly publicKey: Buffer;
  readonly privateKey: Buffer;
}

export interface HpkeSealed {
  /** Encapsulated key, 32 bytes. */
  readonly enc: Buffer;
  /** Ciphertext and tag. */
  readonly ciphertext: Buffer;
}

/**
 * HPKE base mode (RFC 9180): DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. The KEM is the one of `@hpke/core`,
 * which runs X25519 in WebCrypto: half the time of the pure JavaScript of `@hpke/dhkem-x25519`, and constant in time.
 */
const SUITE = new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
const KEY_SIZE = 32;

export function generateX25519(): X25519Pair {
  const { privateKey } = generateKeyPairSync('x25519');
  const jwk = privateKey.export({ format: 'jwk' });
  return {
    publicKey: Buffer.from(jwk.x as string, 'base64url'),
    privateKey: Buffer.from(jwk.d as string, 'base64url'),
  };
}

/** The public half of a raw private key. Throws `config_invalid` when the bytes are no key. */
export function x25519PublicKey(privateKey: Buffer): Buffer {
  if (privateKey.length !== KEY_SIZE) {
    throw new GatewayError('config_invalid', 'an X25519 private key is 32 bytes');
  }
  // PKCS #8 wrapping of a raw X25519 key (RFC 8410 section 7) has a fixed prefix.
  const der = Buffer.concat([Buffer.from('302e020100300506032b656e04220420', 'hex'), privateKey]);
  try {
    const jwk = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })).export({ format: 'jwk' });
    return Buffer.from(jwk.x as string, 'base64url');
  } finally {
    der.fill(0);
  }
}

/** Seals to a raw public key. Rejects `keystore_unavailable` when that is not a usable X25519 key. */
export async function hpkeSeal(publicKey: Buffer, info: string, aad: Buffer, plaintext: Buffer): Promise<HpkeSealed> {
  try {
    const recipientPublicKey = await SUITE.kem.importKey('raw', arrayBuffer(publicKey), true);
    const infoBytes = arrayBuffer(Buffer.from(info, 'latin1'));
    const sealed = await SUITE.seal({ recipientPublicKey, info: infoBytes }, arrayBuffer(plaintext), arrayBuffer(aad));
    return { enc: Buffer.from(sealed.enc), ciphertext: Buffer.from(sealed.ct) };
  } catch {
    // The library's error is dropped on purpose: its text is not ours to vouch for.
    throw new GatewayError('keystore_unavailable', 'cannot seal to this wrapping key');
  }
}

/** Opens with a raw private key. Rejects `evidence_altered` for a wrong key, wrong aad and changed bytes alike. */
export async function hpkeOpen(privateKey: Buffer, info: string, aad: Buffer, sealed: HpkeSealed): Promise<Buffer> {
  try {
    const recipientKey = await SUITE.kem.importKey('raw', arrayBuffer(privateKey), false);
    const infoBytes = arrayBuffer(Buffer.from(info, 'latin1'));
    const opened = await SUITE.open(
      { recipientKey, enc: arrayBuffer(sealed.enc), info: infoBytes },
      arrayBuffer(sealed.ciphertext),
      arrayBuffer(aad),
    );
    return asBuffer(new Uint8Array(opened));
  } catch {
    throw new GatewayError('evidence_altered', 'a wrapped key does not open with this key');
  }
}

/** The library takes whole ArrayBuffers; a Buffer is often a view of a shared one. */
function arrayBuffer(bytes: Buffer): ArrayBuffer {
  const copy = new ArrayBuffer(bytes.length);
  new Uint8Array(copy).set(bytes);
  return copy;
}

import { assert } from '../kernel/assert.ts';
import { decodeBase64 } from './base64.ts';
import { malformed } from './byte-reader.ts';
import { PUBLIC_KEY_SIZE } from './ed25519.ts';
import { sha256 } from './hash.ts';

/*
 * Keys of C2SP signed-note:
 *
 *   vkey   = name "+" key id (8 hex digits) "+" base64(signature type u8 | public key 32)
 *   key id = first 4 bytes of SHA-256(name "\n" signature type u8 | public key)
 *   line   = "— " name " " base64(key id u32 | signature) "\n"
 */
export const SIGNATURE_TYPES = { ed25519: 0x01, cosignature: 0x04 } as const;
export type SignatureType = (typeof SIGNATURE_TYPES)[keyof typeof SIGNATURE_TYPES];

export interface VerifierKey {
  readonly name: string;
  readonly keyId: number;
  readonly type: SignatureType;
  /** Ed25519, 32 bytes. */
  readonly publicKey: Buffer;
}

const KEY_ID = /^[0-9a-f]{8}$/;
const LINE_START = '\u2014 ';

export function verifierKey(name: string, type: SignatureType, publicKey: Buffer): VerifierKey {
  assert(isKeyName(name), 'a key name has no spaces and no plus');
  assert(publicKey.length === PUBLIC_KEY_SIZE, 'an Ed25519 public key is 32 bytes');
  return { name, keyId: keyIdOf(name, type, publicKey), type, publicKey };
}

export function encodeVerifierKey(key: VerifierKey): string {
  const id = key.keyId.toString(16).padStart(8, '0');
  return `${key.name}+${id}+${Buffer.concat([Buffer.of(key.type), key.publicKey]).toString('base64')}`;
}

/** Throws GatewayError `evidence_malformed`, also when the key id is not that of the key. */
export function decodeVerifierKey(vkey: string): VerifierKey {
  // The base64 part may hold a plus; the name may not.
  const [name, id, ...rest] = vkey.trim().split('+');
  const material = decodeBase64(rest.join('+'));
  if (name === undefined || id === undefined || !isKeyName(name) || !KEY_ID.test(id) || material === undefined) {
    throw malformed('verifier key');
  }
  const type = Object.values(SIGNATURE_TYPES).find((known) => known === material[0]);
  if (type === undefined || material.length !== 1 + PUBLIC_KEY_SIZE) {
    throw malformed('verifier key: signature type');
  }
  const key = verifierKey(name, type, material.subarray(1));
  if (key.keyId !== Number.parseInt(id, 16)) {
    throw malformed('verifier key: key id');
  }
  return key;
}

export function keyIdOf(name: string, type: SignatureType, publicKey: Buffer): number {
  return sha256(Buffer.from(`${name}\n`, 'utf8'), Buffer.of(type), publicKey).readUInt32BE(0);
}

/** One signature line of a note, with its newline. */
export function signatureLine(name: string, keyId: number, signature: Buffer): string {
  const id = Buffer.alloc(4);
  id.writeUInt32BE(keyId);
  return `${LINE_START}${name} ${Buffer.concat([id, signature]).toString('base64')}\n`;
}

/** A line without its newline; undefined when it is not a signature line. */
export function parseSignatureLine(line: string): { name: string; keyId: number; signature: Buffer } | undefined {
  const parts = line.startsWith(LINE_START) ? line.slice(LINE_START.length).split(' ') : [];
  const [name, encoded] = parts;
  if (parts.length !== 2 || name === undefined || encoded === undefined || !isKeyName(name)) {
    return undefined;
  }
  const bytes = decodeBase64(encoded);
  if (bytes === undefined || bytes.length < 5) {
    return undefined;
  }
  return { name, keyId: bytes.readUInt32BE(0), signature: bytes.subarray(4) };
}

export function isKeyName(name: string): boolean {
  return name !== '' && !/[\s+\p{White_Space}]/u.test(name);
}

import { assert } from '../kernel/assert.ts';
import { readU64, writeU64 } from '../kernel/bytes.ts';
import { type PrivateKey, publicKeyRaw, SIGNATURE_SIZE, signBytes, verifyBytes } from './ed25519.ts';
import { keyIdOf, SIGNATURE_TYPES, signatureLine, type VerifierKey } from './verifier-key.ts';

/*
 * C2SP tlog-cosignature v1 (signature type 0x04): a witness saw this checkpoint, and that it extends what it saw before.
 *
 *   signature = time u64 (seconds since 1970) | Ed25519 signature 64
 *   message   = "cosignature/v1\n" "time " decimal "\n" note text
 */
const TIME_SIZE = 8;

export interface Cosigner {
  readonly name: string;
  readonly key: PrivateKey;
}

/** The signature line to add to a note whose text is `text`. */
export function cosignatureLine(cosigner: Cosigner, text: string, timeSeconds: number): string {
  assert(Number.isSafeInteger(timeSeconds) && timeSeconds >= 0, 'a time is whole seconds');
  const time = Buffer.alloc(TIME_SIZE);
  writeU64(time, timeSeconds, 0);
  const signature = signBytes(cosigner.key, cosignedMessage(text, timeSeconds));
  const keyId = keyIdOf(cosigner.name, SIGNATURE_TYPES.cosignature, publicKeyRaw(cosigner.key));
  return signatureLine(cosigner.name, keyId, Buffer.concat([time, signature]));
}

/** The time of a valid cosignature in seconds, null for any other. */
export function verifyCosignature(key: VerifierKey, text: string, signature: Buffer): number | null {
  if (key.type !== SIGNATURE_TYPES.cosignature || signature.length !== TIME_SIZE + SIGNATURE_SIZE) {
    return null;
  }
  const timeSeconds = readU64(signature, 0);
  if (timeSeconds < 0) {
    return null;
  }
  const message = cosignedMessage(text, timeSeconds);
  return verifyBytes(key.publicKey, message, signature.subarray(TIME_SIZE)) ? timeSeconds : null;
}

export function cosignedMessage(text: string, timeSeconds: number): Buffer {
  return Buffer.from(`cosignature/v1\ntime ${timeSeconds}\n${text}`, 'utf8');
}

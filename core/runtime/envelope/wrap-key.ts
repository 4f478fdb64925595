import {
  decodeWrappedKey,
  encodeWrappedKey,
  WRAPPED_KEY_INFO,
  type WrappedKey,
  wrappedKeyAad,
  type WrappedKeyFields,
} from '../../ledger/wrapped-key.ts';
import { hpkeOpen, hpkeSeal } from './hpke.ts';

/** Wraps a 32-byte data key to a month's public key; the encoded form of docs/formats.md, "Wrapped key". */
export async function wrapDataKey(publicKey: Buffer, fields: WrappedKeyFields, dataKey: Buffer): Promise<Buffer> {
  const { enc, ciphertext } = await hpkeSeal(publicKey, WRAPPED_KEY_INFO, wrappedKeyAad(fields), dataKey);
  return encodeWrappedKey({ ...fields, enc, ciphertext });
}

/** Opens a wrapped data key with the month's private key. Rejects `evidence_malformed` or `evidence_altered`. */
export async function unwrapDataKey(
  bytes: Buffer,
  monthPrivateKey: Buffer,
): Promise<{ readonly fields: WrappedKey; readonly key: Buffer }> {
  const fields = decodeWrappedKey(bytes);
  const key = await hpkeOpen(monthPrivateKey, WRAPPED_KEY_INFO, wrappedKeyAad(fields), fields);
  return { fields, key };
}

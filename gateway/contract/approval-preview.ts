import { type KeyObject, randomBytes, timingSafeEqual } from 'node:crypto';
import { Aes256Gcm, CipherSuite, HkdfSha256 } from '@hpke/core';
import { DhkemX25519HkdfSha256 } from '@hpke/dhkem-x25519';
import { canonicalJson, type JsonValue } from '../../core/kernel/canonical-json.ts';
import { asBuffer } from '../../core/kernel/bytes.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import { sha256 } from '../../core/ledger/hash.ts';

/*
 * A preview is what will run with its literals. In clear it exists only in the node that asks and on the approver's own
 * machine:
 *
 *   plaintext     canonical JSON {"preview": {...}, "salt": 32 random bytes as base64url}
 *   preview hash  SHA-256(plaintext): the salt keeps literals from being guessed out of it
 *   sealed        HPKE base mode (RFC 9180), DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, one for each key of
 *                 each eligible approver; info = "chaperone/preview/v1\n", aad = approval id || "\n" || key id
 */
const INFO = Buffer.from('chaperone/preview/v1\n', 'ascii');
const SALT_SIZE = 32;

export interface Preview {
  readonly plaintext: Buffer;
  readonly hash: Buffer;
}

export interface SealedFor {
  readonly enc: Buffer;
  readonly ciphertext: Buffer;
}

/** Throws GatewayError `approval_body_too_large` over 64 KiB: what cannot be shown cannot be approved. */
export function makePreview(
  preview: Readonly<Record<string, JsonValue>>,
  salt: Buffer = randomBytes(SALT_SIZE),
): Preview {
  const plaintext = Buffer.from(canonicalJson({ preview, salt: salt.toString('base64url') }), 'utf8');
  if (plaintext.length > LIMITS.previewBytesMax) {
    throw new GatewayError('approval_body_too_large', `the preview is over ${LIMITS.previewBytesMax} bytes`);
  }
  return { plaintext, hash: sha256(plaintext) };
}

export async function sealPreview(
  preview: Preview,
  recipient: { readonly approvalId: string; readonly keyId: string; readonly x25519: Buffer },
): Promise<SealedFor> {
  const suite = cipherSuite();
  const recipientPublicKey = await suite.kem.deserializePublicKey(recipient.x25519);
  const sealed = await suite.seal(
    { recipientPublicKey, info: INFO },
    preview.plaintext,
    aad(recipient.approvalId, recipient.keyId),
  );
  return { enc: Buffer.from(sealed.enc), ciphertext: Buffer.from(sealed.ct) };
}

/**
 * Opens a preview on the approver's machine, and checks that it is the one whose hash is signed. Rejects GatewayError
 * `approval_signature` when it is not: what was shown would not be what is approved.
 */
export async function openPreview(
  sealed: SealedFor,
  recipient: { readonly approvalId: string; readonly keyId: string; readonly x25519: KeyObject },
  previewHash: Buffer,
): Promise<Readonly<Record<string, JsonValue>>> {
  const suite = cipherSuite();
  let plaintext: Buffer;
  try {
    const raw = Buffer.from(recipient.x25519.export({ format: 'jwk' }).d ?? '', 'base64url');
    const recipientKey = await suite.kem.deserializePrivateKey(raw);
    plaintext = asBuffer(
      new Uint8Array(
        await suite.open(
          { recipientKey, enc: sealed.enc, info: INFO },
          sealed.ciphertext,
          aad(recipient.approvalId, recipient.keyId),
        ),
      ),
    );
  } catch (cause) {
    throw new GatewayError('approval_signature', 'the preview cannot be opened with this key', { cause });
  }
  const hash = sha256(plaintext);
  if (hash.length !== previewHash.length || !timingSafeEqual(hash, previewHash)) {
    throw new GatewayError('approval_signature', 'the preview is not the one that the approval names');
  }
  return (JSON.parse(plaintext.toString('utf8')) as { preview: Record<string, JsonValue> }).preview;
}

function cipherSuite(): CipherSuite {
  return new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
}

function aad(approvalId: string, keyId: string): Buffer {
  return Buffer.from(`${approvalId}\n${keyId}`, 'utf8');
}

import { type KeyObject, randomBytes, timingSafeEqual } from 'node:crypto';
import { canonicalJson, type JsonValue } from '../../core/kernel/canonical-json.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import { sha256 } from '../../core/ledger/hash.ts';
import { hpkeOpen, hpkeSeal } from '../../core/runtime/envelope/hpke.ts';

/*
 * A preview is what will run with its literals. In clear it exists only in the node that asks and on the approver's own
 * machine:
 *
 *   plaintext     canonical JSON {"preview": {...}, "salt": 32 random bytes as base64url}
 *   preview hash  SHA-256(plaintext): the salt keeps literals from being guessed out of it
 *   sealed        HPKE base mode (RFC 9180), DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, one for each key of
 *                 each eligible approver; info = "chaperone/preview/v1\n", aad = approval id || "\n" || key id
 */
const INFO = 'chaperone/preview/v1\n';
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

export function sealPreview(
  preview: Preview,
  recipient: { readonly approvalId: string; readonly keyId: string; readonly x25519: Buffer },
): Promise<SealedFor> {
  return hpkeSeal(recipient.x25519, INFO, aad(recipient.approvalId, recipient.keyId), preview.plaintext);
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
  let plaintext: Buffer;
  try {
    const raw = Buffer.from(recipient.x25519.export({ format: 'jwk' }).d ?? '', 'base64url');
    plaintext = await hpkeOpen(raw, INFO, aad(recipient.approvalId, recipient.keyId), sealed);
  } catch (cause) {
    throw new GatewayError('approval_signature', 'the preview cannot be opened with this key', { cause });
  }
  const hash = sha256(plaintext);
  if (hash.length !== previewHash.length || !timingSafeEqual(hash, previewHash)) {
    throw new GatewayError('approval_signature', 'the preview is not the one that the approval names');
  }
  return (JSON.parse(plaintext.toString('utf8')) as { preview: Record<string, JsonValue> }).preview;
}

function aad(approvalId: string, keyId: string): Buffer {
  return Buffer.from(`${approvalId}\n${keyId}`, 'utf8');
}

import { createCipheriv, createDecipheriv } from 'node:crypto';
import { assert } from '../kernel/assert.ts';
import { writeU64 } from '../kernel/bytes.ts';
import { GatewayError } from '../kernel/errors.ts';
import { LIMITS } from '../kernel/limits.ts';
import { ByteReader } from './byte-reader.ts';
import type { UnitClass } from './record.ts';

/*
 * Sealed unit (docs/formats.md, "Sealed unit"):
 *
 *   header = "CHU1" | version u8 = 1 | class u8 | direction u8 | flags u8 (bit 0 final) | key id 16 | nonce 12
 *            | plaintext length u32                                                                   (40 bytes)
 *   unit   = header | AES-256-GCM ciphertext | tag 16
 *   nonce  = random prefix of the key 8 | counter u32
 *   aad    = "chaperone/unit/1" | class u8 | direction u8 | flags u8 | zero u8 | writer id 16 | record index u64
 *            | tenant tag 16 | session id 16 | plan digest 32 | key id 16 | nonce 12                  (136 bytes)
 */
export const UNIT_HEADER_SIZE = 40;
export const UNIT_TAG_SIZE = 16;
export const UNIT_AAD_SIZE = 136;
export const UNIT_OVERHEAD = UNIT_HEADER_SIZE + UNIT_TAG_SIZE;
const MAGIC = 'CHU1';
const VERSION = 1;
const AAD_DOMAIN = Buffer.from('chaperone/unit/1', 'ascii');
const FLAG_FINAL = 1;
const KEY_SIZE = 32;
const NONCE_SIZE = 12;
const NONCE_PREFIX_SIZE = 8;

export type UnitDirection = 1 | 2 | 3;

export interface UnitHeader {
  readonly unitClass: UnitClass;
  readonly direction: UnitDirection;
  readonly final: boolean;
  readonly keyId: Buffer;
  readonly nonce: Buffer;
  readonly plaintextBytes: number;
}

/** Where a unit belongs. Bound into the seal: moved anywhere else, it does not open. */
export interface UnitContext {
  readonly writerId: Buffer;
  /** Index of the record that carries the unit. */
  readonly index: number;
  readonly tenantTag: Buffer;
  readonly sessionId: Buffer;
  readonly planDigest: Buffer;
}

export interface SealInput extends UnitContext {
  /** Data key, 32 bytes. */
  readonly key: Buffer;
  readonly unitClass: UnitClass;
  readonly direction: UnitDirection;
  readonly final: boolean;
  readonly keyId: Buffer;
  /** 12 bytes, `unitNonce(prefix, counter)`; MUST NOT repeat under one key. */
  readonly nonce: Buffer;
  readonly plaintext: Uint8Array;
}

export function unitNonce(prefix: Buffer, counter: number): Buffer {
  assert(prefix.length === NONCE_PREFIX_SIZE, 'a nonce prefix is 8 bytes');
  const nonce = Buffer.allocUnsafe(NONCE_SIZE);
  nonce.set(prefix);
  nonce.writeUInt32BE(counter, NONCE_PREFIX_SIZE); // Throws past 2^32: the key's life must end long before.
  return nonce;
}

export function sealUnit(input: SealInput): Buffer {
  assert(input.key.length === KEY_SIZE, 'a data key is 32 bytes');
  const size = input.plaintext.length;
  assert(size + UNIT_OVERHEAD <= LIMITS.recordBytesMax, 'a unit fits a record');
  const header: UnitHeader = { ...input, plaintextBytes: size };
  const sealed = Buffer.allocUnsafe(UNIT_OVERHEAD + size);
  writeUnitHeader(sealed, header);
  const cipher = createCipheriv('aes-256-gcm', input.key, input.nonce);
  cipher.setAAD(unitAad(header, input));
  sealed.set(cipher.update(input.plaintext), UNIT_HEADER_SIZE);
  cipher.final(); // GCM is a stream: nothing is left to come out.
  sealed.set(cipher.getAuthTag(), UNIT_HEADER_SIZE + size);
  return sealed;
}

/**
 * The plaintext. Throws `evidence_malformed` when `sealed` is no sealed unit, `evidence_altered` when it does not open
 * with this key at this place (GCM cannot tell a wrong key, a changed byte and a wrong place apart).
 */
export function openUnit(sealed: Buffer, open: UnitContext & { readonly key: Buffer }): Buffer {
  const header = decodeUnitHeader(sealed);
  const end = UNIT_HEADER_SIZE + header.plaintextBytes;
  const decipher = createDecipheriv('aes-256-gcm', open.key, header.nonce, { authTagLength: UNIT_TAG_SIZE });
  decipher.setAAD(unitAad(header, open));
  decipher.setAuthTag(sealed.subarray(end));
  const plaintext = decipher.update(sealed.subarray(UNIT_HEADER_SIZE, end));
  try {
    decipher.final();
  } catch (cause) {
    plaintext.fill(0);
    throw new GatewayError('evidence_altered', 'a sealed unit does not open', { cause });
  }
  return plaintext;
}

/** The header of a whole sealed unit. Refuses bytes whose size is not what the header says. */
export function decodeUnitHeader(sealed: Buffer): UnitHeader {
  const reader = new ByteReader(sealed, 'sealed unit');
  reader.magic(MAGIC, VERSION);
  const unitClass = reader.oneOf(reader.u8('class'), [1, 2] as const, 'class');
  const direction = reader.oneOf(reader.u8('direction'), [1, 2, 3] as const, 'direction');
  const flags = reader.oneOf(reader.u8('flags'), [0, FLAG_FINAL] as const, 'flags');
  const keyId = reader.bytes(16, 'key id');
  const nonce = reader.bytes(NONCE_SIZE, 'nonce');
  const plaintextBytes = reader.u32('plaintext length');
  if (reader.remaining !== plaintextBytes + UNIT_TAG_SIZE) {
    throw reader.refuse('plaintext length');
  }
  return { unitClass, direction, final: flags === FLAG_FINAL, keyId, nonce, plaintextBytes };
}

export function unitAad(header: Omit<UnitHeader, 'plaintextBytes'>, context: UnitContext): Buffer {
  const aad = Buffer.allocUnsafe(UNIT_AAD_SIZE);
  assert(context.writerId.length === 16 && context.tenantTag.length === 16, 'ids and tags are 16 bytes');
  assert(context.sessionId.length === 16 && context.planDigest.length === 32, 'ids are 16 bytes, digests 32');
  assert(header.keyId.length === 16 && header.nonce.length === NONCE_SIZE, 'a key id is 16 bytes, a nonce 12');
  aad.set(AAD_DOMAIN);
  aad[16] = header.unitClass;
  aad[17] = header.direction;
  aad[18] = header.final ? FLAG_FINAL : 0;
  aad[19] = 0;
  aad.set(context.writerId, 20);
  writeU64(aad, context.index, 36);
  aad.set(context.tenantTag, 44);
  aad.set(context.sessionId, 60);
  aad.set(context.planDigest, 76);
  aad.set(header.keyId, 108);
  aad.set(header.nonce, 124);
  return aad;
}

function writeUnitHeader(target: Buffer, header: UnitHeader): void {
  assert(header.keyId.length === 16 && header.nonce.length === NONCE_SIZE, 'a key id is 16 bytes, a nonce 12');
  target.write(MAGIC, 0, 'latin1');
  target[4] = VERSION;
  target[5] = header.unitClass;
  target[6] = header.direction;
  target[7] = header.final ? FLAG_FINAL : 0;
  target.set(header.keyId, 8);
  target.set(header.nonce, 24);
  target.writeUInt32BE(header.plaintextBytes, 36);
}

import { assert } from '../kernel/assert.ts';
import { writeU64 } from '../kernel/bytes.ts';
import { ByteReader } from './byte-reader.ts';
import type { UnitClass } from './record.ts';

/*
 * Wrapped data key (docs/formats.md, "Wrapped key"):
 *
 *   "CHK1" | version u8 = 1 | class u8 | key id 16 | tenant tag 16 | month u32 (YYYYMM) | writer id 16 | nonce prefix 8
 *   | created ms u64 | enc 32 | ciphertext 48
 *
 * HPKE base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM; info "chaperone/key/v1\n", aad the 74 bytes
 * before `enc`. The HPKE itself is in core/runtime/envelope: this room has no dependencies.
 */
export const WRAPPED_KEY_SIZE = 154;
export const WRAPPED_KEY_AAD_SIZE = 74;
export const WRAPPED_KEY_INFO = 'chaperone/key/v1\n';
const ENC_SIZE = 32;
const CIPHERTEXT_SIZE = 48;
const MAGIC = 'CHK1';
const VERSION = 1;

/** What is bound to the key but not secret. */
export interface WrappedKeyFields {
  readonly keyClass: UnitClass;
  /** Random, 16 bytes. */
  readonly keyId: Buffer;
  readonly tenantTag: Buffer;
  /** YYYYMM of the wrapping pair. */
  readonly month: number;
  readonly writerId: Buffer;
  /** 8 random bytes with which every nonce under this key begins. */
  readonly noncePrefix: Buffer;
  readonly createdMs: number;
}

export interface WrappedKey extends WrappedKeyFields {
  readonly enc: Buffer;
  readonly ciphertext: Buffer;
}

/** The bytes before `enc`: the HPKE aad. */
export function wrappedKeyAad(fields: WrappedKeyFields): Buffer {
  assert(fields.keyId.length === 16 && fields.tenantTag.length === 16, 'a key id and a tenant tag are 16 bytes');
  assert(fields.writerId.length === 16 && fields.noncePrefix.length === 8, 'a writer id is 16 bytes, a prefix 8');
  assert(isMonth(fields.month), 'a month is YYYYMM');
  const aad = Buffer.alloc(WRAPPED_KEY_AAD_SIZE);
  aad.write(MAGIC, 0, 'latin1');
  aad[4] = VERSION;
  aad[5] = fields.keyClass;
  aad.set(fields.keyId, 6);
  aad.set(fields.tenantTag, 22);
  aad.writeUInt32BE(fields.month, 38);
  aad.set(fields.writerId, 42);
  aad.set(fields.noncePrefix, 58);
  writeU64(aad, fields.createdMs, 66);
  return aad;
}

export function encodeWrappedKey(key: WrappedKey): Buffer {
  assert(
    key.enc.length === ENC_SIZE && key.ciphertext.length === CIPHERTEXT_SIZE,
    'enc and ciphertext have their sizes',
  );
  return Buffer.concat([wrappedKeyAad(key), key.enc, key.ciphertext]);
}

export function decodeWrappedKey(bytes: Buffer): WrappedKey {
  const reader = new ByteReader(bytes, 'wrapped key');
  reader.magic(MAGIC, VERSION);
  const keyClass = reader.oneOf(reader.u8('class'), [1, 2] as const, 'class');
  const keyId = reader.bytes(16, 'key id');
  const tenantTag = reader.bytes(16, 'tenant tag');
  const month = reader.u32('month');
  if (!isMonth(month)) {
    throw reader.refuse('month');
  }
  const writerId = reader.bytes(16, 'writer id');
  const noncePrefix = reader.bytes(8, 'nonce prefix');
  const createdMs = reader.u64('created');
  const enc = reader.bytes(ENC_SIZE, 'enc');
  const ciphertext = reader.bytes(CIPHERTEXT_SIZE, 'ciphertext');
  reader.end();
  return { keyClass, keyId, tenantTag, month, writerId, noncePrefix, createdMs, enc, ciphertext };
}

function isMonth(month: number): boolean {
  return month >= 1970_01 && month <= 9999_12 && month % 100 >= 1 && month % 100 <= 12;
}

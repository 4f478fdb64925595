import { assert } from '../kernel/assert.ts';
import { writeU64 } from '../kernel/bytes.ts';
import { ByteReader } from './byte-reader.ts';
import { type PrivateKey, type PublicKey, SIGNATURE_SIZE, signBytes, verifyBytes } from './ed25519.ts';
import { HASH_SIZE } from './hash.ts';

/*
 * Signed head of a writer log, 161 bytes (docs/formats.md, "Head"):
 *
 *   "CHH1" | version u8 = 1 | writer id 16 | size u64 | root 32 | time ns u64 | signer kind u8 | signer writer id 16
 *   | bundle revision u64 = 0 | zero 3 | signature 64
 *
 * Signature over "chaperone/head/v1\n" and the 97 bytes before it.
 */
export const HEAD_SIZE = 161;
const SIGNED_SIZE = HEAD_SIZE - SIGNATURE_SIZE;
const MAGIC = 'CHH1';
const VERSION = 1;
const DOMAIN = Buffer.from('chaperone/head/v1\n', 'ascii');

/** Who signed: the writer itself, or the control writer that recovered its journal. */
export const SIGNER_KINDS = { writer: 1, recovery: 2 } as const;
export type SignerKind = (typeof SIGNER_KINDS)[keyof typeof SIGNER_KINDS];

/** What a head says. */
export interface HeadFields {
  readonly writerId: Buffer;
  readonly size: number;
  readonly root: Buffer;
  readonly timeNs: bigint;
  readonly signerKind: SignerKind;
  /** Equals `writerId` when the writer itself signed. */
  readonly signerWriterId: Buffer;
}

export interface Head extends HeadFields {
  readonly signature: Buffer;
}

export function signHead(fields: HeadFields, key: PrivateKey): Buffer {
  return encodeHead({ ...fields, signature: signBytes(key, Buffer.concat([DOMAIN, encodeSigned(fields)])) });
}

export function encodeHead(head: Head): Buffer {
  assert(head.signature.length === SIGNATURE_SIZE, 'a signature is 64 bytes');
  return Buffer.concat([encodeSigned(head), head.signature]);
}

/** Views over `bytes`, which must be one head exactly. Does not check the signature. */
export function decodeHead(bytes: Buffer): Head {
  const reader = new ByteReader(bytes, 'head');
  reader.magic(MAGIC, VERSION);
  const writerId = reader.bytes(16, 'writer id');
  const size = reader.u64('size');
  const root = reader.bytes(HASH_SIZE, 'root');
  const timeNs = reader.big64('time');
  const signerKind = reader.oneOf(reader.u8('signer kind'), [1, 2] as const, 'signer kind');
  const signerWriterId = reader.bytes(16, 'signer writer id');
  reader.zeros(8, 'bundle revision');
  reader.zeros(3, 'reserved bytes');
  const signature = reader.bytes(SIGNATURE_SIZE, 'signature');
  reader.end();
  if ((signerKind === SIGNER_KINDS.writer) !== signerWriterId.equals(writerId)) {
    throw reader.refuse('signer writer id');
  }
  return { writerId, size, root, timeNs, signerKind, signerWriterId, signature };
}

/** Whether `bytes` is a head that `publicKey` signed. Of a recovered writer that is the key of the control writer. */
export function verifyHead(bytes: Buffer, publicKey: PublicKey): boolean {
  return (
    bytes.length === HEAD_SIZE &&
    verifyBytes(publicKey, Buffer.concat([DOMAIN, bytes.subarray(0, SIGNED_SIZE)]), bytes.subarray(SIGNED_SIZE))
  );
}

function encodeSigned(fields: HeadFields): Buffer {
  assert(fields.writerId.length === 16 && fields.signerWriterId.length === 16, 'a writer id is 16 bytes');
  assert(fields.root.length === HASH_SIZE, 'a root is 32 bytes');
  assert(
    (fields.signerKind === SIGNER_KINDS.writer) === fields.signerWriterId.equals(fields.writerId),
    'a writer signs as itself, a recovery as another',
  );
  const bytes = Buffer.alloc(SIGNED_SIZE);
  bytes.write(MAGIC, 0, 'latin1');
  bytes[4] = VERSION;
  bytes.set(fields.writerId, 5);
  writeU64(bytes, fields.size, 21);
  bytes.set(fields.root, 29);
  bytes.writeBigUInt64BE(fields.timeNs, 61);
  bytes[69] = fields.signerKind;
  bytes.set(fields.signerWriterId, 70);
  return bytes;
}

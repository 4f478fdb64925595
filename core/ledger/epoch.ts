import { X509Certificate } from 'node:crypto';
import { assert } from '../kernel/assert.ts';
import { ByteReader } from './byte-reader.ts';
import { type PrivateKey, PUBLIC_KEY_SIZE, type PublicKey, SIGNATURE_SIZE, signBytes, verifyBytes } from './ed25519.ts';

/*
 * Epoch certificate: a node vouches for the key of a writer (docs/formats.md, "Epoch certificate"):
 *
 *   "CHE1" | version u8 = 1 | writer id 16 | public key 32 | role u8 | created ns u64
 *   | certificate length u16 | node certificate (DER, X.509) | signature 64
 *
 * The node key signs "chaperone/epoch/v1\n" and everything before the signature.
 */
const MAGIC = 'CHE1';
const VERSION = 1;
const DOMAIN = Buffer.from('chaperone/epoch/v1\n', 'ascii');
const FIXED_SIZE = 4 + 1 + 16 + PUBLIC_KEY_SIZE + 1 + 8 + 2;

export const WRITER_ROLES = { worker: 1, control: 2, vault: 3, console: 4, retention: 5 } as const;
export type WriterRole = keyof typeof WRITER_ROLES;
export type WriterRoleNumber = (typeof WRITER_ROLES)[WriterRole];

export interface EpochFields {
  readonly writerId: Buffer;
  /** Raw Ed25519 key of the writer, 32 bytes. */
  readonly publicKey: Buffer;
  readonly role: WriterRoleNumber;
  readonly createdNs: bigint;
  /** DER. */
  readonly nodeCertificate: Buffer;
}

export interface EpochCertificate extends EpochFields {
  readonly signature: Buffer;
}

/** Encoded certificate, signed with the key that `nodeCertificate` is for. */
export function signEpoch(fields: EpochFields, nodeKey: PrivateKey): Buffer {
  const signed = encodeSigned(fields);
  return Buffer.concat([signed, signBytes(nodeKey, Buffer.concat([DOMAIN, signed]))]);
}

export function encodeEpoch(epoch: EpochCertificate): Buffer {
  assert(epoch.signature.length === SIGNATURE_SIZE, 'a signature is 64 bytes');
  return Buffer.concat([encodeSigned(epoch), epoch.signature]);
}

/** Views over `bytes`, which must be one certificate exactly. Does not check the signature. */
export function decodeEpoch(bytes: Buffer): EpochCertificate {
  const reader = new ByteReader(bytes, 'epoch certificate');
  reader.magic(MAGIC, VERSION);
  const writerId = reader.bytes(16, 'writer id');
  const publicKey = reader.bytes(PUBLIC_KEY_SIZE, 'public key');
  const role = reader.oneOf(reader.u8('role'), Object.values(WRITER_ROLES), 'role');
  const createdNs = reader.big64('created');
  const nodeCertificate = reader.bytes(reader.u16('certificate length'), 'node certificate');
  const signature = reader.bytes(SIGNATURE_SIZE, 'signature');
  reader.end();
  return { writerId, publicKey, role, createdNs, nodeCertificate, signature };
}

/** Whether the key of the node signed `bytes`. Says nothing about who vouches for the node: see `verifyEpochChain`. */
export function verifyEpoch(bytes: Buffer, nodeKey: PublicKey): boolean {
  if (bytes.length < FIXED_SIZE + SIGNATURE_SIZE) {
    return false;
  }
  const end = bytes.length - SIGNATURE_SIZE;
  return verifyBytes(nodeKey, Buffer.concat([DOMAIN, bytes.subarray(0, end)]), bytes.subarray(end));
}

/**
 * Checks a certificate up to the cluster CA (PEM or DER; more than one while a CA is rotated): the CA signed the node
 * certificate, which was valid when the epoch began, and the node signed the epoch. Returns null when all of that
 * holds, else the reason in words that fit a `refused` leaf. Throws only for bytes that are no certificate of ours.
 *
 * Limit: no intermediate certificates, and no revocation of node certificates.
 */
export function verifyEpochChain(bytes: Buffer, clusterCas: readonly (string | Buffer)[]): string | null {
  const epoch = decodeEpoch(bytes);
  let node: X509Certificate;
  try {
    node = new X509Certificate(epoch.nodeCertificate);
  } catch {
    return 'node certificate is not X.509';
  }
  if (!clusterCas.some((ca) => issuedBy(node, new X509Certificate(ca)))) {
    return 'node certificate is not issued by the cluster CA';
  }
  const createdMs = Number(epoch.createdNs / 1_000_000n);
  if (createdMs < Date.parse(node.validFrom) || createdMs > Date.parse(node.validTo)) {
    return 'node certificate was not valid when the epoch began';
  }
  return verifyEpoch(bytes, node.publicKey) ? null : 'signature of the node';
}

function issuedBy(node: X509Certificate, ca: X509Certificate): boolean {
  return ca.ca && node.checkIssued(ca) && node.verify(ca.publicKey);
}

function encodeSigned(fields: EpochFields): Buffer {
  assert(fields.writerId.length === 16, 'a writer id is 16 bytes');
  assert(fields.publicKey.length === PUBLIC_KEY_SIZE, 'a public key is 32 bytes');
  assert(fields.nodeCertificate.length <= 0xffff, 'a node certificate is at most 64 KiB');
  const head = Buffer.alloc(FIXED_SIZE);
  head.write(MAGIC, 0, 'latin1');
  head[4] = VERSION;
  head.set(fields.writerId, 5);
  head.set(fields.publicKey, 21);
  head[53] = fields.role;
  head.writeBigUInt64BE(fields.createdNs, 54);
  head.writeUInt16BE(fields.nodeCertificate.length, 62);
  return Buffer.concat([head, fields.nodeCertificate]);
}

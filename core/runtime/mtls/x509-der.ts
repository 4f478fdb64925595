import { createHash, createPublicKey, type KeyObject, randomBytes, sign } from 'node:crypto';

export interface CertificateFields {
  readonly subject: string;
  readonly issuer: string;
  readonly publicKey: KeyObject;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** A CA certificate signs others and has no names. */
  readonly isCa: boolean;
  readonly uris?: readonly string[];
  readonly dnsNames?: readonly string[];
  /** IPv4 dotted or IPv6 of 16 bytes in hex. */
  readonly ipAddresses?: readonly Buffer[];
}

/*
 * The small part of X.509 (RFC 5280) and DER (X.690) that our own certificates need: version 3, Ed25519 (RFC 8410), common
 * names, basic constraints, key usage, subject alternative names, key identifiers. Only issuing is here; checking is
 * OpenSSL's, through node:crypto and node:tls.
 *
 *   Certificate    = SEQUENCE { TBSCertificate, AlgorithmIdentifier, BIT STRING signature }
 *   TBSCertificate = SEQUENCE { [0] 2, serial, AlgorithmIdentifier, issuer, validity, subject, SPKI, [3] extensions }
 */
const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bits: 0x03,
  octets: 0x04,
  oid: 0x06,
  utf8: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;
const OID = {
  ed25519: '06032b6570',
  commonName: '0603550403',
  subjectKeyId: '0603551d0e',
  keyUsage: '0603551d0f',
  subjectAltName: '0603551d11',
  basicConstraints: '0603551d13',
  authorityKeyId: '0603551d23',
  extendedKeyUsage: '0603551d25',
  serverAuth: '06082b06010505070301',
  clientAuth: '06082b06010505070302',
} as const;
const SAN_DNS = 0x82;
const SAN_URI = 0x86;
const SAN_IP = 0x87;
/** Bits 5 and 6 of KeyUsage: keyCertSign, cRLSign; bit 0: digitalSignature. Written with the count of unused bits. */
const KEY_USAGE_CA = Buffer.from([1, 0x06]);
const KEY_USAGE_NODE = Buffer.from([7, 0x80]);

/** A DER certificate signed with an Ed25519 key. `issuerKey` is the subject's own for a self-signed one. */
export function signCertificate(fields: CertificateFields, issuerKey: KeyObject): Buffer {
  const algorithm = sequence(Buffer.from(OID.ed25519, 'hex'));
  const serial = randomBytes(16);
  serial[0] = ((serial[0] as number) & 0x7f) | 0x40; // Positive, and no leading zero byte.
  const tbs = sequence(
    der(0xa0, der(TAG.integer, Buffer.from([2]))),
    der(TAG.integer, serial),
    algorithm,
    commonName(fields.issuer),
    sequence(time(fields.notBeforeMs), time(fields.notAfterMs)),
    commonName(fields.subject),
    spki(fields.publicKey),
    der(0xa3, sequence(...extensions(fields, createPublicKey(issuerKey)))),
  );
  return sequence(tbs, algorithm, der(TAG.bits, Buffer.from([0]), sign(null, tbs, issuerKey)));
}

export function toPem(certificate: Buffer): string {
  const lines = certificate.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

function extensions(fields: CertificateFields, issuerPublicKey: KeyObject): Buffer[] {
  const out = [
    extension(OID.basicConstraints, true, fields.isCa ? sequence(boolean(true)) : sequence()),
    extension(OID.keyUsage, true, der(TAG.bits, fields.isCa ? KEY_USAGE_CA : KEY_USAGE_NODE)),
    extension(OID.subjectKeyId, false, der(TAG.octets, keyId(fields.publicKey))),
    extension(OID.authorityKeyId, false, sequence(der(0x80, keyId(issuerPublicKey)))),
  ];
  if (!fields.isCa) {
    const usages = sequence(Buffer.from(OID.serverAuth, 'hex'), Buffer.from(OID.clientAuth, 'hex'));
    out.push(extension(OID.extendedKeyUsage, false, usages));
    const names = [
      ...(fields.uris ?? []).map((uri) => der(SAN_URI, Buffer.from(uri, 'ascii'))),
      ...(fields.dnsNames ?? []).map((name) => der(SAN_DNS, Buffer.from(name, 'ascii'))),
      ...(fields.ipAddresses ?? []).map((address) => der(SAN_IP, address)),
    ];
    out.push(extension(OID.subjectAltName, false, sequence(...names)));
  }
  return out;
}

function extension(oid: string, critical: boolean, value: Buffer): Buffer {
  const parts = [Buffer.from(oid, 'hex'), ...(critical ? [boolean(true)] : []), der(TAG.octets, value)];
  return sequence(...parts);
}

function commonName(name: string): Buffer {
  const attribute = sequence(Buffer.from(OID.commonName, 'hex'), der(TAG.utf8, Buffer.from(name, 'utf8')));
  return sequence(der(TAG.set, attribute));
}

/** UTCTime until 2049, GeneralizedTime from 2050 (RFC 5280 section 4.1.2.5). Whole seconds. */
function time(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, '');
  return Number(digits.slice(0, 4)) < 2050
    ? der(TAG.utcTime, Buffer.from(digits.slice(2), 'ascii'))
    : der(TAG.generalizedTime, Buffer.from(digits, 'ascii'));
}

function boolean(value: boolean): Buffer {
  return der(TAG.boolean, Buffer.from([value ? 0xff : 0]));
}

function spki(key: KeyObject): Buffer {
  return key.export({ format: 'der', type: 'spki' });
}

function keyId(key: KeyObject): Buffer {
  return createHash('sha256').update(spki(key)).digest().subarray(0, 20);
}

function sequence(...parts: Buffer[]): Buffer {
  return der(TAG.sequence, ...parts);
}

function der(tag: number, ...parts: Buffer[]): Buffer {
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  const length = size < 0x80 ? [size] : size < 0x100 ? [0x81, size] : [0x82, size >> 8, size & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), ...parts]);
}

import { createHash, type KeyObject, sign, verify } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson, type JsonValue } from '../../core/kernel/canonical-json.ts';
import { GatewayError } from '../../core/kernel/errors.ts';

/*
 * `.signatures.json` of an OPA bundle (openpolicyagent.org/docs/latest/management-bundles, "Signature Format"):
 *
 *   {"signatures": [JWT]}      exactly one
 *   header  {"alg": "EdDSA" | "ES256" | "RS256", "kid", "typ"}
 *   payload {"files": [{"name", "hash" hex, "algorithm": "SHA-256"}], "keyid"?, "scope"?, "iat"?, "iss"?}
 *
 * `files` names every file of the bundle but this one, without the leading slash. The hash of `data.json` and
 * `.manifest` is over their JSON with sorted keys and no white space, of every other file over its bytes.
 */
export const SIGNATURES_FILE = '.signatures.json';

export type BundleAlgorithm = 'EdDSA' | 'ES256' | 'RS256';

/** A key that may sign bundles. The algorithm is ours to say: what the JWT claims must equal it. */
export interface BundleKey {
  readonly keyId: string;
  readonly algorithm: BundleAlgorithm;
  readonly publicKey: KeyObject;
  /** Empty when the bundle must have no scope. */
  readonly scope?: string;
}

export type HashedFile = z.infer<typeof fileSchema>;

const fileSchema = z.strictObject({
  name: z.string().min(1).max(512),
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  algorithm: z.literal('SHA-256'),
});
const signaturesSchema = z.strictObject({ signatures: z.tuple([z.string().max(4 * 1024 * 1024)]) });
const headerSchema = z.strictObject({ alg: z.string(), kid: z.string().optional(), typ: z.string().optional() });
const payloadSchema = z.strictObject({
  files: z.array(fileSchema),
  keyid: z.string().optional(),
  scope: z.string().optional(),
  iat: z.number().optional(),
  iss: z.string().optional(),
});

/**
 * Checks the one signature and that it covers exactly these files. Returns the id of the key that signed. Throws
 * GatewayError `bundle_invalid`: the detail names a file or what is wrong with the signature.
 */
export function verifyBundleSignature(files: ReadonlyMap<string, Buffer>, keys: readonly BundleKey[]): string {
  const signatures = checked(signaturesSchema, json(files.get(SIGNATURES_FILE), SIGNATURES_FILE), SIGNATURES_FILE);
  const [head = '', body = '', signature = '', ...more] = signatures.signatures[0].split('.');
  refuse(more.length > 0 || signature === '', 'the signature is not a JWT');
  const header = checked(headerSchema, json(decoded(head), 'the signature header'), 'the signature header');
  const payload = checked(payloadSchema, json(decoded(body), 'the signature payload'), 'the signature payload');
  const keyId = header.kid ?? payload.keyid ?? '';
  const key = keys.find((candidate) => candidate.keyId === keyId);
  if (key === undefined) {
    throw new GatewayError('bundle_invalid', 'signed with a key that is not configured');
  }
  refuse(header.alg !== key.algorithm, 'signed with another algorithm than its key is for');
  refuse(!isSigned(key, Buffer.from(`${head}.${body}`, 'latin1'), decoded(signature)), 'the signature does not verify');
  refuse((payload.scope ?? '') !== (key.scope ?? ''), 'signed for another scope');
  checkFiles(files, payload.files);
  return keyId;
}

/** The content of `.signatures.json` for these files. EdDSA only: equal files give equal bytes. */
export function signBundle(files: ReadonlyMap<string, Buffer>, keyId: string, privateKey: KeyObject): Buffer {
  const hashed: JsonValue[] = [...files]
    .filter(([name]) => name !== SIGNATURES_FILE)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, bytes]) => ({ name, hash: fileHash(name, bytes), algorithm: 'SHA-256' }));
  const signed = [{ alg: 'EdDSA', kid: keyId, typ: 'JWT' }, { files: hashed }]
    .map((part) => Buffer.from(canonicalJson(part)).toString('base64url'))
    .join('.');
  const signature = sign(null, Buffer.from(signed), privateKey).toString('base64url');
  return Buffer.from(canonicalJson({ signatures: [`${signed}.${signature}`] }));
}

/** The hash that a signature holds for a file. Throws `bundle_invalid` for a structured file that is not JSON. */
export function fileHash(name: string, bytes: Buffer): string {
  const base = name.slice(name.lastIndexOf('/') + 1);
  const hashed = base === 'data.json' || base === '.manifest' ? canonicalText(bytes, name) : bytes;
  return createHash('sha256').update(hashed).digest('hex');
}

/**
 * As OPA writes it. Limit: OPA sorts members by UTF-8 bytes and keeps numbers as written; this sorts by UTF-16 code
 * units and writes numbers in ECMAScript form. A file for which that differs does not verify.
 */
function canonicalText(bytes: Buffer, name: string): string {
  return canonicalJson(json(bytes, name));
}

function checkFiles(files: ReadonlyMap<string, Buffer>, signed: readonly HashedFile[]): void {
  const names = new Set<string>();
  for (const { name, hash } of signed) {
    refuse(names.has(name), `${name} is signed twice`);
    names.add(name);
    const bytes = files.get(name);
    if (bytes === undefined) {
      throw new GatewayError('bundle_invalid', `${name} is signed and missing`);
    }
    refuse(fileHash(name, bytes) !== hash, `${name} is not what was signed`);
  }
  for (const name of files.keys()) {
    refuse(name !== SIGNATURES_FILE && !names.has(name), `${name} is not signed`);
  }
}

function isSigned(key: BundleKey, signed: Buffer, signature: Buffer): boolean {
  const { publicKey } = key;
  switch (key.algorithm) {
    case 'EdDSA':
      return publicKey.asymmetricKeyType === 'ed25519' && verify(null, signed, publicKey, signature);
    case 'ES256':
      return (
        publicKey.asymmetricKeyDetails?.namedCurve === 'prime256v1' &&
        verify('sha256', signed, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature)
      );
    case 'RS256':
      return publicKey.asymmetricKeyType === 'rsa' && verify('sha256', signed, publicKey, signature);
  }
}

function decoded(part: string): Buffer {
  const bytes = Buffer.from(part, 'base64url');
  refuse(bytes.toString('base64url') !== part, 'the signature is not base64url');
  return bytes;
}

function json(bytes: Buffer | undefined, what: string): JsonValue {
  try {
    return JSON.parse(bytes?.toString('utf8') ?? '') as JsonValue;
  } catch {
    throw new GatewayError('bundle_invalid', `${what} is not JSON`);
  }
}

function checked<T>(schema: z.ZodType<T>, value: JsonValue, what: string): T {
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new GatewayError('bundle_invalid', `${what}: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
  }
  return parsed.data;
}

function refuse(condition: boolean, detail: string): void {
  if (condition) {
    throw new GatewayError('bundle_invalid', detail);
  }
}

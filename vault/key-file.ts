import { open, readFile } from 'node:fs/promises';
import { GatewayError } from '../core/kernel/errors.ts';
import { generateX25519, x25519PublicKey } from '../core/runtime/envelope/hpke.ts';
import { checkPrivate } from '../core/runtime/mtls/tls-files.ts';
import type { Holder } from './month-key.ts';

/** A holder with its private key. */
export interface HolderKey extends Holder {
  readonly privateKey: Buffer;
}

/*
 * A holder's key pair is a JSON Web Key (RFC 8037), one object in a file of mode 0600:
 *
 *   {"kty": "OKP", "crv": "X25519", "use": "enc", "kid": "<holder id>", "x": "<public, base64url>", "d": "<private>"}
 *
 * The public file (`<path>.pub`) is the same without "d". The holder id of an auditor is the name in its certificate.
 */
const HOLDER_ID = /^[a-z0-9][a-z0-9.-]{0,62}$/;
const KEY_SIZE = 32;

/** Makes a key pair and writes `<path>` and `<path>.pub`. Rejects `config_invalid` when one of them exists. */
export async function createHolderKey(path: string, id: string): Promise<HolderKey> {
  if (!HOLDER_ID.test(id)) {
    throw new GatewayError('config_invalid', 'a holder id is 1 to 63 of a-z 0-9 . -');
  }
  const { publicKey, privateKey } = generateX25519();
  const shared = { kty: 'OKP', crv: 'X25519', use: 'enc', kid: id, x: publicKey.toString('base64url') };
  await writeNew(path, { ...shared, d: privateKey.toString('base64url') }, 0o600);
  // If we die here the public file is missing; it can be made from the private one.
  await writeNew(`${path}.pub`, shared, 0o644);
  return { id, publicKey, privateKey };
}

/** Reads a private key file. Rejects `config_invalid`, without a word of what is in it. */
export async function readHolderKey(path: string): Promise<HolderKey> {
  await checkPrivate(path);
  return parseHolderKey(await readText(path), path);
}

/** From the text of a private key file; `path` is for the message. Whether the file was private is the caller's to check. */
export function parseHolderKey(text: string, path: string): HolderKey {
  const { id, publicKey, d } = parseJwk(text, path);
  const privateKey = d === undefined ? Buffer.alloc(0) : Buffer.from(d, 'base64url');
  if (privateKey.length !== KEY_SIZE || !x25519PublicKey(privateKey).equals(publicKey)) {
    throw new GatewayError('config_invalid', `${path} is not an X25519 key pair`);
  }
  return { id, publicKey, privateKey };
}

/** Reads a public key file; a private one will do. */
export async function readHolderPublicKey(path: string): Promise<Holder> {
  const { id, publicKey } = parseJwk(await readText(path), path);
  return { id, publicKey };
}

async function readText(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => {
    throw new GatewayError('config_invalid', `cannot read ${path}`);
  });
}

function parseJwk(text: string, path: string): Holder & { readonly d: string | undefined } {
  let jwk: Record<string, unknown>;
  try {
    jwk = JSON.parse(text) as Record<string, unknown>;
  } catch {
    // A parse error quotes the text, which may be a private key.
    throw new GatewayError('config_invalid', `${path} is not a readable JSON Web Key`);
  }
  const { kty, crv, kid, x, d } = jwk;
  const publicKey = typeof x === 'string' ? Buffer.from(x, 'base64url') : Buffer.alloc(0);
  const isX25519 = kty === 'OKP' && crv === 'X25519' && publicKey.length === KEY_SIZE;
  if (!isX25519 || typeof kid !== 'string' || !HOLDER_ID.test(kid)) {
    throw new GatewayError('config_invalid', `${path} is not an X25519 JSON Web Key with a kid`);
  }
  return { id: kid, publicKey, d: typeof d === 'string' ? d : undefined };
}

async function writeNew(path: string, value: object, mode: number): Promise<void> {
  let file;
  try {
    file = await open(path, 'wx', mode);
  } catch (error) {
    throw new GatewayError('config_invalid', `cannot create ${path}`, { cause: error });
  }
  try {
    await file.writeFile(`${JSON.stringify(value, null, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
}

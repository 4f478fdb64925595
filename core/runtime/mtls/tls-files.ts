import { createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { GatewayError } from '../../kernel/errors.ts';

export interface TlsPaths {
  /** One or more CA certificates, PEM. */
  readonly caPath: string;
  readonly certificatePath: string;
  readonly keyPath: string;
}

/** What a process needs for mTLS, PEM. `privateKey` is the same key as `key`, for signing. */
export interface TlsIdentity {
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly certificateDer: Buffer;
  readonly privateKey: KeyObject;
}

/**
 * Reads certificate and key of this process. Throws `config_invalid` when a file is missing or unreadable, when others
 * may read the key, or when key and certificate do not belong together.
 */
export async function loadTls(paths: TlsPaths): Promise<TlsIdentity> {
  await checkPrivate(paths.keyPath);
  const [ca, cert, key] = await Promise.all([read(paths.caPath), read(paths.certificatePath), read(paths.keyPath)]);
  try {
    const certificate = new X509Certificate(cert);
    const privateKey = createPrivateKey(key);
    const own = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
    if (!own.equals(certificate.publicKey.export({ format: 'der', type: 'spki' }))) {
      throw new GatewayError('config_invalid', `${paths.keyPath} is not the key of ${paths.certificatePath}`);
    }
    return { ca, cert, key, certificateDer: certificate.raw, privateKey };
  } catch (error) {
    if (error instanceof GatewayError) {
      throw error;
    }
    throw new GatewayError('config_invalid', `${paths.certificatePath} or its key is not PEM`);
  }
}

/** Throws `config_invalid` unless only the owner may read the file. */
export async function checkPrivate(path: string): Promise<void> {
  const { mode } = await stat(path).catch(() => {
    throw new GatewayError('config_invalid', `cannot read ${path}`);
  });
  if ((mode & 0o077) !== 0) {
    throw new GatewayError('config_invalid', `${path} may be read by others: set its mode to 0600`);
  }
}

function read(path: string): Promise<Buffer> {
  return readFile(path).catch(() => {
    throw new GatewayError('config_invalid', `cannot read ${path}`);
  });
}

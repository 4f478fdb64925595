import { createPrivateKey, generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../kernel/clock.ts';
import { nodeIdentityUri, type NodeRole } from './node-certificate.ts';
import { signCertificate, toPem } from './x509-der.ts';

/** The CA of a cluster on one machine, made by `chaperone up`. Production brings its own certificates. */
export interface DevelopmentCa {
  readonly cluster: string;
  readonly certificatePem: string;
  readonly privateKey: KeyObject;
  /** File of the certificate, for `loadTls`. */
  readonly certificatePath: string;
}

export interface IssueOptions {
  readonly name: string;
  readonly role: NodeRole;
  /** Folder for `<role>-<name>.pem` and `.key`. */
  readonly directory: string;
  readonly clock: Clock;
  readonly lifeMs?: number;
}

export interface IssuedCertificate {
  readonly certificatePath: string;
  readonly keyPath: string;
  readonly certificatePem: string;
  readonly certificateDer: Buffer;
  /** Ed25519: for TLS, and for signing the writers' epoch certificates. */
  readonly privateKey: KeyObject;
}

const DAY_MS = 86_400_000;
const CA_LIFE_MS = 3650 * DAY_MS;
const NODE_LIFE_MS = 365 * DAY_MS;
/** Machines of one cluster may disagree about the time by this much. */
const BACKDATE_MS = 5 * 60_000;
const LOOPBACK = [Buffer.from([127, 0, 0, 1]), Buffer.from('00000000000000000000000000000001', 'hex')];

/** Loads the CA of `directory` (`ca.pem`, `ca.key`), or makes it. Ed25519; files of mode 0600. */
export async function createDevelopmentCa(directory: string, cluster: string, clock: Clock): Promise<DevelopmentCa> {
  const certificatePath = join(directory, 'ca.pem');
  const keyPath = join(directory, 'ca.key');
  if (existsSync(certificatePath)) {
    const certificatePem = await readFile(certificatePath, 'utf8');
    const privateKey = createPrivateKey(await readFile(keyPath, 'utf8'));
    return { cluster, certificatePem, privateKey, certificatePath };
  }
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const subject = `${cluster} development CA`;
  const nowMs = clock.nowMs();
  const certificate = signCertificate(
    {
      subject,
      issuer: subject,
      publicKey,
      notBeforeMs: nowMs - BACKDATE_MS,
      notAfterMs: nowMs + CA_LIFE_MS,
      isCa: true,
    },
    privateKey,
  );
  const certificatePem = toPem(certificate);
  await writePrivately(keyPath, pkcs8(privateKey));
  // If we die here the key is without a certificate: the next start makes both again.
  await writePrivately(certificatePath, certificatePem);
  return { cluster, certificatePem, privateKey, certificatePath };
}

/** Issues a certificate for a node of the cluster on loopback, with a new key; files of mode 0600. */
export async function issueNodeCertificate(ca: DevelopmentCa, options: IssueOptions): Promise<IssuedCertificate> {
  const { name, role, directory, clock } = options;
  const uri = nodeIdentityUri({ cluster: ca.cluster, role, name });
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const nowMs = clock.nowMs();
  const certificateDer = signCertificate(
    {
      subject: `${role} ${name}`,
      issuer: subjectOf(ca.certificatePem),
      publicKey,
      notBeforeMs: nowMs - BACKDATE_MS,
      notAfterMs: nowMs + (options.lifeMs ?? NODE_LIFE_MS),
      isCa: false,
      uris: [uri],
      dnsNames: ['localhost'],
      ipAddresses: LOOPBACK,
    },
    ca.privateKey,
  );
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const keyPath = join(directory, `${role}-${name}.key`);
  const certificatePath = join(directory, `${role}-${name}.pem`);
  const certificatePem = toPem(certificateDer);
  await writePrivately(keyPath, pkcs8(privateKey));
  await writePrivately(certificatePath, certificatePem);
  // If we die between the two, key and certificate do not match: `loadTls` says so, and issuing again repairs it.
  return { certificatePath, keyPath, certificatePem, certificateDer, privateKey };
}

function subjectOf(certificatePem: string): string {
  return new X509Certificate(certificatePem).subject.replace(/^CN=/, '');
}

function pkcs8(key: KeyObject): string {
  return key.export({ format: 'pem', type: 'pkcs8' }).toString();
}

async function writePrivately(path: string, text: string): Promise<void> {
  const temporary = `${path}.tmp`;
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}

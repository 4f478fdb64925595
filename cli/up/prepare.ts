import { createPrivateKey, generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Clock } from '../../core/kernel/clock.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { publicKeyRaw } from '../../core/ledger/ed25519.ts';
import { encodeVerifierKey, SIGNATURE_TYPES, type SignatureType, verifierKey } from '../../core/ledger/verifier-key.ts';
import type { Config } from '../../core/runtime/config/config-schema.ts';
import { createDevelopmentCa, issueNodeCertificate } from '../../core/runtime/mtls/development-ca.ts';
import { nodeIdentityUri, type NodeRole, verifyNodeCertificate } from '../../core/runtime/mtls/node-certificate.ts';
import { checkPrivate, type TlsPaths } from '../../core/runtime/mtls/tls-files.ts';

/** What every deployment on one machine has under its data directory. */
export interface Prepared {
  readonly caPath: string;
  readonly caPem: string;
  /** Password of the user who writes to the embedded ClickHouse. */
  readonly clickhouseWriter: string;
  /** Password of its read-only user. */
  readonly clickhouseReader: string;
  /** Bearer token of the archive's read-only HTTP. */
  readonly archiveToken: string;
  readonly log: NoteKey;
  readonly witness: NoteKey;
}

/** A key that signs notes: checkpoints of the log, cosignatures of a witness. */
export interface NoteKey {
  readonly name: string;
  /** PKCS #8. */
  readonly privateKeyPem: string;
  /** C2SP verifier key. */
  readonly vkey: string;
}

const TOKEN_SIZE = 32;
const RENEW_BEFORE_MS = 30 * 86_400_000;

/** Makes what is missing: CA, certificates, service tokens. What is there stays, unless it expires soon. */
export async function prepareDataDir(config: Config, clock: Clock): Promise<Prepared> {
  await mkdir(config.node.dataDir, { recursive: true, mode: 0o700 });
  const caPath = await prepareCertificates(config, clock);
  const secrets = join(config.node.dataDir, 'secrets');
  const { domain } = config.cluster;
  return {
    caPath,
    caPem: await readFile(caPath, 'utf8'),
    clickhouseWriter: await serviceToken(join(secrets, 'clickhouse-writer')),
    clickhouseReader: await serviceToken(join(secrets, 'clickhouse-reader')),
    archiveToken: await serviceToken(join(secrets, 'archive')),
    log: await noteKey(join(config.sequencer.directory, 'log.key'), `${domain}/evidence`, SIGNATURE_TYPES.ed25519),
    witness: await noteKey(
      join(config.witness.directory, 'witness.key'),
      `${config.witness.name}.${domain}`,
      SIGNATURE_TYPES.cosignature,
    ),
  };
}

/** Files of a certificate under `tls.directory`. */
export function tlsPathsOf(config: Config, role: NodeRole, name: string): TlsPaths {
  const { directory } = config.tls;
  return {
    caPath: join(directory, 'ca.pem'),
    certificatePath: join(directory, `${role}-${name}.pem`),
    keyPath: join(directory, `${role}-${name}.key`),
  };
}

async function prepareCertificates(config: Config, clock: Clock): Promise<string> {
  const { directory } = config.tls;
  const caPath = join(directory, 'ca.pem');
  const holders: [NodeRole, string][] = [
    ['vault', config.node.name],
    ['gateway', config.node.name],
    ['operator', 'operator'],
    ...config.auditors.map(({ id }): [NodeRole, string] => ['auditor', id]),
  ];
  const missing: [NodeRole, string][] = [];
  for (const [role, name] of holders) {
    if (!(await isCurrent(config, clock, role, name))) {
      missing.push([role, name]);
    }
  }
  if (missing.length === 0) {
    return caPath;
  }
  if (existsSync(caPath) && !existsSync(join(directory, 'ca.key'))) {
    const names = missing.map(([role, name]) => `${role}-${name}.pem`).join(', ');
    throw new GatewayError(
      'config_invalid',
      `${directory} has its own CA without ca.key: issue the certificates that are missing or expire soon (${names})`,
    );
  }
  const ca = await createDevelopmentCa(directory, config.cluster.domain, clock);
  for (const [role, name] of missing) {
    await issueNodeCertificate(ca, { name, role, directory, clock });
  }
  return caPath;
}

async function isCurrent(config: Config, clock: Clock, role: NodeRole, name: string): Promise<boolean> {
  const { caPath, certificatePath, keyPath } = tlsPathsOf(config, role, name);
  if (![caPath, certificatePath, keyPath].every(existsSync)) {
    return false;
  }
  const [ca, pem] = await Promise.all([readFile(caPath, 'utf8'), readFile(certificatePath, 'utf8')]);
  try {
    const identity = verifyNodeCertificate(pem, ca, clock.nowMs());
    const wanted = { cluster: config.cluster.domain, role, name };
    const lives = Date.parse(new X509Certificate(pem).validTo) - clock.nowMs() > RENEW_BEFORE_MS;
    return lives && nodeIdentityUri(identity) === nodeIdentityUri(wanted);
  } catch {
    return false; // Of another CA or cluster, expired, or damaged: it is issued again, or refused where it cannot be.
  }
}

/** Reads a signing key of notes, or makes one. Its name is part of what it signs: it never changes. */
async function noteKey(path: string, name: string, type: SignatureType): Promise<NoteKey> {
  const privateKeyPem = await readOrMake(path, () =>
    generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  );
  let publicKey: Buffer;
  try {
    publicKey = publicKeyRaw(createPrivateKey(privateKeyPem));
  } catch {
    // Without the cause: the parser's message may quote the key.
    throw new GatewayError('config_invalid', `${path} is not an Ed25519 private key in PEM`);
  }
  return { name, privateKeyPem, vkey: encodeVerifierKey(verifierKey(name, type, publicKey)) };
}

/** Reads a token, or makes one of 256 bits. */
async function serviceToken(path: string): Promise<string> {
  return (await readOrMake(path, () => `${randomBytes(TOKEN_SIZE).toString('hex')}\n`)).trim();
}

async function readOrMake(path: string, make: () => string): Promise<string> {
  if (existsSync(path)) {
    await checkPrivate(path);
    return readFile(path, 'utf8');
  }
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const text = make();
  const file = await open(`${path}.tmp`, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  // If we die here it is made again; nobody was given it.
  await rename(`${path}.tmp`, path);
  return text;
}

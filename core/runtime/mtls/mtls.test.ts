import { deepEqual, equal, match, ok, rejects, throws } from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { SystemClock } from '../../kernel/clock.ts';
import { ManualClock } from '../../kernel/testing/manual-clock.ts';
import { signEpoch, verifyEpochChain, WRITER_ROLES } from '../../ledger/epoch.ts';
import { createDevelopmentCa, type DevelopmentCa, issueNodeCertificate } from './development-ca.ts';
import { nodeIdentityUri, parseNodeIdentity, verifyNodeCertificate } from './node-certificate.ts';
import { loadTls, type TlsIdentity } from './tls-files.ts';
import { signCertificate } from './x509-der.ts';

const clock = new SystemClock();
const DAY_MS = 86_400_000;

describe('mTLS', () => {
  let root: string;
  let ca: DevelopmentCa;
  let otherCa: DevelopmentCa;
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'chaperone-mtls-'));
    ca = await createDevelopmentCa(join(root, 'ca'), 'demo', clock);
    otherCa = await createDevelopmentCa(join(root, 'other'), 'demo', clock);
  });
  after(() => rm(root, { recursive: true }));
  const issue = async (from: DevelopmentCa, name: string): Promise<TlsIdentity> => {
    const issued = await issueNodeCertificate(from, { name, role: 'gateway', directory: join(root, 'nodes'), clock });
    return loadTls({ caPath: ca.certificatePath, certificatePath: issued.certificatePath, keyPath: issued.keyPath });
  };

  test('keeps the CA it made, in files that only the owner may read', async () => {
    const again = await createDevelopmentCa(join(root, 'ca'), 'demo', clock);
    equal(again.certificatePem, ca.certificatePem);
    await issue(ca, 'modes');
    for (const path of ['ca/ca.key', 'ca/ca.pem', 'nodes/gateway-modes.key', 'nodes/gateway-modes.pem']) {
      equal((await stat(join(root, path))).mode & 0o777, 0o600, path);
    }
  });

  test('issues what OpenSSL reads as a strict Ed25519 chain', async () => {
    const { certificateDer } = await issue(ca, 'node-1');
    const node = new X509Certificate(certificateDer);
    const authority = new X509Certificate(ca.certificatePem);
    equal(node.publicKey.asymmetricKeyType, 'ed25519');
    ok(authority.ca && !node.ca);
    ok(node.checkIssued(authority) && node.verify(authority.publicKey));
    match(node.subjectAltName ?? '', /URI:chaperone:\/\/demo\/gateway\/node-1/);
    ok(node.checkIP('127.0.0.1') !== undefined && node.checkHost('localhost') !== undefined);
    let version: string;
    try {
      version = execFileSync('openssl', ['version']).toString();
    } catch {
      return; // The command line tool adds a second opinion where it is installed; node:crypto had the first.
    }
    const pem = join(root, 'nodes', 'gateway-node-1.pem');
    const args = ['verify', '-x509_strict', '-purpose', 'sslserver', '-CAfile', ca.certificatePath, pem];
    match(execFileSync('openssl', args).toString(), /OK/, version);
  });

  test('says whose a certificate is, and refuses one of another CA, an expired one, and the CA itself', async () => {
    const { certificateDer } = await issue(ca, 'node-2');
    const nowMs = clock.nowMs();
    deepEqual(verifyNodeCertificate(certificateDer, ca.certificatePem, nowMs), {
      cluster: 'demo',
      role: 'gateway',
      name: 'node-2',
    });
    deepEqual(verifyNodeCertificate(certificateDer, [otherCa.certificatePem, ca.certificatePem], nowMs).name, 'node-2');
    const refused = { code: 'auth_invalid' };
    throws(() => verifyNodeCertificate(certificateDer, otherCa.certificatePem, nowMs), refused);
    throws(() => verifyNodeCertificate(certificateDer, ca.certificatePem, nowMs + 366 * DAY_MS), refused);
    throws(() => verifyNodeCertificate(certificateDer, ca.certificatePem, nowMs - DAY_MS), refused);
    throws(() => verifyNodeCertificate(ca.certificatePem, ca.certificatePem, nowMs), refused);
    throws(() => verifyNodeCertificate(Buffer.from('none'), ca.certificatePem, nowMs), refused);
  });

  test('refuses a certificate without one identity, with two, and with an unknown role', async () => {
    const issued = await issueNodeCertificate(ca, { name: 'n', role: 'vault', directory: join(root, 'nodes'), clock });
    const uri = nodeIdentityUri({ cluster: 'demo', role: 'vault', name: 'n' });
    for (const uris of [[], [uri, uri], ['chaperone://demo/root/n'], ['https://demo/vault/n'], [`${uri}/x`]]) {
      const certificate = signCertificate(
        {
          subject: 'n',
          issuer: 'demo development CA',
          publicKey: new X509Certificate(issued.certificateDer).publicKey,
          notBeforeMs: clock.nowMs() - DAY_MS,
          notAfterMs: clock.nowMs() + DAY_MS,
          isCa: false,
          uris,
          dnsNames: ['localhost'],
        },
        ca.privateKey,
      );
      throws(() => verifyNodeCertificate(certificate, ca.certificatePem, clock.nowMs()), { code: 'auth_invalid' });
    }
    throws(() => nodeIdentityUri({ cluster: 'a/b', role: 'vault', name: 'n' }), { code: 'config_invalid' });
    equal(parseNodeIdentity('chaperone://demo/vault/n')?.role, 'vault');
  });

  test('writes dates past 2049 as OpenSSL reads them', async () => {
    const future = new ManualClock(Date.UTC(2049, 5, 1));
    const late = await createDevelopmentCa(join(root, 'late'), 'demo', future);
    equal(new Date(new X509Certificate(late.certificatePem).validTo).getUTCFullYear(), 2059);
  });

  test('certifies writers: an epoch signed with the node key chains to the CA', async () => {
    const { certificateDer, privateKey } = await issue(ca, 'node-3');
    const epoch = signEpoch(
      {
        writerId: Buffer.alloc(16, 1),
        publicKey: Buffer.alloc(32, 2),
        role: WRITER_ROLES.worker,
        createdNs: clock.nowNs(),
        nodeCertificate: certificateDer,
      },
      privateKey,
    );
    equal(verifyEpochChain(epoch, [ca.certificatePem]), null);
    ok(verifyEpochChain(epoch, [otherCa.certificatePem]) !== null);
  });

  test('lets nodes of one cluster talk TLS 1.3, and nobody else', async () => {
    const [server, client, stranger] = [await issue(ca, 's'), await issue(ca, 'c'), await issue(otherCa, 'x')];
    let served = 0;
    const listening = createServer({ ...pem(server), requestCert: true, rejectUnauthorized: true }, (socket) => {
      served += 1;
      socket.end('hello');
    });
    listening.on('tlsClientError', () => undefined);
    await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
    const { port } = listening.address() as { port: number };
    const talk = (identity: object): Promise<string> =>
      new Promise((resolve) => {
        let text = '';
        const socket: TLSSocket = connect({ host: '127.0.0.1', port, ...identity });
        socket.on('data', (chunk: Buffer) => {
          text += `${chunk.toString()} ${socket.getProtocol()}`;
        });
        socket.on('error', (error) => {
          text += `refused ${error.name}`;
        });
        socket.on('close', () => resolve(text));
      });
    equal(await talk(pem(client)), 'hello TLSv1.3');
    // In TLS 1.3 a client may learn of its refusal as an alert or as an early end; what counts is that it gets nothing.
    ok(!(await talk(pem(stranger))).includes('hello'));
    ok(!(await talk({ ca: client.ca })).includes('hello'));
    equal(served, 1);
    await new Promise((resolve) => listening.close(resolve));
  });

  test('refuses a key that others may read, that is missing, or that is not of the certificate', async () => {
    const a = await issueNodeCertificate(ca, { name: 'a', role: 'ingest', directory: join(root, 'nodes'), clock });
    const b = await issueNodeCertificate(ca, { name: 'b', role: 'ingest', directory: join(root, 'nodes'), clock });
    const paths = { caPath: ca.certificatePath, certificatePath: a.certificatePath, keyPath: a.keyPath };
    ok((await loadTls(paths)).key.length > 0);
    const refused = (paths2: object): Promise<void> =>
      rejects(loadTls({ ...paths, ...paths2 }), (error: Error) => {
        equal((error as Error & { code: string }).code, 'config_invalid');
        ok(!error.message.includes('PRIVATE'));
        return true;
      });
    await refused({ keyPath: b.keyPath });
    await refused({ keyPath: join(root, 'none.key') });
    await refused({ certificatePath: join(root, 'none.pem') });
    const garbage = join(root, 'garbage.key');
    await writeFile(garbage, (await readFile(a.keyPath, 'utf8')).replace('MC4', 'XXX'), { mode: 0o600 });
    await refused({ keyPath: garbage });
    await chmod(a.keyPath, 0o640);
    await refused({});
  });
});

function pem(identity: TlsIdentity): { ca: Buffer; cert: Buffer; key: Buffer } {
  return { ca: identity.ca, cert: identity.cert, key: identity.key };
}

import { deepEqual, equal, match, notEqual, ok, rejects } from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { ManualClock } from '../../core/kernel/testing/manual-clock.ts';
import { decodeVerifierKey, SIGNATURE_TYPES } from '../../core/ledger/verifier-key.ts';
import type { Config } from '../../core/runtime/config/config-schema.ts';
import { loadConfig } from '../../core/runtime/config/load-config.ts';
import { verifyNodeCertificate } from '../../core/runtime/mtls/node-certificate.ts';
import { loadTls } from '../../core/runtime/mtls/tls-files.ts';
import { prepareDataDir, tlsPathsOf } from './prepare.ts';

const root = mkdtempSync(join(tmpdir(), 'chaperone-prepare-'));
after(() => rmSync(root, { recursive: true, force: true }));
const DAY_MS = 86_400_000;

function configIn(name: string): Config {
  const text = `
node: { name: n1, dataDir: ${name} }
cluster: { domain: c.test }
policy: { bundle: b, publicKeys: [k] }
auditors: [{ id: ada, publicKeyFile: a }, { id: bo, publicKeyFile: b }]
`;
  return loadConfig({ path: join(root, 'c.yaml'), text, env: {}, flags: [] }, () => '').config;
}

describe('what `up` makes under the data directory', () => {
  test('a certificate for every role and person that the CA vouches for, and private files', async () => {
    const config = configIn('first');
    const clock = new ManualClock();
    const prepared = await prepareDataDir(config, clock);
    for (const [role, name] of [
      ['vault', 'n1'],
      ['gateway', 'n1'],
      ['operator', 'operator'],
      ['auditor', 'ada'],
      ['auditor', 'bo'],
    ] as const) {
      const tls = await loadTls(tlsPathsOf(config, role, name));
      const identity = verifyNodeCertificate(tls.cert, prepared.caPem, clock.nowMs());
      deepEqual(identity, { cluster: 'c.test', role, name });
    }
    for (const secret of ['clickhouse-writer', 'clickhouse-reader', 'archive']) {
      equal(statSync(join(config.node.dataDir, 'secrets', secret)).mode & 0o777, 0o600);
    }
    const secrets = [prepared.clickhouseWriter, prepared.clickhouseReader, prepared.archiveToken];
    equal(new Set(secrets).size, 3);
    ok(secrets.every((secret) => /^[0-9a-f]{64}$/.test(secret)));
    const log = decodeVerifierKey(prepared.log.vkey);
    deepEqual([log.name, log.type], ['c.test/evidence', SIGNATURE_TYPES.ed25519]);
    const witness = decodeVerifierKey(prepared.witness.vkey);
    deepEqual([witness.name, witness.type], ['witness-1.c.test', SIGNATURE_TYPES.cosignature]);
  });

  test('is kept at the next start', async () => {
    const config = configIn('kept');
    const clock = new ManualClock();
    const first = await prepareDataDir(config, clock);
    const certificate = readFileSync(tlsPathsOf(config, 'gateway', 'n1').certificatePath, 'utf8');
    deepEqual(await prepareDataDir(config, clock), first);
    equal(readFileSync(tlsPathsOf(config, 'gateway', 'n1').certificatePath, 'utf8'), certificate);
  });

  test('a certificate that expires soon is issued again by the same CA', async () => {
    const config = configIn('renewed');
    const clock = new ManualClock();
    const { caPem } = await prepareDataDir(config, clock);
    const { certificatePath } = tlsPathsOf(config, 'gateway', 'n1');
    const before = readFileSync(certificatePath, 'utf8');
    clock.advance((365 - 31) * DAY_MS);
    await prepareDataDir(config, clock);
    equal(readFileSync(certificatePath, 'utf8'), before);
    clock.advance(2 * DAY_MS);
    equal((await prepareDataDir(config, clock)).caPem, caPem);
    const renewed = readFileSync(certificatePath, 'utf8');
    notEqual(renewed, before);
    equal(verifyNodeCertificate(renewed, caPem, clock.nowMs()).name, 'n1');
  });

  test('with a CA of somebody else, missing certificates are named and not forged', async () => {
    const config = configIn('foreign');
    await prepareDataDir(config, new ManualClock());
    rmSync(join(config.tls.directory, 'ca.key'));
    await prepareDataDir(config, new ManualClock());
    rmSync(tlsPathsOf(config, 'auditor', 'bo').certificatePath);
    await rejects(prepareDataDir(config, new ManualClock()), (error: Error) => {
      match(error.message, /auditor-bo\.pem/);
      return true;
    });
  });

  test('a signing key that others may read, or that is none, stops the start without a word of it', async () => {
    const config = configIn('open');
    await prepareDataDir(config, new ManualClock());
    const path = join(config.sequencer.directory, 'log.key');
    chmodSync(path, 0o644);
    await rejects(prepareDataDir(config, new ManualClock()), /0600/);
    chmodSync(path, 0o600);
    writeFileSync(path, 'do-not-print-me');
    await rejects(prepareDataDir(config, new ManualClock()), (error: Error) => {
      ok(!`${error.stack}${String(error.cause)}`.includes('do-not-print-me'));
      return /Ed25519/.test(error.message);
    });
  });
});

import { deepEqual, equal, notDeepEqual, ok, rejects } from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { SystemClock } from '../core/kernel/clock.ts';
import { ManualClock } from '../core/kernel/testing/manual-clock.ts';
import { tenantTag } from '../core/ledger/leaf.ts';
import type { UnitContext } from '../core/ledger/sealed-unit.ts';
import { FaultFiles } from '../core/bus/file-bus/testing/fault-files.ts';
import { DataKeyPool } from '../core/runtime/envelope/key-pool.ts';
import { monthOf } from '../core/runtime/envelope/month.ts';
import { UnitSealer } from '../core/runtime/envelope/unit-sealer.ts';
import { wrapDataKey } from '../core/runtime/envelope/wrap-key.ts';
import { createDevelopmentCa, type DevelopmentCa, issueNodeCertificate } from '../core/runtime/mtls/development-ca.ts';
import type { NodeRole } from '../core/runtime/mtls/node-certificate.ts';
import { loadTls, type TlsIdentity } from '../core/runtime/mtls/tls-files.ts';
import { VaultClient } from '../core/runtime/vault-client.ts';
import { createHolderKey, type HolderKey, readHolderKey, readHolderPublicKey } from './key-file.ts';
import { openSealedUnit, UnitOpener } from './opening.ts';
import { openMonthKey } from './month-key.ts';
import { type RunningVault, startVault, type StartVaultOptions } from './vault.ts';

const TENANT = 'acme';
const CANARY = 'CANARY-plaintext-078-05-1120';
const clock = new SystemClock();

describe('vault', () => {
  let root: string;
  let ca: DevelopmentCa;
  let auditor: HolderKey;
  let vaultTls: TlsIdentity;
  let directory: string;
  let runs = 0;
  const open: { close(): Promise<void> | void }[] = [];
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'chaperone-vault-'));
    ca = await createDevelopmentCa(join(root, 'ca'), 'demo', clock);
    auditor = await createHolderKey(join(root, 'auditor.key'), 'ada');
    vaultTls = await identity('vault', 'vault-1');
  });
  after(() => rm(root, { recursive: true }));
  beforeEach(() => {
    directory = join(root, `vault-${runs++}`);
  });
  afterEach(async () => {
    for (const item of open.splice(0).reverse()) {
      await item.close();
    }
  });
  const identity = async (role: NodeRole, name: string, from: DevelopmentCa = ca): Promise<TlsIdentity> => {
    const issued = await issueNodeCertificate(from, { name, role, directory: join(root, 'nodes'), clock });
    return loadTls({ caPath: ca.certificatePath, certificatePath: issued.certificatePath, keyPath: issued.keyPath });
  };
  const start = async (options: Partial<StartVaultOptions> = {}): Promise<RunningVault> => {
    const vault = await startVault({ directory, cluster: 'demo', tls: vaultTls, auditors: [auditor], ...options });
    open.push(vault);
    return vault;
  };
  const client = async (port: number, role: NodeRole = 'gateway', name = 'node-1'): Promise<VaultClient> => {
    const made = new VaultClient({ address: `127.0.0.1:${port}`, tls: await identity(role, name) });
    open.push(made);
    return made;
  };

  test('carries a unit from seal to opening: a gateway seals, the auditor alone opens', async () => {
    const { port } = await start();
    const pool = await poolOf(await client(port), 1);
    const sealer = new UnitSealer(pool, CONTEXT.sessionId);
    const { bytes } = sealer.seal({ ...SEAL, plaintext: Buffer.from(CANARY) });
    const opener = new UnitOpener(await client(port, 'auditor', 'ada'), TENANT, auditor);
    equal((await opener.open(bytes, CONTEXT)).toString(), CANARY);
    await rejects(opener.open(bytes, { ...CONTEXT, index: 8 }), { code: 'evidence_altered' });
    await opener.close();
    const stranger = await createHolderKey(join(root, 'eve.key'), 'eve');
    const asAda = new UnitOpener(await client(port, 'auditor', 'ada'), TENANT, { ...stranger, id: 'ada' });
    await rejects(asAda.open(bytes, CONTEXT), { code: 'evidence_altered' });
    const asEve = new UnitOpener(await client(port, 'auditor', 'eve'), TENANT, stranger);
    await rejects(asEve.open(bytes, CONTEXT), { code: 'evidence_incomplete' });
    pool.close();
  });

  test('refuses to open with any flipped bit, a wrong place, another key, and says nothing of what is inside', async () => {
    const { port } = await start();
    const pool = await poolOf(await client(port), 1);
    const sealer = new UnitSealer(pool, CONTEXT.sessionId);
    const { bytes, keyId } = sealer.seal({ ...SEAL, plaintext: Buffer.from(CANARY) });
    const audit = await client(port, 'auditor', 'ada');
    const [wrapped, other] = await audit.getKeys([keyId, pool.take().id]);
    ok(wrapped !== undefined && other !== undefined);
    const name = { tenant: TENANT, keyClass: 1, month: monthOf(clock.nowMs()) } as const;
    const month = await openMonthKey(name, await audit.monthKey(name, 'ada'), auditor);
    equal((await openSealedUnit(bytes, wrapped, month, CONTEXT)).toString(), CANARY);
    const secrets = [CANARY, month.toString('hex'), month.toString('base64url'), auditor.privateKey.toString('hex')];
    const refused = (error: Error): boolean => {
      ok(['evidence_altered', 'evidence_malformed'].includes((error as Error & { code: string }).code));
      for (const text of [error.message, error.stack ?? '', String(error.cause)]) {
        ok(!secrets.some((secret) => text.includes(secret)), 'a secret in an error');
      }
      return true;
    };
    for (let byte = 0; byte < bytes.length; byte++) {
      await rejects(openSealedUnit(flipped(bytes, byte), wrapped, month, CONTEXT), refused, `unit byte ${byte}`);
    }
    for (let byte = 0; byte < wrapped.length; byte++) {
      await rejects(openSealedUnit(bytes, flipped(wrapped, byte), month, CONTEXT), refused, `key byte ${byte}`);
    }
    for (const place of Object.keys(CONTEXT) as (keyof UnitContext)[]) {
      const moved = { ...CONTEXT, [place]: place === 'index' ? 8 : Buffer.alloc(CONTEXT[place].length, 0xee) };
      await rejects(openSealedUnit(bytes, wrapped, month, moved), refused, place);
    }
    await rejects(openSealedUnit(bytes, other, month, CONTEXT), refused, 'the key of another unit');
    await rejects(openSealedUnit(bytes, wrapped, randomBytes(32), CONTEXT), refused, 'another month key');
    pool.close();
  });

  test('answers the same pairs for this and the next month, also after a restart', async () => {
    const first = await startVault({ directory, cluster: 'demo', tls: vaultTls, auditors: [auditor] });
    const before = new VaultClient({ address: `127.0.0.1:${first.port}`, tls: await identity('gateway', 'n') });
    const [keys, again] = await Promise.all([before.wrappingKeys(TENANT), before.wrappingKeys(TENANT)]);
    deepEqual(again, keys, 'made once, also when two ask at once');
    deepEqual(
      keys.map((k) => k.keyClass),
      [1, 2, 1, 2],
    );
    equal(new Set(keys.map((k) => k.month)).size, 2);
    notDeepEqual(await before.wrappingKeys('other'), keys);
    const secrets = await before.clusterSecrets();
    const stored = await wrappedKey();
    await before.putKeys([stored.bytes]);
    before.close();
    await first.close();
    const { port } = await start();
    const later = await client(port);
    deepEqual(await later.wrappingKeys(TENANT), keys);
    deepEqual(await later.clusterSecrets(), secrets);
    deepEqual(await (await client(port, 'auditor', 'ada')).getKeys([stored.id, Buffer.alloc(16)]), [
      stored.bytes,
      undefined,
    ]);
  });

  test('takes a key twice, refuses another under its id, and rubbish', async () => {
    const { port } = await start();
    const gateway = await client(port);
    const stored = await wrappedKey();
    await gateway.putKeys([stored.bytes]);
    await gateway.putKeys([stored.bytes]);
    const forged = flipped(stored.bytes, 100);
    await rejects(gateway.putKeys([forged]), { code: 'evidence_altered' });
    await rejects(gateway.putKeys([stored.bytes.subarray(1)]), { code: 'evidence_malformed' });
    await rejects(gateway.wrappingKeys('a tenant\n'), { code: 'evidence_malformed' });
  });

  test('lets each role call what is its own, and nothing else', async () => {
    const { port } = await start();
    const month = { tenant: TENANT, keyClass: 1, month: monthOf(clock.nowMs()) } as const;
    await (await client(port)).wrappingKeys(TENANT);
    const calls: Record<string, (c: VaultClient) => Promise<unknown>> = {
      putKeys: (c) => c.putKeys([]),
      wrappingKeys: (c) => c.wrappingKeys(TENANT),
      clusterSecrets: (c) => c.clusterSecrets(),
      getKeys: (c) => c.getKeys([]),
      monthKey: (c) => c.monthKey(month, 'ada'),
    };
    const allowed: Partial<Record<NodeRole, string[]>> = {
      gateway: ['putKeys', 'wrappingKeys', 'clusterSecrets'],
      console: ['putKeys', 'wrappingKeys'],
      auditor: ['getKeys', 'monthKey'],
      vault: ['getKeys'],
      ingest: [],
      sequencer: [],
      witness: [],
      monitor: [],
      operator: [],
    };
    for (const [role, names] of Object.entries(allowed)) {
      const caller = await client(port, role as NodeRole, 'ada');
      for (const [name, call] of Object.entries(calls)) {
        if (names.includes(name)) {
          await call(caller);
        } else {
          await rejects(call(caller), { code: 'auth_invalid' }, `${role} ${name}`);
        }
      }
    }
    const ada = await client(port, 'auditor', 'ada');
    await rejects(ada.monthKey(month, 'bob'), { code: 'auth_invalid' }, 'not the key of another auditor');
    await rejects(ada.monthKey({ ...month, keyClass: 2 }, 'ada'), { code: 'auth_invalid' }, 'not the originals');
    await rejects(ada.monthKey({ ...month, month: 199001 }, 'ada'), { code: 'evidence_incomplete' });
    const vault = await client(port, 'vault', 'vault-1');
    await rejects(vault.monthKey(month, 'ada'), { code: 'auth_invalid' });
    equal((await vault.monthKey({ ...month, keyClass: 2 }, 'vault')).enc.length, 32);
  });

  test('refuses a client of another CA or cluster, and a client refuses a server that is no vault', async () => {
    const { port } = await start();
    const foreign = await createDevelopmentCa(join(root, 'foreign-ca'), 'demo', clock);
    const outsider = new VaultClient({
      address: `127.0.0.1:${port}`,
      tls: await identity('gateway', 'x', foreign),
      timeoutMs: 1000,
    });
    open.push(outsider);
    await rejects(outsider.clusterSecrets(), { code: 'keystore_unavailable' });
    const otherCluster = await identity('gateway', 'y', { ...ca, cluster: 'other' });
    const wrongCluster = new VaultClient({ address: `127.0.0.1:${port}`, tls: otherCluster });
    open.push(wrongCluster);
    await rejects(wrongCluster.clusterSecrets(), { code: 'auth_invalid' });
    const impostor = await startVault({
      directory: `${directory}-impostor`,
      cluster: 'demo',
      tls: await identity('gateway', 'impostor'),
      auditors: [auditor],
    });
    open.push(impostor);
    await rejects((await client(impostor.port)).clusterSecrets(), { code: 'keystore_unavailable' });
  });

  test('does not acknowledge keys whose flush failed', async () => {
    const files = new FaultFiles();
    const { port } = await start({ openFiles: async () => files });
    const gateway = await client(port);
    await gateway.putKeys([(await wrappedKey()).bytes]);
    files.plan.syncError = new Error('EIO');
    const lost = await wrappedKey();
    await rejects(gateway.putKeys([lost.bytes]), { code: 'keystore_unavailable' });
    deepEqual(await (await client(port, 'auditor', 'ada')).getKeys([lost.id]), [undefined]);
  });

  test('a pool of keys drains while the vault is down and fills again when it is back on its port', async () => {
    const first = await startVault({ directory, cluster: 'demo', tls: vaultTls, auditors: [auditor] });
    const gateway = await client(first.port);
    const pool = await poolOf(gateway, 1, 4);
    await first.close();
    for (let i = 0; i < 4; i++) {
      pool.take();
    }
    await rejects(gateway.clusterSecrets(), { code: 'keystore_unavailable' });
    await rejects(async () => pool.take(), { code: 'keystore_unavailable' });
    await start({ port: first.port });
    while (pool.available === 0) {
      await pool.start().catch(() => undefined);
    }
    const key = pool.take();
    ok((await (await client(first.port, 'auditor', 'ada')).getKeys([key.id]))[0] !== undefined);
    pool.close();
  });

  test('makes a scope key each day, keeps the rest, and writes it down before it answers', async () => {
    const manual = new ManualClock(Date.UTC(2026, 0, 31, 23, 59, 59));
    const { port } = await start({ clock: manual });
    const gateway = await client(port);
    const first = await gateway.clusterSecrets();
    equal(first.scopeDay, 20260131);
    deepEqual(await gateway.clusterSecrets(), first);
    manual.advance(1000);
    const [second, same] = await Promise.all([gateway.clusterSecrets(), gateway.clusterSecrets()]);
    deepEqual(same, second);
    equal(second.scopeDay, 20260201);
    ok(!second.scopeKey.equals(first.scopeKey));
    deepEqual({ ...second, scopeKey: 0, scopeDay: 0 }, { ...first, scopeKey: 0, scopeDay: 0 });
    manual.advance(86_400_000);
    const third = await gateway.clusterSecrets();
    const file = await readFile(join(directory, 'secrets.json'), 'utf8');
    ok(file.includes(third.scopeKey.toString('base64url')) && file.includes(second.scopeKey.toString('base64url')));
    ok(!file.includes(first.scopeKey.toString('base64url')), 'the key of the day before yesterday is gone');
  });

  test('stores no private month key in clear, and only files that their owner may read', async () => {
    const { port } = await start();
    await (await client(port)).wrappingKeys(TENANT);
    const name = { tenant: TENANT, keyClass: 1, month: monthOf(clock.nowMs()) } as const;
    const wrap = await (await client(port, 'auditor', 'ada')).monthKey(name, 'ada');
    const privateKey = await openMonthKey(name, wrap, auditor);
    let files = 0;
    for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      const { mode } = await stat(path);
      if (entry.isFile() && !path.endsWith('.pub')) {
        files += 1;
        equal(mode & 0o077, 0, path);
        const bytes = await readFile(path);
        ok(!bytes.includes(privateKey), path);
        ok(!bytes.includes(privateKey.toString('base64url')) && !bytes.includes(privateKey.toString('hex')), path);
      }
    }
    ok(files >= 3, 'keys, secrets and the own key were looked at');
  });

  test('refuses a second owner, no auditor, and a directory that lost its secrets or opened them to others', async () => {
    const vault = await startVault({ directory, cluster: 'demo', tls: vaultTls, auditors: [auditor] });
    await rejects(startVault({ directory, cluster: 'demo', tls: vaultTls, auditors: [auditor] }), {
      code: 'keystore_unavailable',
    });
    const gateway = new VaultClient({ address: `127.0.0.1:${vault.port}`, tls: await identity('gateway', 'n') });
    await gateway.wrappingKeys(TENANT);
    gateway.close();
    await vault.close();
    await rejects(start({ auditors: [] }), { code: 'config_invalid' });
    const secrets = join(directory, 'secrets.json');
    const text = await readFile(secrets, 'utf8');
    await chmod(secrets, 0o644);
    await rejects(start(), { code: 'config_invalid' });
    await chmod(secrets, 0o600);
    await writeFile(secrets, text.slice(0, -10));
    await rejects(start(), (error: Error) => {
      equal((error as Error & { code: string }).code, 'config_invalid');
      ok(!error.message.includes(text.slice(20, 60)) && error.cause === undefined, 'no secret in the error');
      return true;
    });
    await rm(secrets);
    await rejects(start(), { code: 'config_invalid' });
    await writeFile(secrets, text, { mode: 0o600 });
    await start();
  });

  test('key files: documented form, private mode, errors without content', async () => {
    const path = join(root, 'file.key');
    const made = await createHolderKey(path, 'grace');
    const jwk = JSON.parse(await readFile(path, 'utf8')) as Record<string, string>;
    deepEqual(Object.keys(jwk).sort(), ['crv', 'd', 'kid', 'kty', 'use', 'x']);
    deepEqual([jwk['kty'], jwk['crv'], jwk['kid']], ['OKP', 'X25519', 'grace']);
    deepEqual(await readHolderKey(path), made);
    deepEqual(await readHolderPublicKey(`${path}.pub`), { id: 'grace', publicKey: made.publicKey });
    ok(!(await readFile(`${path}.pub`, 'utf8')).includes('"d"'));
    await rejects(createHolderKey(path, 'grace'), { code: 'config_invalid' });
    await rejects(createHolderKey(join(root, 'bad.key'), 'Not An Id'), { code: 'config_invalid' });
    for (const broken of [
      `{"kty":"OKP","d":"${jwk['d']}`,
      JSON.stringify({ ...jwk, d: auditor.privateKey.toString('base64url') }),
      JSON.stringify({ ...jwk, crv: 'Ed25519' }),
    ]) {
      await writeFile(path, broken, { mode: 0o600 });
      await rejects(readHolderKey(path), (error: Error) => {
        equal((error as Error & { code: string }).code, 'config_invalid');
        ok(!`${error.stack}${String(error.cause)}`.includes(jwk['d'] as string));
        return true;
      });
    }
    await chmod(path, 0o604);
    await rejects(readHolderKey(path), /0600/);
  });
});

const CONTEXT: UnitContext = {
  writerId: Buffer.alloc(16, 1),
  index: 7,
  tenantTag: tenantTag(TENANT),
  sessionId: Buffer.alloc(16, 2),
  planDigest: Buffer.alloc(32, 3),
};
const SEAL = { index: 7, direction: 3, final: true, planDigest: CONTEXT.planDigest } as const;

async function poolOf(store: VaultClient, keyClass: 1 | 2, size = 2): Promise<DataKeyPool> {
  const pool = new DataKeyPool({ store, clock, keyClass, tenant: TENANT, writerId: CONTEXT.writerId, size });
  await pool.start();
  return pool;
}

async function wrappedKey(): Promise<{ id: Buffer; bytes: Buffer }> {
  const id = randomBytes(16);
  const fields = {
    keyClass: 1,
    keyId: id,
    tenantTag: CONTEXT.tenantTag,
    month: 202601,
    writerId: CONTEXT.writerId,
    noncePrefix: randomBytes(8),
    createdMs: 1,
  } as const;
  const publicKey = Buffer.alloc(32, 9);
  return { id, bytes: await wrapDataKey(publicKey, fields, randomBytes(32)) };
}

function flipped(bytes: Buffer, byte: number): Buffer {
  const out = Buffer.from(bytes);
  out[byte] = (out[byte] as number) ^ 1;
  return out;
}

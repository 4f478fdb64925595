import { equal, ok, rejects } from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { MemoryBus } from '../../core/bus/memory-bus.ts';
import { SystemClock } from '../../core/kernel/clock.ts';
import { GatewayError, type ErrorCode } from '../../core/kernel/errors.ts';
import { createDevelopmentCa, issueNodeCertificate } from '../../core/runtime/mtls/development-ca.ts';
import { packageRoot } from '../../core/runtime/package-root.ts';
import { storedGzip, writeTar } from '../../tools/policies/tar-writer.ts';
import { SIGNATURES_FILE, signBundle } from '../policy/bundle-signature.ts';
import { readTar } from '../policy/tar-reader.ts';
import { defaultBundleFile } from '../policy/testing/default-bundle.ts';
import { gatewayFromConfig } from '../threads/gateway-from-config.ts';

const own = generateKeyPairSync('ed25519');
const files = readTar(gunzipSync(defaultBundleFile()));
const policies = join(packageRoot(import.meta.url), 'policies');

interface BadStart {
  readonly name: string;
  /** Bytes of the bundle; the committed one by default. */
  readonly bundle?: () => Buffer;
  readonly sets?: readonly string[];
  readonly edit?: (yaml: string) => string;
  readonly code: ErrorCode;
  readonly says: RegExp;
}

const CASES: readonly BadStart[] = [
  {
    name: 'a bundle without a signature',
    bundle: () => packed(without(SIGNATURES_FILE)),
    code: 'bundle_unsigned',
    says: /^bundle_unsigned/,
  },
  {
    name: 'a bundle with a file that nobody signed',
    bundle: () => packed(new Map(files).set('extra.rego', Buffer.from('package extra'))),
    code: 'bundle_invalid',
    says: /extra\.rego/,
  },
  {
    name: 'a bundle that lacks a signed file',
    bundle: () => packed(without('reasons.json')),
    code: 'bundle_invalid',
    says: /reasons\.json/,
  },
  {
    name: 'a bundle with one flipped bit in its module',
    bundle: () => packed(new Map(files).set('policy.wasm', flipped('policy.wasm'))),
    code: 'bundle_invalid',
    says: /policy\.wasm/,
  },
  {
    name: 'a bundle that somebody else signed',
    bundle: () => packed(new Map(files).set(SIGNATURES_FILE, signBundle(files, 'other', own.privateKey))),
    code: 'bundle_invalid',
    says: /not configured/,
  },
  {
    name: 'a bundle that was cut off',
    bundle: () => defaultBundleFile().subarray(0, 5_000),
    code: 'bundle_invalid',
    says: /not gzip, cut off/,
  },
  {
    name: 'an unsigned bundle that somebody switched on, tampered with',
    bundle: () => packed(new Map(files).set('policy.wasm', flipped('policy.wasm'))),
    sets: ['policy.allowUnsigned=true'],
    code: 'bundle_invalid',
    says: /policy\.wasm/,
  },
  {
    name: 'an INSECURE key outside of the demo',
    sets: ['env=staging'],
    code: 'config_invalid',
    says: /INSECURE/,
  },
  {
    name: 'a configuration with an unknown key',
    edit: (yaml) => `${yaml}\nlistn:\n  http: { port: 1 }\n`,
    code: 'config_invalid',
    says: /listn.*listen/s,
  },
  {
    name: 'a configuration with an unknown key deep inside',
    edit: (yaml) => yaml.replace('pathPrefix: /clinic', 'pathPrefix: /clinic, pathPrefx: /x'),
    code: 'config_invalid',
    says: /pathPrefx/,
  },
  {
    name: 'a configuration with one key twice',
    edit: (yaml) => `${yaml}\nenv: demo\n`,
    code: 'config_invalid',
    says: /./,
  },
  {
    name: 'a mask profile that the bundle does not have',
    edit: (yaml) => yaml.replace('name: clinic', 'name: clinic\n    maskProfile: expert'),
    code: 'config_invalid',
    says: /clinic wants mask profile expert, the bundle has safe-harbor/,
  },
];

describe('a node that must not start', () => {
  let directory: string;
  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'chaperone-start-'));
    const tls = join(directory, 'tls');
    mkdirSync(tls, { recursive: true });
    const clock = new SystemClock();
    const ca = await createDevelopmentCa(tls, 'demo.chaperone.localhost', clock);
    await issueNodeCertificate(ca, { name: 'node-1', role: 'gateway', directory: tls, clock });
    writeFileSync(join(directory, 'token.txt'), 'service', { mode: 0o600 });
    writeFileSync(join(directory, 'jwks.json'), '{"keys":[]}');
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  for (const { name, bundle, sets = [], edit = (yaml: string) => yaml, code, says } of CASES) {
    test(`${name}: ${code}, before anything listens`, async () => {
      const bundlePath = join(directory, 'bundle.tar.gz');
      writeFileSync(bundlePath, bundle?.() ?? defaultBundleFile());
      const { error, opened } = await startWith(directory, edit(configYaml(directory, bundlePath)), sets);
      ok(error instanceof GatewayError, String(error));
      equal(error.code, code, error.message);
      ok(says.test(error.message), error.message);
      equal(opened, 0, 'it did not get as far as the bus');
    });
  }

  test('what is right gets past all of this, so that the refusals mean something', async () => {
    const bundlePath = join(directory, 'bundle.tar.gz');
    writeFileSync(bundlePath, defaultBundleFile());
    const { error } = await startWith(directory, configYaml(directory, bundlePath), []);
    ok(error instanceof GatewayError, String(error));
    equal(error.code, 'keystore_unavailable', 'there is no vault here: the next thing it needs');
  });

  test('a configuration that is not there is named', async () => {
    await rejects(
      gatewayFromConfig(
        { configPath: join(directory, 'nowhere.yaml'), sets: [], vaultAddress: '', logKey: '', witnessKeys: [] },
        partsOf(new MemoryBus(new SystemClock())),
      ),
      { code: 'config_invalid', detail: /nowhere\.yaml/ },
    );
  });
});

async function startWith(
  directory: string,
  yaml: string,
  sets: readonly string[],
): Promise<{ readonly error: unknown; readonly opened: number }> {
  const configPath = join(directory, 'chaperone.yaml');
  writeFileSync(configPath, yaml);
  const bus = new MemoryBus(new SystemClock());
  const opened = (): Promise<number> =>
    bus.endOffsets('evidence.batches.v1').then(
      (ends) => ends.length,
      () => 0,
    );
  try {
    const running = await gatewayFromConfig(
      { configPath, sets, vaultAddress: '127.0.0.1:1', logKey: '', witnessKeys: [] },
      partsOf(bus),
    );
    await running.close();
    return { error: null, opened: await opened() };
  } catch (error) {
    return { error, opened: await opened() };
  }
}

function partsOf(bus: MemoryBus): Parameters<typeof gatewayFromConfig>[1] {
  return {
    clock: new SystemClock(),
    log: { info: () => undefined, warn: () => undefined, error: () => undefined },
    workerModule: '',
    openBus: () => bus,
    binaryDigest: Buffer.alloc(32),
  };
}

function configYaml(directory: string, bundlePath: string): string {
  return `
env: demo
node: { name: node-1, workers: 1, dataDir: ${join(directory, 'data')} }
cluster: { domain: demo.chaperone.localhost }
tls: { directory: ${join(directory, 'tls')} }
listen:
  http: { port: 0 }
connections:
  - name: clinic
    kind: http
    match: { pathPrefix: /clinic }
    upstream: { url: http://127.0.0.1:1, credential: file:${join(directory, 'token.txt')} }
    env: staging
identity:
  audience: chaperone
  issuers:
    - iss: https://issuer.demo.chaperone.invalid
      jwksFile: ${join(directory, 'jwks.json')}
      claimMapping: github-actions
policy:
  bundle: ${bundlePath}
  publicKeys: [${join(policies, 'keys', 'development.INSECURE.pub.pem')}]
`;
}

function packed(content: ReadonlyMap<string, Buffer>): Buffer {
  return storedGzip(writeTar(content));
}

function without(name: string): Map<string, Buffer> {
  const rest = new Map(files);
  ok(rest.delete(name));
  return rest;
}

function flipped(name: string): Buffer {
  const bytes = Buffer.from(readFileOf(name));
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  return bytes;
}

function readFileOf(name: string): Buffer {
  const bytes = files.get(name);
  ok(bytes !== undefined);
  return bytes;
}

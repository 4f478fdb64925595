import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { packageRoot } from '../../core/runtime/package-root.ts';
import { buildBundle, checkPolicies, digestOf } from './build-bundle.ts';
import { DEVELOPMENT_KEY_ID, developmentKeyFile, developmentPublicKeyFile } from './development-key.ts';
import { findOpa } from './find-opa.ts';
import { compileOddPolicies } from './odd-policies.ts';
import { sourcesDigest } from './policy-sources.ts';

const root = packageRoot(import.meta.url);
const policies = join(root, 'policies');
const committed = join(policies, 'dist', 'default.tar.gz');
const odd = join(root, 'gateway', 'policy', 'testing', 'odd');
const opa = findOpa();
const skip = opa.path === undefined ? opa.missing : false;
const copies = mkdtempSync(join(tmpdir(), 'chaperone-policies-test-'));
after(() => rmSync(copies, { recursive: true, force: true }));

describe('the committed bundle', () => {
  test('was built from the committed sources', () => {
    equal(
      readFileSync(join(policies, 'dist', 'sources.sha256'), 'utf8'),
      sourcesDigest(policies, join(root, 'tools', 'opa')),
      'run `node dist/tools/policies/build.js` and commit policies/dist',
    );
  });

  test('is what two builds give, byte for byte', { skip }, () => {
    const bundles = [build(policies), build(copyOf('again'))];
    deepEqual(bundles.map(digestOf), [digestOf(readFileSync(committed)), digestOf(readFileSync(committed))]);
  });

  test('verifies with OPA itself', { skip }, () => {
    equal(verifiedByOpa(committed, developmentPublicKeyFile(root)).status, 0);
    const other = join(copies, 'tampered.tar.gz');
    const bytes = readFileSync(committed);
    bytes[bytes.indexOf('"permissions"') + 1] = 'q'.charCodeAt(0);
    writeFileSync(other, bytes);
    ok(verifiedByOpa(other, developmentPublicKeyFile(root)).status !== 0, 'and a changed one does not');
  });

  test('has policies that are in format, typed and tested', { skip }, () => {
    const { tests, coverage } = checkPolicies(opa.path ?? '', policies);
    ok(tests >= 30 && coverage >= 90, `${tests} tests, ${coverage} %`);
  });

  test("the module of the engine's tests is current", { skip }, () => {
    equal(digestOf(compileOddPolicies(opa.path ?? '', odd)), digestOf(readFileSync(join(odd, 'odd.wasm'))));
  });
});

describe('the build refuses', { skip }, () => {
  const refused: readonly (readonly [string, string, (source: string) => string, RegExp])[] = [
    ['a rule without METADATA', 'egress', (source) => source.replace('#   id: egress_identifiers\n', ''), /custom.id/],
    [
      'an annotation without a remedy',
      'egress',
      (source) => source.replace(/#   remediation: .*\n/, ''),
      /reasons.json/,
    ],
    [
      'a code that no annotation has',
      'egress',
      (source) => source.replace('"code": "egress_', '"code": "egres_'),
      /codes without/,
    ],
    [
      'a builtin that the gateway lacks',
      'egress',
      (source) => source.replace('some kind in', 'sprintf("%d", [1])\n\tsome kind in'),
      /sprintf/,
    ],
  ];
  for (const [index, [what, name, change, message]] of refused.entries()) {
    test(what, () => {
      const folder = copyOf(`refused-${index}`);
      edit(folder, name, change);
      throws(() => build(folder), message);
    });
  }

  const unchecked: readonly (readonly [string, string, (source: string) => string, RegExp])[] = [
    [
      'a member that the input does not have',
      'system',
      (source) => source.replace('operation.unresolved', 'operation.unresolvd'),
      /undefined ref/,
    ],
    ['another format', 'system', (source) => source.replace('\tinput.', '    input.'), /not in the format/],
    [
      'a policy that no longer holds',
      'egress',
      (source) => source.replace('kind in rule', 'not kind in rule'),
      /opa test failed/,
    ],
  ];
  for (const [index, [what, name, change, message]] of unchecked.entries()) {
    test(what, () => {
      const folder = copyOf(`unchecked-${index}`);
      edit(folder, name, change);
      throws(() => checkPolicies(opa.path ?? '', folder), message);
    });
  }

  test('policies that are hardly tested', () => {
    const folder = copyOf('untested');
    for (const name of ['connection', 'egress', 'export', 'main', 'org', 'system']) {
      rmSync(join(folder, 'chaperone', name, `${name}_test.rego`));
    }
    writeFileSync(
      join(folder, 'chaperone', 'org', 'org_test.rego'),
      'package chaperone.org_test\n\ntest_one := true\n',
    );
    throws(() => checkPolicies(opa.path ?? '', folder), /test/);
  });
});

function build(folder: string): Buffer {
  const keyFile = developmentKeyFile(root);
  return buildBundle({ opa: opa.path ?? '', policiesFolder: folder, keyId: DEVELOPMENT_KEY_ID, keyFile });
}

function copyOf(name: string): string {
  const folder = join(copies, name);
  cpSync(policies, folder, { recursive: true });
  return folder;
}

function edit(folder: string, name: string, change: (source: string) => string): void {
  const file = join(folder, 'chaperone', name, `${name}.rego`);
  const source = readFileSync(file, 'utf8');
  ok(change(source) !== source, 'the edit must change something');
  writeFileSync(file, change(source));
}

function verifiedByOpa(bundle: string, publicKey: string): { status: number | null } {
  const args = ['build', '--bundle', bundle, '--verification-key', publicKey, '--signing-alg', 'EdDSA'];
  const more = ['--verification-key-id', DEVELOPMENT_KEY_ID, '--output', join(copies, 'verified.tar.gz')];
  return spawnSync(opa.path ?? '', [...args, ...more], { encoding: 'utf8' });
}

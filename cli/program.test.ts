import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { packageRoot } from '../core/runtime/package-root.ts';
import { EXIT } from './exit-code.ts';
import { jsonOf, runCaptured } from './testing/captured-io.ts';

const directory = mkdtempSync(join(tmpdir(), 'chaperone-cli-'));
const demo = join(packageRoot(), 'deploy', 'demo', 'chaperone.yaml');

after(() => rmSync(directory, { recursive: true, force: true }));

describe('the command line', () => {
  test('prints help with every verb, the global options and the exit codes', async () => {
    const { exit, out } = await runCaptured(['--help']);
    const text = out.join('\n');
    equal(exit, EXIT.ok);
    for (const verb of ['up', 'token', 'script', 'approvals', 'sessions', 'evidence', 'config', 'doctor']) {
      match(text, new RegExp(`^  ${verb}\\b`, 'm'));
    }
    match(text, /--json/);
    match(text, /7 evidence altered, 8 evidence missing/);
  });

  for (const [what, args] of [
    ['an unknown verb', ['fly']],
    ['an unknown option', ['token', '--fast']],
    ['a missing argument', ['approvals', 'get']],
    ['a decision without a person', ['approvals', 'approve', 'ap-1']],
    ['a digest that is none', ['script', 'attest', '--digest', 'abc', '--person', 'robin']],
    ['neither script nor digest', ['script', 'attest', '--person', 'robin']],
    ['a time to live of nothing', ['token', '--ttl', '0']],
    ['a time to live over a day', ['token', '--ttl', '86401']],
  ] as const) {
    test(`ends with 2 for ${what}`, async () => {
      const { exit, err } = await runCaptured([...args, '--config', demo]);
      equal(exit, EXIT.usage);
      ok(err.length > 0);
    });
  }

  test('a configuration that is not there ends with 2, as text and as JSON', async () => {
    const path = join(directory, 'none.yaml');
    const text = await runCaptured(['token', '--config', path]);
    equal(text.exit, EXIT.usage);
    match(text.err.join('\n'), /cannot be read/);
    const json = await runCaptured(['token', '--config', path, '--json']);
    const { ok: isOk, exit, error } = jsonOf<{ ok: boolean; exit: number; error: { code: string } }>(json);
    deepEqual([isOk, exit, error.code], [false, EXIT.usage, 'config_invalid']);
  });

  test('finds the configuration by --config, by CHAPERONE_CONFIG, and in the working directory', async () => {
    const byEnv = await runCaptured(['config', 'check'], { env: { CHAPERONE_CONFIG: demo } });
    equal(byEnv.exit, EXIT.ok, byEnv.out.join('\n'));
    const byFolder = await runCaptured(['config', 'check'], { cwd: join(packageRoot(), 'deploy', 'demo') });
    equal(byFolder.exit, EXIT.ok);
    const env = { CHAPERONE_CONFIG: join(directory, 'none.yaml') };
    equal((await runCaptured(['config', 'check', '--config', demo], { env })).exit, EXIT.ok);
  });

  test('says that nothing runs, before it asks for keys or opens a connection', async () => {
    const set = ['--set', `node.dataDir=${join(directory, 'data')}`];
    for (const verb of [
      ['sessions', 'ls'],
      ['approvals', 'ls'],
      ['evidence', 'proof', `${'a'.repeat(32)}/0`],
      ['script', 'attest', '--digest', 'a'.repeat(64), '--person', 'robin'],
    ]) {
      const { exit, err } = await runCaptured([...verb, '--config', demo, ...set]);
      equal(exit, EXIT.usage);
      match(err.join('\n'), /nothing runs on/);
    }
  });
});

describe('the shipped demo configuration', () => {
  test('has no problem and says what it relaxes', async () => {
    const checked = jsonOf<{ ok: boolean; problems: unknown[]; relaxing: { path: string }[] }>(
      await runCaptured(['config', 'check', '--config', demo, '--json']),
    );
    deepEqual(checked.problems, []);
    deepEqual(
      checked.relaxing.map(({ path }) => path),
      ['env', 'evidence.fileBusCountsAsReplicated', 'demo.services'],
    );
  });

  test('is refused as anything but a demo: every published key and the demo section are named', async () => {
    for (const env of ['development', 'staging', 'production']) {
      const { exit, out } = await runCaptured(['config', 'check', '--config', demo, '--set', `env=${env}`, '--json']);
      equal(exit, EXIT.usage);
      const { problems } = jsonOf<{ problems: { path: string }[] }>({ exit, out, err: [] });
      const paths = new Set(problems.map(({ path }) => path));
      for (const path of [
        'demo',
        'demo.issuerKeyFile',
        'identity.issuers[0].jwksFile',
        'policy.publicKeys[0]',
        'auditors[0].publicKeyFile',
        'connections[0].upstream.credential',
      ]) {
        ok(paths.has(path), `${path} is named: ${[...paths].join(' ')}`);
      }
    }
  });

  test('explains each value with its place, and no secret', async () => {
    const { out, exit } = await runCaptured(['config', 'explain', '--config', demo, '--set', 'listen.http.port=7000']);
    const text = out.join('\n');
    equal(exit, EXIT.ok);
    match(text, /^listen\.http\.port +7000 +flag --set/m);
    match(text, /^approvals\.holdMs +2000 +chaperone\.yaml:\d+/m);
    match(text, /\[redacted\] \(file:keys\/clinic-token\.INSECURE\.txt\)/);
    ok(!text.includes('Bearer'));
    match(text, /^Relaxing switches that are on:/m);
  });

  test('config check names files that are not there', async () => {
    const path = join(directory, 'missing.yaml');
    writeFileSync(
      path,
      'policy:\n  bundle: none.tar.gz\n  publicKeys: [none.pem]\nauditors:\n  - { id: ada, publicKeyFile: ada.pub }\n',
    );
    const { exit, out } = await runCaptured(['config', 'check', '--config', path, '--json']);
    equal(exit, EXIT.usage);
    deepEqual(
      jsonOf<{ problems: { path: string }[] }>({ exit, out, err: [] }).problems.map((problem) => problem.path),
      ['policy.bundle', 'policy.publicKeys[0]', 'auditors[0].publicKeyFile'],
    );
  });
});

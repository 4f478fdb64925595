import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { explainConfig } from './explain-config.ts';
import { loadConfig } from './load-config.ts';
import { readConfigFile } from './read-config-file.ts';
import { CONFIG_KEYS } from './schema-walk.ts';

const POLICY = 'policy: { bundle: b, publicKeys: [k] }\n';

describe('explainConfig', () => {
  test('shows every value with where it came from, and no secret', () => {
    const text = `${POLICY}node: { workers: 3 }\nclickhouse: { url: http://h:1, password: env:PASSWORD }\n`;
    const { values, digest } = explain(text, { CHAPERONE_SET_ADMIN_PORT: '1' });
    const shown = new Map(values.map(({ path, value, from }) => [path, `${value} from ${from}`]));
    equal(shown.get('node.workers'), '3 from c.yaml:2');
    equal(shown.get('admin.port'), '1 from env CHAPERONE_SET_ADMIN_PORT');
    equal(shown.get('control.port'), '9091 from default');
    equal(shown.get('clickhouse.password'), '[redacted] (env:PASSWORD) from c.yaml:3');
    ok(!JSON.stringify(values).includes('hunter'));
    match(digest, /^[0-9a-f]{64}$/);
    const scalars = CONFIG_KEYS.filter(
      ({ kind, path, isOptional }) => !/\[\]/.test(path) && !isOptional && ['text', 'number', 'boolean'].includes(kind),
    );
    ok(scalars.length > 30);
    deepEqual(
      scalars.filter(({ path }) => !shown.has(path)),
      [],
    );
  });

  const dead: readonly (readonly [string, string, readonly string[]])[] = [
    ['nothing in a plain file', POLICY, []],
    [
      'a connection that an earlier one hides',
      `${POLICY}${issuer()}connections:\n${connection('a', '/x')}${connection('b', '/x/y')}${connection('c', '/x')}`,
      ['connections[2]'],
    ],
    [
      'keys that are not needed',
      'policy: { bundle: b, publicKeys: [k], allowUnsigned: true }\n',
      ['policy.publicKeys'],
    ],
    ['connections that nobody can use', `${POLICY}connections:\n${connection('a', '')}`, ['connections']],
    [
      'settings of an engine that does not run',
      `${POLICY}clickhouse: { url: http://h:1, port: 5 }\n`,
      ['clickhouse.port'],
    ],
    ['a user of an engine that has none', `${POLICY}clickhouse: { username: u }\n`, ['clickhouse.username']],
    [
      'a header without credential',
      `${POLICY}${issuer()}connections:\n${connection('a', '').replace('"http://h:1"', '"http://h:1", header: x')}`,
      ['connections[0].upstream.header'],
    ],
  ];
  for (const [name, text, paths] of dead) {
    test(`finds ${name}`, () => {
      deepEqual(
        explain(text).dead.map(({ path }) => path),
        paths,
      );
    });
  }
});

test('readConfigFile reads a file and the secrets beside it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'config-'));
  try {
    await writeFile(join(folder, 'password'), 'hunter2\n');
    await writeFile(join(folder, 'c.yaml'), `${POLICY}clickhouse: { password: "file:password" }\n`);
    const { config } = readConfigFile({ path: join(folder, 'c.yaml'), env: {} });
    equal(config.clickhouse.password?.reveal(), 'hunter2');
    equal(config.policy.bundle, join(folder, 'b'));
  } finally {
    await rm(folder, { recursive: true });
  }
});

function explain(text: string, env: Record<string, string> = {}) {
  return explainConfig(
    loadConfig({ path: '/c.yaml', text, env: { PASSWORD: 'hunter2', ...env }, flags: [] }, () => ''),
  );
}

function issuer(): string {
  return 'identity: { issuers: [{ iss: i, jwksFile: j }] }\n';
}

function connection(name: string, pathPrefix: string): string {
  return `  - { name: ${name}, kind: http, match: { pathPrefix: "${pathPrefix}" }, upstream: { url: "http://h:1" } }\n`;
}

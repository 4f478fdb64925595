import { deepEqual, equal, match, notDeepEqual, ok, throws } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { LIMITS } from '../../kernel/limits.ts';
import { ConfigError, type ConfigSource, loadConfig, type LoadedConfig } from './load-config.ts';
import { envName, settableKeys } from './schema-walk.ts';

const MINIMAL = `policy:
  bundle: bundle.tar.gz
  publicKeys: [keys/bundle.pem]
`;
const FULL = `env: staging
node:
  name: edge-7
  workers: 4
listen:
  http: { port: 9999, adapter: node }
connections:
  - name: clinic-api
    kind: http
    match: { host: clinic.internal, pathPrefix: /clinic }
    upstream:
      url: http://127.0.0.1:7001
      credential: file:secrets/upstream
    labels: { owner: records }
identity:
  audience: https://gateway.test
  issuers:
    - iss: https://issuer.test
      jwksFile: keys/issuer.json
      claimMapping: github-actions
    - iss: https://sso.test
      jwksFile: /etc/sso.json
      claimMapping: ./sso-claims.json
policy:
  bundle: bundle.tar.gz
  publicKeys: [keys/bundle.pem]
clickhouse:
  url: http://127.0.0.1:8123
  password: env:CLICKHOUSE_PASSWORD
`;
const runs = 100 * Number(process.env['CHAPERONE_TEST_SCALE'] ?? 1);

describe('loadConfig', () => {
  test('fills every key of a minimal file, with everything under the data folder', () => {
    const { config, provenance } = load(MINIMAL);
    equal(config.env, 'production');
    equal(config.node.dataDir, '/etc/chaperone/data');
    equal(config.bus.directory, '/etc/chaperone/data/bus');
    equal(config.vault.directory, '/etc/chaperone/data/vault');
    equal(config.policy.bundle, '/etc/chaperone/bundle.tar.gz');
    deepEqual(config.policy.publicKeys, ['/etc/chaperone/keys/bundle.pem']);
    equal(config.limits.writerQueueBytesMax, LIMITS.writerQueueBytesMax);
    equal(provenance.get('policy.bundle'), 'chaperone.yaml:2');
    equal(provenance.get('policy.publicKeys[0]'), 'chaperone.yaml:3');
    equal(provenance.get('node.workers'), 'default');
  });

  test('moves everything with node.dataDir', () => {
    const { config } = load(MINIMAL, { flags: ['node.dataDir=/var/lib/chaperone'] });
    for (const path of [config.bus.socket, config.ingest.archive, config.clickhouse.directory, config.tls.directory]) {
      ok(path.startsWith('/var/lib/chaperone/'), path);
    }
  });

  test('reads connections, issuers and secrets', () => {
    const { config } = load(FULL);
    const [connection] = config.connections;
    equal(connection?.upstream.credential?.reveal(), 'Bearer hunter2');
    equal(connection?.upstream.header, 'authorization');
    equal(connection?.maskProfile, 'safe-harbor');
    deepEqual(
      config.identity.issuers.map(({ jwksFile, claimMapping }) => [jwksFile, claimMapping]),
      [
        ['/etc/chaperone/keys/issuer.json', 'github-actions'],
        ['/etc/sso.json', '/etc/chaperone/sso-claims.json'],
      ],
    );
    equal(config.clickhouse.password?.reveal(), 'hunter3');
  });

  test('takes a flag before the environment before the file before the default', () => {
    const env = {
      CHAPERONE_SET_NODE_WORKERS: '5',
      CHAPERONE_SET_LISTEN_HTTP_PORT: '1',
      CHAPERONE_SET_NODE_NAME: '007',
    };
    const { config, provenance } = load(FULL, { env, flags: ['listen.http.port=2'] });
    deepEqual([config.node.workers, provenance.get('node.workers')], [5, 'env CHAPERONE_SET_NODE_WORKERS']);
    deepEqual([config.listen.http.port, provenance.get('listen.http.port')], [2, 'flag --set']);
    equal(config.node.name, '007', 'a text stays text');
    deepEqual([config.listen.http.adapter, provenance.get('listen.http.adapter')], ['node', 'chaperone.yaml:6']);
    equal(config.admin.port, 9090);
  });

  test('overrides a truth value and a section that the file does not have', () => {
    const { config } = load(MINIMAL, {
      env: { CHAPERONE_SET_POLICY_ALLOW_UNSIGNED: 'true' },
      flags: ['drain.waitMs=0'],
    });
    equal(config.policy.allowUnsigned, true);
    equal(config.drain.waitMs, 0);
  });

  test('has the same digest for the same meaning, and another for any change; secrets are not in it', () => {
    const digest = (text: string, options: Options = {}) => load(text, options).digest.toString('hex');
    equal(
      digest(FULL),
      digest(`# comment\n${FULL.replace('{ port: 9999, adapter: node }', '{ adapter: node, port: 9999 }')}`),
    );
    equal(digest(FULL), digest(FULL, { secrets: { '/etc/chaperone/secrets/upstream': 'another' } }));
    equal(digest(MINIMAL), digest(MINIMAL, { path: '/elsewhere/chaperone.yaml' }));
    equal(digest(MINIMAL, { flags: ['node.workers=3'] }), digest(`${MINIMAL}node: { workers: 3 }\n`));
    notDeepEqual(digest(FULL), digest(FULL.replace('workers: 4', 'workers: 3')));
    notDeepEqual(digest(FULL), digest(FULL.replace('file:secrets/upstream', 'env:CLICKHOUSE_PASSWORD')));
  });

  test('never prints a secret', () => {
    const { config } = load(FULL);
    for (const text of [
      JSON.stringify(config),
      inspect(config, { depth: 10 }),
      String(config.clickhouse.password),
      [config.clickhouse.password].join(''),
    ]) {
      ok(!/hunter/.test(text));
      ok(text.includes('[redacted]'));
    }
  });

  test('lists the relaxing switches that are on', () => {
    deepEqual(load(MINIMAL).relaxing, []);
    const relaxed = `env: demo
policy: { bundle: b, allowUnsigned: true }
evidence: { fileBusCountsAsReplicated: true, unpublishedMaxMs: 60001 }
approvals: { staleMaxMs: 30001, ttlMs: 900001 }
`;
    deepEqual(
      load(relaxed).relaxing.map(({ path }) => path),
      [
        'env',
        'policy.allowUnsigned',
        'evidence.fileBusCountsAsReplicated',
        'evidence.unpublishedMaxMs',
        'approvals.staleMaxMs',
        'approvals.ttlMs',
      ],
    );
    const atDefault = 'evidence: { unpublishedMaxMs: 60000 }\napprovals: { staleMaxMs: 30000, holdMs: 2000 }\n';
    deepEqual(load(MINIMAL + atDefault).relaxing, []);
  });
});

describe('loadConfig refuses', () => {
  const cases: readonly (readonly [string, string, RegExp, Options?])[] = [
    [
      'an unknown key with its line and the nearest known one',
      `${MINIMAL}listen:\n  http:\n    prot: 1\n`,
      /^chaperone\.yaml:6: listen\.http\.prot: unknown key; did you mean port\?$/m,
    ],
    ['an unknown section', `${MINIMAL}polcy: {}\n`, /^chaperone\.yaml:4: polcy: unknown key; did you mean policy\?$/m],
    [
      'an unknown key in a list',
      `${MINIMAL}auditors:\n  - id: a\n    publicKeyFile: k\n    publickeyFile: k\n`,
      /:7: auditors\[0\]\.publickeyFile: unknown key; did you mean publicKeyFile\?/,
    ],
    ['an unknown key like no other', `${MINIMAL}zzzzzzzz: 1\n`, /:4: zzzzzzzz: unknown key$/m],
    [
      'a limit that is part of a format',
      `${MINIMAL}limits: { recordBytesMax: 1 }\n`,
      /:4: limits\.recordBytesMax: unknown key/,
    ],
    ['a missing required key', 'env: demo\n', /policy: is required/],
    ['an empty file', '', /policy: is required/],
    ['a list instead of a section', `${MINIMAL}node: []\n`, /:4: node: expected object/],
    ['text instead of a file', 'hello', /expected object/],
    ['a number out of range', `${MINIMAL}node:\n  workers: 0\n`, /:5: node\.workers: Too small/],
    ['a port over the last one', `${MINIMAL}admin: { port: 65536 }\n`, /:4: admin\.port: Too big/],
    ['a word where a choice is needed', `${MINIMAL}env: prod\n`, /:4: env: expected one of/],
    ['a node name that is no name', `${MINIMAL}node: { name: Edge_7 }\n`, /:4: node\.name: must be lower-case/],
    [
      'an upstream with credentials in its address',
      FULL.replace('http://127', 'http://user:hunter9@127'),
      /:12: connections\[0\].upstream.url: must be http/,
    ],
    [
      'a claim mapping that is neither built in nor a file',
      FULL.replace('claimMapping: github-actions', 'claimMapping: githb-actions'),
      /:20: identity\.issuers\[0\]\.claimMapping: must be oidc/,
    ],
    [
      'a secret that is written out',
      FULL.replace('file:secrets/upstream', 'hunter9'),
      /:13: connections\[0\].upstream.credential: must be a reference/,
    ],
    [
      'a secret that cannot be read',
      FULL.replace('secrets/upstream', 'secrets/gone'),
      /:13: .*file:secrets\/gone cannot be read/,
    ],
    [
      'a secret whose variable is not set',
      FULL,
      /clickhouse\.password: the secret env:CLICKHOUSE_PASSWORD cannot be read/,
      { env: {} },
    ],
    ['no key for the bundle', 'policy: { bundle: b }\n', /policy\.publicKeys: must name at least one key/],
    [
      'two connections of one name',
      FULL.replace('identity:\n', '  - { name: clinic-api, kind: http, upstream: { url: "http://h:1" } }\nidentity:\n'),
      /connections\[1\]: has the same name/,
    ],
    [
      'two listeners on one port',
      `${MINIMAL}admin: { port: 8080 }\n`,
      /:4: admin\.port: is the port of another listener/,
    ],
    [
      'an INSECURE key outside the demo',
      MINIMAL.replace('bundle.pem', 'INSECURE-bundle.pem'),
      /:3: policy\.publicKeys\[0\]: names an INSECURE key/,
    ],
    [
      'a socket path that is too long',
      `${MINIMAL}bus: { socket: /${'x'.repeat(100)} }\n`,
      /:4: bus\.socket: is longer/,
    ],
    ['a key twice', `${MINIMAL}env: demo\nenv: production\n`, /:5: a key is there twice/],
    ['an alias', `${MINIMAL}node: &n { workers: 1 }\nlimits: *n\n`, /:4: anchors and aliases are not allowed/],
    ['a merge key', `${MINIMAL}node: { <<: { workers: 1 } }\n`, /unknown key/],
    ['a tag', `${MINIMAL}env: !!js/function x\n`, /:4: tags are not allowed/],
    ['two documents', `${MINIMAL}---\nenv: demo\n`, /more than one document/],
    ['text that is not YAML', `${MINIMAL}node: {`, /not valid YAML/],
    [
      'an unknown variable',
      MINIMAL,
      /environment variable CHAPERONE_SET_NODE_WORKER sets no known key; did you mean CHAPERONE_SET_NODE_WORKERS\?/,
      { env: { CHAPERONE_SET_NODE_WORKER: '1' } },
    ],
    [
      'a variable for a list',
      MINIMAL,
      /CHAPERONE_SET_CONNECTIONS sets no known key/,
      { env: { CHAPERONE_SET_CONNECTIONS: '[]' } },
    ],
    [
      'an unknown flag',
      MINIMAL,
      /--set node\.worker is no known key; did you mean node\.workers\?/,
      { flags: ['node.worker=1'] },
    ],
    ['a flag without value', MINIMAL, /--set needs path=value/, { flags: ['node.workers'] }],
    [
      'a flag of another type',
      MINIMAL,
      /node\.workers: expected number \(from flag --set\)/,
      { flags: ['node.workers=many'] },
    ],
    [
      'a variable out of range',
      MINIMAL,
      /node\.workers: Too big.*\(from env CHAPERONE_SET_NODE_WORKERS\)/,
      { env: { CHAPERONE_SET_NODE_WORKERS: '65' } },
    ],
  ];
  for (const [name, text, expected, options] of cases) {
    test(name, () => {
      throws(
        () => load(text, options),
        (error) => {
          ok(error instanceof ConfigError);
          equal(error.code, 'config_invalid');
          match(error.detail, expected);
          ok(!/hunter/.test(error.message), 'no value is quoted');
          return error.problems.length > 0;
        },
      );
    });
  }

  test('everything at once, not only the first problem', () => {
    throws(
      () => load(`${MINIMAL}env: x\nnode: { workers: 0, nam: a }\n`),
      (error) => error instanceof ConfigError && error.problems.length === 3,
    );
  });

  test('whatever else it is given, with an error of its own kind', () => {
    let refused = 0;
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          fc.string().map((tail) => MINIMAL + tail),
        ),
        (text) => {
          try {
            load(text);
          } catch (error) {
            refused += 1;
            ok(error instanceof ConfigError, String(error));
          }
        },
      ),
      { numRuns: runs },
    );
    ok(refused > 0);
  });
});

test('INSECURE keys are accepted in the demo', () => {
  equal(load(`env: demo\n${MINIMAL.replace('bundle.pem', 'INSECURE-bundle.pem')}`).config.env, 'demo');
});

test('every single value outside lists has one variable, and no two share one', () => {
  const names = settableKeys().map(({ path }) => envName(path));
  ok(names.length > 30);
  equal(new Set(names).size, names.length);
});

interface Options {
  readonly env?: ConfigSource['env'];
  readonly flags?: readonly string[];
  readonly path?: string;
  readonly secrets?: Readonly<Record<string, string>>;
}

function load(text: string, options: Options = {}): LoadedConfig {
  const secrets = options.secrets ?? { '/etc/chaperone/secrets/upstream': 'Bearer hunter2\n' };
  const source = {
    path: options.path ?? '/etc/chaperone/chaperone.yaml',
    text,
    env: { CLICKHOUSE_PASSWORD: 'hunter3', PATH: '/bin', ...options.env },
    flags: options.flags ?? [],
  };
  const env = options.env !== undefined && Object.keys(options.env).length === 0 ? {} : source.env;
  return loadConfig({ ...source, env }, (path) => {
    const secret = secrets[path];
    if (secret === undefined) {
      throw new Error(`ENOENT ${path}`);
    }
    return secret;
  });
}

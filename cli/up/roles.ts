import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import type { Config } from '../../core/runtime/config/config-schema.ts';
import type { ProcessSpec } from '../../core/runtime/launcher/launcher.ts';
import type { ReadyFacts } from '../../core/runtime/launcher/run-process.ts';
import { type Prepared, tlsPathsOf } from './prepare.ts';

/** What the roles are started from. */
export interface Deployment {
  readonly config: Config;
  readonly configPath: string;
  readonly sets: readonly string[];
  readonly prepared: Prepared;
  /** Ready facts of the roles that serve already, by name. */
  readonly facts: ReadonlyMap<string, ReadyFacts>;
}

export interface Role {
  readonly name: string;
  /** Called when everything before it is ready. */
  readonly spec: (deployment: Deployment) => ProcessSpec;
  /** One short phrase for the line that tells it is ready. */
  readonly says: (facts: ReadyFacts, config: Config) => string;
}

const here = dirname(fileURLToPath(import.meta.url));
const CODE_ROOT = join(here, '..', '..');
/** What uWebSockets.js needs above the header limit for the request line (`uwsHeaderBytes` of the adapter). */
const REQUEST_LINE_BYTES = 8 * 1024;
const HARDENED = ['--enable-source-maps', '--disallow-code-generation-from-strings'] as const;
export const GATEWAY = 'gateway';
const EMBEDDED_CLICKHOUSE = 'clickhouse';
const TENANT = 'default';

/** Every process of a deployment on one machine, in the order in which they start. */
export function rolesOf(config: Config): Role[] {
  const roles = [
    ...config.demo.services.map(demoServiceRole),
    vaultRole,
    busRole,
    ...(config.clickhouse.url === '' ? [clickhouseRole] : []),
    // The sequencer asks the witness, so the witness is there first.
    witnessRole,
    sequencerRole,
    ingestRole,
    gatewayRole,
  ];
  const names = roles.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) {
    throw new GatewayError('config_invalid', `demo.services: ${twice} is the name of a role`);
  }
  return roles;
}

/** How ClickHouse is reached as `user`: the embedded engine has two users, a server the one that is configured. */
export function clickhouseAccess(
  { config, prepared, facts }: Deployment,
  user: 'writer' | 'reader',
): { url: string; username: string; password: string } {
  const { url, username, password } = config.clickhouse;
  if (url !== '') {
    return { url, username, password: password?.reveal() ?? '' };
  }
  return {
    url: `http://127.0.0.1:${portOf(facts, EMBEDDED_CLICKHOUSE)}`,
    username: user,
    password: user === 'writer' ? prepared.clickhouseWriter : prepared.clickhouseReader,
  };
}

/** The port that a role said when it was ready. */
export function portOf(facts: ReadonlyMap<string, ReadyFacts>, role: string): number {
  const port = facts.get(role)?.['port'];
  if (typeof port !== 'number') {
    throw new GatewayError('internal', `${role} did not say its port`);
  }
  return port;
}

function demoServiceRole(service: Config['demo']['services'][number]): Role {
  return {
    name: service.name,
    spec: () => {
      const module = join(CODE_ROOT, `${service.module}.js`);
      if (!existsSync(module)) {
        throw new GatewayError('config_invalid', `demo.services: there is no module ${service.module}`);
      }
      return {
        name: service.name,
        module: modulePath('cli/roles/demo-service-process'),
        options: { module, args: service.args },
      };
    },
    says: () => `demo service ${service.module}`,
  };
}

const vaultRole: Role = {
  name: 'vault',
  spec: ({ config }) => {
    const options = {
      directory: config.vault.directory,
      cluster: config.cluster.domain,
      tls: tlsPathsOf(config, 'vault', config.node.name),
      auditors: config.auditors,
      port: config.vault.port,
    };
    return {
      name: 'vault',
      module: modulePath('cli/roles/vault-process'),
      nodeFlags: HARDENED,
      options,
      restartOptions: ({ port }) => ({ ...options, port }),
    };
  },
  says: ({ port }) => `key store on 127.0.0.1:${String(port)}`,
};

const busRole: Role = {
  name: 'bus',
  spec: ({ config }) => ({
    name: 'bus',
    module: modulePath('cli/roles/bus-process'),
    nodeFlags: HARDENED,
    options: { directory: config.bus.directory, socketPath: config.bus.socket },
  }),
  says: (_facts, config) => `file bus at ${config.bus.socket}`,
};

const clickhouseRole: Role = {
  name: EMBEDDED_CLICKHOUSE,
  spec: ({ config, prepared }) => {
    const options = {
      directory: config.clickhouse.directory,
      port: config.clickhouse.port,
      writerSecret: prepared.clickhouseWriter,
      readerSecret: prepared.clickhouseReader,
    };
    return {
      name: EMBEDDED_CLICKHOUSE,
      module: modulePath('ingest/clickhouse/chdb-front/front-process'),
      nodeFlags: HARDENED,
      options,
      restartOptions: ({ port }) => ({ ...options, port }),
    };
  },
  says: ({ port }) => `embedded engine on http://127.0.0.1:${String(port)}`,
};

const witnessRole: Role = {
  name: 'witness',
  spec: ({ config, prepared }) => {
    const options = {
      directory: join(config.witness.directory, 'state'),
      name: prepared.witness.name,
      privateKeyPem: prepared.witness.privateKeyPem,
      logs: [prepared.log.vkey],
    };
    return {
      name: 'witness',
      module: modulePath('ingest/witness/witness-process'),
      nodeFlags: HARDENED,
      options,
      restartOptions: ({ port }) => ({ ...options, port }),
    };
  },
  says: ({ port }, config) => `${config.witness.name}.${config.cluster.domain} on 127.0.0.1:${String(port)}`,
};

const sequencerRole: Role = {
  name: 'sequencer',
  spec: ({ config, prepared, facts }) => ({
    name: 'sequencer',
    module: modulePath('ingest/sequence/sequencer-process'),
    nodeFlags: HARDENED,
    options: {
      busSocketPath: config.bus.socket,
      logDirectory: logDirectoryOf(config),
      origin: prepared.log.name,
      privateKeyPem: prepared.log.privateKeyPem,
      clusterCas: [prepared.caPem],
      witnesses: [{ url: `http://127.0.0.1:${portOf(facts, 'witness')}`, vkey: prepared.witness.vkey }],
      checkpointMs: config.sequencer.checkpointMs,
    },
  }),
  says: (_facts, config) => `cluster log ${config.cluster.domain}/evidence`,
};

const ingestRole: Role = {
  name: 'ingest',
  spec: (deployment) => {
    const { config, prepared } = deployment;
    const options = {
      busSocketPath: config.bus.socket,
      archiveDirectory: config.ingest.archive,
      logDirectory: logDirectoryOf(config),
      clusterCas: [prepared.caPem],
      clickhouse: clickhouseAccess(deployment, 'writer'),
      tenants: [TENANT],
      httpSecret: prepared.archiveToken,
      httpPort: config.ingest.port,
      flushMs: config.ingest.flushMs,
      flushBytes: config.ingest.flushBytes,
    };
    return {
      name: 'ingest',
      module: modulePath('ingest/ingest-process'),
      nodeFlags: HARDENED,
      options,
      restartOptions: ({ port }) => ({ ...options, httpPort: port }),
    };
  },
  says: ({ port }) => `archive and cluster log on http://127.0.0.1:${String(port)}`,
};

const gatewayRole: Role = {
  name: GATEWAY,
  spec: ({ config, configPath, sets, facts, prepared }) => {
    const options = {
      configPath,
      sets,
      vaultAddress: `127.0.0.1:${portOf(facts, 'vault')}`,
      logKey: prepared.log.vkey,
      witnessKeys: [prepared.witness.vkey],
    };
    return {
      name: GATEWAY,
      module: modulePath('gateway/main'),
      nodeFlags: HARDENED,
      env: {
        UV_THREADPOOL_SIZE: String(2 * config.node.workers + 4),
        UWS_HTTP_MAX_HEADERS_SIZE: String(LIMITS.httpHeaderBytesMax + REQUEST_LINE_BYTES),
      },
      options,
      restartOptions: ({ port, adminPort, controlPort }) => ({
        ...options,
        sets: [
          ...sets,
          `listen.http.port=${String(port)}`,
          `admin.port=${String(adminPort)}`,
          `control.port=${String(controlPort)}`,
        ],
      }),
    };
  },
  says: ({ port, adapter, registration }, config) =>
    `http://${config.listen.http.host}:${String(port)} (${config.node.workers} workers, ${String(adapter)}, ` +
    `${String(registration)})`,
};

/** Beside the key of the log, not above it: ingest serves this folder. */
export function logDirectoryOf(config: Config): string {
  return join(config.sequencer.directory, 'log');
}

function modulePath(name: string): string {
  return join(CODE_ROOT, `${name}.js`);
}

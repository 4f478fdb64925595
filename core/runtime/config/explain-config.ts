import type { Config } from './config-schema.ts';
import { type LoadedConfig, mapValues } from './load-config.ts';
import type { RelaxingSwitch } from './relaxing-switches.ts';
import { Secret } from './secret.ts';

export interface ExplainedValue {
  readonly path: string;
  /** As text; a secret is `[redacted]` with its reference. */
  readonly value: string;
  readonly from: string;
}

/** A setting that can have no effect, and why. */
export interface DeadRule {
  readonly path: string;
  readonly why: string;
}

export interface ConfigExplanation {
  readonly digest: string;
  readonly values: readonly ExplainedValue[];
  readonly relaxing: readonly RelaxingSwitch[];
  readonly dead: readonly DeadRule[];
}

export function explainConfig({ config, provenance, digest, relaxing }: LoadedConfig): ConfigExplanation {
  const values: ExplainedValue[] = [];
  mapValues(config, '', (path, value) => {
    const text = value instanceof Secret ? `[redacted] (${value.reference})` : String(value);
    values.push({ path, value: text, from: provenance.get(path) ?? 'default' });
    return value;
  });
  return { digest: digest.toString('hex'), values, relaxing, dead: deadRules(config, provenance) };
}

export function deadRules(config: Config, provenance: ReadonlyMap<string, string>): DeadRule[] {
  const { policy, connections, clickhouse, identity } = config;
  const dead: DeadRule[] = [];
  connections.forEach((connection, i) => {
    const earlier = connections.find((other) => sameMatch(other, connection));
    if (earlier !== undefined && earlier !== connection) {
      dead.push({ path: `connections[${i}]`, why: `${earlier.name} takes every request that matches it` });
    }
  });
  if (policy.allowUnsigned && policy.publicKeys.length > 0) {
    dead.push({
      path: 'policy.publicKeys',
      why: 'a bundle without a signature is loaded as well (policy.allowUnsigned)',
    });
  }
  if (identity.issuers.length === 0 && connections.length > 0) {
    dead.push({ path: 'connections', why: 'no issuer is configured, so every request is refused' });
  }
  const isSet = (path: string): boolean => (provenance.get(path) ?? 'default') !== 'default';
  for (const path of ['clickhouse.host', 'clickhouse.port', 'clickhouse.directory']) {
    if (clickhouse.url !== '' && isSet(path)) {
      dead.push({ path, why: 'the embedded engine does not run when clickhouse.url is set' });
    }
  }
  for (const path of ['clickhouse.username', 'clickhouse.password']) {
    if (clickhouse.url === '' && isSet(path)) {
      dead.push({ path, why: 'only a ClickHouse server (clickhouse.url) has users' });
    }
  }
  connections.forEach(({ upstream }, i) => {
    const path = `connections[${i}].upstream.header`;
    if (upstream.credential === undefined && isSet(path)) {
      dead.push({ path, why: 'there is no credential to put into it' });
    }
  });
  return dead;
}

function sameMatch(a: Config['connections'][number], b: Config['connections'][number]): boolean {
  return a.match.host === b.match.host && a.match.pathPrefix === b.match.pathPrefix;
}

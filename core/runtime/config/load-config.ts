import { createHash } from 'node:crypto';
import { basename, dirname, isAbsolute, join } from 'node:path';
import type { z } from 'zod';
import { canonicalJson, type JsonValue } from '../../kernel/canonical-json.ts';
import { GatewayError } from '../../kernel/errors.ts';
import { type Config, configSchema } from './config-schema.ts';
import { nearestKey } from './nearest-key.ts';
import { type RelaxingSwitch, relaxingSwitches } from './relaxing-switches.ts';
import {
  configKey,
  type ConfigKey,
  ENV_PREFIX,
  envName,
  memberNames,
  schemaPath,
  settableKeys,
} from './schema-walk.ts';
import { Secret } from './secret.ts';
import { type ConfigProblem, parseStrictYaml, type StrictYaml } from './strict-yaml.ts';

/** Plain data, so that a worker thread can be given the same input and come to the same configuration. */
export interface ConfigSource {
  /** Absolute path of the file: names it in messages; relative paths in it start at its folder. */
  readonly path: string;
  readonly text: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** `path=value`, each from one `--set`. */
  readonly flags: readonly string[];
}

/** Reads the file of a `file:` secret. Throws when it cannot. */
export type ReadSecretFile = (path: string) => string;

export interface LoadedConfig {
  readonly config: Config;
  /** By path of each single value: `default`, `chaperone.yaml:12`, `env CHAPERONE_SET_…`, `flag --set`. */
  readonly provenance: ReadonlyMap<string, string>;
  /** SHA-256 of the canonical JSON as configured: paths as written, secrets by their reference. */
  readonly digest: Buffer;
  readonly relaxing: readonly RelaxingSwitch[];
}

/** Every problem at once. `message` lists them; none quotes a value. */
export class ConfigError extends GatewayError {
  readonly problems: readonly ConfigProblem[];

  constructor(file: string, problems: readonly ConfigProblem[]) {
    super('config_invalid', problems.map((problem) => problemText(file, problem)).join('\n'));
    this.problems = problems;
  }
}

interface Override {
  readonly key: ConfigKey;
  readonly text: string;
  readonly from: string;
}

/** The kernel takes 107 (unix(7), sun_path); some room is left for temporary names. */
const SOCKET_PATH_BYTES_MAX = 100;

/**
 * The configuration from its text, the environment and flags; a flag is stronger than the environment, which is stronger
 * than the file. Pure but for `readSecretFile`. Throws ConfigError (`config_invalid`) with every problem that was found.
 */
export function loadConfig(source: ConfigSource, readSecretFile: ReadSecretFile): LoadedConfig {
  const yaml = parseStrictYaml(source.text);
  const file = basename(source.path);
  const { overrides, problems: overrideProblems } = readOverrides(source);
  const problems = [...yaml.problems, ...overrideProblems];
  if (problems.length > 0) {
    throw new ConfigError(file, problems);
  }
  const raw = yaml.value ?? {};
  const merged = applyOverrides(raw, overrides);
  const parsed = configSchema.safeParse(merged);
  if (!parsed.success) {
    throw new ConfigError(
      file,
      parsed.error.issues.flatMap((issue) => issueProblems(issue, yaml, overrides)),
    );
  }
  const digest = createHash('sha256')
    .update(canonicalJson(digestible(parsed.data)))
    .digest();
  const config = mapValues(parsed.data, '', (path, value) =>
    resolvePath(path, value, parsed.data, source.path),
  ) as Config;
  const found = [...resolveSecrets(config, source, readSecretFile), ...crossChecks(config)];
  if (found.length > 0) {
    throw new ConfigError(
      file,
      found.map((problem) => ({ ...problem, line: yaml.lineOf(pathParts(problem.path)) })),
    );
  }
  return {
    config,
    provenance: provenanceOf(config, yaml, overrides, file),
    digest,
    relaxing: relaxingSwitches(config),
  };
}

function readOverrides(source: ConfigSource): { overrides: Override[]; problems: ConfigProblem[] } {
  const byEnv = new Map(settableKeys().map((key) => [envName(key.path), key]));
  const overrides: Override[] = [];
  const problems: ConfigProblem[] = [];
  const refuse = (message: string): void => void problems.push({ path: '', line: 0, message });
  for (const [name, text] of Object.entries(source.env)) {
    if (!name.startsWith(ENV_PREFIX) || text === undefined) {
      continue;
    }
    const key = byEnv.get(name);
    if (key === undefined) {
      refuse(`environment variable ${name} sets no known key${didYouMean(name, [...byEnv.keys()])}`);
    } else {
      overrides.push({ key, text, from: `env ${name}` });
    }
  }
  for (const flag of source.flags) {
    const equals = flag.indexOf('=');
    const path = equals === -1 ? flag : flag.slice(0, equals);
    const key = settableKeys().find((candidate) => candidate.path === path);
    if (equals === -1 || key === undefined) {
      const known = settableKeys().map((candidate) => candidate.path);
      refuse(equals === -1 ? '--set needs path=value' : `--set ${path} is no known key${didYouMean(path, known)}`);
    } else {
      overrides.push({ key, text: flag.slice(equals + 1), from: 'flag --set' });
    }
  }
  return { overrides, problems };
}

/** A copy of the file's data with the overrides in it. Types follow the schema: a name may look like a number. */
function applyOverrides(raw: unknown, overrides: readonly Override[]): unknown {
  const root = structuredClone(raw);
  for (const { key, text } of overrides) {
    const parts = key.path.split('.');
    const last = parts.pop() ?? '';
    let section = root as Record<string, unknown>;
    for (const part of parts) {
      if (typeof section !== 'object' || section === null) {
        break; // The file has something else here: the schema says so with its line.
      }
      section[part] ??= {};
      section = section[part] as Record<string, unknown>;
    }
    if (typeof section === 'object' && section !== null) {
      section[last] = typedValue(key, text);
    }
  }
  return root;
}

/** What is not a number or a truth value stays text, and the schema refuses it. */
function typedValue(key: ConfigKey, text: string): unknown {
  if (key.kind === 'number' && /^-?\d{1,15}$/.test(text)) {
    return Number(text);
  }
  return key.kind === 'boolean' && (text === 'true' || text === 'false') ? text === 'true' : text;
}

function issueProblems(issue: z.core.$ZodIssue, yaml: StrictYaml, overrides: readonly Override[]): ConfigProblem[] {
  const path = pathText(issue.path);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      path: path === '' ? key : `${path}.${key}`,
      line: yaml.lineOfKey(issue.path, key),
      message: `unknown key${didYouMean(key, memberNames(schemaPath(path)))}`,
    }));
  }
  const override = overrides.findLast(({ key }) => key.path === path);
  if (override !== undefined) {
    return [{ path, line: 0, message: `${plain(issue.message)} (from ${override.from})` }];
  }
  const isMissing = issue.code === 'invalid_type' && !yaml.has(issue.path);
  return [{ path, line: yaml.lineOf(issue.path), message: isMissing ? 'is required' : plain(issue.message) }];
}

/** zod's messages name the expectation; what was given stays out, for it may be a secret in the wrong place. */
function plain(message: string): string {
  return message.replace(/^Invalid (input|option|string): /, '').replace(/, received .*$/, '');
}

function didYouMean(key: string, known: readonly string[]): string {
  const nearest = nearestKey(key, known);
  return nearest === undefined ? '' : `; did you mean ${nearest}?`;
}

function resolvePath(path: string, value: unknown, config: Config, file: string): unknown {
  // A list of paths carries the format itself: its elements are no keys of their own.
  const format = configKey(schemaPath(path).replace(/\[\]$/, ''))?.format;
  const isPath = format === 'path' || (format === 'mapping' && isMappingFile(value));
  if (!isPath || typeof value !== 'string') {
    return value;
  }
  const filled = value.replace('{dataDir}', config.node.dataDir);
  return isAbsolute(filled) ? filled : join(dirname(file), filled);
}

/** A built-in mapping is a bare word; everything else is a path. */
function isMappingFile(value: unknown): boolean {
  return typeof value === 'string' && /[./]/.test(value);
}

function resolveSecrets(config: Config, source: ConfigSource, readSecretFile: ReadSecretFile): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  mapValues(config, '', (path, value) => {
    if (value instanceof Secret) {
      const text = secretText(value.reference, source, readSecretFile);
      if (text === undefined || text === '') {
        problems.push({ path, line: 0, message: `the secret ${value.reference} cannot be read or is empty` });
      } else {
        value.resolve(text);
      }
    }
    return value;
  });
  return problems;
}

function secretText(reference: string, source: ConfigSource, readSecretFile: ReadSecretFile): string | undefined {
  if (reference.startsWith('env:')) {
    return source.env[reference.slice('env:'.length)];
  }
  const path = reference.slice('file:'.length);
  try {
    return readSecretFile(isAbsolute(path) ? path : join(dirname(source.path), path)).replace(/\r?\n$/, '');
  } catch {
    return undefined; // The caller names the reference; the cause may quote what was read.
  }
}

/** What no single key can say. */
function crossChecks(config: Config): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const add = (path: string, message: string): void => void problems.push({ path, line: 0, message });
  const { policy, connections, identity, auditors, demo } = config;
  if (policy.publicKeys.length === 0 && !policy.allowUnsigned) {
    add('policy.publicKeys', 'must name at least one key, unless policy.allowUnsigned is true');
  }
  for (const [path, names] of [
    ['connections', connections.map((connection) => connection.name)],
    ['identity.issuers', identity.issuers.map((issuer) => issuer.iss)],
    ['auditors', auditors.map((auditor) => auditor.id)],
    ['demo.services', demo.services.map((service) => service.name)],
  ] as const) {
    names.forEach((name, i) => {
      if (names.indexOf(name) !== i) {
        add(`${path}[${i}]`, 'has the same name as an earlier one');
      }
    });
  }
  if (Buffer.byteLength(config.bus.socket) > SOCKET_PATH_BYTES_MAX) {
    add('bus.socket', `is longer than ${SOCKET_PATH_BYTES_MAX} bytes once it is absolute`);
  }
  const listeners = (['listen.http', 'admin', 'control', 'vault', 'ingest', 'clickhouse'] as const).map((path) => {
    const { host, port } = path === 'listen.http' ? config.listen.http : config[path];
    return { path, at: `${host}:${port}`, port };
  });
  listeners.forEach(({ path, at, port }, i) => {
    if (port !== 0 && listeners.findIndex((other) => other.at === at) !== i) {
      add(`${path}.port`, 'is the port of another listener');
    }
  });
  if (config.env !== 'demo') {
    if (demo.services.length > 0 || demo.issuerKeyFile !== undefined || demo.keyDirectory !== undefined) {
      add('demo', 'is refused unless env is demo');
    }
    mapValues(config, '', (path, value) => {
      const named = value instanceof Secret ? value.reference : value;
      if (typeof named === 'string' && /insecure/i.test(basename(named)) && path !== 'node.dataDir') {
        add(path, 'names an INSECURE key, which only env: demo accepts');
      }
      return value;
    });
  }
  return problems;
}

function provenanceOf(
  config: Config,
  yaml: StrictYaml,
  overrides: readonly Override[],
  file: string,
): ReadonlyMap<string, string> {
  const provenance = new Map<string, string>();
  mapValues(config, '', (path, value) => {
    const override = overrides.findLast(({ key }) => key.path === path);
    const parts = pathParts(path);
    const inFile = yaml.has(parts) ? `${file}:${yaml.lineOf(parts)}` : 'default';
    provenance.set(path, override?.from ?? inFile);
    return value;
  });
  return provenance;
}

function digestible(value: unknown): JsonValue {
  return mapValues(value, '', (_path, leaf) => (leaf instanceof Secret ? leaf.reference : leaf)) as JsonValue;
}

/** A copy in which every single value went through `change`, called with its path in the order of the schema. */
export function mapValues(value: unknown, path: string, change: (path: string, value: unknown) => unknown): unknown {
  if (Array.isArray(value)) {
    return value.map((item, i) => mapValues(item, `${path}[${i}]`, change));
  }
  if (typeof value === 'object' && value !== null && !(value instanceof Secret)) {
    return Object.fromEntries(
      Object.entries(value)
        .filter(([, member]) => member !== undefined)
        .map(([key, member]) => [key, mapValues(member, path === '' ? key : `${path}.${key}`, change)]),
    );
  }
  return change(path, value);
}

function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (text, part) =>
      typeof part === 'number' ? `${text}[${part}]` : text === '' ? String(part) : `${text}.${String(part)}`,
    '',
  );
}

function pathParts(path: string): (string | number)[] {
  return [...path.matchAll(/\[(\d+)\]|[^.[\]]+/g)].map(([part, index]) => (index === undefined ? part : Number(index)));
}

function problemText(file: string, { path, line, message }: ConfigProblem): string {
  const place = line === 0 ? file : `${file}:${line}`;
  return path === '' ? `${place}: ${message}` : `${place}: ${path}: ${message}`;
}

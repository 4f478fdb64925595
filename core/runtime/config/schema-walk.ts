import type { z } from 'zod';
import { configSchema } from './config-schema.ts';

/** One key of the configuration as the schema declares it. `[]` in a path stands for each element of a list. */
export interface ConfigKey {
  readonly path: string;
  readonly kind: 'section' | 'list' | 'map' | 'text' | 'number' | 'boolean';
  /** In words, for the documentation. */
  readonly type: string;
  readonly format: string;
  readonly hasDefault: boolean;
  readonly default: unknown;
  readonly isOptional: boolean;
  readonly description: string;
}

/** The parts of a zod definition that are read here. */
interface Definition {
  readonly type: string;
  readonly innerType?: z.ZodType;
  readonly in?: z.ZodType;
  readonly element?: z.ZodType;
  readonly shape?: Readonly<Record<string, z.ZodType>>;
  readonly entries?: Readonly<Record<string, string>>;
  readonly values?: readonly unknown[];
  readonly defaultValue?: unknown;
}

const WRAPPERS = new Set(['default', 'prefault', 'optional', 'pipe']);

/** Every key in the order of the schema, a section before its members. */
export const CONFIG_KEYS: readonly ConfigKey[] = walk(configSchema, '').slice(1);

const BY_PATH: ReadonlyMap<string, ConfigKey> = new Map(CONFIG_KEYS.map((key) => [key.path, key]));

export function configKey(path: string): ConfigKey | undefined {
  return BY_PATH.get(path);
}

/** Names of the members of a section, given by its path without indices. */
export function memberNames(sectionPath: string): string[] {
  const prefix = sectionPath === '' ? '' : `${sectionPath}.`;
  return CONFIG_KEYS.map(({ path }) => path)
    .filter((path) => path.startsWith(prefix) && !path.slice(prefix.length).includes('.'))
    .map((path) => path.slice(prefix.length).replaceAll('[]', ''));
}

/** `connections[2].upstream.url` -> `connections[].upstream.url` */
export function schemaPath(path: string): string {
  return path.replaceAll(/\[\d+\]/g, '[]');
}

/** Keys that an environment variable or a flag can set: single values outside lists. */
export function settableKeys(): ConfigKey[] {
  return CONFIG_KEYS.filter(({ kind, path }) => !['section', 'list', 'map'].includes(kind) && !path.includes('[]'));
}

/** `listen.http.port` -> `CHAPERONE_SET_LISTEN_HTTP_PORT` */
export const ENV_PREFIX = 'CHAPERONE_SET_';
export function envName(path: string): string {
  return (
    ENV_PREFIX +
    path
      .replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2')
      .replaceAll('.', '_')
      .toUpperCase()
  );
}

function walk(schema: z.ZodType, path: string): ConfigKey[] {
  const { base, ...facts } = unwrap(schema);
  const definition = base.def as unknown as Definition;
  const own: ConfigKey = { path, ...typeOf(definition, facts.format), ...facts };
  if (definition.shape !== undefined) {
    const members = Object.entries(definition.shape).flatMap(([name, member]) =>
      walk(member, path === '' ? name : `${path}.${name}`),
    );
    return [own, ...members];
  }
  if (definition.element !== undefined) {
    const [element, ...rest] = walk(definition.element, `${path}[]`);
    return [own, ...(element?.kind === 'section' ? [element, ...rest] : [])];
  }
  return [own];
}

function unwrap(schema: z.ZodType) {
  let base = schema;
  let description = schema.description ?? '';
  let format = formatOf(schema);
  let hasDefault = false;
  let defaultValue: unknown;
  let isOptional = false;
  while (WRAPPERS.has(base.def.type)) {
    const definition = base.def as unknown as Definition;
    if (definition.type === 'default' || definition.type === 'prefault') {
      hasDefault = true;
      defaultValue = definition.defaultValue;
    }
    isOptional ||= definition.type === 'optional';
    base = (definition.type === 'pipe' ? definition.in : definition.innerType) as z.ZodType;
    description = description === '' ? (base.description ?? '') : description;
    format = format === '' ? formatOf(base) : format;
  }
  return { base, description, format, hasDefault, default: defaultValue, isOptional };
}

function formatOf(schema: z.ZodType): string {
  const format = schema.meta()?.['format'];
  return typeof format === 'string' ? format : '';
}

function typeOf(definition: Definition, format: string): Pick<ConfigKey, 'kind' | 'type'> {
  switch (definition.type) {
    case 'object':
      return { kind: 'section', type: 'section' };
    case 'array':
      return { kind: 'list', type: format === 'path' ? 'list of paths' : 'list' };
    case 'record':
      return { kind: 'map', type: 'map of texts' };
    case 'number':
      return { kind: 'number', type: 'number' };
    case 'boolean':
      return { kind: 'boolean', type: 'true or false' };
    case 'enum':
      return {
        kind: 'text',
        type: Object.values(definition.entries ?? {})
          .map(code)
          .join(', '),
      };
    case 'literal':
      return { kind: 'text', type: (definition.values ?? []).map(code).join(', ') };
    default:
      return { kind: 'text', type: { path: 'path', secret: 'secret reference' }[format] ?? 'text' };
  }
}

function code(value: unknown): string {
  return `\`${String(value)}\``;
}

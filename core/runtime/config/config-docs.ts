import { CONFIG_KEYS, type ConfigKey, envName, settableKeys } from './schema-walk.ts';

const HEAD = `# Configuration

<!-- Generated from core/runtime/config/config-schema.ts by \`npm run generate\`. Do not edit. -->

One YAML file for every role. It is strict: an unknown key, a duplicate key, an anchor or a value out of range refuses to
start, with the path, the line and the nearest known key. \`chaperone config check\` shows every problem;
\`chaperone config explain\` shows each value with where it came from, the relaxing switches that are on, and settings that
have no effect.

- A flag (\`--set path=value\`) is stronger than an environment variable, which is stronger than the file. Single values
  outside lists have an environment variable: \`CHAPERONE_SET_\` and the path in upper case, \`listen.http.port\` is
  \`${envName('listen.http.port')}\`. A variable with this prefix that names no key refuses to start.
- Secrets are references, \`file:<path>\` or \`env:<NAME>\`, never values. They print as \`[redacted]\`.
- Paths are relative to the folder of the file; \`{dataDir}\` stands for \`node.dataDir\`.
- Times are milliseconds, sizes bytes.
`;

/** The text of docs/config.md. */
export function configDocs(): string {
  const sections = new Map<string, ConfigKey[]>();
  for (const key of CONFIG_KEYS) {
    const [name = ''] = key.path.split(/[.[]/);
    sections.set(name, [...(sections.get(name) ?? []), key]);
  }
  const pages = [...sections].map(([name, keys]) => sectionText(name, keys));
  return `${HEAD}\n${pages.join('\n')}`;
}

function sectionText(name: string, keys: readonly ConfigKey[]): string {
  const intro = keys.find(({ path, kind }) => path === name && kind === 'section')?.description ?? '';
  const rows = keys
    .filter(({ kind, path }) => kind !== 'section' || path === '')
    .map((key) => `| \`${key.path}\` | ${key.type} | ${defaultText(key)} | ${key.description}${envText(key)} |`);
  return [
    `## ${name}`,
    '',
    ...(intro === '' ? [] : [intro, '']),
    '| key | type | default | |',
    '| --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n');
}

function defaultText(key: ConfigKey): string {
  if (!key.hasDefault) {
    return key.isOptional ? 'none' : '**required**';
  }
  const { default: value } = key;
  const isPlain = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
  return isPlain && value !== '' ? `\`${value}\`` : 'empty';
}

/** Only where the name does not follow from the path at a glance. */
function envText(key: ConfigKey): string {
  const isSettable = settableKeys().some(({ path }) => path === key.path);
  return isSettable && /[A-Z]/.test(key.path) ? ` (\`${envName(key.path)}\`)` : '';
}

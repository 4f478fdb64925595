import { deepEqual, ok } from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';
import { packageRoot } from '../../core/runtime/package-root.ts';

const BASE = ['core/runtime', 'core/ledger', 'core/bus', 'proto', 'core/kernel'];
const ROOMS = ['identity', 'catalogue', 'policy', 'masking', 'approvals', 'recorder'].map((room) => `gateway/${room}`);
const GATEWAY = [
  ...ROOMS,
  'gateway/contract',
  'gateway/session',
  'gateway/lanes',
  'gateway/control',
  'gateway/adapters',
  'gateway/threads',
];

/** The architecture as data (docs/ARCHITECTURE.md): a room may import itself and what is listed here, nothing else. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  proto: [],
  'core/kernel': [],
  'core/ledger': ['core/kernel'],
  'core/bus': ['core/kernel', 'proto'],
  'core/runtime': ['core/ledger', 'core/bus', 'proto', 'core/kernel'],
  'gateway/contract': BASE,
  ...Object.fromEntries(ROOMS.map((room) => [room, ['gateway/contract', ...BASE]])),
  'gateway/session': [...ROOMS, 'gateway/contract', ...BASE],
  'gateway/lanes': ['gateway/session', 'gateway/masking', 'gateway/contract', ...BASE],
  'gateway/control': ['gateway/approvals', 'gateway/policy', 'gateway/recorder', 'gateway/contract', ...BASE],
  'gateway/adapters': [...ROOMS, 'gateway/contract', 'gateway/session', 'gateway/lanes', ...BASE],
  'gateway/threads': [...GATEWAY, ...BASE],
  'gateway/main.ts': [...GATEWAY, ...BASE],
  'gateway/worker.ts': [...GATEWAY, ...BASE],
  ingest: BASE,
  vault: BASE,
  cli: ['gateway/policy', 'gateway/contract', 'vault', ...BASE],
};
/** Bus adapters are for composition roots; the other rooms see the port. */
const BUS_PORT = ['core/bus/bus.ts', 'core/bus/topics.ts'];
const BUS_ADAPTER_USERS = [
  'core/bus',
  'gateway/main.ts',
  'gateway/worker.ts',
  'gateway/threads',
  'ingest',
  'vault',
  'cli',
];
/** Rooms of logic: no sockets, no files, no loggers, no metrics clients, no wall clock. */
const PURE_ROOMS = ['core/kernel', 'core/ledger', ...ROOMS, 'gateway/contract', 'gateway/session', 'gateway/lanes'];
const FORBIDDEN_IN_PURE =
  /from '(?:node:net|node:fs|node:fs\/promises|node:http|pino|prom-client|uWebSockets\.js)'|\bDate\.now\(/;
const FREE = ['bench', 'tools', 'deploy', 'gateway/e2e'];
const NEVER_IMPORTED = ['bench', 'cli', 'gateway/e2e'];
const IMPORT = /(?:from|import)\s*\(?\s*'(\.[^']+)'/g;
const ROOTS = ['proto', 'core', 'gateway', 'ingest', 'vault', 'cli', 'bench', 'tools', 'deploy'];

const root = packageRoot();

test('every room imports only the rooms it may', () => {
  const violations: string[] = [];
  let checked = 0;
  for (const file of sources()) {
    const from = layerOf(file);
    for (const [, specifier] of readFileSync(join(root, file), 'utf8').matchAll(IMPORT)) {
      const target = relative(root, resolve(dirname(join(root, file)), specifier ?? ''));
      const to = layerOf(target);
      checked++;
      if (from === to || FREE.some((room) => file.startsWith(`${room}/`))) {
        continue;
      }
      if (!(MAY_IMPORT[from] ?? []).includes(to) || NEVER_IMPORTED.includes(to)) {
        violations.push(`${file} -> ${target}`);
      }
      if (to === 'core/bus' && !BUS_PORT.includes(target) && !BUS_ADAPTER_USERS.includes(from)) {
        violations.push(`${file} -> ${target} (only the port)`);
      }
    }
  }
  ok(checked > 100, `a check that saw only ${checked} imports must not pass`);
  deepEqual(violations, []);
});

test('rooms of logic touch no socket, file, logger, metrics client or wall clock', () => {
  const violations: string[] = [];
  let checked = 0;
  for (const file of sources()) {
    if (
      !PURE_ROOMS.some((room) => file.startsWith(`${room}/`)) ||
      file.includes('/testing/') ||
      file === 'core/kernel/clock.ts'
    ) {
      continue;
    }
    checked++;
    if (FORBIDDEN_IN_PURE.test(readFileSync(join(root, file), 'utf8'))) {
      violations.push(file);
    }
  }
  ok(checked > 40, `a check that saw only ${checked} files must not pass`);
  deepEqual(violations, []);
});

test('functions of the house stay in files of at most 500 lines', () => {
  const long = sources()
    .filter((file) => !FREE.some((room) => file.startsWith(`${room}/`)) && !file.startsWith('proto/gen/'))
    .map((file) => ({ file, lines: readFileSync(join(root, file), 'utf8').split('\n').length }))
    .filter(({ lines }) => lines > 501)
    .map(({ file, lines }) => `${file}: ${lines}`);
  deepEqual(long, []);
});

function layerOf(file: string): string {
  const known = Object.keys(MAY_IMPORT).find((layer) => file === layer || file.startsWith(`${layer}/`));
  return known ?? NEVER_IMPORTED.concat(FREE).find((layer) => file.startsWith(`${layer}/`)) ?? file;
}

/** Sources without tests and what only tests use: those may import anything. */
function sources(): string[] {
  return ROOTS.filter((name) => existsSync(join(root, name))).flatMap((name) =>
    readdirSync(join(root, name), { recursive: true, encoding: 'utf8' })
      .filter(
        (entry) =>
          entry.endsWith('.ts') &&
          !entry.includes('testing/') &&
          !entry.endsWith('.test.ts') &&
          !entry.endsWith('-contract.ts') &&
          !entry.endsWith('.d.ts'),
      )
      .map((entry) => join(name, entry)),
  );
}

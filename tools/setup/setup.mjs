#!/usr/bin/env node
// Puts external tools where tests and benchmarks find them.
//
//   npm run setup -- [opa] [apt] …   the named ones
//   npm run setup -- --for-tests     what this machine can have, without failing for what it cannot
//
// Tools go to a cache outside the tree, keyed by the hash of what pins them, so that a fresh clone finds them again.
// The apt part runs only as root and only when asked by name, with --apt, or when CI=true.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const args = process.argv.slice(2);
const forTests = args.includes('--for-tests');
const wanted = new Set(args.filter((arg) => !arg.startsWith('--')));
if (forTests) {
  wanted.add('opa');
  if (process.env.CI === 'true') {
    wanted.add('apt');
  }
}
if (args.includes('--apt')) {
  wanted.add('apt');
}

const INSTALLERS = { opa: () => script('opa.mjs'), apt };
let failed = false;
for (const name of wanted) {
  const install = INSTALLERS[name];
  if (install === undefined) {
    console.error(`setup: '${name}' is unknown. Known: ${Object.keys(INSTALLERS).join(', ')}.`);
    process.exit(2);
  }
  const problem = install();
  if (problem !== null) {
    console.error(`setup: ${name}: ${problem}`);
    failed ||= !forTests;
  }
}
process.exit(failed ? 1 : 0);

function script(file) {
  const result = spawnSync(process.execPath, [join(here, file)], { stdio: ['ignore', 'ignore', 'inherit'] });
  return result.status === 0
    ? null
    : `${file} ended with exit ${result.status}; tests that need it will be skipped and say so.`;
}

/** nginx is the reference of the HTTP benchmark. */
function apt() {
  if (existsSync('/usr/sbin/nginx')) {
    return null;
  }
  if (process.getuid?.() !== 0) {
    return 'needs root; install nginx with your package manager.';
  }
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  for (const command of [
    ['update', '-qq'],
    ['install', '-y', '-qq', '--no-install-recommends', 'nginx-light'],
  ]) {
    const result = spawnSync('apt-get', command, { stdio: ['ignore', 'ignore', 'inherit'], env });
    if (result.status !== 0) {
      return `apt-get ${command[0]} failed; the HTTP benchmark will print its gate as open.`;
    }
  }
  return null;
}

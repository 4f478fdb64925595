#!/usr/bin/env node
// Installs the locked dependencies when the lockfile changed since the last install. Plain JavaScript without
// dependencies, because it runs before there are any.
//
// `npm ci` is tried first. Where the registry lacks a platform package that this machine does not need, `npm ci`
// refuses the whole lock (EUSAGE); then `npm install` takes the same lock, and the lock must be unchanged afterwards.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const lockPath = join(root, 'package-lock.json');
const stampPath = join(root, 'node_modules', '.chaperone-lock-sha256');
const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  fail(`Node ${process.versions.node} is too old: Chaperone needs 20.19 or newer.`);
}

const before = lockHash();
if (existsSync(stampPath) && readFileSync(stampPath, 'utf8') === before) {
  process.exit(0);
}
console.error('Installing the locked dependencies (once, about a minute) …');
const common = ['--no-audit', '--no-fund', '--loglevel=error'];
if (npm(['ci', ...common], 'ignore') !== 0) {
  if (npm(['install', ...common], 'inherit') !== 0) {
    fail('The dependencies could not be installed. Check the access to the npm registry and run the command again.');
  }
}
if (lockHash() !== before) {
  fail(
    'package-lock.json changed during the install. Restore it with `git checkout package-lock.json`, then look at why.',
  );
}
mkdirSync(dirname(stampPath), { recursive: true });
writeFileSync(stampPath, before);

function lockHash() {
  return createHash('sha256').update(readFileSync(lockPath)).digest('hex');
}

function npm(args, stderr) {
  const result = spawnSync(process.platform === 'win32' ? 'npm.cmd' : 'npm', args, {
    cwd: root,
    stdio: ['ignore', 'ignore', stderr],
  });
  return result.status ?? 1;
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

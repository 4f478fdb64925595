#!/usr/bin/env node
// Runs the compiled tests with node:test and leaves its closing lines on the terminal.
//
//   node tools/checks/run-tests.mjs            everything
//   node tools/checks/run-tests.mjs --fast     without the slow ones (real processes, engines, big property counts)
//   node tools/checks/run-tests.mjs <part …>   only files whose path contains one of the parts
//
// A file is slow when its name ends in `.slow.test.ts` or it lives in an `e2e` folder.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const dist = join(root, 'dist');
const args = process.argv.slice(2);
const fast = args.includes('--fast');
const parts = args.filter((arg) => !arg.startsWith('--'));
const files = existsSync(dist)
  ? readdirSync(dist, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.test.js'))
      .filter((name) => !fast || !(name.endsWith('.slow.test.js') || name.includes('/e2e/')))
      .filter((name) => parts.length === 0 || parts.some((part) => name.includes(part)))
      .sort()
      .map((name) => join('dist', name))
  : [];
if (files.length === 0) {
  console.error('No compiled test was found: run `npm run build` first.');
  process.exit(1);
}
const flags = ['--enable-source-maps', '--test', `--test-concurrency=${Math.max(1, availableParallelism())}`];
if (!process.stdout.isTTY || process.env.CI === 'true') {
  flags.push('--test-reporter=spec');
}
const result = spawnSync(process.execPath, [...flags, ...files], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, UV_THREADPOOL_SIZE: process.env.UV_THREADPOOL_SIZE ?? '8' },
});
process.exit(result.status ?? 1);

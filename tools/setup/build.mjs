#!/usr/bin/env node
// Compiles the tree to dist/ (incremental: well under a second when nothing changed) and removes outputs whose source
// is gone, so that a deleted test cannot go on passing.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const dist = join(root, 'dist');
if (existsSync(dist)) {
  for (const name of readdirSync(dist, { recursive: true, encoding: 'utf8' })) {
    if (name.endsWith('.js') && !existsSync(join(root, name.replace(/\.js$/, '.ts')))) {
      rmSync(join(dist, name));
      rmSync(join(dist, `${name}.map`), { force: true });
    }
  }
}
const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
const result = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.json'], { cwd: root, stdio: 'inherit' });
if (result.status !== 0) {
  console.error(`The build failed (tsc exit ${result.status}) in ${relative(process.cwd(), root) || '.'}.`);
}
process.exit(result.status ?? 1);

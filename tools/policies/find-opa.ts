import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { packageRoot } from '../../core/runtime/package-root.ts';

/** The OPA of the project's tool cache, or why it is not there and how to get it. Builds nothing. */
export function findOpa(): { readonly path?: string; readonly missing: string } {
  const script = join(packageRoot(import.meta.url), 'tools', 'setup', 'opa.mjs');
  const found = spawnSync(process.execPath, [script, '--find'], { encoding: 'utf8' });
  return found.status === 0 ? { path: found.stdout.trim(), missing: '' } : { missing: found.stderr.trim() };
}

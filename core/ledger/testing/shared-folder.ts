import { existsSync } from 'node:fs';
import { join } from 'node:path';

/**
 * A file or folder of `../shared` beside the project (or of `CHAPERONE_SHARED`). `skip` is for `test(name, {skip}, …)`:
 * the reason when it is not there, else false.
 */
export function sharedFile(projectRoot: string, name: string): { path: string; skip: string | false } {
  const folder = process.env['CHAPERONE_SHARED'] ?? join(projectRoot, '..', 'shared');
  const path = join(folder, name);
  return {
    path,
    skip: existsSync(path) ? false : `${path} is missing: put shared/ beside the project, or set CHAPERONE_SHARED`,
  };
}

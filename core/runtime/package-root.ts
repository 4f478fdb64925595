import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * The folder that holds package.json, found by walking up from a module. Files that the compiler does not copy (WASM,
 * JSON, bundles) are under it, whether the code runs from the build folder or from the sources.
 */
export function packageRoot(moduleUrl: string = import.meta.url): string {
  let folder = dirname(fileURLToPath(moduleUrl));
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) {
      throw new Error(`no package.json above ${fileURLToPath(moduleUrl)}`);
    }
    folder = parent;
  }
  return folder;
}

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Everything that the bundle follows from, besides OPA itself. Tests are part of it: they gate the build. */
const SOURCE_FILES = ['.manifest', 'capabilities.json', 'catalogue.json', 'data.json', 'masks.json', 'people.json'];
const SOURCE_FOLDERS = ['chaperone', 'schemas', 'keys'];

/** Paths of the sources below the policy folder, sorted. */
export function policySources(policiesFolder: string): readonly string[] {
  const found = SOURCE_FOLDERS.flatMap((folder) =>
    readdirSync(join(policiesFolder, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(policiesFolder.length + 1)),
  );
  return [...SOURCE_FILES, ...found.map((path) => path.replaceAll('\\', '/'))].sort();
}

/**
 * The text of `dist/sources.sha256`: one line for each source, as `sha256sum` writes it, and the version of OPA. It
 * tells, without OPA, whether the committed bundle was built from the committed sources.
 */
export function sourcesDigest(policiesFolder: string, opaModFolder: string): string {
  const lines = policySources(policiesFolder).map((path) => `${sha256(join(policiesFolder, path))}  ${path}`);
  return `${[...lines, `${sha256(join(opaModFolder, 'go.sum'))}  tools/opa/go.sum`].join('\n')}\n`;
}

function sha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/**
 * Writes the golden vectors of docs/formats.md to core/ledger/vectors: `node dist/tools/verify/write-vectors.js`.
 * A test fails while what is committed differs. Changing an existing file is a change of a format.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { goldenVectors } from '../../core/ledger/testing/golden-vectors.ts';
import { packageRoot } from '../../core/runtime/package-root.ts';

const folder = join(packageRoot(), 'core', 'ledger', 'vectors');
await mkdir(folder, { recursive: true });
for (const [name, content] of Object.entries(goldenVectors())) {
  await writeFile(join(folder, name), `${JSON.stringify(content, null, 1)}\n`);
}

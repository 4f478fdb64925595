import { deepEqual, equal } from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { packageRoot } from '../runtime/package-root.ts';
import { goldenVectors } from './testing/golden-vectors.ts';

const FOLDER = join(packageRoot(), 'core', 'ledger', 'vectors');

test('there is one committed file for each format, and no other', () => {
  deepEqual(readdirSync(FOLDER).sort(), Object.keys(goldenVectors()).sort());
});

for (const [name, content] of Object.entries(goldenVectors())) {
  test(`${name}: generating again gives the committed bytes`, () => {
    equal(`${JSON.stringify(content, null, 1)}\n`, readFileSync(join(FOLDER, name), 'utf8'));
  });
}

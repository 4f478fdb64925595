import { equal, ok } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { packageRoot } from '../package-root.ts';
import { configDocs } from './config-docs.ts';
import { CONFIG_KEYS } from './schema-walk.ts';

test('docs/config.md is what the schema says (npm run generate)', () => {
  equal(readFileSync(join(packageRoot(), 'docs/config.md'), 'utf8'), configDocs());
});

test('every key is documented with a sentence', () => {
  ok(CONFIG_KEYS.length > 60);
  for (const { path, kind, description } of CONFIG_KEYS) {
    ok(
      kind === 'section' || /^(\p{Lu}|`|…|0 = ).*\.$/u.test(description) || description.endsWith(' …'),
      `${path}: ${description}`,
    );
  }
});

import { equal, ok } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ERROR_CODES, ERROR_REASONS } from '../../core/kernel/errors.ts';
import { packageRoot } from '../../core/runtime/package-root.ts';
import { errorsPage } from './errors-page.ts';

test('docs/errors.md is what the table says', () => {
  equal(readFileSync(join(packageRoot(), 'docs', 'errors.md'), 'utf8'), errorsPage());
});

test('there are at most 20 coarse reasons and each is used', () => {
  ok(ERROR_REASONS.length <= 20);
  const used = new Set<string>(Object.values(ERROR_CODES).map((entry) => entry.reason));
  for (const reason of ERROR_REASONS) {
    ok(used.has(reason), reason);
  }
});

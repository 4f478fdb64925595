import { deepEqual, ok } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { packageRoot } from '../../core/runtime/package-root.ts';

const root = packageRoot(import.meta.url);
/** `path/of.test.ts: “name of the test”` */
const REFERENCE = /([\w./-]+\.test\.ts): “([^”]+)”/g;
const DECLARED = /\btest\(\s*(?:'((?:\\.|[^'\\])*)'|`((?:\\.|[^`\\])*)`)/g;

test('every test that docs/bad-input.md names exists', () => {
  const page = readFileSync(join(root, 'docs', 'bad-input.md'), 'utf8').replaceAll(/\s+/g, ' ');
  const named = [...page.matchAll(REFERENCE)].map(([, file = '', name = '']) => ({ file, name }));
  ok(named.length > 60, `${named.length} tests are named`);
  deepEqual(
    named.filter(({ file, name }) => !declares(readFileSync(join(root, file), 'utf8'), name)),
    [],
  );
});

test('a name that is not there is noticed, also where names are made of parts', () => {
  const source = "for (const what of ['one case']) { test(`${what}: goes well`, () => run()); }\ntest('plain', run);";
  ok(declares(source, 'plain') && declares(source, 'one case: goes well'));
  ok(!declares(source, 'plane') && !declares(source, 'another case: goes well') && !declares(source, ': goes well'));
});

/** Whether a test of that name is declared: literally, or by a template whose parts are in the file as they are. */
function declares(source: string, name: string): boolean {
  for (const [, literal, template] of source.matchAll(DECLARED)) {
    if (literal?.replaceAll(/\\(.)/g, '$1') === name) {
      return true;
    }
    const pieces = template?.replaceAll(/\\(.)/g, '$1').split(/\$\{[^}]*\}/) ?? [];
    const escaped = pieces.map((piece) => piece.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'));
    // Where a part ends can be read in two ways when it holds what separates the parts.
    for (const part of ['(.+?)', '(.+)']) {
      const parts = template === undefined ? null : new RegExp(`^${escaped.join(part)}$`).exec(name);
      if (parts !== null && parts.slice(1).every((text) => source.includes(text))) {
        return true;
      }
    }
  }
  return false;
}

import { deepEqual, equal } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { readTar } from '../../gateway/policy/tar-reader.ts';
import { findOpa } from './find-opa.ts';
import { readsOfPlan } from './reads-of-plan.ts';

const opa = findOpa();
const skip = opa.path === undefined ? opa.missing : false;

/** Body of a package -> what of the input it can read. */
const CASES: readonly (readonly [string, string, readonly string[] | '*'])[] = [
  ['nothing', 'out := 1', []],
  ['a member', 'out := input.a.b', ['a.b']],
  ['two members of one parent', 'out := [input.a.b, input.a.c]', ['a.b', 'a.c']],
  ['a member and its parent', 'out := [input.a.b, input.a]', ['a']],
  ['a member that is only looked for', 'out if input.a.b', ['a.b']],
  ['a member that is only compared', 'out if input.a == "x"', ['a']],
  ['a negated member', 'out if not input.a.b', ['a.b']],
  ['a member with a computed name', 'out := input.a[input.b]', ['a', 'b']],
  ['every element', 'out := [x.n | some x in input.a.list]', ['a.list']],
  ['every member of a parent', 'out := [k | some k, _ in input.a]', ['a']],
  ['a key of data', 'out := data.table[input.a.b]', ['a.b']],
  ['an argument of a builtin', 'out := count(input.a)', ['a']],
  ['an argument of a function', 'f(x) := x.n\n\nout := f(input.a)', ['a']],
  ['the whole input', 'out := input', '*'],
  ['the whole input in a function', 'f(x) := x.n\n\nout := f(input)', '*'],
  ['the whole input in a builtin', 'out := count(input)', '*'],
  ['a computed name at the top', 'out := input[data.name]', '*'],
  ['another input', 'out := y if {\n\ty := inner with input as {"a": 1}\n}\n\ninner := input.a', '*'],
  ['other rules', 'out := [one, two]\n\none := input.a.b\n\ntwo if input.c', ['a.b', 'c']],
  ['else branches', 'out := 1 if input.a.b\n\nelse := 2 if input.c.d\n\nelse := 3', ['a.b', 'c.d']],
  ['comprehensions', 'out := {k: v | some k in input.keys; v := input.table[k]}', ['keys', 'table']],
  ['a default', 'default out := 0\n\nout := 1 if input.a', ['a']],
  ['every', 'out if {\n\tevery x in input.list {\n\t\tx == input.a.b\n\t}\n}', ['a.b', 'list']],
  ['a name with a dot', 'out := input.a["b.c"]', ['a']],
];

describe('readsOfPlan', { skip }, () => {
  for (const [what, body, reads] of CASES) {
    test(`finds ${what}`, () => deepEqual(readsOf(body), reads));
  }
});

function readsOf(body: string): readonly string[] | '*' {
  const folder = mkdtempSync(join(tmpdir(), 'chaperone-reads-'));
  try {
    writeFileSync(join(folder, 'p.rego'), `package p\n\n${body}\n`);
    const output = join(folder, 'out.tar.gz');
    const args = ['build', '--target', 'plan', '--entrypoint', 'p/out', '--output', output, 'p.rego'];
    const done = spawnSync(opa.path ?? '', args, { cwd: folder, encoding: 'utf8' });
    equal(done.status, 0, done.stderr);
    return readsOfPlan(String(readTar(gunzipSync(readFileSync(output))).get('plan.json')));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

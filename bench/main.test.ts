import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL(import.meta.url.replace(/main\.test\.(js|ts)$/, 'main.$1')));

function bench(...args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [MAIN, ...args], { encoding: 'utf8', timeout: 60_000 });
}

test('with --json stdout is one object with the parts that the format promises', () => {
  const { status, stdout, stderr } = bench('ledger', '--smoke', '--json');
  equal(status, 0, stderr);
  const report = JSON.parse(stdout) as Record<string, unknown> & { results: { case: string; value: number }[] };
  deepEqual(Object.keys(report), ['name', 'env', 'calibration', 'results', 'gates']);
  equal(report['name'], 'ledger');
  ok(report.results.length > 1 && report.results.every((each) => each.value > 0));
});

test('without --json a table comes first and the object last', () => {
  const { status, stdout } = bench('ledger', '--smoke');
  equal(status, 0);
  const lines = stdout.trimEnd().split('\n');
  match(lines[0] ?? '', /^case +metric/);
  match(stdout, /gate VOID/);
  equal((JSON.parse(lines.at(-1) ?? '') as { name: string }).name, 'ledger');
});

for (const args of [[], ['no-such-benchmark'], ['ledger', '--rounds', '0'], ['../ledger'], ['ledger', '--what']]) {
  test(`wrong use exits 2 and prints nothing on stdout: bench ${args.join(' ')}`, () => {
    const { status, stdout, stderr } = bench(...args);
    deepEqual([status, stdout], [2, '']);
    match(stderr, /ledger/);
  });
}

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { readTar } from '../../gateway/policy/tar-reader.ts';

const RULES = [
  'runaway',
  'conflict',
  'undefined_below_two',
  'yes',
  'usual',
  'unknown_field',
  'echo',
  'layers',
  'text',
  'conflict_always',
  'usual_for_reads',
  'obliging',
  'asking',
];

/** The module of `gateway/policy/testing/odd`, which tests of the engine use. Committed, because OPA may be absent. */
export function compileOddPolicies(opa: string, folder: string): Buffer {
  const output = mkdtempSync(join(tmpdir(), 'chaperone-odd-'));
  try {
    const file = join(output, 'odd.tar.gz');
    const entrypoints = RULES.flatMap((rule) => ['--entrypoint', `odd/${rule}`]);
    const args = ['build', '--bundle', '.', '--target', 'wasm', '--output', file, ...entrypoints];
    const done = spawnSync(opa, args, { cwd: folder, encoding: 'utf8' });
    if (done.status !== 0) {
      throw new Error(`opa build failed: ${done.stderr}`);
    }
    const module = readTar(gunzipSync(readFileSync(file))).get('policy.wasm');
    if (module === undefined) {
      throw new Error('opa build gave no policy.wasm');
    }
    return module;
  } finally {
    rmSync(output, { recursive: true, force: true });
  }
}

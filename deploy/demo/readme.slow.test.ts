import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { packageRoot } from '../../core/runtime/package-root.ts';
import { writeDemoConfig, type DemoConfig } from './story/demo-config.ts';
import { Deployment } from './story/deployment.ts';

const root = packageRoot();
const MAIN = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'cli', 'main.js');
/** The command that the README starts in the first terminal; the rest is for the second one. */
const UP = 'npx chaperone up --config deploy/demo/chaperone.yaml';

/** Every line of the quick start, pasted as it stands into one shell; only ports and folders are those of this run. */
describe('the quick start of the README', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'chaperone-readme-'));
  let config: DemoConfig;
  let deployment: Deployment;
  before(async () => {
    config = await writeDemoConfig({ root, dataDir });
    deployment = Deployment.spawn(MAIN, config.path, dataDir);
    await deployment.ready();
  });
  after(async () => {
    await deployment.stop();
    rmSync(dataDir, { recursive: true, force: true });
  });

  test('works when pasted', async () => {
    const blocks = quickStart();
    equal(blocks.shift()?.trim(), UP);
    ok(blocks.length >= 6);
    const script = blocks.map((block) => `echo '@@@'\n${block}`).join('\n');
    const { exit, stdout, stderr } = await bash(ofThisRun(script, config, dataDir));
    equal(exit, 0, `${stdout}\n${stderr}`);
    const [, read, unknown, egress, refused, approved, audit] = stdout.split('@@@\n');
    match(read ?? '', /"ssn":"\[REDACTED\]"/);
    match(read ?? '', /"race":"white"/);
    match(unknown ?? '', /"genome_marker":"\[WITHHELD\]"/);
    match(egress ?? '', /"egress_identifiers"/);
    match(refused ?? '', /"script_not_reviewed"/);
    match(refused ?? '', /robin reviewed/);
    match(refused ?? '', /"approval_pending"/);
    match(approved ?? '', /Approved by pat/);
    equal((approved ?? '').match(/^\{"id":/gm)?.length, 27, approved);
    match(audit ?? '', /Session [0-9a-f]{32}/);
    match(audit ?? '', /approval_pending/);
    match(audit ?? '', /Complete and unaltered/);
    equal(/999-\d\d-\d{4}/.test(stdout), false, 'no raw identifier on any screen');
    deepEqual(deployment.problems, []);
  });
});

/** The `sh` blocks under "Quick start". */
function quickStart(): string[] {
  const [, section = ''] = readFileSync(join(root, 'README.md'), 'utf8').split('## Quick start\n');
  const [text = ''] = section.split('\n## ');
  return [...text.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, block = '']) => block);
}

function ofThisRun(script: string, { ports, path }: DemoConfig, dataDir: string): string {
  const own = script
    .replaceAll('$PWD/deploy/demo/chaperone.yaml', path)
    .replaceAll('.chaperone/demo/', `${dataDir}/`)
    .replaceAll('npx chaperone', `node ${MAIN}`);
  return own.replace(/(?<=127\.0\.0\.1:)\d+/g, (port) => String(ports.get(Number(port)) ?? `unknown-${port}`));
}

function bash(script: string): Promise<{ exit: number | null; stdout: string; stderr: string }> {
  const child = spawn('bash', ['-euo', 'pipefail'], { cwd: root, stdio: ['pipe', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  child.stdin.end(script);
  return new Promise((resolve) => {
    child.once('close', (exit) => resolve({ exit, stdout, stderr }));
  });
}

import { equal, match, ok } from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { packageRoot } from '../../core/runtime/package-root.ts';
import { EXIT } from '../exit-code.ts';
import { jsonOf, runCaptured } from '../testing/captured-io.ts';
import { type Check, clockCheck, nodeVersion } from './examine.ts';

describe('doctor', () => {
  for (const [version, status] of [
    ['18.20.0', 'fail'],
    ['20.18.9', 'fail'],
    ['20.19.0', 'ok'],
    ['24.0.0', 'ok'],
  ] as const) {
    test(`Node ${version}: ${status}`, () => equal(nodeVersion(version).status, status));
  }

  test('a clock before this software was written fails, one that differs from the disk’s warns', () => {
    const now = Date.UTC(2026, 5, 1);
    equal(clockCheck(Date.UTC(2020, 0, 1), Date.UTC(2020, 0, 1)).status, 'fail');
    equal(clockCheck(now, now + 2_000).status, 'ok');
    equal(clockCheck(now, now + 2_001).status, 'warn');
    match(clockCheck(now, now - 60_000).remedy, /NTP/);
  });

  test('looks at everything, says what to do about a port in use, and leaves nothing behind', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'chaperone-doctor-'));
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as AddressInfo;
    try {
      const demo = join(packageRoot(), 'deploy', 'demo', 'chaperone.yaml');
      const sets = ['node.dataDir=' + directory, `admin.port=${port}`].flatMap((set) => ['--set', set]);
      const result = await runCaptured(['doctor', '--json', '--config', demo, ...sets]);
      const { checks } = jsonOf<{ checks: Check[] }>(result);
      const byName = new Map(checks.map((check) => [check.name, check]));
      for (const name of ['node', 'uWebSockets', 'chdb', 'opa', 'config', 'disk', 'space', 'fdatasync', 'clock']) {
        ok(byName.has(name), name);
      }
      equal(result.exit, EXIT.failed);
      equal(byName.get('ports')?.status, 'fail');
      match(byName.get('ports')?.detail ?? '', new RegExp(`admin\\.port ${port}\\b`));
      match(byName.get('ports')?.remedy ?? '', /--set/);
      ok(checks.every(({ status, remedy }) => status === 'ok' || remedy !== ''));
      equal(readdirSync(directory).length, 0);
    } finally {
      await new Promise((resolve) => server.close(resolve));
      rmSync(directory, { recursive: true, force: true });
    }
  });
});

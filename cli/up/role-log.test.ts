import { deepEqual, equal, ok } from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { isAlarm, RoleLog } from './role-log.ts';

const directory = mkdtempSync(join(tmpdir(), 'chaperone-log-'));
after(() => rmSync(directory, { recursive: true, force: true }));

describe('the log of a role', () => {
  test('keeps the newest lines in two files of bounded size, across a restart', () => {
    const bytesMax = 64;
    let log = new RoleLog(directory, 'gateway', bytesMax);
    const written: string[] = [];
    for (let i = 0; i < 40; i++) {
      if (i === 20) {
        log.close();
        log = new RoleLog(directory, 'gateway', bytesMax);
      }
      const line = `line ${String(i).padStart(4, '0')}`;
      written.push(line);
      log.write(line);
      ok(statSync(log.path).size <= bytesMax);
    }
    log.close();
    const kept = [`${log.path}.1`, log.path].flatMap((path) => readFileSync(path, 'utf8').trimEnd().split('\n'));
    ok(kept.length >= bytesMax / 10 && kept.length < written.length);
    deepEqual(kept, written.slice(-kept.length));
    ok(!existsSync(`${log.path}.2`));
    equal(statSync(log.path).mode & 0o777, 0o600);
  });

  test('cuts a line that is too long instead of growing past its bound', () => {
    const log = new RoleLog(directory, 'bus');
    log.write('x'.repeat(100_000));
    log.close();
    ok(statSync(log.path).size < 10_000);
  });

  for (const [line, alarm] of [
    ['{"level":"info","msg":"ready"}', false],
    ['{"level":"warn","msg":"slow"}', false],
    ['{"level":"error","msg":"down"}', true],
    ['{"level":"fatal","msg":"gone"}', true],
    ['{"level":', true],
    ['TypeError: x is not a function', true],
    ['   ', false],
    ['', false],
  ] as const) {
    test(`${alarm ? 'shows' : 'keeps'} ${JSON.stringify(line)}`, () => equal(isAlarm(line), alarm));
  }
});

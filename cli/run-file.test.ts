import { deepEqual, equal, throws } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { isAlive, readRunFile, type RunFile, runFilePath, runningDeployment, writeRunFile } from './run-file.ts';

const directory = mkdtempSync(join(tmpdir(), 'chaperone-run-'));
after(() => rmSync(directory, { recursive: true, force: true }));

function run(changes: Partial<RunFile> = {}): RunFile {
  return {
    version: 1,
    pid: process.pid,
    startedMs: 1,
    stoppedMs: null,
    cluster: 'demo',
    node: 'node-1',
    configPath: '/c.yaml',
    dataDir: directory,
    ports: { http: 8080 },
    pids: { gateway: process.pid },
    http: 'http://127.0.0.1:8080',
    admin: 'http://127.0.0.1:9090',
    control: '127.0.0.1:9091',
    vault: '127.0.0.1:9092',
    archive: { url: 'http://127.0.0.1:9093', token: 'secret-token' },
    clickhouse: { url: 'http://127.0.0.1:9094', username: 'reader', password: 'p', database: 'chaperone' },
    logKey: 'l',
    witnessKeys: ['w'],
    caPath: '/ca.pem',
    ...changes,
  };
}

describe('run.json', () => {
  test('is what was written, and only its owner may read it', () => {
    writeRunFile(run());
    equal(statSync(runFilePath(directory)).mode & 0o777, 0o600);
    deepEqual(readRunFile(directory), run());
    deepEqual(runningDeployment(directory), run());
  });

  test('of a deployment that was stopped, or whose process is gone, is no running deployment', () => {
    writeRunFile(run({ stoppedMs: 5 }));
    throws(() => runningDeployment(directory), /nothing runs on/);
    const { pid } = spawnSync(process.execPath, ['--version']);
    equal(isAlive(pid), false);
    writeRunFile(run({ pid }));
    throws(() => runningDeployment(directory), /nothing runs on/);
  });

  test('that is missing or damaged is told apart, without its tokens', () => {
    equal(readRunFile(join(directory, 'none')), null);
    writeFileSync(runFilePath(directory), JSON.stringify({ ...run(), version: 2 }));
    throws(
      () => readRunFile(directory),
      (error: Error) => /not written by this version/.test(error.message) && !error.message.includes('secret-token'),
    );
  });
});

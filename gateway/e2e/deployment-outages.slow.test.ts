import { deepEqual, equal, ok } from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { jsonOf, runCaptured } from '../../cli/testing/captured-io.ts';
import { DemoDeployment } from '../../cli/testing/demo-deployment.ts';
import { canariesIn, withoutZeros } from './testing/canary-search.ts';

/** Every process of a deployment on one machine; one after the other goes away while an agent reads on. */
describe('outages of a whole deployment', () => {
  let deployment: DemoDeployment;
  let token = '';
  /** Positions that the agent was given: none of them may be lost. */
  const positions: string[] = [];
  before(async () => {
    deployment = await DemoDeployment.make();
    await deployment.start();
    const issued = await runCaptured(['token', '--json', '--config', deployment.configPath]);
    token = jsonOf<{ token: string }>(issued).token;
  });
  after(() => deployment.remove());

  const read = async (): Promise<void> => {
    const response = await fetch(`${deployment.run.http}/clinic/patients?limit=3`, {
      headers: { authorization: `Bearer ${token}`, cookie: 'session=canary-cookie-5b1f' },
    });
    const text = await response.text();
    equal(response.status, 200, text);
    positions.push(response.headers.get('evidence') ?? '');
  };

  test('ClickHouse hangs and then dies: the gateway serves on, and the rows catch up', async () => {
    await read();
    await rowsOf(deployment, positions);
    const pid = deployment.run.pids['clickhouse'] ?? 0;
    process.kill(pid, 'SIGSTOP');
    for (let i = 0; i < 5; i++) {
      await read();
    }
    process.kill(pid, 'SIGKILL');
    await read();
    await isBack(deployment, 'clickhouse', pid);
    await rowsOf(deployment, positions);
  });

  for (const role of ['vault', 'ingest', 'sequencer', 'witness', 'bus'] as const) {
    test(`${role} dies: the gateway serves on, and nothing that was answered is lost`, async () => {
      const pid = deployment.run.pids[role] ?? 0;
      process.kill(pid, 'SIGKILL');
      for (let i = 0; i < 3; i++) {
        await read();
      }
      await isBack(deployment, role, pid);
      await read();
      await rowsOf(deployment, positions);
    });
  }

  test('the evidence of all of it verifies', async () => {
    const verify = () => runCaptured(['evidence', 'verify', '--json', '--config', deployment.configPath]);
    let verified = await verify();
    // What came last waits for its checkpoint and its witness.
    for (let look = 0; verified.exit !== 0 && look < 20; look++) {
      verified = await verify();
    }
    equal(verified.exit, 0, [...verified.out, ...verified.err].join('\n').slice(0, 4_000));
  });

  test('no token, cookie or identifier is in clear in any file under the data directory', async () => {
    const direct = await fetch(`${deployment.clinicUrl}/patients?limit=3`, {
      headers: { authorization: 'Bearer INSECURE-demo-service-token' },
    });
    const raw = (await direct.json()) as Record<string, string | null>[];
    const identifiers = raw.flatMap((row) =>
      ['ssn', 'email', 'drivers', 'address', 'phone'].map((name) => row[name] ?? ''),
    );
    const canaries = [token.split('.')[2] ?? '', 'canary-cookie-5b1f', ...identifiers.filter((one) => one.length > 7)];
    ok(canaries.length > 8);
    await deployment.stop();
    const files = filesUnder(deployment.dataDir);
    ok(files.length > 20 && files.some((path) => path.includes('logs')));
    const found: string[] = [];
    for (const path of files) {
      found.push(...canariesIn(canaries, { [path]: withoutZeros([readFileSync(path)]) }));
    }
    deepEqual(found, []);
  });
});

async function isBack(deployment: DemoDeployment, role: string, oldPid: number): Promise<void> {
  for (;;) {
    const pid = deployment.run.pids[role];
    if (pid !== undefined && pid !== oldPid) {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Waits until every position has its row. */
async function rowsOf(deployment: DemoDeployment, positions: readonly string[]): Promise<void> {
  for (let look = 0; ; look++) {
    const missing = await missingRows(deployment, positions).catch((error: Error) => [error.message]);
    if (missing.length === 0) {
      return;
    }
    ok(look < 3_000, `no rows for ${missing.join(', ')}\n${deployment.errors.join('\n')}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function missingRows(deployment: DemoDeployment, positions: readonly string[]): Promise<string[]> {
  const { url, username, password, database } = deployment.run.clickhouse;
  const query = `SELECT lower(hex(reinterpretAsFixedString(byteSwap(writer_id)))) AS w, record_index AS i FROM events WHERE kind = 'operation' FORMAT JSONEachRow`;
  const response = await fetch(`${url}/?database=${database}`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` },
    body: query,
    signal: AbortSignal.timeout(5_000),
  });
  const text = await response.text();
  if (!response.ok) {
    throw new Error(text.slice(0, 300));
  }
  const rows = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as { w: string; i: string | number });
  const have = new Set(rows.map(({ w, i }) => `${w}/${i}`));
  return positions.filter((position) => !have.has(position));
}

function filesUnder(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => join(directory, name))
    .filter((path) => statSync(path).isFile());
}

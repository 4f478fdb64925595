import { deepEqual, equal, match, notEqual, ok, rejects } from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { lockDirectory } from '../core/bus/file-bus/directory-lock.ts';
import { EXIT } from './exit-code.ts';
import { isAlive, readRunFile } from './run-file.ts';
import { type CliResult, jsonOf, runCaptured } from './testing/captured-io.ts';
import { DemoDeployment } from './testing/demo-deployment.ts';

interface Problem {
  readonly code: string;
  readonly decision_id: string;
  readonly reasons: readonly { readonly id: string }[];
  readonly approval?: { readonly id: string };
}

/** Real processes, in order: each test goes on from what the one before left. */
describe('chaperone up with the demo configuration', () => {
  let deployment: DemoDeployment;
  let ready: Record<string, unknown>;
  let token = '';

  const cli = (...args: string[]): Promise<CliResult> => runCaptured([...args, '--config', deployment.configPath]);
  const ask = (path: string, body: unknown = null): Promise<Response> =>
    fetch(`${deployment.run.http}${path}`, {
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      ...(body === null ? {} : { method: 'POST', body: JSON.stringify(body) }),
    });

  before(async () => {
    deployment = await DemoDeployment.make();
    ready = await deployment.start();
    token = jsonOf<{ token: string }>(await cli('token', '--json')).token;
  });
  after(() => deployment.remove());

  test('says once that everything serves, and leaves a private run.json with living processes', () => {
    equal(ready['ready'], true);
    equal(ready['dataDir'], deployment.dataDir);
    const { run } = deployment;
    equal(statSync(join(deployment.dataDir, 'run.json')).mode & 0o777, 0o600);
    deepEqual(ready['ports'], run.ports);
    const roles = ['bus', 'clickhouse', 'clinic', 'gateway', 'ingest', 'sequencer', 'vault', 'witness'];
    deepEqual(Object.keys(run.pids).sort(), roles);
    ok(Object.values(run.pids).every(isAlive));
    ok(Object.values(run.ports).every((port) => port > 0));
  });

  test('is ready for a load balancer, with its writers in the cluster log', async () => {
    const { admin } = deployment.run;
    deepEqual(await (await fetch(`${admin}/readyz`)).json(), { ready: true, reasons: [] });
    match(await (await fetch(`${admin}/metrics`)).text(), /chaperone_checkpoint_age_seconds/);
  });

  test('a second `up` on the same data directory is refused and changes nothing', async () => {
    const before = deployment.run;
    const refused = await cli('up', '--json');
    equal(refused.exit, EXIT.usage);
    match(jsonOf<{ error: { detail: string } }>(refused).error.detail, /another `chaperone up` runs/);
    deepEqual(deployment.run, before);
  });

  test('an agent reads patients masked, and the replay shows exactly the bytes that it got', async () => {
    const direct = await fetch(`${deployment.clinicUrl}/patients?limit=3`, {
      headers: { authorization: 'Bearer INSECURE-demo-service-token' },
    });
    const raw = (await direct.json()) as { ssn: string; last: string }[];
    const response = await ask('/clinic/patients?limit=3');
    equal(response.status, 200);
    const text = await response.text();
    equal(raw.length, 3);
    for (const { ssn, last } of raw) {
      ok(ssn.length > 0 && !text.includes(ssn) && !text.includes(last), 'no raw identifier reached the agent');
    }
    const position = response.headers.get('evidence') ?? '';
    const played = await cli('sessions', 'play', position, '--json');
    equal(played.exit, EXIT.ok, played.out.join('\n'));
    const { exchanges, findings } = jsonOf<{
      exchanges: {
        position: string;
        request: { target: string; headers: { name: string }[] };
        response: { status: number; body: string };
        masks: { counts: { action: string; count: number }[] };
      }[];
      findings: unknown[];
    }>(played);
    deepEqual(findings, []);
    const exchange = exchanges.find((one) => one.position === position);
    equal(exchange?.response.body, text);
    equal(exchange?.request.target, '/patients?limit=3');
    ok(!exchange?.request.headers.some(({ name }) => name.toLowerCase() === 'authorization'));
    ok((exchange?.masks.counts ?? []).some(({ action, count }) => action === 'redact' && count > 0));
    const proof = await cli('evidence', 'proof', position);
    equal(proof.exit, EXIT.ok);
    match(proof.out[0] ?? '', /^PRESENT/);
  });

  test('a bulk export needs a reviewed script, then another person, and passes once', async () => {
    const script = join(deployment.directory, 'export.py');
    writeFileSync(script, 'export everything');
    const digest = createHash('sha256').update(readFileSync(script)).digest('hex');
    token = (await cli('token', '--script-digest', digest)).out[0] ?? '';
    const path = '/clinic/export/patients.ndjson';
    const refused = (await (await ask(path)).json()) as Problem;
    deepEqual(
      refused.reasons.map(({ id }) => id),
      ['script_not_reviewed'],
    );
    equal((await cli('script', 'attest', '--script', script, '--person', 'dana')).exit, EXIT.authentication);
    equal((await cli('script', 'attest', '--script', script, '--person', 'robin')).exit, EXIT.ok);

    const held = (await (await ask(path)).json()) as Problem;
    equal(held.code, 'approval_pending');
    const id = held.approval?.id ?? '';
    equal((await cli('approvals', 'wait', id, '--timeout', '1')).exit, EXIT.pending);
    const card = await cli('approvals', 'get', id, '--person', 'pat', '--json');
    equal(jsonOf<{ preview: { target: string } }>(card).preview.target, '/export/patients.ndjson');
    equal((await cli('approvals', 'approve', id, '--person', 'dana', '--reason', 'mine')).exit, EXIT.denied);
    equal((await cli('approvals', 'approve', id, '--person', 'pat')).exit, EXIT.usage);
    equal((await cli('approvals', 'approve', id, '--person', 'pat', '--reason', 'ticket 7', '--json')).exit, EXIT.ok);
    equal((await cli('approvals', 'wait', id)).exit, EXIT.ok);

    const granted = await ask(path);
    equal(granted.status, 200);
    ok((await granted.text()).split('\n').length > 10);
    const again = (await (await ask(path)).json()) as Problem;
    equal(again.code, 'approval_pending');
    notEqual(again.approval?.id, id);
    const second = again.approval?.id ?? '';
    equal((await cli('approvals', 'deny', second, '--person', 'sam', '--reason', 'once was enough')).exit, EXIT.ok);
    equal((await cli('approvals', 'wait', second)).exit, EXIT.refused);
  });

  test('identifiers do not leave for a destination that is not allowed to have them', async () => {
    const stateUrl = `${deployment.clinicUrl}/_demo/state`;
    const before = (await (await fetch(stateUrl)).json()) as { receivedBytes: number };
    const response = await ask('/analytics/rows', [{ ssn: '999-12-3456' }]);
    equal(response.status, 403);
    const problem = (await response.json()) as Problem;
    ok(problem.reasons.some(({ id }) => id === 'egress_identifiers'));
    const after = (await (await fetch(stateUrl)).json()) as { receivedBytes: number };
    equal(after.receivedBytes, before.receivedBytes);
  });

  test('a gateway that is killed comes back on its ports, with everything that it had acknowledged', async () => {
    const response = await ask('/clinic/patients?limit=1');
    const position = response.headers.get('evidence') ?? '';
    equal(response.status, 200);
    await response.text();
    const { pids, http } = deployment.run;
    process.kill(pids['gateway'] ?? 0, 'SIGKILL');
    let pid = pids['gateway'];
    for (let look = 0; pid === pids['gateway'] && look < 600; look++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      pid = deployment.run.pids['gateway'];
    }
    notEqual(pid, pids['gateway'], deployment.errors.join('\n'));
    equal(deployment.run.http, http);
    equal((await ask('/clinic/patients?limit=1')).status, 200);
    const played = await cli('sessions', 'play', position, '--json');
    equal(played.exit, EXIT.ok, played.out.join('\n'));
    const proof = await cli('evidence', 'proof', position, '--json');
    equal(jsonOf<{ verdict: string; source: string }>(proof).verdict, 'PRESENT');
  });

  test('when the launcher is killed its roles end by themselves, and the next `up` goes on from what is durable', async () => {
    const response = await ask('/clinic/patients?limit=1');
    const position = response.headers.get('evidence') ?? '';
    await response.text();
    const pids = Object.values(deployment.run.pids);
    await deployment.kill();
    for (let look = 0; pids.some(isAlive) && look < 600; look++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    deepEqual(pids.filter(isAlive), []);
    equal((await cli('approvals', 'ls')).exit, EXIT.usage);
    await deployment.start();
    const played = await cli('sessions', 'play', position, '--json');
    equal(played.exit, EXIT.ok, played.out.join('\n'));
  });

  test('SIGTERM drains in order: exit 0, no process is left, and the other verbs say that nothing runs', async () => {
    const pids = Object.values(deployment.run.pids);
    equal(pids.length, 8);
    equal(await deployment.stop(), EXIT.ok);
    deepEqual(pids.filter(isAlive), []);
    ok(typeof deployment.run.stoppedMs === 'number');
    const log = readFileSync(join(deployment.dataDir, 'logs', 'gateway.log'), 'utf8')
      .trimEnd()
      .split('\n');
    deepEqual(JSON.parse(log.at(-1) ?? '').msg, 'drained');
    deepEqual(JSON.parse(log.at(-1) ?? '').reason, 'clean');
    const refused = await cli('sessions', 'ls');
    equal(refused.exit, EXIT.usage);
    match(refused.err.join('\n'), /nothing runs/);
  });
});

describe('chaperone up that cannot start', () => {
  test('names the role and the cause, and leaves no process behind', async () => {
    const deployment = await DemoDeployment.make();
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    try {
      await rejects(deployment.start('--set', `vault.port=${port}`), (error: Error) => {
        match(
          error.message,
          new RegExp(`ended with ${EXIT.usage} .*vault could not start: .*cannot listen on port ${port}`),
        );
        return true;
      });
      equal(readRunFile(deployment.dataDir), null);
      const lock = await lockDirectory(join(deployment.dataDir, 'vault'));
      await lock.release();
    } finally {
      await new Promise((resolve) => server.close(resolve));
      await deployment.remove();
    }
  });
});

import { deepEqual, equal, ok } from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { FaultDisk, type FaultRule } from '../../core/runtime/testing/fault-disk.ts';
import { startClinic, type Clinic } from '../../deploy/demo/clinic-service.ts';
import { WorkerHarness } from './testing/worker-harness.ts';

/** Promise P1 on a whole worker: real sockets, real policy, real masking; only the disk is one that fails on demand. */
describe('record before bytes', () => {
  let clinic: Clinic;
  before(async () => {
    clinic = await startClinic({ host: '127.0.0.1', clinicPort: 0, analyticsPort: 0, serviceToken: 'service' });
  });
  after(() => clinic.close());

  const start = async (disk: FaultDisk): Promise<WorkerHarness> => {
    const gateway = await WorkerHarness.start({
      disk,
      upstreams: { clinic: clinic.clinicPort, analytics: clinic.analyticsPort },
    });
    // The strand of the session is open and durable: what follows is about the operation alone.
    equal((await gateway.fetch('/clinic/patients?limit=1')).status, 200);
    return gateway;
  };
  const state = async (): Promise<{ requests: number; receivedBytes: number }> =>
    (await (await fetch(`http://127.0.0.1:${clinic.clinicPort}/_demo/state`)).json()) as {
      requests: number;
      receivedBytes: number;
    };
  const until = async (condition: () => Promise<boolean> | boolean): Promise<void> => {
    while (!(await condition())) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  };

  test('the upstream has answered, the flush has not returned: the agent has not one byte', async () => {
    const disk = new FaultDisk();
    const gateway = await start(disk);
    const release = disk.hold('datasync');
    const releaseWrites = disk.hold('write');
    const earlier = await state();
    const agent = rawGet(gateway, '/clinic/patients?limit=2');
    await until(async () => (await state()).requests > earlier.requests);
    // Everything that the gateway will do without the disk, it has done after some turns of the loop.
    for (let i = 0; i < 200; i++) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    equal(agent.received().length, 0);
    releaseWrites();
    release();
    await until(() => agent.received().includes('"[REDACTED]"') || agent.received().includes(']'));
    ok(agent.received().startsWith('HTTP/1.1 200'));
    agent.socket.destroy();
    await gateway.close();
  });

  test('a write is not forwarded, not even its head, before its record is durable', async () => {
    const disk = new FaultDisk();
    const gateway = await start(disk);
    const release = disk.hold('datasync');
    const releaseWrites = disk.hold('write');
    const earlier = await state();
    const body = JSON.stringify([{ code: '8302-2', value: 1 }]);
    const answered = gateway.fetch('/analytics/rows', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    });
    for (let i = 0; i < 400; i++) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    deepEqual(await state(), earlier);
    releaseWrites();
    release();
    const response = await answered;
    const text = await response.text();
    equal(response.status, 200, text);
    ok((await state()).receivedBytes > earlier.receivedBytes);
    await gateway.close();
  });

  const faults: readonly [string, FaultRule][] = [
    ['the flush fails with EIO', { operation: 'datasync', fault: { kind: 'error', code: 'EIO' }, times: Infinity }],
    ['the write fails with EIO', { operation: 'write', fault: { kind: 'error', code: 'EIO' }, times: Infinity }],
    [
      'the disk takes only a part of the write',
      { operation: 'write', fault: { kind: 'short', bytes: 100 }, times: Infinity },
    ],
    ['the disk is full', { operation: 'write', fault: { kind: 'error', code: 'ENOSPC' }, times: Infinity }],
  ];
  for (const [what, rule] of faults) {
    test(`${what}: a native error, no upstream byte, nothing forwarded, and the node says why`, async () => {
      const disk = new FaultDisk();
      const gateway = await start(disk);
      disk.inject(rule);
      const read = await gateway.fetch('/clinic/patients?limit=2');
      const text = await read.text();
      equal(read.status, 503, text);
      ok(/recorder_unavailable|disk_full|disk_failed/.test(text), text);
      equal(/Somerville|white|nonhispanic/.test(text), false);
      const earlier = await state();
      const write = await gateway.fetch('/analytics/rows', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '[{"code":"1","value":1}]',
      });
      equal(write.status, 503);
      deepEqual((await state()).receivedBytes, earlier.receivedBytes);
      ok(gateway.worker.writer.failure !== null);
      ok(gateway.warnings.some((warning) => warning.startsWith('the recorder takes no records')));
      disk.heal();
      await gateway.close();
    });
  }
});

function rawGet(gateway: WorkerHarness, path: string): { socket: Socket; received: () => string } {
  let text = '';
  const socket = connect(gateway.port, '127.0.0.1', () => {
    socket.write(`GET ${path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer ${gateway.token()}\r\n\r\n`);
  });
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1');
  });
  return { socket, received: () => text };
}

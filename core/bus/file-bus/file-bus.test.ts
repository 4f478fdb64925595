import { equal } from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SystemClock } from '../../kernel/clock.ts';
import { busContract } from '../bus-contract.ts';
import { FileBus } from './file-bus.ts';
import { FileBusOwner } from './testing/file-bus-owner.ts';

busContract('file', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'chaperone-file-bus-'));
  const socketPath = join(directory, 'bus.sock');
  const data = join(directory, 'data');
  const clock = new SystemClock();
  let owner = await FileBusOwner.start(data, socketPath);
  return {
    connect: async () => new FileBus({ socketPath, clock }),
    replicated: false,
    crash: async () => {
      await owner.kill();
      owner = await FileBusOwner.start(data, socketPath);
    },
    close: async () => {
      await owner.kill('SIGTERM');
      await rm(directory, { recursive: true });
    },
  };
});

// No bound here: the machine that runs the tests may be busy. The figure is for the reader; `bench` has the gates.
test('carries batches of 256 KiB from a publisher to a tail', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'chaperone-file-bus-'));
  const socketPath = join(directory, 'bus.sock');
  const owner = await FileBusOwner.start(join(directory, 'data'), socketPath);
  const clock = new SystemClock();
  const [publisher, reader] = [new FileBus({ socketPath, clock }), new FileBus({ socketPath, clock })];
  const [count, size, inFlight] = [400, 256 * 1024, 16];
  const retention = { cleanup: 'delete', retentionMs: 60_000, replicationFactor: 1, minInSyncReplicas: 1 } as const;
  await publisher.ensure({ name: 't', partitions: 2, ...retention });
  let received = 0;
  const startMs = clock.monotonicMs();
  const arrived = new Promise<void>((resolve) => {
    reader.tail('t', 'start', (messages) => {
      received += messages.length;
      if (received === count) {
        resolve();
      }
    });
  });
  let sent = 0;
  const publish = async (worker: number): Promise<void> => {
    for (const value = Buffer.alloc(size, worker); sent < count;) {
      sent += 1;
      await publisher.publish('t', Buffer.from(`writer-${worker}`), [value]);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, (_, worker) => publish(worker)));
  await arrived;
  const elapsedMs = clock.monotonicMs() - startMs;
  t.diagnostic(`${((count * size) / 1000 / elapsedMs).toFixed(0)} MB/s published and read, ${inFlight} in flight`);
  equal(received, count);
  await publisher.close();
  await reader.close();
  await owner.kill('SIGTERM');
  await rm(directory, { recursive: true });
});

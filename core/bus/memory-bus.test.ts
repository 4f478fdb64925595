import { deepEqual, equal, rejects } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SystemClock } from '../kernel/clock.ts';
import { ManualClock } from '../kernel/testing/manual-clock.ts';
import { busContract } from './bus-contract.ts';
import type { BusMessage } from './bus.ts';
import { MemoryBus, MemoryBusStore } from './memory-bus.ts';
import { partitionOf } from './partition.ts';

busContract(
  'memory',
  async () => {
    const store = new MemoryBusStore();
    const clock = new SystemClock();
    return { connect: async () => new MemoryBus(clock, store), replicated: true, close: async () => undefined };
  },
  { inProcess: true },
);

const SETTINGS = { partitions: 1, retentionMs: 1000, replicationFactor: 1, minInSyncReplicas: 1 } as const;

describe('MemoryBus', () => {
  test('drops what is older than the retention and keeps offsets', async () => {
    const clock = new ManualClock();
    const bus = new MemoryBus(clock);
    await bus.ensure({ ...SETTINGS, name: 't', cleanup: 'delete' });
    await bus.publish('t', Buffer.from('k'), [Buffer.from('old')]);
    clock.advance(1000);
    await bus.publish('t', Buffer.from('k'), [Buffer.from('new')]);
    bus.applyRetention();
    equal((await take(bus, 't', 2)).length, 2, 'exactly as old as the retention is kept');
    clock.advance(1);
    bus.applyRetention();
    deepEqual(
      (await take(bus, 't', 1)).map((m) => [m.offset, m.value.toString()]),
      [[1, 'new']],
    );
  });

  test('compacts to the newest value of each key', async () => {
    const bus = new MemoryBus(new ManualClock());
    await bus.ensure({ ...SETTINGS, name: 't', cleanup: 'compact' });
    for (const [key, value] of ['a1', 'b1', 'a2'].map((s) => [s[0] as string, s])) {
      await bus.publish('t', Buffer.from(key as string), [Buffer.from(value as string)]);
    }
    bus.applyRetention();
    deepEqual(
      (await take(bus, 't', 2)).map((m) => [m.offset, m.value.toString()]),
      [
        [1, 'b1'],
        [2, 'a2'],
      ],
    );
  });

  test('rejects everything while it is switched off, and tails go on afterwards', async () => {
    const store = new MemoryBusStore();
    const bus = new MemoryBus(new ManualClock(), store);
    await bus.ensure({ ...SETTINGS, name: 't', cleanup: 'delete' });
    const taken = take(bus, 't', 1);
    store.available = false;
    await rejects(bus.publish('t', Buffer.from('k'), [Buffer.from('v')]), { code: 'bus_unavailable' });
    equal((await bus.health()).ok, false);
    store.available = true;
    await bus.publish('t', Buffer.from('k'), [Buffer.from('v')]);
    equal((await taken).length, 1);
  });
});

test('the partition of a key never changes', () => {
  deepEqual(
    ['', 'a', 'writer-1', '\u00ff\u0000'].map((key) => partitionOf(Buffer.from(key, 'latin1'), 12)),
    [0, 3, 1, 9],
  );
  equal(partitionOf(Buffer.from('anything'), 1), 0);
});

async function take(bus: MemoryBus, topic: string, count: number): Promise<BusMessage[]> {
  const got: BusMessage[] = [];
  await new Promise<void>((resolve) => {
    const tail = bus.tail(topic, 'start', (messages) => {
      got.push(...messages);
      if (got.length >= count) {
        resolve();
      }
    });
    tail.done.catch(() => undefined);
  });
  return got;
}

import { deepEqual } from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryBus } from '../../core/bus/memory-bus.ts';
import { TOPICS } from '../../core/bus/topics.ts';
import { ManualClock } from '../../core/kernel/testing/manual-clock.ts';
import { HEAD_SIZE } from '../../core/ledger/head.ts';
import { headSink } from './bus-sinks.ts';

test('no head goes onto the bus before the openings of the node are there', async () => {
  const bus = new MemoryBus(new ManualClock());
  await bus.ensure(TOPICS.heads);
  let announce: () => void = () => undefined;
  const heads = new Map<string, Buffer>();
  const sink = headSink(
    bus,
    heads,
    new Promise<void>((resolve) => {
      announce = resolve;
    }),
  );
  const writerId = Buffer.alloc(16, 7);
  const sent = sink.publish(Buffer.alloc(HEAD_SIZE, 1), writerId);
  for (let turn = 0; turn < 20; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  deepEqual(await bus.endOffsets(TOPICS.heads.name), [0]);
  deepEqual([...heads.keys()], [writerId.toString('hex')], 'it is known all the same');
  announce();
  await sent;
  deepEqual(await bus.endOffsets(TOPICS.heads.name), [1]);
});

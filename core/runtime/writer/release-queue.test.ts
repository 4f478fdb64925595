import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { ReleaseQueue } from './release-queue.ts';
import { settle } from './testing/writer-fixture.ts';

test('a waiter that throws is reported and keeps no other from being called', () => {
  const raised: unknown[] = [];
  const called: number[] = [];
  const queue = new ReleaseQueue(
    () => undefined,
    (error) => raised.push(error),
  );
  const bug = new Error('bug of a room');
  queue.push(
    [
      () => called.push(1),
      () => {
        throw bug;
      },
      () => called.push(3),
    ],
    null,
  );
  deepEqual(called, [1, 3]);
  deepEqual(raised, [bug]);
});

test('calls everybody once, in order, with the failure of their group, and lets the loop turn between slices', async () => {
  const calls: string[] = [];
  let slices = 0;
  const queue = new ReleaseQueue(() => slices++);
  const waiters = (name: string, count: number) =>
    Array.from({ length: count }, (_, i) => (failure: Error | null) => {
      calls.push(`${name}${i} ${failure?.message ?? 'ok'}`);
    });
  queue.push(waiters('a', 100), null);
  ok(calls.length > 0 && calls.length < 100, 'a slice at once, the rest in later turns');
  queue.push(waiters('b', 3), new Error('no'));
  queue.push([], null);
  await settle();
  equal(calls.length, 103);
  deepEqual(calls.slice(98), ['a98 ok', 'a99 ok', 'b0 no', 'b1 no', 'b2 no']);
  ok(slices > 1);
});

import { deepEqual, equal, rejects } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { GatewayError } from '../../core/kernel/errors.ts';
import { ManualClock } from '../../core/kernel/testing/manual-clock.ts';
import { type ApprovalRecord, type ApprovalRecordKind, RecordQueue } from './record-queue.ts';
import { FakeRecorder } from './testing/fake-recorder.ts';

describe('RecordQueue', () => {
  test('records in order and commits only after each record is durable', async () => {
    const recorder = new FakeRecorder();
    const seen: string[] = [];
    const queue = new RecordQueue(recorder, new ManualClock(), async (offset) => {
      seen.push(`${recorder.kinds.at(-1)} then commit ${offset}`);
    });
    const receipts = await Promise.all([
      queue.push(4, entry('approval.asked')),
      queue.push(9, entry('approval.granted')),
    ]);
    deepEqual(
      receipts.map(({ index }) => index),
      [0, 1],
    );
    await settle();
    deepEqual(seen, ['approval.asked then commit 5', 'approval.granted then commit 10']);
    equal(queue.waiting, 0);
  });

  test('tells the one who waits at once, and tries again until the record is written', async () => {
    const recorder = new FakeRecorder();
    const clock = new ManualClock();
    const commits: number[] = [];
    const queue = new RecordQueue(recorder, clock, async (offset) => void commits.push(offset));
    recorder.failure = new GatewayError('disk_full');
    const first = queue.push(1, entry('approval.claimed'));
    const second = queue.push(2, entry('approval.expired'));
    await rejects(first, { code: 'disk_full' });
    await rejects(second, { code: 'disk_full' });
    clock.advance(1_000);
    await settle();
    deepEqual([recorder.records.length, commits, queue.waiting], [0, [], 2]);
    recorder.failure = null;
    clock.advance(1_000);
    await settle();
    deepEqual(recorder.kinds, ['approval.claimed', 'approval.expired']);
    deepEqual(commits, [2, 3]);
  });

  test('goes on when the bus does not take the commit', async () => {
    const recorder = new FakeRecorder();
    const queue = new RecordQueue(recorder, new ManualClock(), () =>
      Promise.reject(new GatewayError('bus_unavailable')),
    );
    await Promise.all([queue.push(1, entry('approval.asked')), queue.push(2, entry('approval.denied'))]);
    equal(recorder.records.length, 2);
  });
});

function entry(kind: ApprovalRecordKind): ApprovalRecord {
  return { kind, sessionId: '', connection: '', requester: null, approvals: [], note: undefined, script: undefined };
}

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

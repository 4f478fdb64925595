import { deepEqual, equal, rejects } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FaultFiles } from '../core/bus/file-bus/testing/fault-files.ts';
import { segmentName } from '../core/bus/file-bus/segment-format.ts';
import { ManualClock } from '../core/kernel/testing/manual-clock.ts';
import { KeyLog } from './key-log.ts';

describe('KeyLog', () => {
  test('keeps values across a reopen, and puts many at once with one flush', async () => {
    const files = new FaultFiles();
    const keys = await open(files);
    const before = files.syncs;
    await Promise.all(Array.from({ length: 100 }, (_, i) => keys.put(`key/${i}`, Buffer.from(`value ${i}`))));
    equal(files.syncs - before, 1);
    await keys.close();
    const again = await open(files);
    equal(again.size, 100);
    equal((await again.get('key/57'))?.toString(), 'value 57');
    equal(await again.get('key/100'), undefined);
    deepEqual(again.names('key/9').length, 11);
  });

  test('takes the same value again, also while it is being stored, and refuses another', async () => {
    const keys = await open(new FaultFiles());
    await Promise.all([keys.put('a', Buffer.from('1')), keys.put('a', Buffer.from('1'))]);
    await keys.put('a', Buffer.from('1'));
    await rejects(keys.put('a', Buffer.from('2')), { code: 'evidence_altered' });
    const both = [keys.put('b', Buffer.from('1')), keys.put('b', Buffer.from('2'))];
    deepEqual((await Promise.allSettled(both)).map((r) => r.status).sort(), ['fulfilled', 'rejected']);
    equal(keys.size, 2);
  });

  for (const [what, plan] of [
    ['a short write', { shortWriteBytes: 3 }],
    ['a failed write', { writeError: new Error('ENOSPC') }],
    ['a failed flush', { syncError: new Error('EIO') }],
  ] as const) {
    test(`acknowledges nothing after ${what}`, async () => {
      const files = new FaultFiles();
      const keys = await open(files);
      await keys.put('a', Buffer.from('1'));
      Object.assign(files.plan, plan);
      await rejects(keys.put('b', Buffer.from('2')), { code: 'keystore_unavailable' });
      equal(await keys.get('b'), undefined);
      equal((await keys.get('a'))?.toString(), '1');
    });
  }

  test('keeps every acknowledged value through a torn tail, and refuses damage before it', async () => {
    const files = new FaultFiles();
    const keys = await open(files);
    await keys.put('a', Buffer.from('first'));
    await keys.put('b', Buffer.from('second'));
    await keys.close();
    const whole = files.bytesOf(segmentName(0));
    const torn = new FaultFiles();
    torn.put(segmentName(0), Buffer.concat([whole, whole.subarray(40, 60)]));
    equal((await open(torn)).size, 2);
    const damaged = Buffer.from(whole);
    damaged[whole.indexOf('first')] = 0;
    torn.put(segmentName(0), damaged);
    await rejects(open(torn), { code: 'bus_damaged' });
  });

  test('never returns a value that changed on disk', async () => {
    const files = new FaultFiles();
    const keys = await open(files);
    await keys.put('a', Buffer.from('value'));
    const bytes = files.bytesOf(segmentName(0));
    bytes[bytes.indexOf('value')] = 0;
    await rejects(keys.get('a'), { code: 'bus_damaged' });
  });
});

function open(files: FaultFiles): Promise<KeyLog> {
  return KeyLog.open(files, new ManualClock());
}

import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../../kernel/testing/manual-clock.ts';
import { LogCursor } from './log-cursor.ts';
import { PartitionLog, type PartitionLogOptions } from './partition-log.ts';
import { readRecord, RECORD_HEADER_SIZE, SEGMENT_HEADER_SIZE, segmentName } from './segment-format.ts';
import { FaultFiles } from './testing/fault-files.ts';

const SCALE = Number(process.env['CHAPERONE_TEST_SCALE'] ?? 1);
const KEY = Buffer.from('k');
const FIRST = segmentName(0);
const RECORD = RECORD_HEADER_SIZE + KEY.length + 2;

describe('PartitionLog', () => {
  test('commits what was appended in one turn as one group, with one flush', async () => {
    const { log, files } = await open();
    const before = files.syncs;
    const offsets = await Promise.all(['a0', 'a1', 'a2'].map((v) => log.append(KEY, [Buffer.from(v)])));
    deepEqual(offsets, [0, 1, 2]);
    equal(files.syncs - before, 1);
    deepEqual(await valuesOf(log), ['a0', 'a1', 'a2']);
  });

  test('keeps everything across a clean reopen, and goes on after it', async () => {
    const { log, files } = await open();
    await log.append(KEY, [Buffer.from('a0'), Buffer.from('a1')]);
    await log.close();
    equal(files.openCount, 0, 'every file is closed');
    const again = (await open({ files })).log;
    equal(again.end, 2);
    equal(await again.append(KEY, [Buffer.from('a2')]), 2);
    deepEqual(await valuesOf(again), ['a0', 'a1', 'a2']);
  });

  test('cuts a torn tail at every byte position back to whole groups', async () => {
    const { log, files } = await open();
    await log.append(KEY, [Buffer.from('a0')]);
    await log.append(KEY, [Buffer.from('b1'), Buffer.from('b2')]);
    await log.close();
    const whole = files.bytesOf(FIRST);
    for (let size = SEGMENT_HEADER_SIZE; size <= whole.length; size++) {
      const torn = new FaultFiles();
      torn.put(FIRST, Buffer.from(whole.subarray(0, size)));
      const again = (await open({ files: torn })).log;
      const groups = size === whole.length ? 3 : size >= SEGMENT_HEADER_SIZE + RECORD ? 1 : 0;
      equal(again.end, groups, `cut at ${size}`);
      equal(await again.append(KEY, [Buffer.from('c0')]), groups);
      deepEqual((await valuesOf(again)).at(-1), 'c0');
    }
  });

  test('finds any flipped bit: as a torn tail in the last group, as damage before it', async () => {
    const { log, files } = await open();
    await log.append(KEY, [Buffer.from('a0')]);
    await log.append(KEY, [Buffer.from('b1')]);
    await log.close();
    const whole = files.bytesOf(FIRST);
    for (let bit = SEGMENT_HEADER_SIZE * 8; bit < whole.length * 8; bit++) {
      const flipped = new FaultFiles();
      const bytes = Buffer.from(whole);
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
      flipped.put(FIRST, bytes);
      if (bit >> 3 < SEGMENT_HEADER_SIZE + RECORD) {
        await rejects(open({ files: flipped }), { code: 'bus_damaged' }, `bit ${bit}`);
        ok(flipped.bytesOf(FIRST).equals(bytes), 'a damaged segment is left as it is');
      } else {
        equal((await open({ files: flipped })).log.end, 1, `bit ${bit}`);
      }
    }
  });

  test('refuses a segment whose header is not whole', async () => {
    const files = new FaultFiles();
    files.put(FIRST, Buffer.alloc(SEGMENT_HEADER_SIZE));
    await rejects(open({ files }), { code: 'bus_damaged' });
  });

  for (const [what, plan] of [
    ['a short write', { shortWriteBytes: 5 }],
    ['a short write of a whole record', { shortWriteBytes: RECORD }],
    ['a failed write', { writeError: new Error('EIO') }],
  ] as const) {
    test(`acknowledges nothing of ${what}, keeps nothing of it, and goes on`, async () => {
      const { log, files } = await open();
      await log.append(KEY, [Buffer.from('a0')]);
      Object.assign(files.plan, plan);
      const both = [log.append(KEY, [Buffer.from('b1')]), log.append(KEY, [Buffer.from('b2')])];
      for (const append of both) {
        await rejects(append, { code: 'bus_unavailable' });
      }
      equal(await log.append(KEY, [Buffer.from('c1')]), 1);
      await log.close();
      deepEqual(await valuesOf((await open({ files })).log), ['a0', 'c1']);
    });
  }

  test('writes nothing more after a failed flush, and shows nothing of it', async () => {
    const { log, files } = await open();
    await log.append(KEY, [Buffer.from('a0')]);
    files.plan.syncError = new Error('EIO');
    await rejects(log.append(KEY, [Buffer.from('b1')]), { code: 'bus_unavailable' });
    const size = files.bytesOf(FIRST).length;
    await rejects(log.append(KEY, [Buffer.from('c1')]), { code: 'bus_unavailable' });
    equal(files.bytesOf(FIRST).length, size);
    equal(log.end, 1);
    equal(log.failure?.code, 'bus_unavailable');
    deepEqual(await valuesOf(log), ['a0']);
  });

  test('fails for good when a short write cannot be undone', async () => {
    const { log, files } = await open();
    files.plan.shortWriteBytes = 3;
    files.plan.truncateError = new Error('EIO');
    await rejects(log.append(KEY, [Buffer.from('a0')]), { code: 'bus_unavailable' });
    await rejects(log.append(KEY, [Buffer.from('a0')]), { code: 'bus_unavailable' });
    deepEqual(await valuesOf((await open({ files })).log), []);
  });

  test('rejects the publish and goes on when a new segment cannot be made', async () => {
    const { log, files } = await open({ segmentBytes: 100 });
    await log.append(KEY, [Buffer.alloc(60)]);
    files.plan.shortWriteBytes = 1;
    await rejects(log.append(KEY, [Buffer.alloc(60)]), { code: 'bus_unavailable' });
    equal(await log.append(KEY, [Buffer.alloc(60)]), 1);
    await log.close();
    equal(files.openCount, 0);
    equal((await open({ files })).log.end, 2);
  });

  test('drops whole segments past their retention, never the active one, while a reader finishes what it holds', async () => {
    const clock = new ManualClock();
    const { log, files } = await open({ clock, segmentBytes: SEGMENT_HEADER_SIZE + 3 * RECORD, retentionMs: 1000 });
    for (let i = 0; i < 6; i++) {
      await log.append(KEY, [Buffer.from(`a${i}`)]);
    }
    const reader = new LogCursor(log, 0);
    equal(offsetsIn(await reader.read(RECORD))[0], 0);
    clock.advance(1000);
    await log.applyRetention();
    equal(log.start, 0, 'not yet: exactly as old as the retention');
    clock.advance(1);
    await log.applyRetention();
    equal(log.start, 3, 'the active segment was closed, and stays for the retention of its newest record');
    clock.advance(1000);
    await log.applyRetention();
    equal(log.start, 6);
    equal(files.names.length, 1);
    deepEqual(offsetsIn(await reader.read(1 << 20)), [1, 2]);
    await reader.close();
    equal(await log.append(KEY, [Buffer.from('a6')]), 6, 'offsets go on');
    deepEqual(await valuesOf(log), ['a6']);
  });

  test('drops the oldest segments while the partition is larger than it may be', async () => {
    const { log } = await open({ segmentBytes: SEGMENT_HEADER_SIZE + 3 * RECORD, partitionBytesMax: 8 * RECORD });
    for (let i = 0; i < 9; i++) {
      await log.append(KEY, [Buffer.from(`a${i}`)]);
    }
    await log.applyRetention();
    ok(log.start > 0 && log.start < 8);
    deepEqual((await valuesOf(log)).at(-1), 'a8');
  });

  test('compacts to the newest record of each key, with its offset, also for a cursor that is in the middle', async () => {
    const { log, files } = await open({ cleanup: 'compact', segmentBytes: SEGMENT_HEADER_SIZE + 3 * RECORD });
    for (let i = 0; i < 8; i++) {
      await log.append(Buffer.from(i % 2 === 0 ? 'x' : 'y'), [Buffer.from(`a${i}`)]);
    }
    const middle = new LogCursor(log, 3);
    const early = offsetsIn(await middle.read(RECORD));
    await log.applyRetention();
    const kept = (await offsetsOf(log)).map(Number);
    ok(kept.length < 8 && kept.includes(6) && kept.includes(7));
    const seen = [...early];
    for (let chunk = await middle.read(1); chunk.length > 0; chunk = await middle.read(1)) {
      seen.push(...offsetsIn(chunk));
    }
    deepEqual(seen.slice(-2), [6, 7], 'the cursor missed nothing that is kept');
    deepEqual(
      seen,
      [...new Set(seen)].sort((a, b) => a - b),
      'and repeated nothing',
    );
    await log.close();
    await middle.close();
    equal(files.openCount, 0);
    const again = (await open({ files, cleanup: 'compact' })).log;
    deepEqual((await offsetsOf(again)).map(Number), kept);
    equal(again.end, 8);
  });

  test('removes the segments that a compaction replaced when the process died before it could', async () => {
    const written = await open({ segmentBytes: SEGMENT_HEADER_SIZE + 3 * RECORD });
    for (let i = 0; i < 8; i++) {
      await written.log.append(KEY, [Buffer.from(`a${i}`)]);
    }
    await written.log.close();
    const { files } = written;
    const { log } = await open({ files, cleanup: 'compact' });
    const before = files.names.map((name) => ({ name, bytes: files.bytesOf(name) }));
    await log.applyRetention();
    const survivors = files.names;
    await log.close();
    for (const { name, bytes } of before) {
      if (!survivors.includes(name)) {
        files.put(name, bytes);
      }
    }
    files.put('0000000000000003.seg.tmp', Buffer.from('left over'));
    const again = (await open({ files, cleanup: 'compact' })).log;
    ok(survivors.length < before.length);
    deepEqual(files.names, survivors);
    equal(again.end, 8);
  });

  // Goal: whatever the sizes, cuts and reopens, a reader from any offset sees each record once and in order.
  test('gives every record once and in order from any offset, in chunks of any size', async () => {
    const sizes = fc.array(fc.array(fc.nat(6000), { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(sizes, fc.nat(40), fc.integer({ min: 1, max: 20_000 }), async (groups, from, chunkBytes) => {
        const { log, files } = await open({ segmentBytes: 9000 });
        let count = 0;
        for (const group of groups) {
          await log.append(
            KEY,
            group.map((size) => Buffer.alloc(size, count++)),
          );
        }
        for (const subject of [log, (await open({ files, segmentBytes: 9000 })).log]) {
          const cursor = new LogCursor(subject, from);
          const seen: number[] = [];
          for (let chunk = await cursor.read(chunkBytes); chunk.length > 0; chunk = await cursor.read(chunkBytes)) {
            seen.push(...offsetsIn(chunk));
          }
          deepEqual(
            seen,
            Array.from({ length: Math.max(0, count - from) }, (_, i) => from + i),
          );
          await cursor.close();
        }
      }),
      { numRuns: 40 * SCALE },
    );
  });
});

async function open(
  options: Partial<PartitionLogOptions> & { files?: FaultFiles } = {},
): Promise<{ log: PartitionLog; files: FaultFiles }> {
  const files = options.files ?? new FaultFiles();
  const log = await PartitionLog.open({
    clock: new ManualClock(),
    name: 'topic/0',
    cleanup: 'delete',
    retentionMs: 86_400_000,
    ...options,
    files,
  });
  return { log, files };
}

async function readAll(log: PartitionLog): Promise<Buffer> {
  const cursor = new LogCursor(log, 0);
  const chunks: Buffer[] = [];
  for (let chunk = await cursor.read(1 << 20); chunk.length > 0; chunk = await cursor.read(1 << 20)) {
    chunks.push(chunk);
  }
  await cursor.close();
  return Buffer.concat(chunks);
}

async function valuesOf(log: PartitionLog): Promise<string[]> {
  return recordsIn(await readAll(log)).map((r) => r.value.toString());
}

async function offsetsOf(log: PartitionLog): Promise<number[]> {
  return offsetsIn(await readAll(log));
}

function offsetsIn(bytes: Buffer): number[] {
  return recordsIn(bytes).map((r) => r.offset);
}

function recordsIn(bytes: Buffer): { offset: number; value: Buffer }[] {
  const out: { offset: number; value: Buffer }[] = [];
  for (let at = 0; at < bytes.length;) {
    const record = readRecord(bytes, at);
    ok(record !== null, `a whole record at ${at}`);
    out.push({ offset: record.offset, value: record.value });
    at += record.size;
  }
  return out;
}

import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { test } from 'node:test';
import { CompactRange } from '../../ledger/compact-range.ts';
import { sha256 } from '../../ledger/hash.ts';
import { FaultDisk } from '../testing/fault-disk.ts';
import { baseName, type JournalBase, JournalBaseFile, readJournalBase } from './journal-base.ts';

const WRITER_ID = Buffer.alloc(16, 0xab);

function base(firstIndex: number): JournalBase {
  const range = new CompactRange();
  for (let i = 0; i < firstIndex; i++) {
    range.append(sha256(Buffer.of(i)));
  }
  return { writerId: WRITER_ID, firstIndex, range, epoch: Buffer.alloc(1500, 0xee) };
}

test('is read as it was written last', async () => {
  const disk = new FaultDisk();
  const file = await JournalBaseFile.create(disk, base(0));
  for (const firstIndex of [0, 1, 7, 64, 65, 127]) {
    await file.write(base(firstIndex));
    const read = await readJournalBase(disk, WRITER_ID);
    equal(read?.firstIndex, firstIndex);
    deepEqual(read?.range.hashes, base(firstIndex).range.hashes);
    deepEqual(read?.epoch, base(0).epoch);
  }
});

test('a crash in the middle of a write leaves the old one or the new one', async () => {
  const seen = new Set<number | undefined>();
  for (let seed = 1; seed <= 60; seed++) {
    const disk = new FaultDisk({ seed });
    const file = await JournalBaseFile.create(disk, base(7));
    await file.write(base(20));
    disk.inject({ operation: 'datasync', fault: { kind: 'hang' } });
    void file.write(base(99));
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    disk.crash();
    const read = await readJournalBase(disk, WRITER_ID);
    ok(read?.firstIndex === 20 || read?.firstIndex === 99, `seed ${seed}: ${read?.firstIndex}`);
    deepEqual(read.range.hashes, base(read.firstIndex).range.hashes);
    seen.add(read.firstIndex);
  }
  equal(seen.size, 2, 'both happen');
});

test('any flipped bit makes a slot count for nothing', async () => {
  const disk = new FaultDisk();
  const file = await JournalBaseFile.create(disk, base(3));
  await file.write(base(9));
  const name = baseName(WRITER_ID);
  const newest = disk.contents(name).indexOf(Buffer.from('CHJB'));
  equal(newest, 0, 'the second write is in the first slot');
  const slotBytes = 37 + 2 * 32 + 4 + 1500 + 4;
  for (let at = 0; at < slotBytes; at += 3) {
    const flip = (bytes: Buffer): void => void (bytes[at] = (bytes[at] as number) ^ 4);
    disk.corrupt(name, flip);
    // Reserved bytes are under the checksum as well.
    equal((await readJournalBase(disk, WRITER_ID))?.firstIndex, 3, `byte ${at}`);
    disk.corrupt(name, flip);
  }
  equal((await readJournalBase(disk, WRITER_ID))?.firstIndex, 9);
  disk.corrupt(name, (bytes) => bytes.fill(0));
  equal(await readJournalBase(disk, WRITER_ID), undefined);
});

test('a short write is an error', async () => {
  const disk = new FaultDisk();
  const file = await JournalBaseFile.create(disk, base(3));
  disk.inject({ operation: 'write', fault: { kind: 'short', bytes: 100 } });
  await rejects(file.write(base(9)), { code: 'ENOSPC' });
  equal((await readJournalBase(disk, WRITER_ID))?.firstIndex, 3);
});

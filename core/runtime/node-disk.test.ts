import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Disk } from './disk.ts';
import { NodeDisk } from './node-disk.ts';
import { FaultDisk } from './testing/fault-disk.ts';

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'chaperone-disk-'));
});
after(() => rm(directory, { recursive: true, force: true }));

// One suite for the real disk and for the fake that stands in for it.
const implementations: readonly { readonly name: string; readonly open: (name: string) => Promise<Disk> }[] = [
  { name: 'NodeDisk', open: (name) => NodeDisk.open(join(directory, 'deep', name)) },
  { name: 'FaultDisk', open: () => Promise.resolve(new FaultDisk()) },
];

for (const { name, open } of implementations) {
  describe(`${name} as a Disk`, () => {
    test('creates zeroed files of the size asked for, and none twice', async () => {
      const disk = await open('create');
      const size = 3 * 1024 * 1024 + 5;
      const file = await disk.createZeroed('a', size);
      equal(await disk.size('a'), size);
      const bytes = Buffer.alloc(size + 10, 1);
      equal(await file.read(bytes, 0), size);
      ok(bytes.subarray(0, size).every((byte) => byte === 0));
      await rejects(disk.createZeroed('a', 10), { code: 'EEXIST' });
      equal(await disk.size('a'), size, 'the file that was there is untouched');
      await file.close();
    });

    test('writes one or several buffers at a position, in one step or two, and reads them back', async () => {
      const disk = await open('write');
      const file = await disk.createZeroed('a', 100);
      equal(await file.writev([Buffer.from('ab'), Buffer.from('cde')], 10), 5);
      await file.datasync();
      equal(await file.writeDurable([Buffer.from('fgh')], 15), 3);
      equal(await file.writeDurable([Buffer.from('i'), Buffer.from('jk')], 18), 3);
      const again = await disk.open('a');
      const bytes = Buffer.alloc(13);
      equal(await again.read(bytes, 9), 13);
      equal(bytes.toString('latin1'), '\0abcdefghijk\0');
      equal(await again.read(Buffer.alloc(10), 95), 5, 'short only at the end');
      equal(await disk.size('a'), 100, 'does not grow');
      await file.close();
      await again.close();
    });

    test('lists, renames over, and removes', async () => {
      const disk = await open('names');
      for (const each of ['a', 'b', 'c']) {
        const file = await disk.createZeroed(each, 4);
        await file.writeDurable([Buffer.from(each)], 0);
        await file.close();
      }
      await disk.rename('a', 'b');
      await disk.remove('c');
      deepEqual(await disk.list(), ['b']);
      const file = await disk.open('b');
      const bytes = Buffer.alloc(1);
      await file.read(bytes, 0);
      equal(bytes.toString(), 'a');
      await file.close();
      await rejects(disk.open('a'), { code: 'ENOENT' });
      await rejects(disk.remove('c'), { code: 'ENOENT' });
      await rejects(disk.size('c'), { code: 'ENOENT' });
      ok((await disk.freeBytes()) > 0);
    });
  });
}

test('NodeDisk keeps its files to its owner', async () => {
  const disk = await NodeDisk.open(join(directory, 'private'));
  await (await disk.createZeroed('a', 1)).close();
  equal((await stat(join(directory, 'private'))).mode & 0o777, 0o700);
  equal((await stat(join(directory, 'private', 'a'))).mode & 0o777, 0o600);
});

test('NodeDisk takes no paths for names', async () => {
  const disk = await NodeDisk.open(join(directory, 'paths'));
  await rejects(disk.open('../private/a'), { name: 'InvariantError' });
  await rejects(disk.createZeroed('a/b', 1), { name: 'InvariantError' });
  await rejects(disk.open('..'), { name: 'InvariantError' });
});

test('NodeDisk opens a file that may only be read', async () => {
  const disk = await NodeDisk.open(join(directory, 'readonly'));
  const file = await disk.createZeroed('a', 3);
  await file.writeDurable([Buffer.from('xyz')], 0);
  await file.close();
  await chmod(join(directory, 'readonly', 'a'), 0o400);
  const again = await disk.open('a');
  const bytes = Buffer.alloc(3);
  equal(await again.read(bytes, 0), 3);
  deepEqual(bytes, await readFile(join(directory, 'readonly', 'a')));
  await again.close();
});

describe('FaultDisk', () => {
  test('a crash keeps what was synced and, of the rest, whole sectors', async () => {
    const seen = new Set<string>();
    for (let seed = 1; seed <= 60; seed++) {
      const disk = new FaultDisk({ seed });
      const file = await disk.createZeroed('a', 4096);
      await file.writeDurable([Buffer.alloc(700, 1)], 0);
      await file.writev([Buffer.alloc(2000, 2)], 700);
      disk.crash();
      const bytes = disk.contents('a');
      ok(
        bytes.subarray(0, 700).every((byte) => byte === 1),
        `seed ${seed}`,
      );
      for (let sector = 512; sector < 4096; sector += 512) {
        const part = bytes.subarray(Math.max(sector, 700), Math.min(sector + 512, 2700));
        equal(new Set(part).size <= 1, true, `seed ${seed}: a sector is whole`);
      }
      seen.add([700, 1024, 1536, 2048, 2560].map((at) => bytes[at]).join(''));
    }
    ok(seen.has('00000') && seen.has('22222') && seen.size > 4, [...seen].join(' '));
  });

  test('after a failed datasync a later one succeeds and proves nothing', async () => {
    const disk = new FaultDisk({ seed: 4 });
    const file = await disk.createZeroed('a', 512);
    disk.inject({ operation: 'datasync', fault: { kind: 'error', code: 'EIO' } });
    await file.writev([Buffer.alloc(512, 9)], 0);
    await rejects(file.datasync(), { code: 'EIO' });
    await file.datasync();
    ok(
      disk
        .durableCopy()
        .contents('a')
        .every((byte) => byte === 0),
    );
  });

  test('holds operations back, dies before or after one, and forgets the dead', async () => {
    const disk = new FaultDisk();
    const file = await disk.createZeroed('a', 10);
    const release = disk.hold('datasync');
    let done = false;
    const syncing = file.datasync().then(() => (done = true));
    await new Promise(setImmediate);
    equal(done, false);
    release();
    await syncing;
    for (const applied of [false, true]) {
      const died = disk.dieAt(1, applied);
      void disk.createZeroed(`new ${applied}`, 1).then(() => ok(false, 'the dead hear nothing'));
      await died;
      disk.crash();
    }
    deepEqual((await disk.list()).sort(), ['a', 'new true']);
  });
});

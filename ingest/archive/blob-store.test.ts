import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { DiskBlobStore } from '../adapters/disk-blob-store.ts';
import { isBlobName } from './blob-store.ts';
import type { BlobStore } from './blob-store.ts';
import { MemoryBlobStore } from './testing/memory-blob-store.ts';

const root = await mkdtemp(join(tmpdir(), 'chaperone-blobs-'));
after(() => rm(root, { recursive: true }));
let folders = 0;

const STORES: readonly (readonly [name: string, open: () => BlobStore])[] = [
  ['in memory', () => new MemoryBlobStore()],
  ['on disk', () => new DiskBlobStore(join(root, String(folders++)))],
];

for (const [name, open] of STORES) {
  describe(`a blob store ${name}`, () => {
    test('creates what is not there and never overwrites', async () => {
      const blobs = open();
      const parts = [Buffer.from('a'), Buffer.from('bc')];
      deepEqual(
        await blobs.create([
          { name: 'x/y/one', parts },
          { name: 'two', parts: [] },
        ]),
        [true, true],
      );
      deepEqual(
        await blobs.create([
          { name: 'x/y/one', parts: [Buffer.from('other')] },
          { name: 'x/three', parts },
        ]),
        [false, true],
      );
      equal((await blobs.read('x/y/one'))?.toString(), 'abc');
      equal((await blobs.read('two'))?.length, 0);
      equal(await blobs.read('none'), null);
      equal(await blobs.read('x/y/one/deeper'), null);
    });

    test('of many that create one name, one does', async () => {
      const blobs = open();
      const results = await Promise.all(
        Array.from({ length: 20 }, (_, i) => blobs.create([{ name: 'n', parts: [Buffer.from(String(i))] }])),
      );
      equal(results.flat().filter(Boolean).length, 1);
      equal((await blobs.read('n'))?.toString(), String(results.flat().indexOf(true)));
    });

    test('lists names in order, below a folder or all', async () => {
      const blobs = open();
      deepEqual(await blobs.list(''), []);
      deepEqual(await blobs.list('a/'), []);
      await blobs.create(['b', 'a/2', 'a/10', 'ab/1', 'a/c/1'].map((each) => ({ name: each, parts: [] })));
      deepEqual(await blobs.list(''), ['a/10', 'a/2', 'a/c/1', 'ab/1', 'b']);
      deepEqual(await blobs.list('a/'), ['a/10', 'a/2', 'a/c/1']);
    });

    test('replaces and removes', async () => {
      const blobs = open();
      await blobs.replace('a/b', Buffer.from('1'));
      await blobs.replace('a/b', Buffer.from('2'));
      equal((await blobs.read('a/b'))?.toString(), '2');
      await blobs.remove('a/b');
      await blobs.remove('a/b');
      equal(await blobs.read('a/b'), null);
    });

    test('a swap wins from the newest version only', async () => {
      const blobs = open();
      equal(await blobs.latest('lock'), null);
      equal(await blobs.swap('lock', 1, Buffer.from('no')), false);
      for (let version = 0; version < 30; version++) {
        const offers = Array.from({ length: 4 }, (_, i) => blobs.swap('lock', version, Buffer.from(`${version}-${i}`)));
        const won = await Promise.all(offers);
        equal(won.filter(Boolean).length, 1);
        const latest = await blobs.latest('lock');
        equal(latest?.version, version + 1);
        equal(latest?.bytes.toString(), `${version}-${won.indexOf(true)}`);
        equal(await blobs.swap('lock', version, Buffer.from('late')), false);
      }
      // Versions that were cleaned up long ago are not free again.
      equal(await blobs.swap('lock', 2, Buffer.from('very late')), false);
      equal((await blobs.latest('lock'))?.version, 30);
    });
  });
}

describe('the disk store', () => {
  test('leaves nothing behind but what it was asked for, and shows no unfinished file', async () => {
    const folder = join(root, 'own');
    const blobs = new DiskBlobStore(folder);
    await blobs.create([{ name: 'd/x', parts: [Buffer.from('1')] }]);
    await blobs.create([{ name: 'd/x', parts: [Buffer.from('2')] }]);
    await blobs.replace('d/y', Buffer.from('3'));
    deepEqual((await readdir(join(folder, 'd'))).sort(), ['x', 'y']);
    await writeFile(join(folder, 'd', '.new-dead'), 'half');
    deepEqual(await blobs.list('d/'), ['d/x', 'd/y']);
  });

  test('takes no name that leaves its folder', async () => {
    const blobs = new DiskBlobStore(join(root, 'safe'));
    for (const name of [
      '',
      '/etc/passwd',
      '../x',
      'a/../x',
      'a//b',
      '.hidden',
      'a/.b',
      'a\0b',
      'a/',
      'x'.repeat(513),
    ]) {
      ok(!isBlobName(name), name);
      await rejects(blobs.create([{ name, parts: [] }]));
      await rejects(async () => blobs.read(name));
    }
    ok(isBlobName('tile/0/x001/234.p/12'));
  });
});

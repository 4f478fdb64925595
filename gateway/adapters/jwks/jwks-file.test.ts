import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { ManualClock } from '../../../core/kernel/testing/manual-clock.ts';
import { DevelopmentIssuer } from '../../contract/development-issuer.ts';
import { JwksFile, type JwksFileSystem, jwksReloads } from './jwks-file.ts';

const first = DevelopmentIssuer.generate('i', 'first').publicJwks();
const second = DevelopmentIssuer.generate('i', 'second').publicJwks();

class FakeFiles implements JwksFileSystem {
  content: string | null = first;
  stamps = 0;
  looks = 0;
  async stamp(): Promise<string> {
    this.looks += 1;
    if (this.content === null) {
      throw new Error('ENOENT');
    }
    return String(this.stamps);
  }
  async read(): Promise<string> {
    return this.content ?? '';
  }
  write(content: string | null): void {
    this.content = content;
    this.stamps += 1;
  }
}

describe('JwksFile', () => {
  test('takes a changed file at the next look, and raises its version', async () => {
    const { files, clock, source } = await setUp();
    const version = source.version;
    ok(source.find('first'));
    files.write(second);
    const reloaded = nextReload();
    clock.advance(1_000);
    deepEqual(await reloaded, { path: 'keys.json', ok: true, keys: 1, detail: '' });
    equal(source.find('first'), undefined);
    ok(source.find('second'));
    equal(source.version, version + 1);
    source.close();
  });

  for (const [name, content] of [
    ['is broken', '{"keys":['],
    ['was removed', null],
    ['holds no key', '{"keys":[]}'],
  ] as const) {
    test(`keeps the last good keys when the file ${name}, says so, and recovers`, async () => {
      const { files, source } = await setUp();
      const version = source.version;
      files.write(content);
      const failure = nextReload();
      await source.reload();
      equal((await failure).ok, false);
      ok(source.find('first'));
      equal(source.version, version, 'cached tokens stay good');
      files.write(second);
      await source.reload();
      ok(source.find('second'));
      source.close();
    });
  }

  test('does not read an unchanged file again, and stops looking when closed', async () => {
    const { files, clock, source } = await setUp();
    const version = source.version;
    await source.reload();
    equal(source.version, version);
    source.close();
    const looks = files.looks;
    clock.advance(60_000);
    equal(files.looks, looks);
  });

  test('refuses to open without a good file', async () => {
    const files = new FakeFiles();
    files.write(null);
    await rejects(JwksFile.open({ path: 'keys.json', clock: new ManualClock(), files }), { code: 'config_invalid' });
    files.write('{"keys":[]}');
    await rejects(JwksFile.open({ path: 'keys.json', clock: new ManualClock(), files }), { code: 'config_invalid' });
  });

  test('reads a real file', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'jwks-'));
    after(() => rm(directory, { recursive: true }));
    const path = join(directory, 'keys.json');
    await writeFile(path, first);
    const source = await JwksFile.open({ path, clock: new ManualClock() });
    ok(source.find('first'));
    await writeFile(path, second.replace('\n', '\n\n'));
    await source.reload();
    ok(source.find('second'));
    source.close();
  });
});

async function setUp() {
  const files = new FakeFiles();
  const clock = new ManualClock();
  const source = await JwksFile.open({ path: 'keys.json', clock, reloadMs: 1_000, files });
  return { files, clock, source };
}

function nextReload(): Promise<{ ok: boolean }> {
  return new Promise((resolve) => {
    const listener = (message: unknown): void => {
      jwksReloads.unsubscribe(listener);
      resolve(message as { ok: boolean });
    };
    jwksReloads.subscribe(listener);
  });
}

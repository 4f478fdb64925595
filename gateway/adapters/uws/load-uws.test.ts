import { equal, match, ok, throws } from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { loadUws } from './load-uws.ts';
import { UWS_BINARIES } from './uws-binaries.ts';

const FILE = `uws_${process.platform}_${process.arch}_${process.versions.modules}.node`;

describe('loadUws', () => {
  let packageDir = '';
  beforeEach(() => {
    packageDir = mkdtempSync(join(tmpdir(), 'chaperone-uws-'));
  });
  afterEach(() => rmSync(packageDir, { recursive: true, force: true }));

  test('refuses to start on a binary that is not the one of the table', () => {
    writeFileSync(join(packageDir, FILE), 'not the one');
    throws(() => loadUws({ packageDir, hashes: { [FILE]: '00'.repeat(32) } }), {
      code: 'config_invalid',
      message: /not the one whose hash is committed/,
    });
  });

  test('is absent when the package has no binary for this platform, or the table no hash', () => {
    const missing = loadUws({ packageDir, hashes: { [FILE]: '00'.repeat(32) } });
    equal(missing.kind, 'absent');
    writeFileSync(join(packageDir, FILE), 'unknown');
    equal(loadUws({ packageDir, hashes: {} }).kind, 'absent');
  });

  test('is absent, with the reason, when the system cannot load a binary of the right hash', () => {
    writeFileSync(join(packageDir, FILE), '');
    const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
    const loaded = loadUws({ packageDir, hashes: { [FILE]: empty } });
    equal(loaded.kind, 'absent');
    match(loaded.kind === 'absent' ? loaded.why : '', /cannot be loaded on this system/);
  });

  const installed = loadUws();
  test(
    'refuses the real binary with one octet appended',
    { skip: installed.kind === 'absent' && `${installed.why}; npm install brings it` },
    () => {
      const real = dirname(createRequire(import.meta.url).resolve('uWebSockets.js/package.json'));
      cpSync(join(real, FILE), join(packageDir, FILE));
      writeFileSync(join(packageDir, FILE), '\0', { flag: 'a' });
      throws(() => loadUws({ packageDir }), { code: 'config_invalid' });
    },
  );

  test('has a table of hashes', () => {
    ok(Object.keys(UWS_BINARIES).length > 0);
    for (const [file, hash] of Object.entries(UWS_BINARIES)) {
      match(file, /^uws_(?:linux|darwin)_(?:x64|arm64)_[0-9]+\.node$/);
      match(hash, /^[0-9a-f]{64}$/);
    }
  });
});

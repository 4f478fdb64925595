import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { describe, test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { canonicalJson, type JsonValue } from '../../core/kernel/canonical-json.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import { storedGzip, writeTar } from '../../tools/policies/tar-writer.ts';
import { PeopleMap } from '../contract/people-map.ts';
import { compileBundle, loadBundle, type LoadBundleOptions } from './bundle.ts';
import { type BundleAlgorithm, fileHash, SIGNATURES_FILE, signBundle } from './bundle-signature.ts';
import { readTar } from './tar-reader.ts';
import { defaultBundleFile, developmentKey } from './testing/default-bundle.ts';

const DEMO: LoadBundleOptions = { keys: [developmentKey()], env: 'demo' };
const own = generateKeyPairSync('ed25519');
const OWN: LoadBundleOptions = {
  keys: [{ keyId: 'own', algorithm: 'EdDSA', publicKey: own.publicKey }],
  env: 'demo',
};
const files = readTar(gunzipSync(defaultBundleFile()));

describe('loadBundle', () => {
  test('opens the committed bundle', () => {
    const bundle = loadBundle(defaultBundleFile(), DEMO);
    equal(bundle.keyId, 'development-INSECURE');
    equal(bundle.revision, 1);
    deepEqual(bundle.layers, ['system', 'org', 'team', 'team', 'connection']);
    equal(bundle.masks.name, 'safe-harbor');
    ok(bundle.reads !== '*' && bundle.reads.includes('session.human.type'));
    ok(Object.keys(bundle.reasons).length > 5);
    ok(compileBundle(bundle).module instanceof WebAssembly.Module);
  });

  test('holds the people of the demo, who are enough for a review and two approvals', () => {
    const people = PeopleMap.parse(JSON.parse(loadBundle(defaultBundleFile(), DEMO).peopleJson));
    deepEqual(people.membersOf('privacy-officers'), ['pat', 'sam']);
    deepEqual(people.membersOf('reviewers'), ['robin']);
    equal(people.personOf('https://issuer.demo.chaperone.invalid', 'dana@demo.invalid')?.id, 'dana');
    ok(people.persons.every((person) => person.keys.every((key) => key.keyId.includes('INSECURE'))));
  });

  test('opens a bundle that somebody else signed with an algorithm of the list', () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const pairs = [
      ['RS256', rsa],
      ['ES256', ec],
      ['EdDSA', own],
    ] as const;
    for (const [algorithm, { publicKey, privateKey }] of pairs) {
      const options = { env: 'demo', keys: [{ keyId: 'k', algorithm, publicKey }] };
      equal(loadBundle(packed(jwtSigned(files, algorithm, privateKey, 'k')), options).keyId, 'k');
    }
  });

  test('a signature covers the meaning of data.json, not its white space', () => {
    const pretty = new Map(files);
    pretty.set('data.json', Buffer.from(JSON.stringify(JSON.parse(String(files.get('data.json'))), null, 2)));
    equal(loadBundle(packed(pretty), DEMO).revision, 1);
  });

  test('takes an unsigned bundle only when that is switched on', () => {
    const unsigned = without(SIGNATURES_FILE);
    throws(() => loadBundle(packed(unsigned), DEMO), { code: 'bundle_unsigned' });
    equal(loadBundle(packed(unsigned), { ...DEMO, allowUnsigned: true }).keyId, '');
  });

  test('takes the active revision again and a higher one, not a lower one', () => {
    equal(loadBundle(defaultBundleFile(), { ...DEMO, revisionMin: 1 }).revision, 1);
    invalid(() => loadBundle(defaultBundleFile(), { ...DEMO, revisionMin: 2 }), /revision 1 is lower/);
  });

  test('refuses keys that everybody has outside of the demo', () => {
    invalid(() => loadBundle(defaultBundleFile(), { ...DEMO, env: 'staging' }), /only env: demo/);
    invalid(() => loadBundle(resigned(new Map(files)), { ...OWN, env: 'staging' }), /people.json .* only env: demo/);
    const people = Buffer.from('{"persons":[]}');
    equal(loadBundle(resigned(changed('people.json', people)), { ...OWN, env: 'staging' }).keyId, 'own');
  });

  // Each: what was done to a good bundle after it was signed.
  const tampered: readonly (readonly [string, () => Map<string, Buffer>, RegExp])[] = [
    ['a changed policy', () => changed('policy.wasm', flipped('policy.wasm')), /policy.wasm is not what was signed/],
    ['a changed catalogue', () => changed('catalogue.json', flipped('catalogue.json')), /catalogue.json is not/],
    ['changed data', () => changed('data.json', Buffer.from('{"permissions":{}}')), /data.json is not what was signed/],
    ['data that is no JSON', () => changed('data.json', Buffer.from('{')), /data.json is not JSON/],
    ['a changed manifest', () => changed('.manifest', Buffer.from('{"revision":"9"}')), /.manifest is not what/],
    ['an extra file', () => changed('extra.json', Buffer.from('{}')), /extra.json is not signed/],
    ['an extra policy', () => changed('chaperone/more.rego', Buffer.from('package more')), /more.rego is not signed/],
    ['a missing file', () => without('masks.json'), /masks.json is signed and missing/],
  ];
  for (const [what, tamper, detail] of tampered) {
    test(`refuses ${what}`, () => {
      invalid(() => loadBundle(packed(tamper()), DEMO), detail);
    });
  }

  // Each: a bundle that is wrong although it is signed.
  const wrong: readonly (readonly [string, () => Map<string, Buffer>, RegExp])[] = [
    ['without reads.json', () => without('reads.json'), /reads.json is missing/],
    ['without capabilities.json', () => without('capabilities.json'), /capabilities.json is missing/],
    [
      'with an unknown mask operator',
      () => changed('masks.json', json({ v: 1, name: 'expert', operators: { ssn: { redact: 'hash' } } })),
      /masks.json/,
    ],
    [
      'with an unknown profile',
      () => changed('masks.json', json({ v: 1, name: 'none', operators: {} })),
      /masks.json: name/,
    ],
    [
      'with reasons that say nothing',
      () => changed('reasons.json', json({ v: 1, reasons: { x: { message: '' } } })),
      /reasons.json/,
    ],
    [
      'with a revision that is no number',
      () => changed('.manifest', manifest({ revision: 'v1' })),
      /.manifest: revision/,
    ],
    [
      'with another entrypoint than it was built with',
      () => changed('.manifest', manifest({ metadata: { entrypoint: 'x/y', layers: ['a'] } })),
      /entrypoint x\/y/,
    ],
    ['with a manifest of more', () => changed('.manifest', manifest({ more: 1 })), /.manifest/],
    ['with people that are not UTF-8', () => changed('people.json', Buffer.from([0xff])), /people.json is not UTF-8/],
  ];
  for (const [what, make, detail] of wrong) {
    test(`refuses a signed bundle ${what}`, () => {
      invalid(() => loadBundle(resigned(make()), OWN), detail);
    });
  }

  test('refuses a module that is not WebAssembly', () => {
    const bundle = loadBundle(resigned(changed('policy.wasm', Buffer.from('not wasm'))), OWN);
    invalid(() => compileBundle(bundle), /policy.wasm is not WebAssembly/);
  });
});

describe('the signature of a bundle', () => {
  const payload = (extra: object = {}): JsonValue => ({ files: hashes(files), ...extra });
  const refused: readonly (readonly [string, () => Map<string, Buffer>, RegExp])[] = [
    ['by an unknown key', () => signedBy({ alg: 'EdDSA', kid: 'other' }, payload(), own.privateKey), /not configured/],
    [
      'by another key of that name',
      () => signedBy({ alg: 'EdDSA', kid: 'own' }, payload(), generateKeyPairSync('ed25519').privateKey),
      /does not verify/,
    ],
    ['with no algorithm', () => signedBy({ alg: 'none', kid: 'own' }, payload(), own.privateKey), /another algorithm/],
    [
      'with HMAC under the public key',
      () => signedBy({ alg: 'HS256', kid: 'own' }, payload(), own.privateKey),
      /another algorithm/,
    ],
    [
      'for a scope',
      () => signedBy({ alg: 'EdDSA', kid: 'own' }, payload({ scope: 'write' }), own.privateKey),
      /another scope/,
    ],
    [
      'with a file twice',
      () => signedBy({ alg: 'EdDSA', kid: 'own' }, { files: [...hashes(files), ...hashes(files)] }, own.privateKey),
      /signed twice/,
    ],
    [
      'with an old hash',
      () =>
        signedBy(
          { alg: 'EdDSA', kid: 'own' },
          { files: hashes(files).map((file) => ({ ...file, algorithm: 'MD5' })) },
          own.privateKey,
        ),
      /payload/,
    ],
    ['that is not a JWT', () => changed(SIGNATURES_FILE, json({ signatures: ['a.b'] })), /not a JWT/],
    [
      'beside another one',
      () => changed(SIGNATURES_FILE, json({ signatures: ['a.b.c', 'a.b.c'] })),
      /.signatures.json/,
    ],
    ['of nobody', () => changed(SIGNATURES_FILE, json({ signatures: [] })), /.signatures.json/],
  ];
  for (const [what, make, detail] of refused) {
    test(`is refused ${what}`, () => {
      invalid(() => loadBundle(packed(make()), OWN), detail);
    });
  }
  test('counts for the scope that its key is for', () => {
    const made = signedBy({ alg: 'EdDSA', kid: 'own' }, payload({ scope: 'write' }), own.privateKey);
    const [key] = OWN.keys;
    ok(key);
    equal(loadBundle(packed(made), { ...OWN, keys: [{ ...key, scope: 'write' }] }).keyId, 'own');
    invalid(
      () => loadBundle(resigned(new Map(files)), { ...OWN, keys: [{ ...key, scope: 'write' }] }),
      /another scope/,
    );
  });
  test('needs a key of the kind that its algorithm says', () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const keys = [{ keyId: 'k', algorithm: 'EdDSA' as const, publicKey: rsa.publicKey }];
    const made = jwtSigned(files, 'EdDSA', own.privateKey, 'k');
    invalid(() => loadBundle(packed(made), { ...OWN, keys }), /does not verify/);
  });
});

describe('the archive of a bundle', () => {
  const tar = writeTar(files);
  test('may be compressed by anybody', () => {
    equal(loadBundle(gzipSync(tar), DEMO).revision, 1);
  });
  test('is refused with bytes behind it, cut off, or not zipped', () => {
    const good = defaultBundleFile();
    invalid(() => loadBundle(Buffer.concat([good, Buffer.from('x')]), DEMO), /bytes follow|not gzip/);
    invalid(() => loadBundle(Buffer.concat([good, good]), DEMO), /bytes follow|zero blocks|not gzip/);
    invalid(() => loadBundle(good.subarray(0, good.length - 1), DEMO), /not gzip/);
    invalid(() => loadBundle(tar, DEMO), /not gzip/);
    invalid(() => loadBundle(Buffer.alloc(0), DEMO), /not gzip/);
  });
  test('is refused when it unpacks to more than the limit', () => {
    invalid(() => loadBundle(gzipSync(Buffer.alloc(LIMITS.bundleBytesMax + 1)), DEMO), /too large/);
  });
  const odd: readonly (readonly [string, (header: Buffer) => void])[] = [
    ['a name that climbs', (header) => header.write('/../../etc/passwd\0', 0)],
    ['a dot segment', (header) => header.write('/a/./b\0', 0)],
    ['an empty segment', (header) => header.write('/a//b\0', 0)],
    ['a name with a backslash', (header) => header.write('/a\\b\0', 0)],
    ['an empty name', (header) => header.write('\0', 0)],
    ['a symbolic link', (header) => header.write('2', 156)],
    ['a directory', (header) => header.write('5', 156)],
    ['an extended header', (header) => header.write('x', 156)],
    ['a size that is not octal', (header) => header.write('9', 124)],
    ['another magic', (header) => header.write('gnutar', 257)],
  ];
  for (const [what, change] of odd) {
    test(`is refused with ${what}`, () => {
      const bytes = Buffer.from(tar);
      change(bytes);
      fixChecksum(bytes);
      invalid(() => loadBundle(storedGzip(bytes), DEMO), /./);
    });
  }
  test('is refused with a wrong checksum', () => {
    const bytes = Buffer.from(tar);
    bytes.write('1', 100);
    invalid(() => loadBundle(storedGzip(bytes), DEMO), /checksum/);
  });
  test('is refused with a file that is there twice', () => {
    const one = writeTar(new Map([['data.json', Buffer.from('{}')]]));
    const twice = Buffer.concat([one.subarray(0, 1024), one]);
    invalid(() => readTar(twice), /data.json is there twice/);
  });
  test('is refused with bytes hidden behind a file, or behind the end', () => {
    const one = writeTar(new Map([['a', Buffer.from('x')]]));
    const hidden = Buffer.from(one);
    hidden[512 + 100] = 1;
    invalid(() => readTar(hidden), /hidden bytes/);
    invalid(() => readTar(Buffer.concat([one, Buffer.alloc(511), Buffer.from('y')])), /zero blocks/);
    invalid(() => readTar(one.subarray(0, 1024)), /middle of a header/);
    invalid(() => readTar(one.subarray(0, 700)), /ends early/);
  });
  test('may hold as many files as the limit', () => {
    const many = (count: number): Buffer =>
      writeTar(new Map(Array.from({ length: count }, (_, i) => [`f${i}`, Buffer.alloc(0)])));
    equal(readTar(many(LIMITS.bundleFilesMax)).size, LIMITS.bundleFilesMax);
    invalid(() => readTar(many(LIMITS.bundleFilesMax + 1)), /more than/);
  });
});

function invalid(action: () => unknown, detail: RegExp): void {
  throws(action, (error: unknown) => {
    ok(error instanceof GatewayError, String(error));
    equal(error.code, 'bundle_invalid');
    ok(detail.test(error.detail), `${error.detail} does not match ${String(detail)}`);
    return true;
  });
}

function packed(content: ReadonlyMap<string, Buffer>): Buffer {
  return storedGzip(writeTar(content));
}

function resigned(content: Map<string, Buffer>): Buffer {
  return packed(content.set(SIGNATURES_FILE, signBundle(content, 'own', own.privateKey)));
}

function changed(name: string, bytes: Buffer): Map<string, Buffer> {
  return new Map(files).set(name, bytes);
}

function without(name: string): Map<string, Buffer> {
  const rest = new Map(files);
  ok(rest.delete(name));
  return rest;
}

function flipped(name: string): Buffer {
  const bytes = Buffer.from(files.get(name) ?? '');
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  return bytes;
}

function json(value: JsonValue): Buffer {
  return Buffer.from(canonicalJson(value));
}

function manifest(change: object): Buffer {
  return Buffer.from(JSON.stringify({ ...(JSON.parse(String(files.get('.manifest'))) as object), ...change }));
}

function hashes(content: ReadonlyMap<string, Buffer>): { name: string; hash: string; algorithm: string }[] {
  return [...content]
    .filter(([name]) => name !== SIGNATURES_FILE)
    .map(([name, bytes]) => ({ name, hash: fileHash(name, bytes), algorithm: 'SHA-256' }));
}

function signedBy(header: JsonValue, payload: JsonValue, key: KeyObject): Map<string, Buffer> {
  const text = [header, payload].map((part) => Buffer.from(canonicalJson(part)).toString('base64url')).join('.');
  const signature = sign(null, Buffer.from(text), key).toString('base64url');
  return changed(SIGNATURES_FILE, json({ signatures: [`${text}.${signature}`] }));
}

function jwtSigned(
  content: ReadonlyMap<string, Buffer>,
  algorithm: BundleAlgorithm,
  key: KeyObject,
  keyId: string,
): Map<string, Buffer> {
  ok(createPublicKey(key));
  const text = [{ alg: algorithm }, { files: hashes(content), keyid: keyId }]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  const how = algorithm === 'ES256' ? { key, dsaEncoding: 'ieee-p1363' as const } : key;
  const signature = sign(algorithm === 'EdDSA' ? null : 'sha256', Buffer.from(text), how).toString('base64url');
  return changed(SIGNATURES_FILE, json({ signatures: [`${text}.${signature}`] }));
}

function fixChecksum(tar: Buffer): void {
  tar.write('        ', 148, 'latin1');
  const sum = tar.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  tar.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
}

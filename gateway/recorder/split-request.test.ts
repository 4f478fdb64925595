import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SeededRandom } from '../../core/kernel/testing/seeded-random.ts';
import type { Original } from '../../proto/gen/chaperone/evidence/v1/unit.ts';
import type { RequestCopy } from '../contract/record-copy.ts';
import { splitRequest } from './split-request.ts';

const KIB = 1024;
const HEAD = { method: 'POST', target: '/rows', host: 'sink', headers: [{ name: 'x', value: 'y' }] };

describe('splitRequest', () => {
  for (const [size, count] of [
    [0, 1],
    [32 * KIB, 1],
    [32 * KIB + 1, 2],
    [96 * KIB, 2],
    [96 * KIB + 1, 3],
    [1024 * KIB, 17],
  ] as const) {
    test(`makes ${count} of a body of ${size} bytes, and the last has the head`, () => {
      const copy = copyOf(Buffer.alloc(size, 'a'), []);
      const pieces = splitRequest(copy);
      equal(pieces.length, count);
      const { body: _body, bodyOffset: _offset, ...head } = pieces.at(-1)?.request ?? copy.request;
      deepEqual(head, HEAD);
      ok(pieces.slice(0, -1).every(({ request }) => request.method === '' && request.headers.length === 0));
      equal(joined(pieces).length, size);
    });
  }

  test('gives the request back, whatever was masked in it', () => {
    const seed = Number(process.env['CHAPERONE_TEST_SEED'] ?? 7);
    const random = new SeededRandom(seed);
    for (let round = 0; round < 60; round++) {
      const { copy, whole } = randomCopy(random);
      const pieces = splitRequest(copy);
      const restored = Buffer.concat(pieces.map(({ request, originals }) => restore(request.body, originals)));
      ok(restored.equals(whole), `seed ${seed}, round ${round}`);
      ok(joined(pieces).equals(copy.request.body));
      for (const { request, originals } of pieces) {
        ok(request.body.length <= 64 * KIB);
        ok(originals.reduce((sum, { value }) => sum + value.length, 0) <= 96 * KIB);
      }
    }
  });

  test('keeps the original of the target with the head', () => {
    const target: Original = { ...ORIGINAL, path: '$target', value: Buffer.from('/rows?ssn=1') };
    const big: Original = { ...ORIGINAL, size: 10, value: Buffer.alloc(900 * KIB, 'v') };
    const pieces = splitRequest(copyOf(Buffer.from('[WITHHELD]'), [target, big]));
    ok(pieces.length > 5);
    ok(pieces.slice(0, -1).every(({ originals }) => originals.every(({ path }) => path !== '$target')));
    deepEqual(pieces.at(-1)?.originals[0], target);
  });
});

const ORIGINAL: Original = { offset: 0, size: 0, value: Buffer.alloc(0), class: 'ssn', kind: 'ssn', path: '[].ssn' };

function copyOf(body: Buffer, originals: readonly Original[]): RequestCopy {
  return { request: { ...HEAD, body, bodyOffset: 0n }, originals };
}

function joined(pieces: readonly RequestCopy[]): Buffer {
  let offset = 0;
  for (const { request } of pieces) {
    equal(Number(request.bodyOffset), offset);
    offset += request.body.length;
  }
  return Buffer.concat(pieces.map(({ request }) => request.body));
}

function randomCopy(random: SeededRandom): { copy: RequestCopy; whole: Buffer } {
  const body: Buffer[] = [];
  const whole: Buffer[] = [];
  const originals: Original[] = [];
  let offset = 0;
  for (let i = random.below(400); i > 0; i--) {
    const plain = Buffer.alloc(random.below(3_000), 97 + random.below(26));
    const size = random.pick([0, 4, 10, 10]);
    const value = random.bytes(random.pick([0, 11, 200, random.below(20) === 0 ? 90 * KIB : 5]));
    originals.push({ ...ORIGINAL, offset: offset + plain.length, size, value });
    body.push(plain, Buffer.alloc(size, '*'));
    whole.push(plain, value);
    offset += plain.length + size;
  }
  return { copy: copyOf(Buffer.concat(body), originals), whole: Buffer.concat(whole) };
}

/** The slow and obvious way back. */
function restore(body: Buffer, originals: readonly Original[]): Buffer {
  const out: Buffer[] = [];
  let at = 0;
  for (const { offset, size, value } of originals) {
    out.push(body.subarray(at, offset), value);
    at = offset + size;
  }
  return Buffer.concat([...out, body.subarray(at)]);
}

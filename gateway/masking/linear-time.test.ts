import { ok } from 'node:assert/strict';
import { test } from 'node:test';
import type { MediaKind } from '../contract/shape.ts';
import { maskBody, planOf } from './testing/mask-bodies.ts';

const PLAN = planOf({ note: 'public+scan', gone: 'phi.drop' }, { class: 'public', scan: true });
const SIZE = 96 * 1024;
const FACTOR = 8;
/** A quadratic step would take 64 times as long; scheduling noise does not reach half of that. */
const RATIO_MAX = FACTOR * 3;

const HOSTILE: readonly (readonly [string, MediaKind, (size: number) => string])[] = [
  ['digits', 'text', (size) => '7'.repeat(size)],
  ['short numbers', 'text', (size) => '1 23 '.repeat(size / 5)],
  ['numbers with dashes', 'text', (size) => '123-45-'.repeat(size / 7)],
  ['@ signs', 'text', (size) => '@'.repeat(size)],
  ['addresses in a row', 'text', (size) => 'a@b.c@'.repeat(size / 6)],
  ['letters', 'text', (size) => 'a'.repeat(size)],
  ['capitals', 'text', (size) => 'aB3d'.repeat(size / 4)],
  ['joints', 'text', (size) => 'aB/-'.repeat(size / 4)],
  ['percent signs', 'text', (size) => '%25'.repeat(size / 3)],
  ['ampersands', 'text', (size) => '&#'.repeat(size / 2)],
  ['backslashes', 'json', (size) => `{"note":"${'\\\\'.repeat(size / 2)}"}`],
  ['nested escapes', 'json', (size) => `{"note":"${'\\\\u005cu0031'.repeat(size / 12)}"}`],
  ['zero-width characters', 'text', (size) => '1\u200b'.repeat(size / 4)],
  ['labels', 'text', (size) => 'ssn mrn phone 1234 '.repeat(size / 19)],
  ['dropped members', 'json', (size) => `{${'"gone":1,'.repeat(size / 9)}"gone":1}`],
  ['unknown members', 'json', (size) => `{${Array.from({ length: size / 12 }, (_, i) => `"x${i}":1`).join()}}`],
  ['quotes', 'csv', (size) => `note\n"${'""'.repeat(size / 2)}"\n`],
  ['white space', 'json', (size) => `{"note":1${' '.repeat(size)}}`],
];

/** CPU time: the machine may be busy with other things. */
function cpuMs(media: MediaKind, body: Buffer): number {
  let best = Infinity;
  for (let i = 0; i < 3; i++) {
    const start = process.cpuUsage();
    maskBody(PLAN, media, body, [16_384]);
    const { user, system } = process.cpuUsage(start);
    best = Math.min(best, (user + system) / 1000);
  }
  return best;
}

for (const [what, media, make] of HOSTILE) {
  test(`${media}: ${what} take linear time`, () => {
    const small = Math.max(1, cpuMs(media, Buffer.from(make(SIZE))));
    const large = cpuMs(media, Buffer.from(make(SIZE * FACTOR)));
    ok(large < small * RATIO_MAX, `${SIZE} bytes: ${small} ms, ${SIZE * FACTOR} bytes: ${large} ms`);
  });
}

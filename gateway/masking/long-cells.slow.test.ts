import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SeededRandom } from '../../core/kernel/testing/seeded-random.ts';
import type { MediaKind } from '../contract/shape.ts';
import { createEgressScanner } from './egress-scanner.ts';
import { unmask } from './masked-output.ts';
import { maskBody, plainOriginals, planOf } from './testing/mask-bodies.ts';

const SCALE = Number(process.env['CHAPERONE_TEST_SCALE'] ?? '1');
const BLOCK = 65_536;
const PLAN = planOf({ note: 'public+scan', id: 'public' }, { class: 'public', scan: true });

const PIECES = [
  ...[
    '123-45-6789',
    'a.b@example.org',
    '(400) 833-2380',
    '2024-01-02T03:04:05Z',
    '4111 1111 1111 1111',
    'MRN: 1234567',
  ],
  ...[
    'plain words that say nothing',
    'é ünï \u{1f600}',
    '１２３-４５-６７８９',
    '123%2D45%2D6789',
    'MTIzLTQ1LTY3ODk=',
    '7'.repeat(900),
  ],
  ...['x'.repeat(700), 'aB3'.repeat(1500), '. ', '\n', ', ', '"', '\\', '%', '&amp;'],
];

function longText(random: SeededRandom, size: number): string {
  let text = '';
  while (text.length < size) {
    text += random.pick(PIECES) + random.pick([' ', ' ', '', '\n']);
  }
  return text;
}

function bodyOf(media: MediaKind, text: string): Buffer {
  switch (media) {
    case 'csv':
      return Buffer.from(`id,note\n1,"${text.replaceAll('"', '""')}"\n`);
    case 'text':
      return Buffer.from(text);
    default:
      return Buffer.from(`{"id":1,"note":${JSON.stringify(text)}}`);
  }
}

describe('a cell that is longer than a block', () => {
  for (const media of ['json', 'ndjson', 'csv', 'text'] as const) {
    test(`${media}: is masked the same however it is cut`, () => {
      for (let seed = 1; seed <= 2 * SCALE; seed++) {
        const random = new SeededRandom(seed);
        const body = bodyOf(media, longText(random, 150_000 + random.below(60_000)));
        const whole = maskBody(PLAN, media, body);
        deepEqual(unmask(whole.masked, whole.originals), body, `seed ${seed}`);
        ok(whole.originals.length > 50, 'the text has identifiers');
        for (const sizes of [[1], [BLOCK], [BLOCK - 1], [1 + random.below(5000)]]) {
          const cut = maskBody(PLAN, media, body, sizes);
          ok(cut.masked.equals(whole.masked), `seed ${seed} sizes ${sizes.join()}`);
          deepEqual(plainOriginals(cut.originals), plainOriginals(whole.originals));
        }
      }
    });
  }

  // Goal: no identifier is lost where one block ends and the next begins. Method: put each one at every offset there.
  test('an identifier is found at every offset around the end of a block and of its carry', () => {
    const values = [
      '123-45-6789',
      'first.last@example.org',
      'SSN: 123456789',
      '１２３-４５-６７８９',
      '%31%32%33-45-6789',
    ];
    for (const value of values) {
      const size = Buffer.byteLength(value);
      for (const around of [BLOCK, BLOCK - 4096 - 320]) {
        for (let at = around - size - 1; at <= around + 1; at++) {
          const body = Buffer.from(`${'x '.repeat(at).slice(0, at - 1)} ${value} ${'y '.repeat(5000)}`);
          const { masked, originals } = maskBody(PLAN, 'text', body);
          equal(originals.length, 1, `${value} at ${at}`);
          ok(!masked.includes('6789') && !masked.includes('@'));
          deepEqual(unmask(masked, originals), body);
        }
      }
    }
  });

  test('a run that is longer than any shape is taken out whole, over block ends too', () => {
    for (const size of [400, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 17]) {
      const body = Buffer.from(`a ${'7'.repeat(size)} b`);
      const { masked, originals } = maskBody(PLAN, 'text', body, [4096]);
      equal(masked.toString(), 'a [BLOB] b');
      deepEqual(unmask(masked, originals), body);
    }
  });
});

describe('the egress scanner', () => {
  test('finds the same, at the same offsets, however the body is cut', () => {
    for (let seed = 1; seed <= 3 * SCALE; seed++) {
      const random = new SeededRandom(seed);
      const body = Buffer.from(longText(random, 200_000));
      const scan = (size: number): unknown => {
        const scanner = createEgressScanner();
        const found = [];
        for (let i = 0; i < body.length; i += size) {
          found.push(...scanner.push(body.subarray(i, i + size)));
        }
        found.push(...scanner.finish());
        return { found, kinds: scanner.kinds };
      };
      const whole = scan(body.length);
      deepEqual(scan(1), whole);
      deepEqual(scan(1 + random.below(9000)), whole);
      deepEqual((whole as { kinds: unknown }).kinds, ['blob', 'card', 'date', 'email', 'mrn', 'phone', 'ssn']);
    }
  });
});

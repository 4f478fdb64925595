import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { bytesText, durationText, labelled, printable, table } from './print.ts';

describe('output for people', () => {
  test('a table has columns as wide as their longest cell and no spaces at its ends', () => {
    deepEqual(
      table(
        ['A', 'LONG'],
        [
          ['aaa', 'b'],
          ['c', ''],
        ],
      ),
      ['A    LONG', 'aaa  b', 'c'],
    );
  });

  test('a labelled text is wrapped between words, and keeps its own lines', () => {
    const lines = labelled('WHY', `${'word '.repeat(30)}\nsecond`, 60);
    ok(lines.every((line) => line.length <= 60));
    equal(lines[0]?.startsWith('WHY         word'), true);
    equal(lines.at(-1), '            second');
    equal(lines.join(' ').match(/word/g)?.length, 30);
  });

  test('sizes and times are read at a glance', () => {
    deepEqual([0, 1023, 1024, 5 * 1024 ** 2].map(bytesText), ['0 B', '1023 B', '1.0 KiB', '5.0 MiB']);
    deepEqual([0, 59_400, 60_000, 3_600_000].map(durationText), ['0 s', '59 s', '1 min 0 s', '1 h 0 min']);
  });

  test('no control or direction character of others reaches the terminal', () => {
    equal(printable('a\u001b[2Jb'), 'a\\x1b[2Jb');
    equal(printable('a\rb\u202ec'), 'a\\x0db\\u{202e}c');
    equal(printable('tab\tand\nline'), 'tab\tand\nline');
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        ok(!/[^\P{Cc}\n\t]|\p{Cf}/u.test(printable(text)));
      }),
      { numRuns: 200 * Number(process.env['CHAPERONE_TEST_SCALE'] ?? 1) },
    );
  });
});

import { deepEqual, equal } from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { JsonValue } from '../../core/kernel/canonical-json.ts';
import { parseStrictJson } from './strict-json.ts';

const runs = 200 * Number(process.env['CHAPERONE_TEST_SCALE'] ?? 1);

describe('parseStrictJson', () => {
  for (const text of [
    '{"a":1,"a":1}',
    '{"a":1,"\\u0061":2}',
    '{"x":{"a":1,"b":[{"a":1}],"a":2}}',
    '[{"":1,"":2}]',
    '{"__proto__":1,"__proto__":2}',
    '{"a":"}","b":1,"a":2}',
    '{',
    '',
    '{"a":1,}',
    'NaN',
  ]) {
    test(`refuses ${text === '' ? 'nothing' : text}`, () => {
      equal(parseStrictJson(text), undefined);
    });
  }

  test('accepts equal names in different objects, and names that only look like structure', () => {
    const value = { a: { a: [{ a: 1 }, { a: 2 }] }, '{"a":': '"a":1', '\\': '\\"', ':': ':' };
    deepEqual(parseStrictJson(JSON.stringify(value)), value);
  });

  test('agrees with JSON.parse on every value that has no duplicate', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        // fast-check writes objects, so no member is there twice.
        deepEqual(parseStrictJson(text), JSON.parse(text) as JsonValue);
      }),
      { numRuns: runs },
    );
  });

  test('finds one duplicate wherever it is put', () => {
    fc.assert(
      fc.property(fc.json(), fc.string(), (text, name) => {
        const member = JSON.stringify(name);
        equal(parseStrictJson(`[${text},{${member}:${text},"x${member.slice(1)}:[${text}],${member}:0}]`), undefined);
      }),
      { numRuns: runs },
    );
  });
});

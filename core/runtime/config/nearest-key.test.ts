import { equal } from 'node:assert/strict';
import { test } from 'node:test';
import { nearestKey } from './nearest-key.ts';

const known = ['port', 'host', 'adapter', 'publicKeys'];

for (const [key, expected] of [
  ['prot', 'port'],
  ['Port', 'port'],
  ['publickey', 'publicKeys'],
  ['public_keys', 'publicKeys'],
  ['adaptor', 'adapter'],
  ['zzzzzz', undefined],
  ['', undefined],
] as const) {
  test(`the nearest key to "${key}" is ${expected ?? 'none'}`, () => {
    equal(nearestKey(key, known), expected);
  });
}

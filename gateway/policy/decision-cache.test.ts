import { equal } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DecisionCache } from './decision-cache.ts';

describe('DecisionCache', () => {
  test('holds as many entries as it may, and lets the least recently used one go', () => {
    const cache = new DecisionCache<number>(3);
    for (const [index, key] of ['a', 'b', 'c'].entries()) {
      cache.set(key, index, 10);
    }
    equal(cache.size, 3);
    equal(cache.get('a', 0), 0);
    cache.set('d', 3, 10);
    equal(cache.size, 3);
    equal(cache.get('b', 0), undefined, 'b was used longest ago');
    equal(cache.get('a', 0), 0);
  });
  test('an entry ends with its time to live', () => {
    const cache = new DecisionCache<number>(3);
    cache.set('a', 1, 10);
    equal(cache.get('a', 9), 1);
    equal(cache.get('a', 10), undefined);
    equal(cache.size, 0);
  });
  test('setting a key again replaces its entry', () => {
    const cache = new DecisionCache<number>(2);
    cache.set('a', 1, 10);
    cache.set('a', 2, 10);
    equal(cache.size, 1);
    equal(cache.get('a', 0), 2);
  });
  test('a cache of no entries keeps nothing', () => {
    const cache = new DecisionCache<number>(0);
    cache.set('a', 1, 10);
    equal(cache.size, 0);
  });
});

import { deepEqual, equal, notEqual } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LIMITS } from '../../core/kernel/limits.ts';
import { approvalId, decodeTransition, encodeTransition, type Transition } from './transition.ts';

const claim: Transition = {
  v: 1,
  type: 'claim',
  id: 'ap-1',
  node: 'n1',
  nonce: '0'.repeat(32),
  atMs: 5,
  use: 0,
  opDigest: 'a'.repeat(64),
};

describe('a transition', () => {
  test('has the documented bytes', () => {
    equal(
      encodeTransition(claim).toString(),
      `{"atMs":5,"id":"ap-1","node":"n1","nonce":"${'0'.repeat(32)}","opDigest":"${'a'.repeat(64)}","type":"claim","use":0,"v":1}`,
    );
    deepEqual(decodeTransition(encodeTransition(claim)), claim);
  });

  const good = encodeTransition(claim).toString();
  for (const [name, text] of [
    ['white space', good.replace(',', ', ')],
    ['another order of members', good.replace(/^\{("atMs":5),(.*)\}$/, '{$2,$1}')],
    ['a member twice', good.replace('"v":1', '"v":1,"v":1')],
    ['an unknown member', good.replace('"v":1', '"v":1,"w":1')],
    ['another version', good.replace('"v":1', '"v":2')],
    ['an unknown type', good.replace('"claim"', '"grant"')],
    ['a missing member', good.replace(',"use":0', '')],
    ['a negative use', good.replace('"use":0', '"use":-1')],
    ['an upper-case digest', good.replaceAll('aaaa', 'AAAA')],
    ['trailing bytes', `${good} `],
    ['nothing', ''],
    ['text that is not JSON', 'claim'],
  ] as const) {
    test(`with ${name} is malformed`, () => {
      notEqual(text, good);
      equal(decodeTransition(Buffer.from(text)), undefined);
    });
  }

  test('is read up to the size limit', () => {
    const cancelled = (size: number): Buffer =>
      encodeTransition({
        v: 1,
        type: 'cancelled',
        id: 'x',
        node: 'n',
        nonce: claim.nonce,
        atMs: 1,
        reason: 'r'.repeat(size),
      });
    notEqual(decodeTransition(cancelled(4096)), undefined);
    equal(decodeTransition(cancelled(4097)), undefined);
    equal(decodeTransition(Buffer.alloc(LIMITS.approvalTransitionBytesMax + 1, ' ')), undefined);
  });

  test('names an ask by operation and generation, without a seam between them', () => {
    equal(new Set([approvalId('a', 1), approvalId('a', 11), approvalId('a/1', 1), approvalId('b', 1)]).size, 4);
    equal(approvalId('a', 1), approvalId('a', 1));
  });
});

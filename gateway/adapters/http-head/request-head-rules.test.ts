import { deepEqual, equal } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkRequestHead, originFormOf, REFUSALS } from './request-head-rules.ts';

const LIMITS = { headerBytesMax: 200, headersMax: 4 };
const HOST = { name: 'host', value: 'a.test' };

describe('checkRequestHead', () => {
  test('gives the framing facts of an accepted head', () => {
    const close = { name: 'connection', value: 'keep-alive, CLOSE' };
    const facts = { host: 'a.test', contentLength: 0, close: false, expectContinue: false };
    const cases = [
      [[HOST], facts],
      [[{ name: 'host', value: 'A.Test:80' }], { ...facts, host: 'a.test:80' }],
      [[HOST, { name: 'content-length', value: '12' }], { ...facts, contentLength: 12 }],
      [[HOST, { name: 'transfer-encoding', value: 'CHUNKED' }], { ...facts, contentLength: -1 }],
      [[HOST, close], { ...facts, close: true }],
      [[HOST, { name: 'connection', value: 'closed' }], facts],
      [[HOST, { name: 'expect', value: '100-Continue' }], { ...facts, expectContinue: true }],
    ] as const;
    for (const [headers, wanted] of cases) {
      deepEqual(checkRequestHead('GET', '/', '', headers, LIMITS), wanted);
    }
  });

  test('counts the head as it stands on the wire, at the limit', () => {
    const sizeOf = (value: string): number =>
      Buffer.byteLength(`POST /a?b HTTP/1.1\r\nhost: a.test\r\nx: ${value}\r\n\r\n`);
    for (const [size, isRefused] of [
      [199, false],
      [200, false],
      [201, true],
    ] as const) {
      const value = 'v'.repeat(size - sizeOf(''));
      equal(sizeOf(value), size);
      const result = checkRequestHead('POST', '/a', 'b', [HOST, { name: 'x', value }], LIMITS);
      equal(result === 'header_bytes', isRefused);
    }
  });

  test('counts fields, at the limit', () => {
    for (const [count, isRefused] of [
      [3, false],
      [4, false],
      [5, true],
    ] as const) {
      const headers = [HOST, ...Array.from({ length: count - 1 }, () => ({ name: 'x', value: '' }))];
      equal(checkRequestHead('GET', '/', '', headers, LIMITS) === 'header_count', isRefused);
    }
  });

  test('has a status for every reason that refuses the connection', () => {
    for (const { status } of Object.values(REFUSALS)) {
      equal(status >= 400 && status < 600, true);
    }
  });
});

test('originFormOf takes the path of its own authority only', () => {
  const cases = [
    ['http://a.test/p?q', '/p?q'],
    ['HTTP://A.test/p', '/p'],
    ['http://a.test', '/'],
    ['http://a.test?q', '/?q'],
    ['http://a.test:80/p', null],
    ['http://b.test/p', null],
    ['http://x@a.test/p', null],
    ['https://a.test/p', null],
    ['ftp://a.test/p', null],
    ['a.test:80', null],
    ['//a.test/p', null],
    ['', null],
  ] as const;
  for (const [target, wanted] of cases) {
    equal(originFormOf(target, 'a.test'), wanted, target);
  }
});

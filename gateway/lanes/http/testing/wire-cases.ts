/** A request head that every listener refuses. Octets are Latin-1 characters. */
export interface WireCase {
  readonly name: string;
  readonly bytes: string;
}

const H = 'Host: gateway.test\r\n';
const post = (fields: string, body = ''): string => `POST / HTTP/1.1\r\n${H}${fields}\r\n${body}`;
const get = (fields: string, target = '/', method = 'GET', version = 'HTTP/1.1'): string =>
  `${method} ${target} ${version}\r\n${H}${fields}\r\n`;
const withHost = (host: string): string => `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`;

const FRAMING: readonly WireCase[] = [
  { name: 'TE and CL', bytes: post('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n') },
  { name: 'CL and TE', bytes: post('Transfer-Encoding: chunked\r\nContent-Length: 5\r\n', '0\r\n\r\n') },
  { name: 'an empty TE and CL', bytes: post('Transfer-Encoding:\r\nContent-Length: 3\r\n', 'abc') },
  { name: 'two equal CL', bytes: post('Content-Length: 2\r\nContent-Length: 2\r\n', 'ab') },
  { name: 'two different CL', bytes: post('Content-Length: 2\r\nContent-Length: 3\r\n', 'abc') },
  { name: 'CL with a plus', bytes: post('Content-Length: +2\r\n', 'ab') },
  { name: 'CL with a minus', bytes: post('Content-Length: -2\r\n', 'ab') },
  { name: 'CL with a space inside', bytes: post('Content-Length: 1 2\r\n', 'abcdefghijkl') },
  { name: 'CL as a list', bytes: post('Content-Length: 2, 2\r\n', 'ab') },
  { name: 'CL in hex', bytes: post('Content-Length: 0x2\r\n', 'ab') },
  { name: 'an empty CL', bytes: post('Content-Length:\r\n', 'ab') },
  { name: 'CL of 23 digits', bytes: post('Content-Length: 99999999999999999999999\r\n', 'ab') },
  { name: 'chunked twice', bytes: post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n') },
  { name: 'chunked, chunked', bytes: post('Transfer-Encoding: chunked, chunked\r\n', '0\r\n\r\n') },
  { name: 'xchunked', bytes: post('Transfer-Encoding: xchunked\r\n', '0\r\n\r\n') },
  { name: 'TE identity', bytes: post('Transfer-Encoding: identity\r\n', '0\r\n\r\n') },
  { name: 'gzip, chunked', bytes: post('Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n') },
  { name: 'an empty TE', bytes: post('Transfer-Encoding:\r\n', '0\r\n\r\n') },
  { name: 'a quoted TE', bytes: post('Transfer-Encoding: "chunked"\r\n', '0\r\n\r\n') },
];

const LINES: readonly WireCase[] = [
  { name: 'bare LF everywhere', bytes: 'GET / HTTP/1.1\nHost: gateway.test\n\n' },
  { name: 'bare LF after a field', bytes: 'GET / HTTP/1.1\r\nHost: gateway.test\nX: y\r\n\r\n' },
  { name: 'bare LF in a value', bytes: get('X: y\nZ: 1\r\n') },
  { name: 'bare CR in a value', bytes: get('X: y\rZ: 1\r\n') },
  { name: 'obs-fold by a space', bytes: get('X: y\r\n z\r\n') },
  { name: 'obs-fold by a tab', bytes: get('X: y\r\n\tz\r\n') },
  { name: 'a folded first line', bytes: `GET / HTTP/1.1\r\n X: y\r\n${H}\r\n` },
  { name: 'a space before the colon', bytes: get('X : y\r\n') },
  { name: 'a tab before the colon', bytes: get('X\t: y\r\n') },
  { name: 'a space before the colon of TE', bytes: post('Transfer-Encoding : chunked\r\n', '0\r\n\r\n') },
  { name: 'a bad octet in a name', bytes: get('X(y: z\r\n') },
  { name: 'a field without a colon', bytes: get('Xy\r\n') },
  { name: 'NUL in a value', bytes: get('X: y\0z\r\n') },
  { name: 'NUL in a name', bytes: get('X\0: y\r\n') },
  { name: 'a control octet in a value', bytes: get('X: y\x01z\r\n') },
  { name: 'DEL in a value', bytes: get('X: y\x7fz\r\n') },
  { name: 'an octet above 0x7f in a value', bytes: get('X: y\xe9z\r\n') },
  { name: 'UTF-8 in a value', bytes: get('X: y\xc3\xa9z\r\n') },
];

const HOSTS: readonly WireCase[] = [
  { name: 'no Host', bytes: 'GET / HTTP/1.1\r\nX: y\r\n\r\n' },
  { name: 'an empty Host', bytes: withHost('') },
  { name: 'two equal Hosts', bytes: get(H) },
  { name: 'two different Hosts', bytes: get('Host: other.test\r\n') },
  { name: 'an empty Host and another', bytes: `GET / HTTP/1.1\r\nHost:\r\n${H}\r\n` },
  ...['a b', 'a/b', 'a@b', 'a?b', 'a#b', 'a,b', 'a\\b', 'a:99999', 'a:x', 'a:', '[::1', '%41', 'a\tb', '"a"'].map(
    (host) => ({ name: `Host ${JSON.stringify(host)}`, bytes: withHost(host) }),
  ),
];

const REQUEST_LINES: readonly WireCase[] = [
  { name: 'an absolute-form of another authority', bytes: get('', 'http://other.test/p') },
  { name: 'an absolute-form of another port', bytes: get('', 'http://gateway.test:81/p') },
  { name: 'an absolute-form with user info', bytes: get('', 'http://a@gateway.test/p') },
  { name: 'an absolute-form of another scheme', bytes: get('', 'https://gateway.test/p') },
  { name: 'an asterisk-form', bytes: get('', '*', 'OPTIONS') },
  { name: 'an authority-form', bytes: get('', 'gateway.test:80', 'CONNECT') },
  { name: 'CONNECT with a path', bytes: get('', '/', 'CONNECT') },
  { name: 'TRACE', bytes: get('', '/', 'TRACE') },
  { name: 'HTTP/1.0', bytes: get('', '/', 'GET', 'HTTP/1.0') },
  { name: 'HTTP/1.2', bytes: get('', '/', 'GET', 'HTTP/1.2') },
  { name: 'HTTP/2.0', bytes: get('', '/', 'GET', 'HTTP/2.0') },
  { name: 'a lower-case version', bytes: get('', '/', 'GET', 'http/1.1') },
  { name: 'no version', bytes: 'GET /\r\n\r\n' },
  { name: 'the HTTP/2 preface', bytes: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' },
  { name: 'a TLS hello', bytes: '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' },
  {
    name: 'Upgrade to websocket',
    bytes: get('Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'),
  },
  { name: 'Upgrade to h2c', bytes: get('Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n') },
  { name: 'another expectation', bytes: post('Expect: 200-ok\r\nContent-Length: 2\r\n', 'ab') },
  { name: 'a bad octet in the method', bytes: get('', '/', 'G(ET') },
  { name: 'an octet above 0x7f in the method', bytes: get('', '/', 'G\xe9T') },
  { name: 'an empty method', bytes: get('', '/', '') },
  { name: 'a space in the target', bytes: get('', '/a b') },
  { name: 'a tab in the target', bytes: get('', '/a\tb') },
  { name: 'a fragment', bytes: get('', '/a#b') },
  { name: 'a fragment in the query', bytes: get('', '/a?b#c') },
  { name: 'NUL in the target', bytes: get('', '/a\0b') },
  { name: 'a control octet in the target', bytes: get('', '/a\x01b') },
  { name: 'DEL in the target', bytes: get('', '/a\x7fb') },
  { name: 'an octet above 0x7f in the target', bytes: get('', '/a\xe9b') },
  { name: 'UTF-8 in the query', bytes: get('', '/a?\xc3\xa9') },
];

export const REFUSED_HEADS: readonly WireCase[] = [...FRAMING, ...LINES, ...HOSTS, ...REQUEST_LINES];

/** Chunked bodies that a strict parser refuses. */
export const REFUSED_BODIES: readonly WireCase[] = [
  { name: 'bare LF', bytes: '3\nabc\n0\n\n' },
  { name: 'a size that is no number', bytes: 'g\r\nabc\r\n0\r\n\r\n' },
  { name: 'a size with a prefix', bytes: '0x3\r\nabc\r\n0\r\n\r\n' },
  { name: 'a size beyond 64 bits', bytes: 'ffffffffffffffff3\r\nabc\r\n0\r\n\r\n' },
  { name: 'a negative size', bytes: '-3\r\nabc\r\n0\r\n\r\n' },
  { name: 'a space before the size', bytes: ' 3\r\nabc\r\n0\r\n\r\n' },
  { name: 'an empty size', bytes: '\r\nabc\r\n0\r\n\r\n' },
  { name: 'bare LF in an extension', bytes: '3;a\nb\r\nabc\r\n0\r\n\r\n' },
  { name: 'more data than the size', bytes: '3\r\nabcX\r\n0\r\n\r\n' },
  { name: 'no line end after the data', bytes: '3\r\nabc0\r\n\r\n' },
  { name: 'junk for the last line end', bytes: '3\r\nabc\r\n0\r\nXX' },
];

export const ACCEPTED_HEADS: readonly (WireCase & { readonly path: string })[] = [
  { name: 'a Host with a port', bytes: withHost('gateway.test:8080'), path: '/' },
  { name: 'an IPv6 Host', bytes: withHost('[::1]:8080'), path: '/' },
  { name: 'a Host with an underscore', bytes: withHost('my_service'), path: '/' },
  { name: 'a tab in a value', bytes: get('X: y\tz\r\n'), path: '/' },
  { name: 'an empty value', bytes: get('X:\r\n'), path: '/' },
  { name: 'two fields of one name', bytes: get('X: 1\r\nX: 2\r\n'), path: '/' },
  { name: 'escapes as they are', bytes: get('', '/%2e%2E/%00?%0d'), path: '/%2e%2E/%00' },
  { name: 'unwise octets of a target', bytes: get('', '/a{b}|c'), path: '/a{b}|c' },
  { name: 'an empty query', bytes: get('', '/a?'), path: '/a' },
  { name: 'a question mark in the query', bytes: get('', '/a?b?c'), path: '/a' },
  { name: 'TE as a hop-by-hop field', bytes: get('TE: trailers\r\n'), path: '/' },
];

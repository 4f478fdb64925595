/** Bytes that an upstream may send, and what must become of them. Octets are Latin-1 characters. */
export interface GoodResponse {
  readonly name: string;
  readonly method?: string;
  readonly bytes: string;
  readonly status: number;
  readonly contentLength: number;
  readonly body: string;
  /** The connection may carry the next request. */
  readonly isReused: boolean;
  /** The origin closes behind the bytes: they say no other end. */
  readonly closes?: boolean;
}

export interface BadResponse {
  readonly name: string;
  readonly bytes: string;
}

const OK = 'HTTP/1.1 200 OK\r\n';
const chunked = (rest: string): string => `${OK}Transfer-Encoding: chunked\r\n\r\n${rest}`;

export const GOOD_RESPONSES: readonly GoodResponse[] = [
  {
    name: 'a body of known length',
    bytes: `${OK}Content-Length: 3\r\n\r\nabc`,
    status: 200,
    contentLength: 3,
    body: 'abc',
    isReused: true,
  },
  {
    name: 'an empty body',
    bytes: `${OK}Content-Length: 0\r\n\r\n`,
    status: 200,
    contentLength: 0,
    body: '',
    isReused: true,
  },
  {
    name: 'no reason phrase',
    bytes: 'HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n',
    status: 404,
    contentLength: 0,
    body: '',
    isReused: true,
  },
  {
    name: 'blanks around values and obs-text',
    bytes: `${OK}X-A: \t caf\xe9 \t\r\nContent-Length:3 \r\n\r\nabc`,
    status: 200,
    contentLength: 3,
    body: 'abc',
    isReused: true,
  },
  {
    name: 'chunks',
    bytes: chunked('3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n'),
    status: 200,
    contentLength: -1,
    body: 'abc0123456789',
    isReused: true,
  },
  {
    name: 'chunk extensions and trailers',
    bytes: chunked('3;a="b";c\r\nabc\r\n0;z\r\nX-T: 1\r\nX-U: 2\r\n\r\n'),
    status: 200,
    contentLength: -1,
    body: 'abc',
    isReused: true,
  },
  {
    name: 'chunk sizes with leading zeros',
    bytes: chunked('0003\r\nabc\r\n000\r\n\r\n'),
    status: 200,
    contentLength: -1,
    body: 'abc',
    isReused: true,
  },
  { name: 'no chunk', bytes: chunked('0\r\n\r\n'), status: 200, contentLength: -1, body: '', isReused: true },
  {
    name: 'a body until the close',
    bytes: `${OK}\r\nabc`,
    status: 200,
    contentLength: -1,
    body: 'abc',
    isReused: false,
    closes: true,
  },
  {
    name: 'HTTP/1.0 with a length',
    bytes: 'HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc',
    status: 200,
    contentLength: 3,
    body: 'abc',
    isReused: false,
  },
  {
    name: 'Connection: close',
    bytes: `${OK}Connection: foo, Close\r\nContent-Length: 3\r\n\r\nabc`,
    status: 200,
    contentLength: 3,
    body: 'abc',
    isReused: false,
  },
  {
    name: 'octets behind the end',
    bytes: `${OK}Content-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n`,
    status: 200,
    contentLength: 3,
    body: 'abc',
    isReused: false,
  },
  {
    name: 'interim answers first',
    bytes: `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n${OK}Content-Length: 3\r\n\r\nabc`,
    status: 200,
    contentLength: 3,
    body: 'abc',
    isReused: true,
  },
  {
    name: 'HEAD',
    method: 'HEAD',
    bytes: `${OK}Content-Length: 77\r\n\r\n`,
    status: 200,
    contentLength: 77,
    body: '',
    isReused: true,
  },
  {
    name: 'HEAD of chunks',
    method: 'HEAD',
    bytes: `${OK}Transfer-Encoding: chunked\r\n\r\n`,
    status: 200,
    contentLength: -1,
    body: '',
    isReused: true,
  },
  { name: '204', bytes: 'HTTP/1.1 204 No Content\r\n\r\n', status: 204, contentLength: 0, body: '', isReused: true },
  {
    name: '304 with the length of what it stands for',
    bytes: 'HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n',
    status: 304,
    contentLength: 0,
    body: '',
    isReused: true,
  },
];

export const BAD_RESPONSES: readonly BadResponse[] = [
  { name: 'TE and CL', bytes: `${OK}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n` },
  { name: 'two equal CL', bytes: `${OK}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc` },
  { name: 'two different CL', bytes: `${OK}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc` },
  { name: 'CL as a list', bytes: `${OK}Content-Length: 3, 3\r\n\r\nabc` },
  { name: 'CL with a plus', bytes: `${OK}Content-Length: +3\r\n\r\nabc` },
  { name: 'a negative CL', bytes: `${OK}Content-Length: -3\r\n\r\nabc` },
  { name: 'an empty CL', bytes: `${OK}Content-Length:\r\n\r\nabc` },
  { name: 'CL of 16 digits', bytes: `${OK}Content-Length: 1000000000000000\r\n\r\nabc` },
  { name: 'chunked twice', bytes: `${OK}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n` },
  { name: 'gzip, chunked', bytes: `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n` },
  { name: 'TE in HTTP/1.0', bytes: 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n' },
  { name: 'obs-fold', bytes: `${OK}X: a\r\n b\r\nContent-Length: 0\r\n\r\n` },
  { name: 'a fold before the first field', bytes: `${OK} X: a\r\nContent-Length: 0\r\n\r\n` },
  { name: 'bare LF in the head', bytes: 'HTTP/1.1 200 OK\nContent-Length: 0\n\n' },
  { name: 'bare LF after a field', bytes: `${OK}X: a\nContent-Length: 0\r\n\r\n` },
  { name: 'bare CR in a field', bytes: `${OK}X: a\rb\r\nContent-Length: 0\r\n\r\n` },
  { name: 'NUL in a field', bytes: `${OK}X: a\0b\r\nContent-Length: 0\r\n\r\n` },
  { name: 'a space before the colon', bytes: `${OK}Content-Length : 3\r\n\r\nabc` },
  { name: 'a field without a colon', bytes: `${OK}Content-Length\r\n\r\n` },
  { name: 'an empty name', bytes: `${OK}: a\r\n\r\n` },
  { name: 'a bad octet in a name', bytes: `${OK}X(a: b\r\n\r\n` },
  { name: 'HTTP/2.0', bytes: 'HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n' },
  { name: 'HTTP/1.2', bytes: 'HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n' },
  { name: 'no status line', bytes: 'hello world, how are you\r\n\r\n' },
  { name: 'a status of two digits', bytes: 'HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n' },
  { name: 'a status of four digits', bytes: 'HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n' },
  { name: 'status 099', bytes: 'HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n' },
  { name: 'status 600', bytes: 'HTTP/1.1 600 No\r\nContent-Length: 0\r\n\r\n' },
  { name: '101', bytes: 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n' },
  { name: 'nine interim answers', bytes: 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(9) },
  { name: 'a chunk size that is no number', bytes: chunked('g\r\nabc\r\n0\r\n\r\n') },
  { name: 'a chunk size with a prefix', bytes: chunked('0x3\r\nabc\r\n0\r\n\r\n') },
  { name: 'an empty chunk size', bytes: chunked('\r\nabc\r\n0\r\n\r\n') },
  { name: 'a chunk size with a space', bytes: chunked('3 \r\nabc\r\n0\r\n\r\n') },
  { name: 'a negative chunk size', bytes: chunked('-3\r\nabc\r\n0\r\n\r\n') },
  { name: 'a chunk size of 13 digits', bytes: chunked('1000000000000\r\nabc') },
  { name: 'bare LF behind a chunk size', bytes: chunked('3\nabc\r\n0\r\n\r\n') },
  { name: 'bare LF in an extension', bytes: chunked('3;a\nb\r\nabc\r\n0\r\n\r\n') },
  { name: 'more data than the chunk size', bytes: chunked('3\r\nabcX\r\n0\r\n\r\n') },
  { name: 'no line end behind a chunk', bytes: chunked('3\r\nabc0\r\n\r\n') },
  { name: 'a folded trailer', bytes: chunked('0\r\n X: 1\r\n\r\n') },
  { name: 'bare LF in a trailer', bytes: chunked('0\r\nX: 1\nY: 2\r\n\r\n') },
  { name: 'junk for the last line end', bytes: chunked('0\r\n\rX') },
];

/** The connection ends inside these. */
export const CUT_RESPONSES: readonly BadResponse[] = [
  { name: 'inside the status line', bytes: 'HTTP/1.1 2' },
  { name: 'inside the head', bytes: `${OK}Content-Le` },
  { name: 'behind an interim answer', bytes: 'HTTP/1.1 100 Continue\r\n\r\n' },
  { name: 'inside a counted body', bytes: `${OK}Content-Length: 5\r\n\r\nabc` },
  { name: 'before a counted body', bytes: `${OK}Content-Length: 5\r\n\r\n` },
  { name: 'inside a chunk', bytes: chunked('5\r\nabc') },
  { name: 'between chunks', bytes: chunked('3\r\nabc\r\n') },
  { name: 'before the end of the trailers', bytes: chunked('3\r\nabc\r\n0\r\n') },
];

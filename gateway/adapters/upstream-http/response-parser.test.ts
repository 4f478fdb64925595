import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { UpstreamResponseHead } from '../../lanes/http/http-upstream.ts';
import { BAD_RESPONSES, CUT_RESPONSES, GOOD_RESPONSES } from '../../lanes/http/testing/response-cases.ts';
import { ResponseParser, type ParseResult } from './response-parser.ts';

const SCALE = Number(process.env['CHAPERONE_TEST_SCALE'] ?? 1);
const LIMITS = { headerBytesMax: 512, headersMax: 8 };

interface Seen {
  readonly result: ParseResult;
  readonly head: UpstreamResponseHead | null;
  readonly body: string;
  readonly rest: number;
  readonly keepsAlive: boolean;
}

const cutsArb = fc.infiniteStream(fc.integer({ min: 1, max: 40 }));

describe('ResponseParser', () => {
  // Goal: framing must not depend on how TCP cut the bytes. The oracle takes the whole message at once, slowly.
  test('reads any well-formed response as the oracle does, wherever it is cut', () => {
    let chunkedCount = 0;
    fc.assert(
      fc.property(responseArb, cutsArb, ({ method, bytes }, cuts) => {
        const wanted = slowParse(bytes, method);
        ok(wanted !== null, 'the generator makes well-formed responses');
        chunkedCount += wanted.head?.contentLength === -1 ? 1 : 0;
        deepEqual(parse(bytes, method, cuts), wanted);
        deepEqual(parse(bytes, method, [bytes.length]), wanted);
      }),
      { numRuns: 300 * SCALE },
    );
    ok(chunkedCount > 20, 'the property saw chunked bodies');
  });

  test('agrees with the oracle on responses with one octet changed, wherever they are cut', () => {
    const counts = { good: 0, bad: 0 };
    fc.assert(
      fc.property(responseArb, fc.nat(), fc.integer({ min: 0, max: 255 }), cutsArb, (response, at, octet, cuts) => {
        const bytes = Buffer.from(response.bytes);
        bytes[at % bytes.length] = octet;
        const wanted = slowParse(bytes, response.method);
        const seen = parse(bytes, response.method, cuts);
        equal(seen.result === 'done', wanted !== null && wanted.result === 'done', bytes.toString('latin1'));
        if (wanted?.result === 'done') {
          deepEqual(seen, wanted);
        }
        counts[wanted === null ? 'bad' : 'good']++;
      }),
      { numRuns: 1_000 * SCALE },
    );
    ok(counts.bad > 100 && counts.good > 100, 'the property saw both kinds');
  });

  test('survives hostile bytes and stays failed', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2_048 }), fc.boolean(), cutsArb, (tail, hasStart, cuts) => {
        const start = hasStart ? 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n' : '';
        const bytes = Buffer.concat([Buffer.from(start), tail]);
        const parser = new ResponseParser(LIMITS);
        parser.begin('GET');
        let isFailed = false;
        feed(bytes, cuts, (piece) => {
          const result = parser.push(piece, piece.length, { onHead: () => ok(!isFailed), onData: () => ok(!isFailed) });
          ok(!isFailed || result === 'failed');
          isFailed ||= result === 'failed';
          return result !== 'done';
        });
      }),
      { numRuns: 300 * SCALE },
    );
  });

  test('the oracle tells the tables of good, bad and cut responses apart', () => {
    for (const { name, method, bytes, body } of GOOD_RESPONSES) {
      equal(slowParse(Buffer.from(bytes, 'latin1'), method ?? 'GET')?.body, body, name);
    }
    for (const { name, bytes } of BAD_RESPONSES) {
      equal(slowParse(Buffer.from(bytes, 'latin1'), 'GET'), null, name);
    }
    for (const { name, bytes } of CUT_RESPONSES) {
      equal(slowParse(Buffer.from(bytes, 'latin1'), 'GET')?.result, 'reading', name);
    }
  });

  test('looks at each octet of a head once, however small the pieces are', () => {
    const parser = new ResponseParser({ headerBytesMax: 1 << 20, headersMax: 8 });
    parser.begin('GET');
    const piece = Buffer.from('a');
    const sink = { onHead: () => undefined, onData: () => undefined };
    const start = Buffer.from('HTTP/1.1 200 OK\r\nX: ');
    parser.push(start, start.length, sink);
    // Quadratic work would be 5 * 10^10 steps here and not end.
    for (let i = 0; i < 300_000; i++) {
      equal(parser.push(piece, 1, sink), 'reading');
    }
  });

  test('hands over views of the pushed bytes, not copies', () => {
    const parser = new ResponseParser(LIMITS);
    parser.begin('GET');
    const bytes = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc');
    let seen: Buffer | null = null;
    parser.push(bytes, bytes.length, { onHead: () => undefined, onData: (chunk) => (seen = chunk) });
    equal((seen as Buffer | null)?.buffer, bytes.buffer);
  });
});

const nameArb = fc.constantFrom('X-A', 'etag', 'Content-Type', 'X_b', 'Date');
const valueArb = fc.stringMatching(/^[ -~\u0080-\u00ff\t]{0,20}$/).map((value) => value.trim());
const bodyArb = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));

const responseArb = fc
  .record({
    method: fc.constantFrom('GET', 'GET', 'GET', 'HEAD'),
    status: fc.constantFrom(200, 200, 404, 500, 204, 304),
    fields: fc.array(fc.tuple(nameArb, valueArb), { maxLength: 4 }),
    interims: fc.integer({ min: 0, max: 2 }),
    chunks: fc.option(fc.array(bodyArb, { maxLength: 4 })),
    body: bodyArb,
    extension: fc.constantFrom('', ';a', ';a="b"'),
    trailer: fc.constantFrom('', 'X-T: 1\r\n'),
  })
  .map(({ method, status, fields, interims, chunks, body, extension, trailer }) => {
    const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`).join('');
    const framing = chunks === null ? `Content-Length: ${body.length}\r\n` : 'Transfer-Encoding: chunked\r\n';
    const head = `${'HTTP/1.1 103 Early\r\nLink: x\r\n\r\n'.repeat(interims)}HTTP/1.1 ${status} Some\r\n${lines}${framing}\r\n`;
    const parts = [Buffer.from(head, 'latin1')];
    if (method === 'GET' && status !== 204 && status !== 304) {
      if (chunks === null) {
        parts.push(body);
      } else {
        for (const chunk of chunks.filter(({ length }) => length > 0)) {
          parts.push(Buffer.from(`${chunk.length.toString(16)}${extension}\r\n`), chunk, Buffer.from('\r\n'));
        }
        parts.push(Buffer.from(`0\r\n${trailer}\r\n`));
      }
    }
    return { method, bytes: Buffer.concat(parts) };
  });

function feed(bytes: Buffer, cuts: Iterable<number>, push: (piece: Buffer) => boolean): void {
  let offset = 0;
  for (const cut of cuts) {
    if (offset >= bytes.length || !push(bytes.subarray(offset, offset + cut))) {
      return;
    }
    offset += cut;
  }
}

/** Until it is done, fails, or the bytes end; `rest` counts what came behind the end in all. */
function parse(bytes: Buffer, method: string, cuts: Iterable<number>): Seen {
  const parser = new ResponseParser(LIMITS);
  parser.begin(method);
  let head: UpstreamResponseHead | null = null;
  const parts: Buffer[] = [];
  let result: ParseResult = 'reading';
  let pushed = 0;
  feed(bytes, cuts, (piece) => {
    pushed += piece.length;
    result = parser.push(piece, piece.length, {
      onHead: (each) => {
        equal(head, null, 'one head');
        head = each;
      },
      onData: (chunk) => void parts.push(Buffer.from(chunk)),
    });
    return result === 'reading';
  });
  const rest = (result as ParseResult) === 'done' ? parser.restSize + bytes.length - pushed : 0;
  return { result, head, body: Buffer.concat(parts).toString('latin1'), rest, keepsAlive: parser.keepsAlive };
}

/**
 * The same rules, on one string that holds everything, by regular expressions. Null: malformed. `reading`: so far so
 * good, but it is not the end (a body until the close counts as `reading` here; `body` is what came).
 */
function slowParse(bytes: Buffer, method: string): Seen | null {
  let text = bytes.toString('latin1');
  for (let interims = 0; ; interims++) {
    const head = takeHead(text);
    if (head === null || head === 'more') {
      return head === null ? null : { result: 'reading', head: null, body: '', rest: 0, keepsAlive: false };
    }
    text = head.rest;
    if (head.status >= 200) {
      return slowBody(head, text, method);
    }
    if (head.status === 101 || interims === 8) {
      return null;
    }
  }
}

interface SlowHead {
  readonly status: number;
  readonly minor: string;
  readonly fields: readonly { readonly name: string; readonly value: string }[];
  readonly rest: string;
}

function takeHead(text: string): SlowHead | 'more' | null {
  const end = text.indexOf('\r\n\r\n');
  const head = end === -1 ? text : text.slice(0, end);
  const lineEnds = end === -1 ? head : `${head}\r\n`;
  // What no head may have, complete or not: other controls, CR or LF alone, a folded line.
  // oxlint-disable-next-line no-control-regex
  if (/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r[^\n]|(?<!\r)\n|\r\n[ \t]/.test(lineEnds)) {
    return null;
  }
  if (end === -1) {
    return head.length >= LIMITS.headerBytesMax ? null : 'more';
  }
  const [line = '', ...lines] = head.split('\r\n');
  const status = /^HTTP\/1\.([01]) ([1-5][0-9][0-9])(?: .*)?$/s.exec(line);
  const fields = lines.map((each) => /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):(.*)$/s.exec(each));
  if (status === null || fields.includes(null) || end + 4 > LIMITS.headerBytesMax || lines.length > LIMITS.headersMax) {
    return null;
  }
  return {
    status: Number(status[2]),
    minor: status[1] ?? '',
    fields: fields.map((match) => ({
      name: (match?.[1] ?? '').toLowerCase(),
      value: (match?.[2] ?? '').replace(/^[ \t]+|[ \t]+$/g, ''),
    })),
    rest: text.slice(end + 4),
  };
}

function slowBody(head: SlowHead, text: string, method: string): Seen | null {
  const valuesOf = (wanted: string): string[] => head.fields.filter((f) => f.name === wanted).map((f) => f.value);
  const lengths = valuesOf('content-length');
  const codings = valuesOf('transfer-encoding');
  if (lengths.length > 1 || lengths.some((value) => !/^[0-9]{1,15}$/.test(value))) {
    return null;
  }
  if (codings.length > 1 || codings.some((value) => value.toLowerCase() !== 'chunked')) {
    return null;
  }
  if (codings.length > 0 && (lengths.length > 0 || head.minor === '0')) {
    return null;
  }
  const isClosing = valuesOf('connection').some((value) =>
    value.split(',').some((t) => /^[ \t]*close[ \t]*$/i.test(t)),
  );
  const keepsAlive = head.minor === '1' && !isClosing;
  const length = lengths[0] === undefined ? -1 : Number(lengths[0]);
  const seen = (result: ParseResult, contentLength: number, body: string, rest: number, isKept: boolean): Seen => ({
    result,
    head: { status: head.status, headers: head.fields, contentLength },
    body,
    rest,
    keepsAlive: isKept,
  });
  if (method === 'HEAD') {
    return seen('done', length, '', text.length, keepsAlive);
  }
  if (head.status === 204 || head.status === 304) {
    return seen('done', 0, '', text.length, keepsAlive);
  }
  if (codings.length > 0) {
    const chunked = slowChunks(text);
    return chunked === null ? null : seen(chunked.result, -1, chunked.body, chunked.rest, keepsAlive);
  }
  if (length === -1) {
    return seen('reading', -1, text, 0, false);
  }
  const isWhole = text.length >= length;
  return seen(
    isWhole ? 'done' : 'reading',
    length,
    text.slice(0, length),
    isWhole ? text.length - length : 0,
    keepsAlive,
  );
}

const TRAILER = '[^\\x00-\\x08\\x0a-\\x20\\x7f\\t][^\\x00-\\x08\\x0a-\\x1f\\x7f]*';

function slowChunks(text: string): { result: ParseResult; body: string; rest: number } | null {
  let rest = text;
  let body = '';
  for (;;) {
    // oxlint-disable-next-line no-control-regex
    const line = /^([0-9a-f]{1,12})(;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n/i.exec(rest);
    if (line === null) {
      // oxlint-disable-next-line no-control-regex
      const isBegun = /^(?:[0-9a-f]{1,12}(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?\r?)?$/i.test(rest);
      return isBegun ? { result: 'reading', body, rest: 0 } : null;
    }
    rest = rest.slice(line[0].length);
    const size = Number.parseInt(line[1] ?? '', 16);
    if (size === 0) {
      break;
    }
    const data = rest.slice(0, size);
    body += data;
    rest = rest.slice(size);
    if (data.length < size || '\r\n'.startsWith(rest)) {
      if (rest !== '\r\n') {
        return { result: 'reading', body, rest: 0 };
      }
    }
    if (!rest.startsWith('\r\n')) {
      return null;
    }
    rest = rest.slice(2);
  }
  const trailers = new RegExp(`^(?:${TRAILER}\\r\\n)*\\r\\n`).exec(rest);
  if (trailers === null) {
    const isBegun = new RegExp(`^(?:${TRAILER}\\r\\n)*(?:\\r|${TRAILER}\\r?)?$`).test(rest);
    return isBegun ? { result: 'reading', body, rest: 0 } : null;
  }
  return { result: 'done', body, rest: rest.length - trailers[0].length };
}

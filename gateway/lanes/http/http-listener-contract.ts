import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { LIMITS } from '../../../core/kernel/limits.ts';
import type { HttpExchange, ListenHttp } from './http-listener.ts';
import { collect, echo, echoLater, turns, withListener } from './testing/listener-fixture.ts';
import { RawHttpClient } from './testing/raw-http-client.ts';
import { ACCEPTED_HEADS, REFUSED_BODIES, REFUSED_HEADS } from './testing/wire-cases.ts';

/** How an adapter may differ from the others, as data. Every entry is a `Limit:` in the adapter's own documentation. */
export interface ListenerTraits {
  /** Names of refused heads for which nothing of the adapter runs: not reported by `onRefused`. */
  readonly unreported: readonly string[];
  /** Of those, the ones that the parser meets with silence until its time-out, instead of closing at once. */
  readonly silent: readonly string[];
  /** Names of malformed chunked bodies that the parser reads anyway. Nothing behind them is read as a request. */
  readonly lenientBodies: readonly string[];
  /** A second request before the answer to the first closes the connection. */
  readonly cutsPipelining: boolean;
  /** Refuses a request line that comes in more than one segment. */
  readonly needsWholeRequestLine: boolean;
  /** Answers `Expect: 100-continue` before the handler runs. */
  readonly continuesEarly: boolean;
}

/** A port of listening sockets must have this; both adapters run it. Cases are data in `testing/wire-cases.ts`. */
export function httpListenerContract(name: string, listen: ListenHttp, traits: ListenerTraits): void {
  const context: Context = { listen, traits };
  describe(`HttpListener contract: ${name}`, () => {
    answersRequests(context);
    readsBodies(context);
    keepsMemoryBounded(context);
    endsEarly(context);
    keepsLimits(context);
    refusesHeads(context);
    refusesBodies(context);
    managesConnections(context);
  });
}

interface Context {
  readonly listen: ListenHttp;
  readonly traits: ListenerTraits;
}

const HOST = 'Host: gateway.test\r\n';
const BIG_BYTES = 20 * 1024 * 1024;
/** More than the kernel's socket buffers on loopback and less than the whole: what a bounded path can swallow. */
const BUFFERED_BYTES_MAX = 14 * 1024 * 1024;

function answersRequests(context: Context): void {
  test('hands over the parsed head and sends back status, fields and body', () =>
    withListener(context, async (fixture) => {
      const client = await fixture.connect();
      client.send(`GET /a%20b/c?d=e&f HTTP/1.1\r\nHost: Gateway.TEST:80\r\nX-One:  1 \r\nx-two: \r\n\r\n`);
      const exchange = await fixture.next();
      const { head } = exchange;
      deepEqual(
        [head.method, head.path, head.query, head.host, head.contentLength, head.remoteAddress],
        ['GET', '/a%20b/c', 'd=e&f', 'gateway.test:80', 0, '127.0.0.1'],
      );
      deepEqual(
        head.headers.map(({ name, value }) => [name, value]),
        [
          ['host', 'Gateway.TEST:80'],
          ['x-one', '1'],
          ['x-two', ''],
        ],
      );
      const fields = [
        { name: 'content-type', value: 'text/plain' },
        { name: 'x-raw', value: 'caf\u00e9' },
      ];
      exchange.respond(403, fields, Buffer.from('no'));
      const response = await client.readResponse();
      equal(response.status, 403);
      equal(response.headers.get('content-type'), 'text/plain');
      equal(response.headers.get('x-raw'), 'caf\u00e9', 'field octets go out as they are');
      equal(response.headers.get('content-length'), '2');
      equal(response.body.toString(), 'no');
      equal(exchange.bytesWritten, 2);
      equal(exchange.aborted, false);
    }));

  test('writes framing fields itself, whatever the caller passes', () =>
    withListener(context, async (fixture) => {
      const client = await fixture.connect();
      client.send(`GET / HTTP/1.1\r\n${HOST}\r\n`);
      const bogus = ['content-length', 'transfer-encoding', 'connection', 'keep-alive'].map((field) => ({
        name: field,
        value: '7',
      }));
      (await fixture.next()).respond(200, bogus, Buffer.from('ok'));
      const response = await client.readResponse();
      equal(response.headers.get('content-length'), '2');
      equal(response.headers.has('transfer-encoding'), false);
    }));

  for (const [what, length] of [
    ['a known length', 11],
    ['an unknown length', -1],
  ] as const) {
    test(`streams an answer of ${what}`, () =>
      withListener(context, async (fixture) => {
        const client = await fixture.connect();
        client.send(`GET / HTTP/1.1\r\n${HOST}\r\n`);
        const exchange = await fixture.next();
        exchange.writeHead(200, [], length);
        const chunk = Buffer.from('hello ');
        exchange.write(chunk);
        chunk.fill(0); // The adapter took the bytes: the buffer is the caller's again.
        await client.readUntil((bytes) => bytes.includes('hello '));
        exchange.write(Buffer.from('wor'));
        exchange.end(Buffer.from('ld'));
        const response = await client.readResponse();
        equal(response.body.toString(), 'hello world');
        equal(response.isComplete, true);
        equal(response.headers.get('content-length'), length === -1 ? undefined : '11');
        equal(exchange.bytesWritten, 11);
      }));
  }

  const bodyless = [
    ['HEAD', 200, 77, '77'],
    ['HEAD', 200, -1, undefined],
    ['GET', 204, 0, undefined],
    ['GET', 304, -1, undefined],
  ] as const;
  for (const [method, status, length, shown] of bodyless) {
    test(`answers ${method} with ${status} and length ${length} without a body, and keeps the connection`, () =>
      withListener(context, async (fixture) => {
        const client = await fixture.connect();
        client.send(`${method} / HTTP/1.1\r\n${HOST}\r\n`);
        const exchange = await fixture.next();
        exchange.writeHead(status, [], length);
        exchange.write(Buffer.from('must not go out'));
        exchange.end();
        const response = await client.readResponse(method);
        equal(response.status, status);
        equal(response.headers.get('content-length'), shown);
        equal(response.headers.get('transfer-encoding') === 'chunked' && method === 'GET', false);
        client.send(`GET /next HTTP/1.1\r\n${HOST}\r\n`);
        (await fixture.next()).respond(200, [], Buffer.from('next'));
        equal((await client.readResponse()).body.toString(), 'next');
      }));
  }

  test('serves many requests on one connection', () =>
    withListener(
      context,
      async (fixture) => {
        const client = await fixture.connect();
        for (let i = 0; i < 20; i++) {
          client.send(`POST /${i} HTTP/1.1\r\n${HOST}Content-Length: 2\r\n\r\n${String(i).padStart(2, '0')}`);
          const response = await client.readResponse();
          deepEqual([response.headers.get('x-path'), response.body.toString()], [`/${i}`, String(i).padStart(2, '0')]);
        }
        equal(fixture.listener.openConnections, 1);
      },
      echoLater,
    ));

  test('closes after the answer when the client asks for it', () =>
    withListener(
      context,
      async (fixture) => {
        const client = await fixture.connect();
        client.send(`GET /last HTTP/1.1\r\n${HOST}Connection: x, Close\r\n\r\n`);
        equal((await client.readResponse()).status, 200);
        await client.closed();
      },
      echoLater,
    ));

  test('never mixes pipelined requests: answered in order, or cut', () =>
    withListener(
      context,
      async (fixture) => {
        const client = await fixture.connect();
        client.send(`GET /1 HTTP/1.1\r\n${HOST}\r\nGET /2 HTTP/1.1\r\n${HOST}\r\n`);
        if (context.traits.cutsPipelining) {
          await client.closed();
          equal(fixture.requestCount, 1);
          equal(client.bytes.length, 0);
        } else {
          equal((await client.readResponse()).headers.get('x-path'), '/1');
          equal((await client.readResponse()).headers.get('x-path'), '/2');
        }
      },
      echoLater,
    ));
}

function readsBodies(context: Context): void {
  const framings = [
    ['Content-Length', 'Content-Length: 11\r\n\r\nhello world'],
    ['chunks', 'Transfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n'],
    ['chunks in another case', 'Transfer-Encoding: Chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n'],
  ] as const;
  for (const [what, rest] of framings) {
    test(`reads a body framed by ${what}, in one segment and octet by octet`, () =>
      withListener(
        context,
        async (fixture) => {
          for (const isWhole of [true, false]) {
            const client = await fixture.connect();
            const request = `POST / HTTP/1.1\r\n${HOST}${rest}`;
            if (isWhole) {
              client.send(request);
            } else {
              await client.sendOctets(request, wholeSize(context, request));
            }
            const response = await client.readResponse();
            equal(response.body.toString(), 'hello world');
            equal((await fixture.next()).head.contentLength, rest.startsWith('C') ? 11 : -1);
          }
        },
        echo,
      ));
  }

  test('drops a body that nobody reads and stays usable', () =>
    withListener(context, async (fixture) => {
      const client = await fixture.connect();
      client.send(`POST /a HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\n`);
      (await fixture.next()).respond(403, [], Buffer.from('no'));
      equal((await client.readResponse()).status, 403);
      client.send(`12345GET /b HTTP/1.1\r\n${HOST}\r\n`);
      const second = await fixture.next();
      equal(second.head.path, '/b');
      second.respond(200, [], Buffer.from('b'));
      equal((await client.readResponse()).body.toString(), 'b');
    }));

  test('answers while the body is paused and unread, drops the rest, and reads the next request', () => {
    let told = 0;
    return withListener(
      context,
      async (fixture) => {
        const client = await fixture.connect();
        client.send(`POST /a HTTP/1.1\r\n${HOST}Content-Length: ${BIG_BYTES}\r\n\r\n`);
        (await fixture.next()).respond(403, [], Buffer.from('no'));
        equal((await client.readResponse()).status, 403);
        const before = told;
        client.send(Buffer.alloc(BIG_BYTES));
        client.send(`GET /b HTTP/1.1\r\n${HOST}\r\n`);
        const second = await fixture.next();
        equal(second.head.path, '/b');
        second.respond(200, [], Buffer.from('b'));
        equal((await client.readResponse()).body.toString(), 'b');
        equal(told, before, 'nothing is told after the answer');
      },
      (exchange) => {
        if (exchange.head.path === '/a') {
          exchange.readBody({ onData: () => told++, onEnd: () => told++ });
          exchange.pauseBody();
        }
      },
    );
  });

  test('tells the end of a body that is not there, if asked', () =>
    withListener(
      context,
      async (fixture) => {
        const client = await fixture.connect();
        client.send(`GET / HTTP/1.1\r\n${HOST}\r\n`);
        equal((await client.readResponse()).body.length, 0);
      },
      echo,
    ));

  test('answers 100-continue, where it can only when the body is wanted', () =>
    withListener(
      context,
      async (fixture) => {
        const client = await fixture.connect();
        client.send(`POST / HTTP/1.1\r\n${HOST}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n`);
        const exchange = await fixture.next();
        if (!context.traits.continuesEarly) {
          await turns(5);
          equal(client.bytes.length, 0, 'nothing is promised before the decision');
        }
        exchange.resumeBody();
        equal((await client.readResponse()).status, 100);
        client.send('ab');
        equal((await client.readResponse()).body.toString(), 'ab');
      },
      (exchange) => {
        echo(exchange);
        exchange.pauseBody();
      },
    ));
}

function keepsMemoryBounded(context: Context): void {
  for (const [what, length] of [
    ['a known length', BIG_BYTES],
    ['an unknown length', -1],
  ] as const) {
    test(`stops the writer of a big answer of ${what} while the reader is slow, and loses nothing`, () =>
      withListener(context, async (fixture) => {
        const client = await fixture.connect();
        client.socket.pause();
        client.send(`GET / HTTP/1.1\r\n${HOST}\r\n`);
        const exchange = await fixture.next();
        const sent = createHash('sha256');
        let size = 0;
        const pump = (): void => {
          let isAccepting = true;
          while (isAccepting && size < BIG_BYTES) {
            const chunk = Buffer.alloc(96 * 1024, size % 251).subarray(0, BIG_BYTES - size);
            sent.update(chunk);
            size += chunk.length;
            isAccepting = exchange.write(chunk);
          }
          if (size === BIG_BYTES) {
            exchange.end();
          }
        };
        exchange.onDrain(pump);
        exchange.writeHead(200, [], length);
        pump();
        await turns(20);
        ok(size < BUFFERED_BYTES_MAX, `the writer was stopped after ${size} bytes`);
        client.socket.resume();
        const response = await client.readResponse();
        equal(response.isComplete, true);
        equal(response.body.length, BIG_BYTES);
        equal(createHash('sha256').update(response.body).digest('hex'), sent.digest('hex'));
        equal(exchange.bytesWritten, BIG_BYTES);
      }));
  }

  test('sends one big whole answer to a slow reader', () =>
    withListener(context, async (fixture) => {
      const client = await fixture.connect();
      client.socket.pause();
      client.send(`GET / HTTP/1.1\r\n${HOST}\r\n`);
      const body = Buffer.alloc(BIG_BYTES, 'abcdefghijk');
      (await fixture.next()).respond(200, [], body);
      await turns(5);
      client.socket.resume();
      const response = await client.readResponse();
      equal(response.isComplete && response.body.equals(body), true);
    }));

  for (const isChunked of [false, true]) {
    test(`stops reading a big ${isChunked ? 'chunked ' : ''}upload while it is paused, and loses nothing`, () => {
      const body = Buffer.alloc(BIG_BYTES, '0123456789');
      const received = createHash('sha256');
      let size = 0;
      return withListener(
        context,
        async (fixture) => {
          const client = await fixture.connect();
          const framing = isChunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${BIG_BYTES}`;
          client.send(`POST / HTTP/1.1\r\n${HOST}${framing}\r\n\r\n`);
          client.send(isChunked ? `${BIG_BYTES.toString(16)}\r\n` : '');
          client.send(body);
          client.send(isChunked ? '\r\n0\r\n\r\n' : '');
          const exchange = await fixture.next();
          await turns(50);
          ok(size < BUFFERED_BYTES_MAX, `${size} bytes came although the body was paused`);
          exchange.resumeBody();
          equal((await client.readResponse()).status, 200);
          equal(size, BIG_BYTES);
          equal(received.digest('hex'), createHash('sha256').update(body).digest('hex'));
        },
        (exchange) => {
          exchange.readBody({
            onData: (chunk) => {
              size += chunk.length;
              received.update(chunk);
            },
            onEnd: () => exchange.respond(200, [], Buffer.alloc(0)),
          });
          exchange.pauseBody();
        },
      );
    });
  }
}

function endsEarly(context: Context): void {
  test('tells once that the client went away', () =>
    withListener(context, async (fixture) => {
      const client = await fixture.connect();
      client.send(`GET / HTTP/1.1\r\n${HOST}\r\n`);
      const exchange = await fixture.next();
      let aborts = 0;
      await new Promise<void>((resolve) => {
        exchange.onAbort(() => {
          aborts++;
          resolve();
        });
        client.destroy();
      });
      equal(exchange.aborted, true);
      exchange.writeHead(200, [], -1);
      equal(exchange.write(Buffer.from('late')), true);
      exchange.end();
      exchange.respond(200, [], Buffer.from('late'));
      exchange.resumeBody();
      exchange.abort();
      await fixture.listener.close();
      equal(aborts, 1);
      equal(exchange.bytesWritten, 0);
    }));

  test('tells that a request body was cut, and never its end', () => {
    let ended = false;
    return withListener(
      context,
      async (fixture) => {
        for (const framing of ['Content-Length: 5\r\n\r\nab', 'Transfer-Encoding: chunked\r\n\r\n5\r\nab']) {
          const client = await fixture.connect();
          client.send(`POST / HTTP/1.1\r\n${HOST}${framing}`);
          const exchange = await fixture.next();
          await new Promise<void>((resolve) => {
            exchange.onAbort(resolve);
            client.destroy();
          });
          equal(ended, false);
        }
      },
      (exchange) => collect(exchange, () => (ended = true)),
    );
  });

  const cuts: readonly (readonly [string, (exchange: HttpExchange) => void])[] = [
    ['before the head', (exchange) => exchange.abort()],
    [
      'inside a body of known length',
      (exchange) => {
        exchange.writeHead(200, [], 10);
        exchange.write(Buffer.from('abc'));
        exchange.abort();
      },
    ],
    [
      'inside a chunked body',
      (exchange) => {
        exchange.writeHead(200, [], -1);
        exchange.write(Buffer.from('abc'));
        exchange.abort();
      },
    ],
    [
      'by an end short of the announced length',
      (exchange) => {
        exchange.writeHead(200, [], 10);
        exchange.write(Buffer.from('abc'));
        exchange.end(Buffer.from('def'));
      },
    ],
    [
      'by an end without the announced body',
      (exchange) => {
        exchange.writeHead(200, [], 10);
        exchange.end();
      },
    ],
  ];
  for (const [what, cut] of cuts) {
    for (const isLater of [false, true]) {
      test(`shows the client a cut ${what}${isLater ? ', in a later turn' : ''}`, () =>
        withListener(
          context,
          async (fixture) => {
            const client = await fixture.connect();
            client.send(`GET / HTTP/1.1\r\n${HOST}\r\n`);
            const exchange = await fixture.next();
            let aborts = 0;
            exchange.onAbort(() => aborts++);
            if (isLater) {
              cut(exchange);
            }
            const response = await client.readResponse();
            equal(response.isComplete, false);
            await client.closed();
            equal(exchange.aborted, true);
            equal(aborts, 0, 'the caller is not told of its own abort');
          },
          isLater ? null : cut,
        ));
    }
  }
}

function keepsLimits(context: Context): void {
  const headerBytesMax = 4096;
  const sizes = [
    [headerBytesMax - 1, 200],
    [headerBytesMax, 200],
    [headerBytesMax + 1, 431],
  ] as const;
  for (const [size, status] of sizes) {
    test(`answers ${status} to a head of ${size} bytes when ${headerBytesMax} is the limit`, () =>
      withListener(
        context,
        async (fixture) => {
          const client = await fixture.connect();
          const rest = `GET / HTTP/1.1\r\n${HOST}X: `;
          client.send(`${rest}${'y'.repeat(size - rest.length - 4)}\r\n\r\n`);
          equal((await client.readResponse()).status, status);
          deepEqual(fixture.refused, status === 200 ? [] : ['header_bytes']);
        },
        echo,
        { headerBytesMax },
      ));
  }

  test('refuses a head far beyond the limit without waiting for its end', () =>
    withListener(context, async (fixture) => {
      const client = await fixture.connect();
      client.send(`GET / HTTP/1.1\r\n${HOST}X: ${'y'.repeat(200 * 1024)}`);
      await client.closed();
      ok([0, 400, 431].includes((await client.readResponse()).status));
      equal(fixture.requestCount, 0);
    }));

  const headersMax = 20;
  for (const [count, status] of [
    [headersMax - 1, 200],
    [headersMax, 200],
    [headersMax + 1, 431],
  ] as const) {
    test(`answers ${status} to ${count} fields when ${headersMax} is the limit`, () =>
      withListener(
        context,
        async (fixture) => {
          const client = await fixture.connect();
          const fields = Array.from({ length: count - 1 }, (_, i) => `X-${i}: y\r\n`).join('');
          client.send(`GET / HTTP/1.1\r\n${HOST}${fields}\r\n`);
          equal((await client.readResponse()).status, status);
          deepEqual(fixture.refused, status === 200 ? [] : ['header_count']);
        },
        echo,
        { headersMax },
      ));
  }

  for (const [size, status] of [
    [LIMITS.httpTargetBytesMax - 1, 200],
    [LIMITS.httpTargetBytesMax, 200],
    [LIMITS.httpTargetBytesMax + 1, 414],
  ] as const) {
    test(`answers ${status} to a target of ${size} bytes`, () =>
      withListener(
        context,
        async (fixture) => {
          const client = await fixture.connect();
          client.send(`GET /${'y'.repeat(size - 1)} HTTP/1.1\r\n${HOST}\r\n`);
          equal((await client.readResponse()).status, status);
        },
        (exchange) => exchange.respond(200, [], Buffer.alloc(0)),
      ));
  }
}

/** How much goes out in one piece when the rest goes octet by octet. */
function wholeSize({ traits }: Context, request: string): number {
  return traits.needsWholeRequestLine ? request.indexOf('\n') + 1 : 0;
}

/** Follows each refused head on the same connection, in the same segment: it must never be seen. */
const SENTINEL = `GET /sentinel HTTP/1.1\r\n${HOST}\r\n`;

function refusesHeads(context: Context): void {
  const { silent, unreported } = context.traits;
  test('has traits only for cases that exist', () => {
    const names = new Set([...REFUSED_HEADS, ...REFUSED_BODIES].map(({ name }) => name));
    deepEqual(
      [...silent, ...unreported, ...context.traits.lenientBodies].filter((name) => !names.has(name)),
      [],
    );
  });

  for (const { name, bytes } of REFUSED_HEADS) {
    for (const mode of ['in one segment', 'octet by octet'] as const) {
      test(`refuses ${name}, ${mode}: nothing is handed over, and the connection closes`, () =>
        withListener(context, async (fixture) => {
          const client = await fixture.connect();
          if (mode === 'in one segment') {
            client.send(bytes + SENTINEL);
          } else {
            await client.sendOctets(bytes + SENTINEL, wholeSize(context, bytes));
          }
          if (silent.includes(name)) {
            // The parser waits for more; more cannot help, and our end closes it.
            client.socket.end();
          }
          await client.closed();
          equal(fixture.requestCount, 0);
          const { status } = await client.readResponse();
          ok(status === 0 || (status >= 400 && status < 600), `got ${status}`);
          equal(client.bytes.length, 0, 'there is one answer at most');
          equal(fixture.refused.length, unreported.includes(name) ? 0 : 1);
        }));
    }
  }

  test('sees every refused head in the table', () => ok(REFUSED_HEADS.length > 50));

  for (const { name, bytes, path } of ACCEPTED_HEADS) {
    test(`accepts ${name}`, () =>
      withListener(context, async (fixture) => {
        const client = await fixture.connect();
        client.send(bytes);
        const exchange = await fixture.next();
        equal(exchange.head.path, path);
        exchange.respond(200, [], Buffer.alloc(0));
        equal((await client.readResponse()).status, 200);
        deepEqual(fixture.refused, []);
      }));
  }
}

function refusesBodies(context: Context): void {
  for (const { name, bytes } of REFUSED_BODIES) {
    test(`reads nothing as a request behind a body with ${name}`, () => {
      let bodies = 0;
      return withListener(
        context,
        async (fixture) => {
          const client = await fixture.connect();
          client.send(`POST /first HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n${bytes}${SENTINEL}`);
          client.socket.end();
          await client.closed();
          equal(fixture.requestCount, 1);
          equal((await fixture.next()).head.path, '/first');
          if (!context.traits.lenientBodies.includes(name)) {
            equal(bodies, 0, 'the body never ended');
          }
        },
        (exchange) =>
          collect(exchange, (body) => {
            bodies++;
            exchange.respond(200, [], body);
          }),
      );
    });
  }
}

function managesConnections(context: Context): void {
  test('stops accepting, lets what is open go on, and asks those clients to leave', () =>
    withListener(context, async (fixture) => {
      const client = await fixture.connect();
      client.send(`GET / HTTP/1.1\r\n${HOST}\r\n`);
      const exchange = await fixture.next();
      fixture.listener.stopAccepting();
      await turns(3);
      await rejects(RawHttpClient.connect(fixture.listener.port), { code: 'ECONNREFUSED' });
      exchange.respond(200, [], Buffer.from('still'));
      equal((await client.readResponse()).body.toString(), 'still');
      client.send(`GET /again HTTP/1.1\r\n${HOST}\r\n`);
      await client.closed();
    }));

  test('closes every connection and tells the open exchanges', async () => {
    let aborts = 0;
    let client: RawHttpClient | null = null;
    await withListener(context, async (fixture) => {
      client = await fixture.connect();
      client.send(`GET / HTTP/1.1\r\n${HOST}\r\n`);
      (await fixture.next()).onAbort(() => aborts++);
      equal(fixture.listener.openConnections, 1);
      await fixture.listener.close();
      equal(fixture.listener.openConnections, 0);
      await client.closed();
      await fixture.listener.close();
    });
    equal(aborts, 1);
  });

  test('says when it cannot listen', () =>
    withListener(context, async (fixture) => {
      await rejects(
        withListener(context, () => Promise.resolve(), null, { port: fixture.listener.port }),
        { code: 'config_invalid' },
      );
    }));
}

import { deepEqual, equal, ok } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import type { Clock } from '../../../core/kernel/clock.ts';
import { GatewayError } from '../../../core/kernel/errors.ts';
import { ManualClock } from '../../../core/kernel/testing/manual-clock.ts';
import type { HttpUpstream, UpstreamExchange, UpstreamRequest, UpstreamResponseHead } from './http-upstream.ts';
import { FakeOrigin } from './testing/fake-origin.ts';
import { BAD_RESPONSES, CUT_RESPONSES, GOOD_RESPONSES } from './testing/response-cases.ts';

export interface UpstreamUnderTest {
  readonly host: string;
  readonly port: number;
  readonly clock: Clock;
  readonly connectionsMax: number;
  readonly queueMax: number;
  readonly connectTimeoutMs: number;
  readonly responseTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly headerBytesMax: number;
  readonly headersMax: number;
}

/** What every upstream adapter must do, against an origin of raw bytes. Cases are data in `testing/response-cases.ts`. */
export function httpUpstreamContract(name: string, create: (options: UpstreamUnderTest) => HttpUpstream): void {
  describe(`HttpUpstream contract: ${name}`, () => {
    sendsRequests(create);
    readsResponses(create);
    refusesResponses(create);
    streams(create);
    managesConnections(create);
    keepsTime(create);
  });
}

type Create = (options: UpstreamUnderTest) => HttpUpstream;

const OK = 'HTTP/1.1 200 OK\r\n';
const BIG_BYTES = 20 * 1024 * 1024;
const BUFFERED_BYTES_MAX = 14 * 1024 * 1024;
const GET: UpstreamRequest = { method: 'GET', target: '/', headers: [], body: null, streamed: false };
const STREAMED: UpstreamRequest = { ...GET, method: 'POST', streamed: true };

/** Keeps what the handlers were told and breaks when they are told something after the end. */
class Outcome {
  readonly exchange: UpstreamExchange;
  head: UpstreamResponseHead | null = null;
  error: GatewayError | null = null;
  size = 0;
  readonly done: Promise<Outcome>;
  readonly headed: Promise<void>;
  #parts: Buffer[] = [];
  #isOver = false;

  constructor(upstream: HttpUpstream, request: UpstreamRequest, onData: (chunk: Buffer) => void = () => undefined) {
    const over = deferred<Outcome>();
    const headed = deferred<undefined>();
    this.done = over.promise;
    this.headed = headed.promise;
    const finish = (): void => {
      equal(this.#isOver, false, 'one end only');
      this.#isOver = true;
      over.resolve(this);
    };
    this.exchange = upstream.request(request, {
      onHead: (head) => {
        ok(!this.#isOver && this.head === null, 'one head, before the end');
        this.head = head;
        headed.resolve(undefined);
      },
      onData: (chunk) => {
        ok(!this.#isOver && this.head !== null, 'data between head and end');
        ok(chunk.length > 0, 'no empty data');
        this.size += chunk.length;
        this.#parts.push(Buffer.from(chunk));
        onData(chunk);
      },
      onEnd: finish,
      onError: (error) => {
        ok(error instanceof GatewayError);
        this.error = error;
        finish();
      },
    });
  }

  get body(): Buffer {
    return Buffer.concat(this.#parts);
  }

  get isOver(): boolean {
    return this.#isOver;
  }
}

interface Scene {
  readonly origin: FakeOrigin;
  readonly upstream: HttpUpstream;
  readonly clock: ManualClock;
}

async function withOrigin(
  create: Create,
  body: (scene: Scene) => Promise<void>,
  options: Partial<UpstreamUnderTest> = {},
): Promise<void> {
  const origin = await FakeOrigin.start();
  const clock = new ManualClock();
  const upstream = create({
    host: '127.0.0.1',
    port: origin.port,
    clock,
    connectionsMax: 8,
    queueMax: 8,
    connectTimeoutMs: 1_000,
    responseTimeoutMs: 4_000,
    idleTimeoutMs: 2_000,
    headerBytesMax: 4_096,
    headersMax: 20,
    ...options,
  });
  try {
    await body({ origin, upstream, clock });
  } finally {
    await upstream.close();
    await origin.stop();
  }
}

function sendsRequests(create: Create): void {
  test('sends the request as it was built, with framing of its own', () =>
    withOrigin(create, async ({ origin, upstream }) => {
      const headers = [
        { name: 'host', value: 'clinic.test' },
        { name: 'x-a', value: 'caf\u00e9' },
        { name: 'content-length', value: '7' },
        { name: 'transfer-encoding', value: 'chunked' },
        { name: 'connection', value: 'close' },
        { name: 'expect', value: '100-continue' },
      ];
      const outcome = new Outcome(upstream, { ...GET, target: '/a%20b?c=d', headers });
      const connection = await origin.next();
      equal(await connection.takeHead(), 'GET /a%20b?c=d HTTP/1.1\r\nhost: clinic.test\r\nx-a: caf\u00e9\r\n\r\n');
      connection.send(`${OK}Content-Length: 0\r\n\r\n`);
      equal((await outcome.done).error, null);
    }));

  test('names the upstream when the caller names no host', () =>
    withOrigin(create, async ({ origin, upstream }) => {
      const outcome = new Outcome(upstream, GET);
      const connection = await origin.next();
      equal(await connection.takeHead(), `GET / HTTP/1.1\r\nhost: 127.0.0.1:${origin.port}\r\n\r\n`);
      outcome.exchange.abort();
    }));

  const framings = [
    [{ ...GET, method: 'POST' }, 'content-length: 0\r\n\r\n'],
    [{ ...GET, method: 'DELETE' }, '\r\n\r\n'],
    [{ ...GET, method: 'POST', body: Buffer.from('abc') }, 'content-length: 3\r\n\r\nabc'],
    [
      { ...GET, method: 'POST', body: Buffer.alloc(300_000, 'x') },
      `content-length: 300000\r\n\r\n${'x'.repeat(300_000)}`,
    ],
  ] as const;
  for (const [request, end] of framings) {
    test(`frames ${request.method} with ${request.body?.length ?? 'no'} octets of body`, () =>
      withOrigin(create, async ({ origin, upstream }) => {
        const outcome = new Outcome(upstream, request);
        const connection = await origin.next();
        await connection.take(end);
        equal(connection.size, 0);
        connection.send(`${OK}Content-Length: 0\r\n\r\n`);
        equal((await outcome.done).error, null);
      }));
  }

  test('sends a streamed body in chunks, whose buffers stay the caller\u2019s', () =>
    withOrigin(create, async ({ origin, upstream }) => {
      const outcome = new Outcome(upstream, STREAMED);
      const chunk = Buffer.from('hello');
      outcome.exchange.write(chunk);
      chunk.fill('!');
      outcome.exchange.write(Buffer.alloc(0));
      outcome.exchange.write(Buffer.from(' world'));
      const connection = await origin.next();
      equal((await connection.takeHead()).includes('transfer-encoding: chunked\r\n'), true);
      equal(await connection.take('world\r\n'), '5\r\nhello\r\n6\r\n world\r\n');
      outcome.exchange.end();
      equal(await connection.take('\r\n\r\n'), '0\r\n\r\n');
      connection.send(`${OK}Content-Length: 0\r\n\r\n`);
      equal((await outcome.done).error, null);
    }));
}

function readsResponses(create: Create): void {
  for (const each of GOOD_RESPONSES) {
    for (const mode of ['in one segment', 'octet by octet'] as const) {
      test(`reads ${each.name}, ${mode}`, () =>
        withOrigin(create, async ({ origin, upstream }) => {
          const outcome = new Outcome(upstream, { ...GET, method: each.method ?? 'GET' });
          const connection = await origin.next();
          await connection.takeHead();
          if (mode === 'in one segment') {
            connection.send(each.bytes);
          } else {
            await connection.sendOctets(each.bytes);
          }
          if (each.closes === true) {
            connection.end();
          }
          await outcome.done;
          equal(outcome.error, null);
          deepEqual([outcome.head?.status, outcome.head?.contentLength], [each.status, each.contentLength]);
          equal(outcome.body.toString('latin1'), each.body);
          // Octets behind the end that come later are seen when they come, before the next request or on it.
          if (mode === 'in one segment') {
            const second = new Outcome(upstream, GET);
            const next = each.isReused ? connection : await origin.next();
            await next.takeHead();
            equal(origin.connectionCount, each.isReused ? 1 : 2);
            second.exchange.abort();
          }
        }));
    }
  }

  test('hands over the fields as they came, names in lower case', () =>
    withOrigin(create, async ({ origin, upstream }) => {
      const outcome = new Outcome(upstream, GET);
      const connection = await origin.next();
      connection.send(`${OK}X-One: 1\r\nSet-Cookie: a\r\nset-cookie: caf\xe9\r\nEmpty:\r\nContent-Length: 0\r\n\r\n`);
      await outcome.done;
      deepEqual(outcome.head?.headers, [
        { name: 'x-one', value: '1' },
        { name: 'set-cookie', value: 'a' },
        { name: 'set-cookie', value: 'caf\u00e9' },
        { name: 'empty', value: '' },
        { name: 'content-length', value: '0' },
      ]);
    }));
}

function refusesResponses(create: Create): void {
  for (const { name, bytes } of BAD_RESPONSES) {
    for (const mode of ['in one segment', 'octet by octet'] as const) {
      test(`refuses ${name}, ${mode}, and closes`, () =>
        withOrigin(create, async ({ origin, upstream }) => {
          const outcome = new Outcome(upstream, GET);
          const connection = await origin.next();
          await connection.takeHead();
          if (mode === 'in one segment') {
            connection.send(bytes);
          } else {
            await connection.sendOctets(bytes);
          }
          equal((await outcome.done).error?.code, 'upstream_malformed');
          await connection.closed();
          equal(upstream.openConnections, 0);
        }));
    }
  }

  for (const { name, bytes } of CUT_RESPONSES) {
    for (const how of ['close', 'reset'] as const) {
      test(`tells a ${how} ${name}`, () =>
        withOrigin(create, async ({ origin, upstream }) => {
          const outcome = new Outcome(upstream, GET);
          const connection = await origin.next();
          await connection.takeHead();
          connection.send(bytes);
          if (how === 'close') {
            connection.end();
          } else {
            connection.reset();
          }
          equal((await outcome.done).error?.code, 'upstream_truncated');
          equal(upstream.openConnections, 0);
        }));
    }
  }

  test('takes a reset for a cut, not for the end of a body that lasts until the close', () =>
    withOrigin(create, async ({ origin, upstream }) => {
      const outcome = new Outcome(upstream, GET);
      const connection = await origin.next();
      await connection.takeHead();
      connection.send(`${OK}\r\nabc`);
      await outcome.headed;
      connection.reset();
      equal((await outcome.done).error?.code, 'upstream_truncated');
    }));

  const head = (size: number): string => {
    const start = `${OK}Content-Length: 0\r\nConnection: close\r\nX: `;
    return `${start}${'y'.repeat(size - start.length - 4)}\r\n\r\n`;
  };
  for (const [size, code] of [
    [4_095, undefined],
    [4_096, undefined],
    [4_097, 'upstream_malformed'],
  ] as const) {
    test(`answers ${code ?? 'well'} to a head of ${size} octets when 4096 is the limit`, () =>
      withOrigin(create, async ({ origin, upstream }) => {
        for (const isSplit of [false, true]) {
          const outcome = new Outcome(upstream, GET);
          const connection = await origin.next();
          await connection.takeHead();
          const bytes = head(size);
          connection.send(bytes.slice(0, isSplit ? 100 : size));
          if (isSplit) {
            await turns(3);
            connection.send(bytes.slice(100));
          }
          equal((await outcome.done).error?.code, code);
        }
      }));
  }

  for (const [count, code] of [
    [19, undefined],
    [20, undefined],
    [21, 'upstream_malformed'],
  ] as const) {
    test(`answers ${code ?? 'well'} to ${count} fields when 20 is the limit`, () =>
      withOrigin(create, async ({ origin, upstream }) => {
        const outcome = new Outcome(upstream, GET);
        const connection = await origin.next();
        connection.send(`${OK}Content-Length: 0\r\n${'X: y\r\n'.repeat(count - 1)}\r\n`);
        equal((await outcome.done).error?.code, code);
      }));
  }

  test('bounds chunk extensions and trailers', () =>
    withOrigin(create, async ({ origin, upstream }) => {
      for (const bytes of [`1;${'e'.repeat(5_000)}`, `0\r\nX: ${'t'.repeat(5_000)}`]) {
        const outcome = new Outcome(upstream, GET);
        (await origin.next()).send(`${OK}Transfer-Encoding: chunked\r\n\r\n${bytes}`);
        equal((await outcome.done).error?.code, 'upstream_malformed');
      }
    }));
}

function streams(create: Create): void {
  test('stops reading a big response while it is paused, and loses nothing', () =>
    withOrigin(create, async ({ origin, upstream }) => {
      const body = Buffer.alloc(BIG_BYTES, '0123456789');
      const outcome: Outcome = new Outcome(upstream, GET, () => outcome.exchange.pause());
      const connection = await origin.next();
      connection.send(`${OK}Content-Length: ${BIG_BYTES}\r\n\r\n`);
      connection.send(body);
      await outcome.headed;
      await turns(50);
      ok(outcome.size < BUFFERED_BYTES_MAX, `${outcome.size} octets came although the body was paused`);
      while (!outcome.isOver) {
        outcome.exchange.resume();
        await turns(1);
      }
      equal(outcome.error, null);
      equal(digest(outcome.body), digest(body));
    }));

  test('stops the writer of a big request while the upstream does not read, and loses nothing', () =>
    withOrigin(create, async ({ origin, upstream }) => {
      const outcome = new Outcome(upstream, STREAMED);
      const connection = await origin.next();
      connection.socket.pause();
      let size = 0;
      const pump = (): void => {
        let isAccepting = true;
        while (isAccepting && size < BIG_BYTES) {
          size += 64 * 1024;
          isAccepting = outcome.exchange.write(Buffer.alloc(64 * 1024, size % 251));
        }
        if (size >= BIG_BYTES) {
          outcome.exchange.end();
        }
      };
      outcome.exchange.onDrain(pump);
      pump();
      await turns(20);
      ok(size < BUFFERED_BYTES_MAX, `the writer was stopped after ${size} octets`);
      connection.socket.resume();
      const head = await connection.takeHead();
      const sent = await connection.take('\r\n0\r\n\r\n');
      equal(head.includes('transfer-encoding: chunked'), true);
      equal(sent.length, (BIG_BYTES / 65_536) * (65_536 + '10000\r\n\r\n'.length) + '0\r\n\r\n'.length);
      connection.send(`${OK}Content-Length: 0\r\n\r\n`);
      equal((await outcome.done).error, null);
    }));

  test('never uses a connection again that answered before the request was whole', () =>
    withOrigin(create, async ({ origin, upstream }) => {
      const outcome = new Outcome(upstream, STREAMED);
      outcome.exchange.write(Buffer.from('abc'));
      const connection = await origin.next();
      await connection.take('abc\r\n');
      connection.send(`HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n`);
      await outcome.done;
      deepEqual([outcome.error, outcome.head?.status], [null, 413]);
      equal(outcome.exchange.write(Buffer.from('late')), true);
      outcome.exchange.end();
      await connection.closed();
      equal(connection.text, '', 'what came late was not sent');
    }));

  for (const when of ['before the answer', 'inside the body'] as const) {
    test(`closes on an abort ${when} and says nothing more`, () =>
      withOrigin(create, async ({ origin, upstream }) => {
        const outcome = new Outcome(upstream, GET);
        const connection = await origin.next();
        await connection.takeHead();
        if (when === 'inside the body') {
          connection.send(`${OK}Content-Length: 5\r\n\r\nabc`);
          await outcome.headed;
        }
        outcome.exchange.abort();
        outcome.exchange.abort();
        await connection.closed();
        equal(outcome.isOver, false);
        equal(upstream.openConnections, 0);
      }));
  }

  test('can be aborted by its own handler, in the middle of a segment', () =>
    withOrigin(create, async ({ origin, upstream }) => {
      let chunks = 0;
      const outcome: Outcome = new Outcome(upstream, GET, () => {
        chunks++;
        outcome.exchange.abort();
      });
      const connection = await origin.next();
      await connection.takeHead();
      connection.send(`${OK}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n`);
      await connection.closed();
      deepEqual([chunks, outcome.isOver], [1, false]);
    }));
}

function managesConnections(create: Create): void {
  const answer = `${OK}Content-Length: 2\r\n\r\nok`;

  test('uses one connection for requests in turn, also from inside the last handler', () =>
    withOrigin(create, async ({ origin, upstream }) => {
      const first = new Outcome(upstream, GET);
      const second = first.done.then(() => new Outcome(upstream, GET).done);
      const connection = await origin.next();
      for (const _ of [1, 2]) {
        await connection.takeHead();
        connection.send(answer);
      }
      equal((await second).body.toString(), 'ok');
      equal(origin.connectionCount, 1);
      equal(upstream.openConnections, 1);
    }));

  test('opens no more connections than it may; what is over waits, then is refused', () =>
    withOrigin(
      create,
      async ({ origin, upstream }) => {
        const outcomes = Array.from({ length: 4 }, () => new Outcome(upstream, GET));
        const aborted = new Outcome(upstream, GET);
        aborted.exchange.abort();
        const streamed = new Outcome(upstream, STREAMED);
        equal(streamed.exchange.write(Buffer.from('abc')), false, 'a request without a connection takes one chunk');
        streamed.exchange.end();
        const refused = await new Outcome(upstream, GET).done;
        equal(refused.error?.code, 'upstream_unreachable');
        const connections = [await origin.next(), await origin.next()];
        equal(upstream.openConnections, 2);
        for (const connection of [...connections, ...connections]) {
          await connection.takeHead();
          connection.send(answer);
        }
        for (const outcome of outcomes) {
          equal((await outcome.done).error, null);
        }
        const last = connections.find(({ size }) => size > 0) ?? connections[0];
        ok(last !== undefined);
        equal((await last.take('0\r\n\r\n')).includes('3\r\nabc\r\n0\r\n\r\n'), true);
        last.send(answer);
        equal((await streamed.done).error, null);
        equal(origin.connectionCount, 2);
      },
      { connectionsMax: 2, queueMax: 3 },
    ));

  for (const [method, isRepeated] of [
    ['GET', true],
    ['PUT', true],
    ['POST', false],
    ['PATCH', false],
  ] as const) {
    test(`${isRepeated ? 'repeats' : 'never repeats'} ${method} when its kept connection turns out closed`, () =>
      withOrigin(create, async ({ origin, upstream }) => {
        const first = new Outcome(upstream, GET);
        const connection = await origin.next();
        await connection.takeHead();
        connection.send(answer);
        await first.done;
        const second = new Outcome(upstream, { ...GET, method, body: method === 'GET' ? null : Buffer.from('abc') });
        await connection.takeHead();
        connection.reset();
        if (isRepeated) {
          const next = await origin.next();
          await next.takeHead();
          next.send(answer);
          equal((await second.done).body.toString(), 'ok');
        } else {
          equal((await second.done).error?.code, 'upstream_truncated');
        }
        equal(origin.connectionCount, isRepeated ? 2 : 1);
      }));
  }

  test('repeats once only, and never after an octet of an answer or on a new connection', () =>
    withOrigin(create, async ({ origin, upstream }) => {
      const fresh = new Outcome(upstream, GET);
      const first = await origin.next();
      await first.takeHead();
      first.end();
      equal((await fresh.done).error?.code, 'upstream_truncated', 'a new connection is not stale');

      const warm = new Outcome(upstream, GET);
      const second = await origin.next();
      await second.takeHead();
      second.send(answer);
      await warm.done;
      const begun = new Outcome(upstream, GET);
      await second.takeHead();
      second.send('H');
      second.end();
      equal((await begun.done).error?.code, 'upstream_truncated', 'an answer had begun');
      equal(origin.connectionCount, 2);
    }));

  test('drops an idle connection that the upstream closes or speaks on', () =>
    withOrigin(create, async ({ origin, upstream }) => {
      for (const act of ['end', 'speak'] as const) {
        const outcome = new Outcome(upstream, GET);
        const connection = await origin.next();
        await connection.takeHead();
        connection.send(answer);
        await outcome.done;
        if (act === 'end') {
          connection.end();
        } else {
          connection.send('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
        }
        await connection.closed();
        await turns(3);
        equal(upstream.openConnections, 0);
      }
    }));

  test('says when nobody listens', () =>
    withOrigin(create, async ({ origin, upstream }) => {
      await origin.stop();
      equal((await new Outcome(upstream, GET).done).error?.code, 'upstream_unreachable');
      equal(upstream.openConnections, 0);
    }));

  test('closes everything, tells what was open, and takes nothing more', () =>
    withOrigin(create, async ({ origin, upstream }) => {
      const open = new Outcome(upstream, GET);
      const connection = await origin.next();
      await connection.takeHead();
      await upstream.close();
      equal((await open.done).error?.code, 'upstream_truncated');
      await connection.closed();
      equal((await new Outcome(upstream, GET).done).error?.code, 'upstream_unreachable');
      equal(upstream.openConnections, 0);
    }));
}

function keepsTime(create: Create): void {
  const answer = `${OK}Content-Length: 2\r\n\r\nok`;

  test('gives up on an upstream that does not answer, not before its time', () =>
    withOrigin(create, async ({ origin, upstream, clock }) => {
      const outcome = new Outcome(upstream, GET);
      const connection = await origin.next();
      await connection.takeHead();
      clock.advance(3_900);
      equal(outcome.isOver, false);
      clock.advance(1_000);
      equal((await outcome.done).error?.code, 'upstream_timeout');
      await connection.closed();
    }));

  test('counts from the last octet of the answer', () =>
    withOrigin(create, async ({ origin, upstream, clock }) => {
      const outcome = new Outcome(upstream, GET);
      const connection = await origin.next();
      await connection.takeHead();
      clock.advance(3_000);
      connection.send(`${OK}Content-Length: 5\r\n\r\n`);
      await outcome.headed;
      clock.advance(3_000);
      equal(outcome.isOver, false);
      clock.advance(2_000);
      equal((await outcome.done).error?.code, 'upstream_timeout');
    }));

  test('does not count while the caller pauses, or is slow with its own body', () =>
    withOrigin(create, async ({ origin, upstream, clock }) => {
      const paused = new Outcome(upstream, GET);
      const first = await origin.next();
      await first.takeHead();
      paused.exchange.pause();
      clock.advance(60_000);
      equal(paused.isOver, false);
      first.send(answer);
      paused.exchange.resume();
      equal((await paused.done).error, null);

      const slow = new Outcome(upstream, STREAMED);
      slow.exchange.write(Buffer.from('abc'));
      await first.take('abc\r\n');
      clock.advance(60_000);
      equal(slow.isOver, false);
      slow.exchange.end();
      clock.advance(5_000);
      equal((await slow.done).error?.code, 'upstream_timeout');
    }));

  test('closes connections that nobody uses', () =>
    withOrigin(create, async ({ origin, upstream, clock }) => {
      const outcome = new Outcome(upstream, GET);
      const connection = await origin.next();
      await connection.takeHead();
      connection.send(answer);
      await outcome.done;
      clock.advance(1_900);
      equal(upstream.openConnections, 1);
      clock.advance(1_000);
      await connection.closed();
      equal(upstream.openConnections, 0);
      equal(clock.pendingTimers, 0, 'nothing ticks when there is nothing to watch');
    }));

  test('does not leave a request in the queue for ever', () =>
    withOrigin(
      create,
      async ({ origin, upstream, clock }) => {
        const first = new Outcome(upstream, GET);
        const connection = await origin.next();
        await connection.takeHead();
        first.exchange.pause();
        const waiting = new Outcome(upstream, GET);
        clock.advance(5_000);
        equal((await waiting.done).error?.code, 'upstream_timeout');
        equal(first.isOver, false);
        first.exchange.abort();
      },
      { connectionsMax: 1 },
    ));
}

function deferred<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Lets the event loop turn: not a wait for a time, a wait for what is ready. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

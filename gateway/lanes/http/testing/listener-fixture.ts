import type { HttpExchange, HttpListener, HttpListenerOptions, ListenHttp } from '../http-listener.ts';
import { RawHttpClient } from './raw-http-client.ts';

/** A running listener whose requests the test takes one by one. */
export class ListenerFixture {
  readonly refused: string[] = [];
  readonly clients: RawHttpClient[] = [];
  requestCount = 0;
  listener!: HttpListener;
  #waiting: HttpExchange[] = [];
  #takers: ((exchange: HttpExchange) => void)[] = [];
  #onRequest: ((exchange: HttpExchange) => void) | null;

  constructor(onRequest: ((exchange: HttpExchange) => void) | null) {
    this.#onRequest = onRequest;
  }

  accept(exchange: HttpExchange): void {
    this.requestCount++;
    this.#onRequest?.(exchange);
    const taker = this.#takers.shift();
    if (taker === undefined) {
      this.#waiting.push(exchange);
    } else {
      taker(exchange);
    }
  }

  next(): Promise<HttpExchange> {
    const exchange = this.#waiting.shift();
    return exchange === undefined ? new Promise((resolve) => this.#takers.push(resolve)) : Promise.resolve(exchange);
  }

  async connect(): Promise<RawHttpClient> {
    const client = await RawHttpClient.connect(this.listener.port);
    this.clients.push(client);
    return client;
  }
}

export async function withListener(
  { listen }: { readonly listen: ListenHttp },
  body: (fixture: ListenerFixture) => Promise<void>,
  onRequest: ((exchange: HttpExchange) => void) | null = null,
  options: Partial<HttpListenerOptions> = {},
): Promise<void> {
  const fixture = new ListenerFixture(onRequest);
  const all: HttpListenerOptions = {
    host: '127.0.0.1',
    port: 0,
    headerBytesMax: 32 * 1024,
    headersMax: 90,
    idleTimeoutMs: 60_000,
    sharedPort: false,
    ...options,
  };
  fixture.listener = await listen(all, {
    onRequest: (exchange) => fixture.accept(exchange),
    onRefused: (reason) => void fixture.refused.push(reason),
  });
  try {
    await body(fixture);
  } finally {
    for (const client of fixture.clients) {
      client.destroy();
    }
    await fixture.listener.close();
  }
}

/** Reads the whole body, then calls back. */
export function collect(exchange: HttpExchange, done: (body: Buffer) => void): void {
  const parts: Buffer[] = [];
  exchange.readBody({
    onData: (chunk) => void parts.push(Buffer.from(chunk)),
    onEnd: () => done(Buffer.concat(parts)),
  });
}

export const echo = (exchange: HttpExchange): void =>
  collect(exchange, (body) => exchange.respond(200, [{ name: 'x-path', value: exchange.head.path }], body));
/** As a gateway answers: never inside the call that brought the request. */
export const echoLater = (exchange: HttpExchange): void =>
  collect(exchange, (body) =>
    setImmediate(() => exchange.respond(200, [{ name: 'x-path', value: exchange.head.path }], body)),
  );

/** Lets the event loop turn: not a wait for a time, a wait for what is ready. */
export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

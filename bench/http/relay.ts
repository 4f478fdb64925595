import type { HttpExchange, HttpHeader } from '../../gateway/lanes/http/http-listener.ts';
import type { HttpUpstream, UpstreamExchange, UpstreamResponseHead } from '../../gateway/lanes/http/http-upstream.ts';

/**
 * The bare relay: both adapters and the least that can stand between them. What it costs is the floor of every case.
 * It keeps to the port in full (back pressure both ways, cuts, whole answers in one write), as the lane does.
 */
export function createRelay(upstream: HttpUpstream): (exchange: HttpExchange) => void {
  return (exchange) => {
    const relayed = new RelayedExchange(exchange);
    relayed.start(upstream);
  };
}

const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);
const EMPTY = Buffer.alloc(0);

class RelayedExchange {
  readonly #exchange: HttpExchange;
  #upstream: UpstreamExchange | null = null;
  #head: UpstreamResponseHead | null = null;
  #hasStarted = false;
  #isDone = false;

  constructor(exchange: HttpExchange) {
    this.#exchange = exchange;
  }

  start(upstream: HttpUpstream): void {
    const { head } = this.#exchange;
    const isStreamed = head.contentLength !== 0;
    const up = upstream.request(
      {
        method: head.method,
        target: head.query === '' ? head.path : `${head.path}?${head.query}`,
        headers: forwarded(head.headers),
        body: null,
        streamed: isStreamed,
      },
      this,
    );
    this.#upstream = up;
    this.#exchange.onAbort(() => up.abort());
    if (isStreamed) {
      up.onDrain(() => this.#exchange.resumeBody());
      this.#exchange.readBody({
        onData: (chunk) => {
          if (!up.write(chunk)) {
            this.#exchange.pauseBody();
          }
        },
        onEnd: () => up.end(),
      });
    }
  }

  onHead(head: UpstreamResponseHead): void {
    this.#head = head;
  }

  onData(chunk: Buffer): void {
    const head = this.#head;
    if (head === null) {
      return;
    }
    if (!this.#hasStarted) {
      if (chunk.length === head.contentLength) {
        this.#isDone = true;
        this.#exchange.respond(head.status, head.headers, chunk);
        return;
      }
      this.#hasStarted = true;
      this.#exchange.onDrain(() => this.#upstream?.resume());
      this.#exchange.writeHead(head.status, head.headers, head.contentLength);
    }
    if (!this.#exchange.write(chunk)) {
      this.#upstream?.pause();
    }
  }

  onEnd(): void {
    if (this.#isDone || this.#head === null) {
      return;
    }
    if (!this.#hasStarted) {
      this.#exchange.writeHead(this.#head.status, this.#head.headers, this.#head.contentLength);
    }
    this.#exchange.end();
  }

  onError(): void {
    if (this.#hasStarted) {
      this.#exchange.abort();
    } else {
      this.#exchange.respond(502, [], EMPTY);
    }
  }
}

function forwarded(headers: readonly HttpHeader[]): HttpHeader[] {
  return headers.filter(({ name }) => !HOP_BY_HOP.has(name));
}

import type { GatewayError } from '../../../core/kernel/errors.ts';
import type { ReleaseSink, ResponseRelease } from '../../session/response-release.ts';
import type { HttpExchange, HttpHeader } from './http-listener.ts';
import type { UpstreamExchange } from './http-upstream.ts';

export interface HttpResponseSinkOptions {
  readonly exchange: HttpExchange;
  readonly status: number;
  readonly headers: readonly HttpHeader[];
  readonly upstream: () => UpstreamExchange | null;
  readonly release: () => ResponseRelease | null;
  readonly refuse: (error: GatewayError) => void;
}

/**
 * Released bytes onto one exchange. A response of one unit goes out in one write with its length; a longer one is
 * chunked. Whatever is cut short is a visible cut.
 */
export class HttpResponseSink implements ReleaseSink {
  readonly #o: HttpResponseSinkOptions;
  #state: 'waiting' | 'whole' | 'streaming' | 'ended' | 'cut' = 'waiting';
  #refused = false;

  constructor(options: HttpResponseSinkOptions) {
    this.#o = options;
  }

  head(bodySize: number): void {
    if (bodySize >= 0) {
      this.#state = 'whole';
      if (bodySize === 0) {
        this.#respond(Buffer.alloc(0));
      }
      return;
    }
    this.#state = 'streaming';
    this.#o.exchange.writeHead(this.#o.status, this.#o.headers, -1);
  }

  write(bytes: Buffer): boolean {
    if (this.#state === 'whole') {
      this.#respond(bytes);
      return true;
    }
    const fast = this.#o.exchange.write(bytes);
    if (!fast) {
      this.#o.exchange.onDrain(() => this.#o.release()?.drained());
    }
    return fast;
  }

  end(): void {
    if (this.#state === 'streaming') {
      this.#o.exchange.end();
      this.#state = 'ended';
    }
  }

  abort(): void {
    this.#state = 'cut';
    this.#o.exchange.abort();
  }

  refuse(error: GatewayError): void {
    this.#refused = true;
    this.#o.refuse(error);
  }

  pauseUpstream(): void {
    this.#o.upstream()?.pause();
  }

  resumeUpstream(): void {
    this.#o.upstream()?.resume();
  }

  abortUpstream(): void {
    this.#o.upstream()?.abort();
  }

  /** Calls back once with the bytes of body that the kernel took and whether that was all. */
  whenFlushed(callback: (delivered: number, complete: boolean) => void): void {
    const { exchange } = this.#o;
    if (this.#refused || this.#state === 'cut' || exchange.aborted) {
      callback(this.#refused ? 0 : exchange.bytesWritten, false);
      return;
    }
    // Limit: a peer that takes the rest later than the drain of this connection is noted by what was handed over.
    callback(exchange.bytesWritten, true);
  }

  #respond(body: Buffer): void {
    this.#o.exchange.respond(this.#o.status, this.#o.headers, body);
    this.#state = 'ended';
  }
}

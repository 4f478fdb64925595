import type { HttpHeader } from './http-listener.ts';

/**
 * The upstream side of the HTTP lane as a port. Adapter: gateway/adapters/upstream-http (own pooled HTTP/1.1 client, plain
 * TCP only). TLS, HTTP/2 and proxies are for a second adapter over undici, which must pass `http-upstream-contract.ts` too.
 */
export interface UpstreamRequest {
  readonly method: string;
  /** Path and query as they go on the wire, rebuilt from parsed parts. */
  readonly target: string;
  /** Framing and connection fields are dropped: those are the adapter's. Without a `host` the upstream's own is sent. */
  readonly headers: readonly HttpHeader[];
  /** Must not change until the exchange is over. Whole body, or null when `streamed` or none. */
  readonly body: Buffer | null;
  /** The body comes by `write`/`end`, chunked. */
  readonly streamed: boolean;
}

export interface UpstreamResponseHead {
  readonly status: number;
  readonly headers: readonly HttpHeader[];
  /** -1 when unknown. */
  readonly contentLength: number;
}

/** Exactly one of `onEnd` and `onError` is called, last. `chunk` is valid only during the call. */
export interface UpstreamHandlers {
  onHead(head: UpstreamResponseHead): void;
  onData(chunk: Buffer): void;
  onEnd(): void;
  /** GatewayError upstream_unreachable | upstream_timeout | upstream_malformed | upstream_truncated. */
  onError(error: Error): void;
}

export interface UpstreamExchange {
  /** False when the upstream is slow: stop until `onDrain`. The bytes are copied in either case. */
  write(chunk: Buffer): boolean;
  onDrain(callback: () => void): void;
  end(): void;
  /** What was already read, up to 64 KiB, may still come. No time-out runs while paused. */
  pause(): void;
  resume(): void;
  /** Drops the connection; no handler is called after it. */
  abort(): void;
}

export interface HttpUpstream {
  /**
   * No handler is called before this returns. An idempotent request with a whole body is sent once more when its
   * kept-alive connection turns out closed before any octet of an answer.
   * A connection that saw a framing error, an early answer to a streamed body or an abort is never used
   * again.
   */
  request(request: UpstreamRequest, handlers: UpstreamHandlers): UpstreamExchange;
  /** Cuts what is open (`upstream_truncated`) and refuses what comes (`upstream_unreachable`). */
  close(): Promise<void>;
  readonly openConnections: number;
}

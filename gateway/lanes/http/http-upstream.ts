import type { HttpHeader } from './http-listener.ts';

/** The upstream side of the HTTP lane as a port. Adapter: gateway/adapters/upstream-http (own pooled HTTP/1.1 client). */
export interface UpstreamRequest {
  readonly method: string;
  /** Path and query as they go on the wire, rebuilt from parsed parts. */
  readonly target: string;
  readonly headers: readonly HttpHeader[];
  /** Whole body, or null when `streamed` or none. */
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
  write(chunk: Buffer): boolean;
  onDrain(callback: () => void): void;
  end(): void;
  pause(): void;
  resume(): void;
  /** Drops the connection; no handler is called after it. */
  abort(): void;
}

export interface HttpUpstream {
  /** A connection that saw a framing error, an early answer to a streamed body or an abort is never used again. */
  request(request: UpstreamRequest, handlers: UpstreamHandlers): UpstreamExchange;
  close(): Promise<void>;
  readonly openConnections: number;
}

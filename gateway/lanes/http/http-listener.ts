/**
 * The front of the HTTP lane as a port. Adapters: uWebSockets.js and node:http; both pass `http-listener-contract.ts`.
 *
 * An adapter MUST have refused (and closed) before it calls `onRequest`: TE together with CL, duplicate Content-Length,
 * bare LF, obs-fold, white space before a colon, a missing or bad Host, an absolute-form target whose authority differs
 * from Host, header limits, Upgrade. What it refused it reports by `onRefused`, with the detail that it has; what the
 * parser below it refuses by itself may go unreported (a `Limit:` of the adapter), never unrefused. After a refusal
 * nothing that came on that connection is read as a request.
 */
export interface HttpHeader {
  /** Lower case. */
  readonly name: string;
  readonly value: string;
}

export interface HttpRequestHead {
  readonly method: string;
  /** Origin-form path as sent, undecoded, without the query. */
  readonly path: string;
  /** After `?`, undecoded; empty when there is none. */
  readonly query: string;
  readonly host: string;
  readonly headers: readonly HttpHeader[];
  /** -1 when chunked, 0 when there is no body. */
  readonly contentLength: number;
  /** Read it before the answer ends: an adapter may look it up only then, and gives an empty string afterwards. */
  readonly remoteAddress: string;
}

/** Nothing more is called after the answer ended, or was cut. */
export interface RequestBodySink {
  /** `chunk` is valid only during the call. */
  onData(chunk: Buffer): void;
  onEnd(): void;
}

/**
 * One request and its answer. Every method is safe to call after an abort and then does nothing. A callback that is set
 * again replaces the one before. Buffers passed in are the caller's again when the call returns.
 */
export interface HttpExchange {
  readonly head: HttpRequestHead;
  /** Must be called synchronously in `onRequest` for a request with a body, or its bytes are dropped. */
  readBody(sink: RequestBodySink): void;
  /** What was already read, up to 512 KiB, may still come. Inside `onRequest` it also holds back `100 Continue`. */
  pauseBody(): void;
  resumeBody(): void;
  /** Called once when the peer goes away before `end` was handed to the kernel. */
  onAbort(callback: () => void): void;
  /** `contentLength` -1 = chunked. Names are lower case; the adapter adds framing headers itself. */
  writeHead(status: number, headers: readonly HttpHeader[], contentLength: number): void;
  /** False when the peer is slow: stop until `onDrain`. The bytes are taken in either case. */
  write(chunk: Buffer): boolean;
  /** Called each time the peer took what was waiting, after a `write` that returned false. */
  onDrain(callback: () => void): void;
  /** Fewer bytes than announced are a cut, as by `abort`. */
  end(chunk?: Buffer): void;
  /** One write for the common case: head, whole body, end. */
  respond(status: number, headers: readonly HttpHeader[], body: Buffer): void;
  /** Closes the connection without a complete answer: the peer must see a cut, never a well-formed shorter body. */
  abort(): void;
  /** Bytes of body handed to the kernel so far; never less, and more only by what the adapter itself still buffers. */
  readonly bytesWritten: number;
  readonly aborted: boolean;
}

export interface HttpListenerOptions {
  readonly host: string;
  readonly port: number;
  readonly headerBytesMax: number;
  readonly headersMax: number;
  readonly idleTimeoutMs: number;
  /** Several workers listen on one port. */
  readonly sharedPort: boolean;
}

export interface HttpListenerHandlers {
  onRequest(exchange: HttpExchange): void;
  /** A request that the adapter refused itself. `reason` is a fixed word, never bytes of the peer. */
  onRefused(reason: string, remoteAddress: string): void;
}

export interface HttpListener {
  readonly port: number;
  /** Stops accepting; open exchanges go on. */
  stopAccepting(): void;
  /** Closes every connection. */
  close(): Promise<void>;
  readonly openConnections: number;
}

export type ListenHttp = (options: HttpListenerOptions, handlers: HttpListenerHandlers) => Promise<HttpListener>;

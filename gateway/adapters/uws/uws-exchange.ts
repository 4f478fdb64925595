import { assert } from '../../../core/kernel/assert.ts';
import type { HttpExchange, HttpHeader, HttpRequestHead, RequestBodySink } from '../../lanes/http/http-listener.ts';
import type { RequestHeadFacts } from '../http-head/request-head-rules.ts';
import { assertFieldValue, isAdapterField, isBodyless, statusLine } from '../http-head/response-head.ts';
import type { UwsResponse } from './uws-native.ts';

/** Above this a whole body goes out in steps, so that a peer that goes away in the middle is noticed. */
const WHOLE_BODY_BYTES_MAX = 64 * 1024;
/** The native side keeps at most one piece beyond what the kernel took. */
const PIECE_BYTES = 64 * 1024;
const EMPTY = Buffer.alloc(0);
const LENGTH_NONE = -2;

/**
 * One request on uWebSockets.js.
 *
 * Invariants:
 * - `#response` is null exactly when the native object may not be touched any more: ended, aborted or closed.
 * - `#queue` holds copies of bytes that the native side did not take, in order; new bytes go behind them.
 * - In the length mode, `#handed` + queued bytes never exceed `#length`; fewer at `end` is a cut, never a shorter body.
 * - `#closeAfter` answers say `connection: close`. For a chunked request no answer ends while the parser is still
 *   inside the segment that carried it: the parser of uWS is lenient inside chunked framing, and as long as the answer
 *   is open it closes the connection itself when it meets another request (see UwsListener).
 */
export class UwsExchange implements HttpExchange {
  readonly head: HttpRequestHead;
  readonly #mustClose: boolean;
  /** Asked when the head goes out: the listener may have begun to drain since the request came. */
  readonly #isDraining: () => boolean;
  #closeAfter = false;
  #response: UwsResponse | null;
  #parsing = true;
  #abortCallback: (() => void) | null = null;
  #drainCallback: (() => void) | null = null;
  #aborted = false;
  /** Status line and fields, not yet sent; null before `writeHead` and after it went out. */
  #block: string | null = null;
  /** Body size: -1 chunked, LENGTH_NONE before `writeHead`. */
  #length = LENGTH_NONE;
  #bodyless = false;
  #handed = 0;
  #isPaused = false;
  #queue: Buffer[] = [];
  #queuedBytes = 0;
  #listensWritable = false;
  #endRequested = false;
  /** What was asked for while the parser was busy with a chunked request; run after it. */
  #deferred: (() => void)[] | null = null;

  constructor(
    response: UwsResponse,
    line: { readonly method: string; readonly path: string; readonly query: string },
    headers: readonly HttpHeader[],
    facts: RequestHeadFacts,
    isDraining: () => boolean,
  ) {
    this.#response = response;
    this.#mustClose = facts.close || facts.contentLength === -1;
    this.#isDraining = isDraining;
    this.head = new UwsRequestHead(this, line, headers, facts);
  }

  /** The listener calls this when `onRequest` returned. */
  afterRequest(): void {
    this.#parsing = false;
    // A response that is still open must have an abort handler when the native handler returns.
    this.#response?.onAborted(() => this.#onPeerGone());
  }

  readRemoteAddress(): string {
    return this.#response === null ? '' : Buffer.from(this.#response.getRemoteAddressAsText()).toString('latin1');
  }

  /** Neither answered nor cut. */
  get isOpen(): boolean {
    return this.#response !== null;
  }

  get aborted(): boolean {
    return this.#aborted;
  }

  get bytesWritten(): number {
    return this.#handed;
  }

  readBody(sink: RequestBodySink): void {
    if (this.head.contentLength === 0) {
      queueMicrotask(() => {
        if (this.isOpen) {
          sink.onEnd();
        }
      });
      return;
    }
    assert(this.#parsing, 'readBody is called inside onRequest');
    this.#response?.onData((bytes, isLast) => {
      if (this.#response === null) {
        return; // Answered or cut: the native side goes on to read what is left of the body.
      }
      this.#parsing = true;
      // The native side detaches `bytes` when this returns.
      if (bytes.byteLength > 0) {
        sink.onData(Buffer.from(bytes));
      }
      if (isLast && this.isOpen) {
        sink.onEnd();
      }
      this.#parsing = false;
    });
  }

  pauseBody(): void {
    this.#isPaused = true;
    this.#response?.pause();
  }

  resumeBody(): void {
    if (this.#isPaused) {
      this.#isPaused = false;
      this.#response?.resume();
    }
  }

  onAbort(callback: () => void): void {
    this.#abortCallback = callback;
  }

  onDrain(callback: () => void): void {
    this.#drainCallback = callback;
  }

  writeHead(status: number, headers: readonly HttpHeader[], contentLength: number): void {
    if (this.#response === null) {
      return;
    }
    assert(this.#length === LENGTH_NONE, 'the head is written once');
    this.#bodyless = isBodyless(this.head.method, status);
    this.#closeAfter = this.#mustClose || this.#isDraining();
    this.#block = headBlock(status, headers);
    this.#length = contentLength;
  }

  write(chunk: Buffer): boolean {
    if (this.#response === null || this.#bodyless || chunk.length === 0) {
      return true;
    }
    assert(this.#length !== LENGTH_NONE, 'the head comes before the body');
    assert(!this.#endRequested, 'nothing is written after the end');
    if (this.#mustDefer()) {
      const copy = Buffer.from(chunk);
      this.#defer(() => void this.write(copy));
      return false;
    }
    if (this.#length >= 0) {
      assert(this.#handed + this.#queuedBytes + chunk.length <= this.#length, 'the body fits its announced length');
    }
    if (this.#queuedBytes > 0) {
      this.#enqueue(chunk);
      return false;
    }
    let accepted = true;
    this.#response.cork(() => {
      accepted = this.#send(chunk);
    });
    return accepted;
  }

  end(chunk: Buffer = EMPTY): void {
    if (this.#response === null) {
      return;
    }
    assert(this.#length !== LENGTH_NONE, 'the head comes before the end');
    if (this.#mustDefer()) {
      const copy = Buffer.from(chunk);
      this.#defer(() => this.end(copy));
      return;
    }
    // The rest of the body is dropped by the parser, which must be reading for that, and for the next request.
    this.resumeBody();
    if (this.#block !== null && this.#queuedBytes === 0) {
      this.#endAtOnce(chunk);
      return;
    }
    this.write(chunk);
    this.#endRequested = true;
    if (this.#queuedBytes === 0) {
      this.#finishStream();
    }
  }

  respond(status: number, headers: readonly HttpHeader[], body: Buffer): void {
    if (this.#response === null) {
      return;
    }
    this.writeHead(status, headers, body.length);
    this.end(body);
  }

  abort(): void {
    const response = this.#response;
    this.#aborted = true;
    if (response !== null) {
      this.#release();
      // Closes the socket under the unfinished message: without its last chunk, or short of its Content-Length.
      response.close();
    }
  }

  #endAtOnce(chunk: Buffer): void {
    if (this.#bodyless) {
      this.#endBodyless();
    } else if (this.#length >= 0 && this.#length !== chunk.length) {
      this.abort();
    } else if (chunk.length <= WHOLE_BODY_BYTES_MAX) {
      const response = this.#open();
      response.cork(() => {
        response.writeStatus(this.#takeBlock(false));
        response.end(chunk, this.#closeAfter);
      });
      this.#handed = chunk.length;
      this.#release();
    } else {
      this.#length = chunk.length;
      this.#endRequested = true;
      const response = this.#open();
      response.cork(() => void this.#send(chunk));
    }
  }

  #endBodyless(): void {
    const response = this.#open();
    if (this.head.method === 'HEAD' && this.#length >= 0) {
      // Not by the argument of `endWithoutBody`: that leaves the native side waiting for the body (measured).
      this.#block = `${this.#block ?? ''}\r\ncontent-length: ${this.#length}`;
    }
    response.cork(() => {
      response.writeStatus(this.#takeBlock(true));
      response.endWithoutBody();
    });
    this.#release();
  }

  /** Corked. Sends what the kernel takes; the rest is copied to the queue, and false is returned. */
  #send(chunk: Buffer): boolean {
    const response = this.#open();
    if (this.#block !== null) {
      response.writeStatus(this.#takeBlock(true));
    }
    return this.#length >= 0 ? this.#sendCounted(response, chunk) : this.#sendChunked(response, chunk);
  }

  #sendCounted(response: UwsResponse, chunk: Buffer): boolean {
    const [ok, hasResponded] = response.tryEnd(chunk, this.#length);
    if (hasResponded) {
      this.#handed = this.#length;
      this.#release();
      return true;
    }
    const offset = response.getWriteOffset();
    const taken = offset - this.#handed;
    this.#handed = offset;
    if (taken < chunk.length) {
      this.#enqueue(chunk.subarray(taken));
    }
    if (!ok) {
      this.#listenWritable(response);
    }
    return ok;
  }

  #sendChunked(response: UwsResponse, chunk: Buffer): boolean {
    for (let offset = 0; offset < chunk.length; offset += PIECE_BYTES) {
      const piece = chunk.subarray(offset, offset + PIECE_BYTES);
      // Counted although the native side may still hold the tail of a piece: what was delivered is never reported low.
      this.#handed += piece.length;
      if (!response.write(piece)) {
        this.#enqueue(chunk.subarray(offset + piece.length));
        this.#listenWritable(response);
        return false;
      }
    }
    return true;
  }

  #enqueue(chunk: Buffer): void {
    if (chunk.length > 0) {
      this.#queue.push(Buffer.from(chunk));
      this.#queuedBytes += chunk.length;
    }
  }

  #listenWritable(response: UwsResponse): void {
    if (!this.#listensWritable) {
      this.#listensWritable = true;
      response.onWritable(() => {
        this.#onWritable();
        return true;
      });
    }
  }

  #onWritable(): void {
    // With a handler registered the native side drains nothing by itself; an empty cork makes it.
    this.#response?.cork(() => {
      let isAccepting = true;
      while (isAccepting && this.#response !== null && this.#queue.length > 0) {
        const chunk = this.#queue.shift() ?? EMPTY;
        const rest = this.#queue;
        this.#queue = [];
        this.#queuedBytes -= chunk.length;
        isAccepting = this.#send(chunk);
        this.#queue.push(...rest);
      }
    });
    if (this.#response === null || this.#queuedBytes > 0) {
      return;
    }
    if (this.#endRequested) {
      this.#finishStream();
    } else {
      this.#drainCallback?.();
    }
  }

  /** Everything was handed over; in the length mode the native side has ended the answer by itself. */
  #finishStream(): void {
    const response = this.#response;
    if (response === null) {
      return;
    }
    if (this.#length >= 0) {
      this.abort();
      return;
    }
    response.cork(() => response.end());
    this.#release();
  }

  /** `withClose` false: the native call that follows writes `connection: close` itself. */
  #takeBlock(withClose: boolean): string | Uint8Array {
    const block = (this.#block ?? '') + (withClose && this.#closeAfter ? '\r\nconnection: close' : '');
    this.#block = null;
    // A string would go out as UTF-8.
    return IS_ASCII.test(block) ? block : Buffer.from(block, 'latin1');
  }

  #mustDefer(): boolean {
    return (this.#parsing && this.head.contentLength === -1) || this.#deferred !== null;
  }

  #defer(operation: () => void): void {
    if (this.#deferred !== null) {
      this.#deferred.push(operation);
      return;
    }
    this.#deferred = [operation];
    setImmediate(() => {
      const operations = this.#deferred ?? [];
      this.#deferred = null;
      for (const run of operations) {
        run();
      }
      if (this.#response !== null && !this.#endRequested && this.#queuedBytes === 0) {
        this.#drainCallback?.();
      }
    });
  }

  #open(): UwsResponse {
    assert(this.#response !== null, 'the response is open');
    return this.#response;
  }

  #onPeerGone(): void {
    if (this.#response === null) {
      return; // Ours: `abort` closed the socket.
    }
    this.#aborted = true;
    this.#release();
    this.#abortCallback?.();
  }

  #release(): void {
    this.#response = null;
    this.#queue = [];
    this.#queuedBytes = 0;
  }
}

/** Looks the address up when it is first read: most requests on a connection never need it, and it is a system call. */
class UwsRequestHead implements HttpRequestHead {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly host: string;
  readonly headers: readonly HttpHeader[];
  readonly contentLength: number;
  readonly #exchange: UwsExchange;
  #remoteAddress: string | null = null;

  constructor(
    exchange: UwsExchange,
    line: { readonly method: string; readonly path: string; readonly query: string },
    headers: readonly HttpHeader[],
    facts: RequestHeadFacts,
  ) {
    this.method = line.method;
    this.path = line.path;
    this.query = line.query;
    this.host = facts.host;
    this.headers = headers;
    this.contentLength = facts.contentLength;
    this.#exchange = exchange;
  }

  get remoteAddress(): string {
    this.#remoteAddress ??= this.#exchange.readRemoteAddress();
    return this.#remoteAddress;
  }
}

// oxlint-disable-next-line no-control-regex
const IS_ASCII = /^[\x00-\x7f]*$/;

/** `200 OK` and the fields, joined by CRLF: one native call writes them all. uWS adds its own Date. */
function headBlock(status: number, headers: readonly HttpHeader[]): string {
  let block = statusLine(status);
  for (const { name, value } of headers) {
    if (!isAdapterField(name) && name !== 'date') {
      assertFieldValue(value);
      block += `\r\n${name}: ${value}`;
    }
  }
  return block;
}

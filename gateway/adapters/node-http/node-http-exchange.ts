import type { IncomingMessage, ServerResponse } from 'node:http';
import { assert } from '../../../core/kernel/assert.ts';
import type { HttpExchange, HttpHeader, HttpRequestHead, RequestBodySink } from '../../lanes/http/http-listener.ts';
import { assertFieldValue, isAdapterField, isBodyless, statusLine } from '../http-head/response-head.ts';

const EMPTY = Buffer.alloc(0);
const LENGTH_NONE = -2;

/**
 * One request on node:http.
 *
 * Invariants: `#isOpen` is false after the answer ended, the peer went away or we aborted; nothing is written then.
 * Fewer body bytes at `end` than announced are a cut. `100 Continue` goes out when the body is first wanted: at once for
 * a reader, at `resumeBody` when it paused inside `onRequest`, which lets a decision come first.
 */
export class NodeHttpExchange implements HttpExchange {
  readonly head: HttpRequestHead;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  /** Asked when the head goes out: the listener may have begun to drain since the request came. */
  readonly #mustClose: () => boolean;
  #isOpen = true;
  #aborted = false;
  #hasReader = false;
  #isPaused = false;
  #owesContinue: boolean;
  #abortCallback: (() => void) | null = null;
  #drainCallback: (() => void) | null = null;
  #pendingHead: { readonly status: number; readonly headers: readonly HttpHeader[] } | null = null;
  #length = LENGTH_NONE;
  #bodyless = false;
  #handed = 0;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    head: HttpRequestHead,
    expectContinue: boolean,
    mustClose: () => boolean,
  ) {
    this.#request = request;
    this.#response = response;
    this.head = head;
    this.#owesContinue = expectContinue && head.contentLength !== 0;
    this.#mustClose = mustClose;
    response.on('drain', () => this.#drainCallback?.());
    response.once('close', () => this.#onClose());
    // A cut request shows as an error of the message; `onAbort` tells it, from the response's `close`.
    request.on('error', () => this.#request.destroy());
  }

  /** The listener calls this when `onRequest` returned. */
  afterRequest(): void {
    if (!this.#hasReader) {
      this.#request.resume();
    }
    if (this.#hasReader && !this.#isPaused) {
      this.#sendContinue();
    }
  }

  get aborted(): boolean {
    return this.#aborted;
  }

  get bytesWritten(): number {
    return this.#handed;
  }

  readBody(sink: RequestBodySink): void {
    this.#hasReader = true;
    this.#request.on('data', (chunk: Buffer) => {
      if (this.#isOpen) {
        sink.onData(chunk);
      }
    });
    this.#request.on('end', () => {
      if (this.#isOpen) {
        sink.onEnd();
      }
    });
    if (this.#isPaused) {
      this.#request.pause();
    }
  }

  pauseBody(): void {
    this.#isPaused = true;
    this.#request.pause();
  }

  resumeBody(): void {
    if (this.#isOpen) {
      this.#isPaused = false;
      this.#sendContinue();
    }
    this.#request.resume();
  }

  onAbort(callback: () => void): void {
    this.#abortCallback = callback;
  }

  onDrain(callback: () => void): void {
    this.#drainCallback = callback;
  }

  writeHead(status: number, headers: readonly HttpHeader[], contentLength: number): void {
    if (!this.#isOpen) {
      return;
    }
    assert(this.#length === LENGTH_NONE, 'the head is written once');
    this.#pendingHead = { status, headers };
    this.#length = contentLength;
    this.#bodyless = isBodyless(this.head.method, status);
  }

  write(chunk: Buffer): boolean {
    if (!this.#isOpen || this.#bodyless || chunk.length === 0) {
      return true;
    }
    assert(this.#length !== LENGTH_NONE, 'the head comes before the body');
    if (this.#length >= 0) {
      assert(this.#handed + chunk.length <= this.#length, 'the body fits its announced length');
    }
    this.#flushHead();
    // Upper bound: what the stream still buffers is counted, so that a delivery is never reported low.
    this.#handed += chunk.length;
    return this.#response.write(Buffer.from(chunk));
  }

  end(chunk: Buffer = EMPTY): void {
    if (!this.#isOpen) {
      return;
    }
    assert(this.#length !== LENGTH_NONE, 'the head comes before the end');
    if (!this.#bodyless) {
      if (this.#pendingHead !== null && this.#length === -1) {
        this.#length = chunk.length;
      }
      if (this.#length >= 0 && this.#handed + chunk.length !== this.#length) {
        this.abort();
        return;
      }
      this.#handed += chunk.length;
    }
    if (this.#owesContinue) {
      // The client may or may not send its body now: nobody could say where the next request begins.
      this.#response.shouldKeepAlive = false;
    }
    this.#flushHead();
    this.#isOpen = false;
    // What is left of the body is read and dropped: the next request is behind it.
    this.#request.resume();
    this.#response.end(this.#bodyless || chunk.length === 0 ? undefined : Buffer.from(chunk));
  }

  respond(status: number, headers: readonly HttpHeader[], body: Buffer): void {
    if (this.#isOpen) {
      this.writeHead(status, headers, body.length);
      this.end(body);
    }
  }

  abort(): void {
    this.#aborted = true;
    this.#isOpen = false;
    if (!this.#response.writableFinished) {
      this.#request.socket.destroy();
    }
  }

  #flushHead(): void {
    const pending = this.#pendingHead;
    if (pending === null) {
      return;
    }
    this.#pendingHead = null;
    if (this.#mustClose()) {
      this.#response.shouldKeepAlive = false;
    }
    const fields: string[] = [];
    for (const { name, value } of pending.headers) {
      if (!isAdapterField(name) && name !== 'date') {
        assertFieldValue(value);
        fields.push(name, value);
      }
    }
    const showsLength = this.#bodyless ? this.head.method === 'HEAD' && this.#length >= 0 : this.#length >= 0;
    if (showsLength) {
      fields.push('content-length', String(this.#length));
    }
    this.#response.writeHead(pending.status, statusLine(pending.status).slice('200 '.length), fields);
  }

  #sendContinue(): void {
    if (this.#owesContinue) {
      this.#owesContinue = false;
      this.#response.writeContinue();
    }
  }

  #onClose(): void {
    if (this.#aborted || this.#response.writableFinished) {
      return;
    }
    this.#aborted = true;
    this.#isOpen = false;
    this.#abortCallback?.();
  }
}

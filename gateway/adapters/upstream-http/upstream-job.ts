import { assert } from '../../../core/kernel/assert.ts';
import type { GatewayError } from '../../../core/kernel/errors.ts';
import type { UpstreamExchange, UpstreamHandlers, UpstreamRequest } from '../../lanes/http/http-upstream.ts';
import { chunkBytes, requestHead, withBody } from './request-bytes.ts';
import type { UpstreamConnection } from './upstream-connection.ts';

/**
 * One request on its way through the pool.
 *
 * Invariants: `#isOver` is true after `onEnd`, `onError` or `abort`, and no handler is called then. What is written while
 * the job still waits for a connection is kept in `#waiting` and `write` returns false, so one chunk waits, not a body.
 */
export class UpstreamJob implements UpstreamExchange {
  readonly method: string;
  readonly handlers: UpstreamHandlers;
  readonly firstBytes: string | Buffer;
  readonly #isStreamed: boolean;
  readonly #onAbandoned: (job: UpstreamJob) => void;
  #connection: UpstreamConnection | null = null;
  #waiting: Buffer[] = [];
  #isSent: boolean;
  #isOver = false;
  #isPaused = false;
  #wasRepeated = false;
  #drainCallback: (() => void) | null = null;

  constructor(
    request: UpstreamRequest,
    handlers: UpstreamHandlers,
    authority: string,
    onAbandoned: (job: UpstreamJob) => void,
  ) {
    assert(!request.streamed || request.body === null, 'a streamed request brings its body by write');
    const head = requestHead(request, authority);
    this.method = request.method;
    this.handlers = handlers;
    this.firstBytes = request.body === null ? head : withBody(head, request.body);
    this.#isStreamed = request.streamed;
    this.#isSent = !request.streamed;
    this.#onAbandoned = onAbandoned;
  }

  /** The request was handed over whole. */
  get isSent(): boolean {
    return this.#isSent;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** RFC 9110 section 9.2.2: idempotent methods only, with what we can send once more, and once. */
  get isRepeatable(): boolean {
    return !this.#isStreamed && !this.#wasRepeated && METHODS_IDEMPOTENT.has(this.method);
  }

  markRepeated(): void {
    this.#wasRepeated = true;
    this.#connection = null;
  }

  attached(connection: UpstreamConnection): void {
    this.#connection = connection;
    if (this.#isPaused) {
      connection.pause();
    }
    if (this.#waiting.length > 0) {
      // Behind the head, which the connection writes when this returns.
      queueMicrotask(() => this.#flushWaiting());
    }
  }

  write(chunk: Buffer): boolean {
    if (this.#isOver || chunk.length === 0) {
      return true;
    }
    assert(this.#isStreamed && !this.#isSent, 'a body is written to an open streamed request');
    const bytes = chunkBytes(chunk);
    if (this.#connection === null || this.#waiting.length > 0) {
      this.#waiting.push(bytes);
      return false;
    }
    return this.#connection.write(bytes);
  }

  onDrain(callback: () => void): void {
    this.#drainCallback = callback;
  }

  end(): void {
    if (this.#isOver || this.#isSent) {
      return;
    }
    this.#isSent = true;
    if (this.#connection === null || this.#waiting.length > 0) {
      this.#waiting.push(LAST_CHUNK);
    } else {
      this.#connection.write(LAST_CHUNK);
    }
  }

  pause(): void {
    this.#isPaused = true;
    this.#connection?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#connection?.resume();
  }

  abort(): void {
    if (!this.#isOver) {
      this.#isOver = true;
      const connection = this.#connection;
      this.#release();
      connection?.drop();
      this.#onAbandoned(this);
    }
  }

  drained(): void {
    if (!this.#isOver && this.#waiting.length === 0 && !this.#isSent) {
      this.#drainCallback?.();
    }
  }

  ended(): void {
    if (!this.#isOver) {
      this.#isOver = true;
      this.#release();
      this.handlers.onEnd();
    }
  }

  failed(error: GatewayError): void {
    if (!this.#isOver) {
      this.#isOver = true;
      this.#release();
      this.handlers.onError(error);
    }
  }

  #flushWaiting(): void {
    const waiting = this.#waiting;
    const connection = this.#connection;
    if (this.#isOver || connection === null) {
      return;
    }
    this.#waiting = [];
    let isAccepting = true;
    for (const bytes of waiting) {
      isAccepting = connection.write(bytes);
    }
    if (isAccepting) {
      this.drained();
    }
  }

  #release(): void {
    this.#connection = null;
    this.#waiting = [];
  }
}

const LAST_CHUNK = Buffer.from('0\r\n\r\n');
const METHODS_IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']);

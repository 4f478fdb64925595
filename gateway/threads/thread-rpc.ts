import type { TransferListItem } from 'node:worker_threads';
import { ERROR_CODES, GatewayError, type ErrorCode } from '../../core/kernel/errors.ts';

/** The end of a message channel between the main thread and a worker. `parentPort` and `Worker` both are one. */
export interface ThreadPort {
  postMessage(value: unknown, transfer?: readonly TransferListItem[]): void;
  on(event: 'message', listener: (value: unknown) => void): unknown;
}

type Handler = (argument: never) => unknown;
export type Handlers = Readonly<Record<string, Handler>>;

interface Envelope {
  readonly t: 'call' | 'notify' | 'reply' | 'error';
  readonly id: number;
  readonly name: string;
  readonly body: unknown;
}

/**
 * Calls and notifications between two threads. Bodies are structured clones: no class instances, no functions.
 * A `GatewayError` crosses with its code and detail; any other error arrives as `internal`, without its text.
 */
export class ThreadRpc {
  readonly #port: ThreadPort;
  readonly #handlers: Handlers;
  readonly #calls = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  #nextId = 1;

  constructor(port: ThreadPort, handlers: Handlers) {
    this.#port = port;
    this.#handlers = handlers;
    port.on('message', (message) => this.#receive(message as Envelope));
  }

  call<T>(name: string, body: unknown, transfer: readonly TransferListItem[] = []): Promise<T> {
    const id = this.#nextId++;
    return new Promise<T>((resolve, reject) => {
      this.#calls.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.#port.postMessage({ t: 'call', id, name, body } satisfies Envelope, transfer);
    });
  }

  notify(name: string, body: unknown, transfer: readonly TransferListItem[] = []): void {
    this.#port.postMessage({ t: 'notify', id: 0, name, body } satisfies Envelope, transfer);
  }

  #receive(message: Envelope): void {
    if (message.t === 'reply' || message.t === 'error') {
      const call = this.#calls.get(message.id);
      this.#calls.delete(message.id);
      if (message.t === 'reply') {
        call?.resolve(message.body);
      } else {
        call?.reject(decodeError(message.body));
      }
      return;
    }
    const handler = this.#handlers[message.name];
    if (handler === undefined) {
      if (message.t === 'call') {
        this.#answerError(message.id, new GatewayError('internal', `no handler for ${message.name}`));
      }
      return;
    }
    if (message.t === 'notify') {
      void handler(message.body as never);
      return;
    }
    void this.#answer(message.id, handler, message.body);
  }

  async #answer(id: number, handler: Handler, body: unknown): Promise<void> {
    try {
      const value = await handler(body as never);
      this.#port.postMessage({ t: 'reply', id, name: '', body: value } satisfies Envelope);
    } catch (error) {
      this.#answerError(id, error);
    }
  }

  #answerError(id: number, error: unknown): void {
    const code: ErrorCode = error instanceof GatewayError ? error.code : 'internal';
    const detail = error instanceof GatewayError ? error.detail : '';
    this.#port.postMessage({ t: 'error', id, name: '', body: { code, detail } } satisfies Envelope);
  }
}

/** Structured clone turns a `Buffer` into a `Uint8Array`: this is the view back. */
export function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function decodeError(body: unknown): GatewayError {
  const { code, detail } = body as { code: string; detail: string };
  return new GatewayError(code in ERROR_CODES ? (code as ErrorCode) : 'internal', detail);
}

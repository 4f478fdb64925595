import { connect, type Socket } from 'node:net';
import type { Clock, Timer } from '../../kernel/clock.ts';
import { GatewayError } from '../../kernel/errors.ts';
import { LIMITS } from '../../kernel/limits.ts';
import { BodyReader, decodeError, FRAME, frameHeader, FrameReader, HELLO } from './wire.ts';

export interface FileBusLinkOptions {
  readonly socketPath: string;
  readonly clock: Clock;
  readonly connectWaitMs: number;
  onOpen(): void;
  onLost(): void;
}

/** Receives what the server sends for one tail. */
export interface TailReceiver {
  /** Called before any `onData`, also when both came in one read. */
  onOpened(answer: Buffer): void;
  onData(partition: number, records: Buffer): void;
  onError(error: GatewayError): void;
}

interface Pending {
  readonly resolve: (body: Buffer) => void;
  readonly reject: (error: GatewayError) => void;
  readonly bytes: number;
}

/**
 * One connection to the file bus process at a time, made again when it is lost.
 *
 * Invariants: `#pending` and `#receivers` belong to the present connection and are emptied when it is lost, before any
 * new one; an id is used once in the life of the link, so an answer cannot meet a later request.
 */
export class FileBusLink {
  readonly #options: FileBusLinkOptions;
  readonly #pending = new Map<number, Pending>();
  readonly #receivers = new Map<number, TailReceiver>();
  #state: 'first' | 'open' | 'lost' | 'closed' = 'first';
  #socket: Socket | null = null;
  #nextId = 1;
  #pendingBytes = 0;
  #backoffMs: number = LIMITS.busReconnectMs;
  #retry: Timer | null = null;
  #firstOpen: { promise: Promise<void>; settle: () => void };

  constructor(options: FileBusLinkOptions) {
    this.#options = options;
    let settle: () => void = () => undefined;
    const promise = new Promise<void>((resolve) => {
      settle = resolve;
    });
    this.#firstOpen = { promise, settle };
    const deadline = options.clock.after(options.connectWaitMs, settle);
    promise.then(
      () => deadline.cancel(),
      () => undefined,
    );
    this.#connect();
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }

  get isClosed(): boolean {
    return this.#state === 'closed';
  }

  /** Sends a request and resolves with the body of its answer. */
  async request(type: number, parts: readonly Buffer[]): Promise<Buffer> {
    if (this.#state === 'first') {
      await this.#firstOpen.promise;
    }
    return this.#exchange(type, parts, null);
  }

  /** Opens a tail: resolves with the answer; `receiver` gets what follows it. Returns the id for credit and close. */
  openTail(parts: readonly Buffer[], receiver: TailReceiver): { id: number; opened: Promise<Buffer> } {
    const id = this.#nextId;
    return { id, opened: this.#exchange(FRAME.tail, parts, receiver) };
  }

  grantCredit(id: number, chunks: number): void {
    if (this.#receivers.has(id)) {
      this.#write(FRAME.credit, id, [Buffer.from([chunks])]);
    }
  }

  /** Stops deliveries of a tail at once, and tells the server. */
  closeTail(id: number): void {
    if (this.#receivers.delete(id) && this.isOpen) {
      const body = Buffer.alloc(4);
      body.writeUInt32BE(id);
      // The connection may be lost meanwhile, which ends the tail on the server as well.
      this.#exchange(FRAME.untail, [body], null).catch(() => undefined);
    }
  }

  async close(): Promise<void> {
    const socket = this.#socket;
    this.#state = 'closed';
    this.#retry?.cancel();
    this.#firstOpen.settle();
    this.#rejectAll('this client is closed');
    if (socket !== null && !socket.destroyed) {
      const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
      socket.destroy();
      await closed;
    }
  }

  #exchange(type: number, parts: readonly Buffer[], receiver: TailReceiver | null): Promise<Buffer> {
    if (this.#state !== 'open') {
      const detail = this.#state === 'closed' ? 'this client is closed' : 'the file bus process is not reached';
      return Promise.reject(new GatewayError('bus_unavailable', detail));
    }
    const bytes = parts.reduce((sum, part) => sum + part.length, 0);
    if (this.#pendingBytes > 0 && this.#pendingBytes + bytes > LIMITS.busPendingBytesMax) {
      return Promise.reject(new GatewayError('bus_unavailable', 'too many bytes wait for the bus; was not stored'));
    }
    const id = this.#nextId++;
    if (receiver !== null) {
      this.#receivers.set(id, receiver);
    }
    this.#pendingBytes += bytes;
    const answer = new Promise<Buffer>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, bytes });
    });
    this.#write(type, id, parts);
    return answer;
  }

  #write(type: number, id: number, parts: readonly Buffer[]): void {
    const socket = this.#socket;
    if (socket === null || socket.destroyed) {
      return; // `close` follows and rejects what waits.
    }
    const size = parts.reduce((sum, part) => sum + part.length, 0);
    socket.cork();
    socket.write(frameHeader(type, id, size));
    for (const part of parts) {
      if (part.length > 0) {
        socket.write(part);
      }
    }
    socket.uncork();
  }

  #connect(): void {
    const socket = connect(this.#options.socketPath);
    this.#socket = socket;
    const reader = new FrameReader((type, id, body) => this.#onFrame(socket, type, id, body));
    socket.on('connect', () => {
      this.#pending.set(0, { resolve: () => this.#opened(), reject: () => undefined, bytes: 0 });
      this.#write(FRAME.hello, 0, [HELLO]);
    });
    socket.on('data', (chunk: Buffer) => {
      try {
        reader.push(chunk);
      } catch {
        socket.destroy(); // Not our protocol: nothing after this point can be framed.
      }
    });
    // Every error is followed by `close`, where the loss is handled.
    socket.on('error', () => undefined);
    socket.on('close', () => this.#lost());
  }

  #opened(): void {
    if (this.#state === 'closed') {
      return;
    }
    this.#state = 'open';
    this.#backoffMs = LIMITS.busReconnectMs;
    this.#firstOpen.settle();
    this.#options.onOpen();
  }

  #lost(): void {
    this.#socket = null;
    if (this.#state === 'closed') {
      return;
    }
    const wasOpen = this.#state === 'open';
    this.#state = this.#state === 'first' ? 'first' : 'lost';
    this.#rejectAll('the connection to the file bus was lost');
    if (wasOpen) {
      this.#options.onLost();
    }
    this.#retry = this.#options.clock.after(this.#backoffMs, () => this.#connect());
    this.#backoffMs = Math.min(this.#backoffMs * 2, LIMITS.busReconnectMaxMs);
  }

  #rejectAll(detail: string): void {
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    this.#receivers.clear();
    this.#pendingBytes = 0;
    for (const { reject } of pending) {
      reject(new GatewayError('bus_unavailable', detail));
    }
  }

  #onFrame(socket: Socket, type: number, id: number, body: Buffer): void {
    if (socket !== this.#socket || this.#state === 'closed') {
      return;
    }
    if (type === FRAME.data) {
      const reader = new BodyReader(body);
      this.#receivers.get(id)?.onData(reader.u32(), body.subarray(4));
      return;
    }
    const pending = this.#pending.get(id);
    if (pending === undefined) {
      if (type === FRAME.error) {
        const receiver = this.#receivers.get(id);
        this.#receivers.delete(id);
        receiver?.onError(decodeError(body));
      }
      return;
    }
    this.#pending.delete(id);
    this.#pendingBytes -= pending.bytes;
    if (type === FRAME.ok) {
      this.#receivers.get(id)?.onOpened(body);
      pending.resolve(body);
    } else {
      this.#receivers.delete(id);
      pending.reject(decodeError(body));
    }
  }
}

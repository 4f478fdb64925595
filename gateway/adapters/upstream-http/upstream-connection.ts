import { connect, type Socket } from 'node:net';
import { GatewayError } from '../../../core/kernel/errors.ts';
import type { UpstreamResponseHead } from '../../lanes/http/http-upstream.ts';
import { ResponseParser, type ResponseLimits, type ResponseSink } from './response-parser.ts';
import type { UpstreamJob } from './upstream-job.ts';

export interface ConnectionOwner {
  /** The connection is idle again and may take another job. */
  onIdle(connection: UpstreamConnection): void;
  onClosed(connection: UpstreamConnection): void;
  /** Nothing of an answer came on a connection that was kept alive, and the request may be repeated. */
  onStale(job: UpstreamJob): void;
}

export interface ConnectionOptions extends ResponseLimits {
  readonly host: string;
  readonly port: number;
  /** Shared by all connections: what is read into it is used up before the next read. */
  readonly readBuffer: Buffer;
}

/** What a deadline is for. */
export type WaitKind = 'none' | 'connect' | 'response' | 'idle';

/**
 * One TCP connection to the upstream and the job that is on it.
 *
 * Invariants: one job at a time; `#job` is null when idle. A connection goes back to the pool only when the response
 * was framed, complete and asked for nothing else, no octet follows it, and the request was sent whole. Every other end
 * destroys the socket. Exactly one of the job's `onEnd` and `onError` is called, last, and never after its abort.
 */
export class UpstreamConnection implements ResponseSink {
  readonly #socket: Socket;
  readonly #owner: ConnectionOwner;
  readonly #parser: ResponseParser;
  #job: UpstreamJob | null = null;
  #isConnected = false;
  #isReused = false;
  #isClosed = false;
  #isPaused = false;
  #needsDrain = false;
  /** Read and set by the pool's sweep. */
  waitKind: WaitKind = 'connect';
  sweepsWaited = 0;

  constructor(options: ConnectionOptions, owner: ConnectionOwner) {
    this.#owner = owner;
    this.#parser = new ResponseParser(options);
    const onread = {
      buffer: options.readBuffer,
      callback: (size: number, buffer: Uint8Array) => {
        this.#onRead(buffer as Buffer, size);
        return true;
      },
    };
    const socket = connect({ host: options.host, port: options.port, noDelay: true, onread });
    this.#socket = socket;
    socket.on('connect', () => {
      this.#isConnected = true;
      this.#updateWait();
    });
    socket.on('drain', () => {
      this.#needsDrain = false;
      this.#updateWait();
      this.#job?.drained();
    });
    socket.on('end', () => this.#onEnd());
    socket.on('error', (error: NodeJS.ErrnoException) => this.#onLost(error));
    socket.on('close', () => this.#onLost(null));
  }

  get isIdle(): boolean {
    return this.#job === null && !this.#isClosed;
  }

  start(job: UpstreamJob): void {
    this.#job = job;
    this.#parser.begin(job.method);
    job.attached(this);
    const isAccepting = this.#socket.write(job.firstBytes, 'latin1');
    this.#needsDrain = !isAccepting;
    this.#updateWait();
  }

  get isReused(): boolean {
    return this.#isReused;
  }

  write(bytes: Buffer): boolean {
    const isAccepting = this.#socket.write(bytes);
    this.#needsDrain ||= !isAccepting;
    this.#updateWait();
    return isAccepting;
  }

  pause(): void {
    this.#isPaused = true;
    this.#socket.pause();
    this.#updateWait();
  }

  resume(): void {
    if (this.#isPaused) {
      this.#isPaused = false;
      this.#socket.resume();
      this.#updateWait();
    }
  }

  /** Without a word to the job: it was aborted. */
  drop(): void {
    this.#job = null;
    this.#close();
  }

  /** The pool closes: whoever is on the connection is told. */
  shutDown(): void {
    this.#fail(new GatewayError('upstream_truncated', 'the client was closed'));
  }

  /** The sweep found that nothing moved for too long. */
  expire(): void {
    const detail = this.waitKind === 'connect' ? 'no connection' : 'no answer';
    this.#fail(new GatewayError('upstream_timeout', detail));
  }

  onHead(head: UpstreamResponseHead): void {
    this.#job?.handlers.onHead(head);
  }

  onData(chunk: Buffer): void {
    this.#job?.handlers.onData(chunk);
  }

  #onRead(buffer: Buffer, size: number): void {
    this.sweepsWaited = 0;
    if (this.#job === null) {
      this.#close(); // Octets that nobody asked for: what they belong to cannot be known.
      return;
    }
    const result = this.#parser.push(buffer, size, this);
    if (result === 'failed') {
      this.#fail(new GatewayError('upstream_malformed', 'response framing'));
    } else if (result === 'done') {
      this.#finishJob();
    }
  }

  #finishJob(): void {
    const job = this.#job;
    if (job === null) {
      return; // Aborted by its own handler.
    }
    this.#job = null;
    const isReusable = this.#parser.keepsAlive && this.#parser.restSize === 0 && job.isSent && !this.#isClosed;
    if (isReusable) {
      this.#isReused = true;
      this.resume();
      this.#updateWait();
      this.#owner.onIdle(this);
    } else {
      this.#close();
    }
    job.ended();
  }

  #onEnd(): void {
    if (this.#job !== null && this.#parser.hasBytes && this.#parser.finish() === 'done') {
      this.#finishJob();
    }
    this.#onLost(null);
  }

  #onLost(error: NodeJS.ErrnoException | null): void {
    const code = error?.code ?? '';
    if (!this.#isConnected) {
      this.#fail(new GatewayError('upstream_unreachable', code, { cause: error }));
      return;
    }
    const job = this.#job;
    if (job !== null && this.#isReused && !this.#parser.hasBytes && job.isRepeatable) {
      this.#job = null;
      this.#close();
      this.#owner.onStale(job);
      return;
    }
    this.#fail(new GatewayError('upstream_truncated', code, { cause: error }));
  }

  #fail(error: GatewayError): void {
    const job = this.#job;
    this.#job = null;
    this.#close();
    job?.failed(error);
  }

  #close(): void {
    if (!this.#isClosed) {
      this.#isClosed = true;
      this.waitKind = 'none';
      this.#socket.destroy();
      this.#owner.onClosed(this);
    }
  }

  /**
   * The upstream is waited for while it has a whole request and we read, or while it does not take what we send. A
   * caller that pauses, or that is slow with its own body, is not the upstream's fault.
   */
  #updateWait(): void {
    let kind: WaitKind = 'none';
    if (!this.#isConnected) {
      kind = 'connect';
    } else if (this.#job === null) {
      kind = 'idle';
    } else if (!this.#isPaused && (this.#job.isSent || this.#needsDrain)) {
      kind = 'response';
    }
    this.waitKind = this.#isClosed ? 'none' : kind;
    this.sweepsWaited = 0;
  }
}

import type { Clock, Timer } from '../../../core/kernel/clock.ts';
import { GatewayError } from '../../../core/kernel/errors.ts';
import { LIMITS } from '../../../core/kernel/limits.ts';
import type {
  HttpUpstream,
  UpstreamExchange,
  UpstreamHandlers,
  UpstreamRequest,
} from '../../lanes/http/http-upstream.ts';
import { UpstreamConnection, type ConnectionOwner, type WaitKind } from './upstream-connection.ts';
import { UpstreamJob } from './upstream-job.ts';

export interface HttpUpstreamOptions {
  readonly host: string;
  readonly port: number;
  readonly clock: Clock;
  readonly connectionsMax?: number;
  /** Requests that wait for a connection; one more is refused. */
  readonly queueMax?: number;
  readonly connectTimeoutMs?: number;
  /** Without any progress: until the head, and between octets of the body. Also for a place in the queue. */
  readonly responseTimeoutMs?: number;
  /** How long an unused connection is kept. Shorter than what common upstreams allow, so that we close first. */
  readonly idleTimeoutMs?: number;
  readonly headerBytesMax?: number;
  readonly headersMax?: number;
}

/**
 * The upstream side of the HTTP lane over plain TCP: a pool of keep-alive connections to one origin, HTTP/1.1, no
 * pipelining. No TLS: an adapter over undici is meant for that, behind the same port.
 *
 * A request that finds its kept-alive connection closed by the upstream before any octet of an answer is sent once more
 * on another one, if its method is idempotent and its body whole (RFC 9110 section 9.2.2, RFC 9112 section 9.3.1).
 */
export function createHttpUpstream(options: HttpUpstreamOptions): HttpUpstream {
  return new HttpUpstreamClient(options);
}

const READ_BUFFER_BYTES = 64 * 1024;
const QUEUE_MAX = 1_024;
const IDLE_TIMEOUT_MS = 4_000;
const SWEEPS_PER_TIMEOUT = 8;
const SWEEP_MS_MAX = 250;

/**
 * Invariants: `#connections` holds every connection that is not closed, and never more than `connectionsMax`; `#idle`
 * holds those without a job, the last used at the end, where the next one is taken: the others may age and go. A job is
 * in `#queue` only while every connection is busy.
 *
 * Time: one sweep for all connections instead of a timer for each request; a deadline is late by one sweep at most, an
 * eighth of the shortest timeout.
 */
class HttpUpstreamClient implements HttpUpstream, ConnectionOwner {
  readonly #clock: Clock;
  readonly #connectionOptions: ConstructorParameters<typeof UpstreamConnection>[0];
  readonly #authority: string;
  readonly #connectionsMax: number;
  readonly #queueMax: number;
  readonly #sweepMs: number;
  readonly #sweepsMax: Readonly<Record<WaitKind, number>>;
  readonly #connections = new Set<UpstreamConnection>();
  readonly #idle: UpstreamConnection[] = [];
  #queue: { readonly job: UpstreamJob; sweepsWaited: number }[] = [];
  #timer: Timer | null = null;
  #isClosed = false;
  readonly #forget = (job: UpstreamJob): void => {
    if (this.#queue.length > 0) {
      this.#queue = this.#queue.filter((waiting) => waiting.job !== job);
    }
  };

  constructor(options: HttpUpstreamOptions) {
    const connectMs = options.connectTimeoutMs ?? LIMITS.upstreamConnectTimeoutMs;
    const responseMs = options.responseTimeoutMs ?? LIMITS.upstreamResponseTimeoutMs;
    const idleMs = options.idleTimeoutMs ?? IDLE_TIMEOUT_MS;
    this.#clock = options.clock;
    this.#connectionOptions = {
      host: options.host,
      port: options.port,
      readBuffer: Buffer.allocUnsafeSlow(READ_BUFFER_BYTES),
      headerBytesMax: options.headerBytesMax ?? LIMITS.httpHeaderBytesMax,
      headersMax: options.headersMax ?? LIMITS.httpHeadersMax,
    };
    this.#authority = `${options.host.includes(':') ? `[${options.host}]` : options.host}:${options.port}`;
    this.#connectionsMax = options.connectionsMax ?? LIMITS.upstreamConnectionsMax;
    this.#queueMax = options.queueMax ?? QUEUE_MAX;
    const shortestMs = Math.min(connectMs, responseMs, idleMs);
    this.#sweepMs = Math.max(1, Math.min(SWEEP_MS_MAX, Math.floor(shortestMs / SWEEPS_PER_TIMEOUT)));
    this.#sweepsMax = {
      none: Number.POSITIVE_INFINITY,
      connect: Math.ceil(connectMs / this.#sweepMs),
      response: Math.ceil(responseMs / this.#sweepMs),
      idle: Math.ceil(idleMs / this.#sweepMs),
    };
  }

  get openConnections(): number {
    return this.#connections.size;
  }

  request(request: UpstreamRequest, handlers: UpstreamHandlers): UpstreamExchange {
    const job = new UpstreamJob(request, handlers, this.#authority, this.#forget);
    if (this.#isClosed) {
      this.#failLater(job, 'the client is closed');
      return job;
    }
    const idle = this.#idle.pop();
    if (idle !== undefined) {
      idle.start(job);
    } else {
      this.#assign(job);
    }
    return job;
  }

  close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#timer = null;
    for (const { job } of this.#queue.splice(0)) {
      job.failed(new GatewayError('upstream_unreachable', 'the client is closed'));
    }
    for (const connection of this.#connections) {
      connection.shutDown();
    }
    this.#idle.length = 0;
    return Promise.resolve();
  }

  onIdle(connection: UpstreamConnection): void {
    const next = this.#queue.shift();
    if (next === undefined) {
      this.#idle.push(connection);
    } else {
      connection.start(next.job);
    }
  }

  onClosed(connection: UpstreamConnection): void {
    this.#connections.delete(connection);
    const index = this.#idle.indexOf(connection);
    if (index !== -1) {
      this.#idle.splice(index, 1);
    }
    const next = this.#isClosed ? undefined : this.#queue.shift();
    if (next !== undefined) {
      this.#assign(next.job);
    }
  }

  /** The other idle connections may be as stale as this one was, so it gets a new one. */
  onStale(job: UpstreamJob): void {
    job.markRepeated();
    if (this.#isClosed) {
      job.failed(new GatewayError('upstream_unreachable', 'the client is closed'));
    } else {
      this.#assign(job);
    }
  }

  /** To a new connection, or into the queue when there may be no more. */
  #assign(job: UpstreamJob): void {
    if (this.#connections.size < this.#connectionsMax) {
      const connection = new UpstreamConnection(this.#connectionOptions, this);
      this.#connections.add(connection);
      this.#armSweep();
      connection.start(job);
    } else if (this.#queue.length < this.#queueMax) {
      this.#queue.push({ job, sweepsWaited: 0 });
    } else {
      this.#failLater(job, 'too many requests wait for a connection');
    }
  }

  /** Not inside `request`: the caller has no exchange yet. */
  #failLater(job: UpstreamJob, detail: string): void {
    queueMicrotask(() => job.failed(new GatewayError('upstream_unreachable', detail)));
  }

  #armSweep(): void {
    this.#timer ??= this.#clock.after(this.#sweepMs, () => {
      this.#timer = null;
      this.#sweep();
      if (this.#connections.size > 0) {
        this.#armSweep();
      }
    });
  }

  #sweep(): void {
    for (const connection of this.#connections) {
      connection.sweepsWaited++;
      if (connection.sweepsWaited > this.#sweepsMax[connection.waitKind]) {
        connection.expire();
      }
    }
    const late = this.#queue.filter((waiting) => ++waiting.sweepsWaited > this.#sweepsMax.response);
    for (const { job } of late) {
      this.#forget(job);
      job.failed(new GatewayError('upstream_timeout', 'no connection became free'));
    }
  }
}

import type { Clock } from '../../../core/kernel/clock.ts';
import type { GatewayError } from '../../../core/kernel/errors.ts';
import type { Catalogue, MaskProfile } from '../../contract/shape.ts';
import type { Subject } from '../../contract/subject.ts';
import type { SessionService } from '../../session/session-service.ts';
import type { HttpConnections } from './http-connections.ts';
import type { HttpExchange, HttpListenerHandlers } from './http-listener.ts';
import { HttpOperation } from './http-operation.ts';

/** The verifier of credentials as the lane needs it. */
export interface IdentityPort {
  /** The subject of a token that was verified before and is still good. Throws GatewayError when it has expired. */
  verifyCached(token: string): Subject | undefined;
  verify(token: string): Promise<Subject> | Subject;
}

/** What the lane tells about finished operations; never values, never names of people. */
export interface HttpLaneEvents {
  finished(
    outcome: 'allowed' | 'denied' | 'pending' | 'failed' | 'aborted',
    code: string,
    durationMs: number,
    maskedByAction: ReadonlyMap<string, number>,
  ): void;
  wireRefused(): void;
}

export interface HttpLaneOptions {
  readonly connections: HttpConnections;
  readonly identity: IdentityPort;
  readonly catalogue: Catalogue;
  readonly profile: MaskProfile;
  readonly sessions: SessionService;
  readonly clock: Clock;
  /** Key of the digests of exact targets. */
  readonly targetKey: Buffer;
  readonly events: HttpLaneEvents;
  /** Why nothing is taken now (draining, recorder, backlog), or null. */
  readonly unavailable: () => GatewayError | null;
}

/** The HTTP lane of one worker: gives every exchange its `HttpOperation`. */
export class HttpLane implements HttpListenerHandlers {
  readonly #options: HttpLaneOptions;
  #open = 0;
  #onIdle: (() => void) | null = null;

  constructor(options: HttpLaneOptions) {
    this.#options = options;
  }

  get openOperations(): number {
    return this.#open;
  }

  onRequest(exchange: HttpExchange): void {
    this.#open++;
    new HttpOperation(this.#options, exchange, () => {
      this.#open--;
      if (this.#open === 0) {
        this.#onIdle?.();
      }
    }).start();
  }

  onRefused(reason: string, remoteAddress: string): void {
    this.#options.events.wireRefused();
    this.#options.sessions.refusedWire(reason, remoteAddress, 'http');
  }

  /** Resolves when no operation is open. New ones may still come until the listener stops. */
  whenIdle(): Promise<void> {
    if (this.#open === 0) {
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      this.#onIdle = resolve;
    });
  }
}

import { createHash } from 'node:crypto';
import { GatewayError, type ErrorCode } from '../../../core/kernel/errors.ts';
import { LIMITS } from '../../../core/kernel/limits.ts';
import { httpExactParts } from '../../../core/ledger/statement.ts';
import type { Exchange } from '../../../proto/gen/chaperone/evidence/v1/event.ts';
import type { ResolvedRoute } from '../../contract/shape.ts';
import type { Subject } from '../../contract/subject.ts';
import type { Permit, Refusal } from '../../session/authorise.ts';
import type { ResponseRelease } from '../../session/response-release.ts';
import type { SessionService } from '../../session/session-service.ts';
import { bearerToken, forwardedHeaders, headerValue } from './headers.ts';
import type { MatchedConnection } from './http-connections.ts';
import type { HttpExchange, HttpHeader } from './http-listener.ts';
import type { HttpLaneOptions } from './http-lane.ts';
import type { UpstreamExchange } from './http-upstream.ts';
import { HttpResponseSink } from './http-response-sink.ts';
import { problemAnswer } from './problem.ts';
import { analyseRequest, previewRequest, type WholeRequest } from './request-content.ts';
import { beginRelease } from './response-content.ts';
import { targetDigest, understand } from './understand.ts';

type Strand = ReturnType<SessionService['enter']>;

const EMPTY = Buffer.alloc(0);

/**
 * One exchange from its head to its delivery record (00 section 6). Steps: match the connection, verify the credential,
 * gather and scan the body, decide and hold, forward, mask and release, note the delivery.
 *
 * Invariants: nothing goes upstream before `authorise` gave a permit; nothing of the upstream goes to the agent but
 * through `ResponseRelease`; `#leave` runs exactly once.
 */
export class HttpOperation {
  readonly #lane: HttpLaneOptions;
  readonly #exchange: HttpExchange;
  readonly #onLeave: () => void;
  readonly #startedMs: number;
  #matched: MatchedConnection | null = null;
  #subject: Subject | null = null;
  #route: ResolvedRoute | undefined;
  #strand: Strand | null = null;
  #terminate = false;
  #chunks: Buffer[] = [];
  #bodySize = 0;
  #bodyEnded: boolean;
  #upstream: UpstreamExchange | null = null;
  #release: ResponseRelease | null = null;
  #aborted = false;
  #answered = false;
  #left = false;
  #permit: Permit | null = null;

  constructor(lane: HttpLaneOptions, exchange: HttpExchange, onLeave: () => void) {
    this.#lane = lane;
    this.#exchange = exchange;
    this.#onLeave = onLeave;
    this.#startedMs = lane.clock.monotonicMs();
    this.#bodyEnded = exchange.head.contentLength === 0;
  }

  start(): void {
    const { head } = this.#exchange;
    this.#exchange.onAbort(() => this.#onAbort());
    if (!this.#bodyEnded) {
      this.#exchange.readBody({ onData: (chunk) => this.#onBody(chunk), onEnd: () => this.#onBodyEnd() });
    }
    const unavailable = this.#lane.unavailable();
    if (unavailable !== null) {
      this.#refuse(unavailable.code, unavailable.detail);
      return;
    }
    if (head.contentLength > LIMITS.httpBodyBufferBytesMax) {
      this.#refuse('body_too_large', 'the body of a request is at most 1 MiB');
      return;
    }
    const matched = this.#lane.connections.match(head.host, head.path);
    if (matched === undefined) {
      this.#refuse('connection_unknown', '');
      return;
    }
    this.#matched = matched;
    this.#authenticate();
  }

  #authenticate(): void {
    const token = bearerToken(this.#exchange.head.headers);
    if (token === undefined) {
      this.#refuseCredential(new GatewayError('auth_missing'));
      return;
    }
    try {
      const cached = this.#lane.identity.verifyCached(token);
      if (cached !== undefined) {
        this.#subject = cached;
        this.#proceed();
        return;
      }
      const verified = this.#lane.identity.verify(token);
      if (verified instanceof Promise) {
        verified.then(
          (subject) => {
            this.#subject = subject;
            this.#proceed();
          },
          (error: unknown) => this.#refuseCredential(error),
        );
        return;
      }
      this.#subject = verified;
    } catch (error) {
      this.#refuseCredential(error);
      return;
    }
    this.#proceed();
  }

  #refuseCredential(error: unknown): void {
    const known = error instanceof GatewayError ? error : new GatewayError('auth_invalid');
    this.#lane.sessions.refusedCredential(known.code, this.#exchange.head.remoteAddress, 'http');
    this.#refuse(known.code, known.detail);
  }

  #onBody(chunk: Buffer): void {
    if (this.#answered) {
      return;
    }
    this.#bodySize += chunk.length;
    if (this.#bodySize > LIMITS.httpBodyBufferBytesMax) {
      this.#refuse('body_too_large', 'the body of a request is at most 1 MiB');
      return;
    }
    this.#chunks.push(Buffer.from(chunk));
  }

  #onBodyEnd(): void {
    this.#bodyEnded = true;
    this.#proceed();
  }

  /** Goes on when both the subject and the whole body are there. */
  #proceed(): void {
    if (!this.#bodyEnded || this.#subject === null || this.#answered || this.#strand !== null) {
      return;
    }
    if (this.#aborted) {
      this.#leave('aborted', '');
      return;
    }
    const matched = this.#matched as MatchedConnection;
    try {
      this.#strand = this.#lane.sessions.enter(this.#subject, matched.connection.info.name);
    } catch (error) {
      const known = error instanceof GatewayError ? error : new GatewayError('internal', '', { cause: error });
      this.#refuse(known.code, known.detail);
      return;
    }
    this.#authorise(matched, this.#subject, this.#strand);
  }

  #authorise(matched: MatchedConnection, subject: Subject, strand: Strand): void {
    const { head } = this.#exchange;
    const { catalogue, profile, sessions, targetKey } = this.#lane;
    const { connection, path } = matched;
    const body = this.#chunks.length === 1 ? (this.#chunks[0] ?? EMPTY) : Buffer.concat(this.#chunks);
    this.#chunks = [];
    const route = catalogue.resolveHttp(
      connection.info.name,
      head.method === 'HEAD' ? 'GET' : head.method,
      path,
      head.query,
    );
    this.#route = route;
    const target = head.query === '' ? path : `${path}?${head.query}`;
    const whole: WholeRequest = {
      method: head.method,
      path,
      query: head.query,
      target,
      host: connection.upstreamHost,
      headers: forwardedHeaders(head.headers),
      contentType: headerValue(head.headers, 'content-type') ?? '',
      body,
      route,
    };
    const analysed = analyseRequest(whole, catalogue, profile);
    const operation = understand(connection.info, head.method, route, analysed.findings, catalogue, head.query !== '');
    sessions.authorise(
      {
        strand,
        subject,
        connection: connection.info,
        connectionDigest: connection.digest,
        operation,
        remoteAddress: head.remoteAddress,
        targetDigest: targetDigest(targetKey, connection.info.name, head.method, target),
        traceId: traceIdOf(head.headers),
        exact: httpExactParts({
          method: head.method,
          target,
          contentType: whole.contentType,
          bodyDigest: createHash('sha256').update(body).digest(),
        }),
        copy: analysed.copy,
        preview: () => previewRequest(whole),
        hasBody: body.length > 0,
        responseShape: route?.response ?? null,
        isAborted: () => this.#aborted,
      },
      (outcome) => this.#onOutcome(outcome, whole),
    );
  }

  #onOutcome(outcome: Permit | Refusal, whole: WholeRequest): void {
    if (outcome.kind === 'refusal') {
      this.#answerRefusal(outcome);
      return;
    }
    this.#permit = outcome;
    this.#terminate = outcome.terminate;
    if (this.#aborted) {
      this.#noteDelivery('the agent closed the connection', false, 0);
      this.#leave('aborted', '');
      return;
    }
    this.#forward(outcome, whole);
  }

  #forward(permit: Permit, whole: WholeRequest): void {
    const { connection } = this.#matched as MatchedConnection;
    const headers: HttpHeader[] = [
      { name: 'host', value: connection.upstreamHost },
      { name: 'accept-encoding', value: 'identity' },
      ...whole.headers,
    ];
    if (connection.credential !== null) {
      headers.push(connection.credential);
    }
    const sentMs = this.#lane.clock.monotonicMs();
    const begin = (status: number, upstreamHeaders: readonly HttpHeader[], contentLength: number): ResponseRelease => {
      const release = this.#beginRelease(
        permit,
        status,
        upstreamHeaders,
        contentLength,
        whole,
        this.#lane.clock.monotonicMs() - sentMs,
      );
      this.#release = release;
      return release;
    };
    this.#upstream = connection.upstream.request(
      {
        method: whole.method,
        target: whole.target,
        headers,
        body: whole.body.length > 0 ? whole.body : null,
        streamed: false,
      },
      {
        onHead: (head) => void begin(head.status, head.headers, head.contentLength),
        onData: (chunk) => this.#release?.push(chunk),
        onEnd: () => this.#release?.finish(),
        onError: (error) => {
          const known = error instanceof GatewayError ? error : new GatewayError('upstream_malformed');
          (this.#release ?? begin(0, [], 0)).fail(known);
        },
      },
    );
  }

  #beginRelease(
    permit: Permit,
    status: number,
    headers: readonly HttpHeader[],
    contentLength: number,
    whole: WholeRequest,
    upstreamMs: number,
  ): ResponseRelease {
    const { clock, catalogue, profile, sessions } = this.#lane;
    const begun = beginRelease({
      method: whole.method,
      status,
      headers,
      contentLength,
      permit,
      route: this.#route,
      catalogue,
      profile,
    });
    const sink = new HttpResponseSink({
      exchange: this.#exchange,
      status,
      headers: [
        ...begun.headers,
        { name: 'evidence', value: permit.position },
        {
          name: 'server-timing',
          value: `upstream;dur=${upstreamMs.toFixed(2)}, gateway;dur=${(clock.monotonicMs() - this.#startedMs - upstreamMs).toFixed(2)}`,
        },
      ],
      upstream: () => this.#upstream,
      release: () => this.#release,
      refuse: (error) =>
        this.#answerProblem(error.code, error.detail, permit.position, '', 0, permit.decision.verdict.reasons),
    });
    const release = sessions.release({
      strand: this.#strand as Strand,
      verdict: permit.decision.verdict,
      sink,
      operationIndex: permit.operationIndex,
      plan: begun.plan,
      masker: begun.masker,
      status,
      upstreamStatus: status,
      headers: begun.headers.map((header) => ({ ...header })),
      mediaType: begun.mediaType,
      contentLength,
      fastRequest: permit.fastRequest,
      limits: permit.decision.verdict.limits,
      routeId: this.#route?.id ?? '',
      requestBytes: whole.body.length,
      startedMs: this.#startedMs,
      upstreamUs: Math.round(upstreamMs * 1000),
      onFinished: ({ masks, released, failure }) => {
        const counts = new Map<string, number>();
        for (const entry of masks?.counts ?? []) {
          counts.set(entry.action, (counts.get(entry.action) ?? 0) + Number(entry.count));
        }
        this.#onReleased(sink, released, failure, counts);
      },
    });
    if (begun.failure !== null) {
      this.#release = release;
      release.fail(begun.failure);
    }
    return release;
  }

  /** The last byte was handed over, or nothing more will be: note what the kernel took once that is known. */
  #onReleased(
    sink: HttpResponseSink,
    released: number,
    failure: GatewayError | null,
    counts: ReadonlyMap<string, number>,
  ): void {
    sink.whenFlushed((delivered, complete) => {
      this.#noteDelivery(
        failure?.code ?? (complete ? '' : 'the agent closed the connection'),
        complete && failure === null,
        delivered,
        released,
      );
      const outcome = failure === null ? (complete ? 'allowed' : 'aborted') : this.#aborted ? 'aborted' : 'failed';
      this.#leave(outcome, failure?.code ?? '', counts);
    });
  }

  #noteDelivery(abortReason: string, complete: boolean, delivered: number, released = 0): void {
    const exchange: Exchange = {
      status: 0,
      rows: 0n,
      bytes: BigInt(released),
      requestBytes: 0n,
      mediaType: '',
      upstreamStatus: 0,
      upstreamUs: 0n,
      totalUs: BigInt(Math.round((this.#lane.clock.monotonicMs() - this.#startedMs) * 1000)),
      abortReason,
      deliveredBytes: BigInt(Math.min(delivered, released)),
      complete,
    };
    this.#lane.sessions.delivered(this.#strand as Strand, (this.#permit as Permit).operationIndex, exchange);
  }

  #answerRefusal(refusal: Refusal): void {
    const reasons = refusal.decision?.verdict.reasons ?? [];
    this.#answerProblem(
      refusal.code,
      refusal.detail,
      refusal.position,
      refusal.approvalId,
      refusal.retryAfterS,
      reasons,
    );
    this.#leave(refusal.code === 'approval_pending' ? 'pending' : 'denied', refusal.code);
  }

  /** Refuses before there is a decision. */
  #refuse(code: ErrorCode, detail: string): void {
    if (this.#answered || this.#left) {
      return;
    }
    this.#answerProblem(code, detail, '', '', 0, []);
    this.#leave('denied', code);
  }

  #answerProblem(
    code: ErrorCode,
    detail: string,
    decisionId: string,
    approvalId: string,
    retryAfterS: number,
    reasons: Parameters<typeof problemAnswer>[0]['reasons'],
  ): void {
    if (this.#answered) {
      return;
    }
    this.#answered = true;
    this.#chunks = [];
    if (this.#aborted) {
      return;
    }
    const answer = problemAnswer({ code, detail, decisionId, approvalId, retryAfterS, reasons });
    if (!this.#bodyEnded) {
      // The rest of the body is not read: the connection cannot be used again.
      answer.headers.push({ name: 'connection', value: 'close' });
    }
    this.#exchange.respond(answer.status, answer.headers, answer.body);
  }

  #onAbort(): void {
    this.#aborted = true;
    if (this.#release !== null) {
      this.#release.agentGone();
    } else if (this.#upstream !== null) {
      // A request that is under way is not recalled, but nobody waits for its answer.
      this.#upstream.abort();
      this.#noteDelivery('the agent closed the connection', false, 0);
      this.#leave('aborted', '');
    } else if (this.#strand === null) {
      this.#leave('aborted', '');
    }
  }

  #leave(
    outcome: 'allowed' | 'denied' | 'pending' | 'failed' | 'aborted',
    code: string,
    masked: ReadonlyMap<string, number> = new Map(),
  ): void {
    if (this.#left) {
      return;
    }
    this.#left = true;
    if (this.#strand !== null) {
      this.#lane.sessions.leave(this.#strand, this.#terminate);
    }
    this.#lane.events.finished(outcome, code, this.#lane.clock.monotonicMs() - this.#startedMs, masked);
    this.#onLeave();
  }
}

/** Trace id of W3C `traceparent`, empty when there is none or it is malformed. */
function traceIdOf(headers: readonly HttpHeader[]): string {
  const value = headerValue(headers, 'traceparent');
  return value !== undefined && /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(value) ? value.slice(3, 35) : '';
}

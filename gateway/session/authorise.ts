import type { Clock } from '../../core/kernel/clock.ts';
import { ERROR_CODES, GatewayError, type ErrorCode } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import { ZERO32 } from '../../core/kernel/bytes.ts';
import type { Appended } from '../../core/runtime/writer/evidence-writer.ts';
import type { Approval } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import type { JsonValue } from '../../core/kernel/canonical-json.ts';
import type { AskRequest, AskStatus, ClaimGrant, DeskClient } from '../approvals/desk-port.ts';
import { operationDigest } from '../approvals/operation-digest.ts';
import { shownOf } from '../approvals/shown.ts';
import type { MaskPlan } from '../contract/mask.ts';
import { UNKNOWN_KIND, UNREADABLE_KIND, type ConnectionInfo, type Operation } from '../contract/operation.ts';
import type { ResultShape } from '../contract/shape.ts';
import type { Subject } from '../contract/subject.ts';
import type { Decision, Verdict } from '../contract/verdict.ts';
import type { RequestCopy } from '../contract/record-copy.ts';
import type { OperationOutcome, Recorder } from '../recorder/recorder.ts';
import type { Strand } from '../recorder/strand.ts';
import type { PlanCache } from './plan-cache.ts';
import type { PolicyPort } from './ports.ts';

/** A grant that somebody else used first is asked for again, but not for ever. */
const CLAIM_ATTEMPTS_MAX = 3;
const REPLICATED_WAIT_MS = 10_000;
const SUPPORTED_OBLIGATIONS: ReadonlySet<string> = new Set(['record_full', 'terminate_session']);

export interface OperationRequest {
  readonly strand: Strand;
  readonly subject: Subject;
  readonly connection: ConnectionInfo;
  /** SHA-256 of the connection's configuration. */
  readonly connectionDigest: Buffer;
  readonly operation: Operation;
  readonly remoteAddress: string;
  /** Keyed digest of the exact target, for the record. */
  readonly targetDigest: Buffer;
  readonly traceId: string;
  /** The lane's exact parts of opDigest; null when the body was too large to be held whole. */
  readonly exact: readonly Buffer[] | null;
  /** The request after masking, for the record. */
  readonly copy: RequestCopy;
  /** What the approver sees, with literals. Leaves the node sealed only. */
  readonly preview: () => Readonly<Record<string, JsonValue>>;
  readonly hasBody: boolean;
  readonly responseShape: ResultShape | null;
  readonly isAborted: () => boolean;
}

/** The operation may go upstream, now: its record is durable wherever it has to be. */
export interface Permit {
  readonly kind: 'permit';
  readonly operationIndex: number;
  readonly position: string;
  readonly decision: Decision;
  readonly plan: MaskPlan | null;
  /** The request to put into the unit of the response; null when the operation record has it. */
  readonly fastRequest: RequestCopy | null;
  readonly terminate: boolean;
}

export interface Refusal {
  readonly kind: 'refusal';
  readonly code: ErrorCode;
  readonly detail: string;
  readonly decision: Decision | null;
  readonly position: string;
  readonly approvalId: string;
  readonly retryAfterS: number;
}

export interface AuthoriserOptions {
  readonly recorder: Recorder;
  readonly policy: PolicyPort;
  readonly plans: PlanCache;
  readonly desk: DeskClient;
  readonly clock: Clock;
  readonly isReviewed: (subject: Subject) => boolean;
  /** Milliseconds until this principal may write evidence again, 0 when it may. */
  readonly quotaWaitMs: (subject: Subject) => number;
  readonly approvalsKey: Buffer;
  readonly holdMs: number;
  /** True when acknowledged by the bus counts as replicated (a real cluster, or the relaxing switch). */
  readonly replicatedAvailable: () => boolean;
  readonly onDecision: (evaluationMs: number, outcome: OperationOutcome, code: string) => void;
}

interface Granted {
  readonly leafHash: Buffer;
  readonly view: Approval;
}

/**
 * Decides, holds and records one operation (00 section 6, steps 3 to 5). Lane-neutral.
 *
 * `done` is called exactly once. A permit that is not a fast-path read is given only after the operation's record is
 * durable (or replicated, when the verdict asks for it); a refusal is recorded as well, before it is answered.
 */
export class Authoriser {
  readonly #o: AuthoriserOptions;

  constructor(options: AuthoriserOptions) {
    this.#o = options;
  }

  authorise(request: OperationRequest, done: (outcome: Permit | Refusal) => void): void {
    const waitMs = this.#o.quotaWaitMs(request.subject);
    if (waitMs > 0) {
      // Without a record of its own: refusing what writes too much must not write.
      done({ ...failed(new GatewayError('evidence_quota')), retryAfterS: Math.ceil(waitMs / 1000) });
      return;
    }
    let decision: Decision;
    try {
      decision = this.#decide(request, []);
    } catch (error) {
      done(failed(error));
      return;
    }
    const code = this.#nativeRefusal(request, decision.verdict);
    if (code !== null) {
      this.#refuse(request, decision, code, '', done);
    } else if (decision.verdict.effect === 'approve') {
      this.#hold(request, decision).then(
        (continuation) => continuation(done),
        (error: unknown) => this.#refuseError(request, decision, error, done),
      );
    } else {
      this.#permit(request, decision, null, done);
    }
  }

  #decide(request: OperationRequest, grants: Parameters<PolicyPort['decide']>[0]['grants']): Decision {
    const { clock, policy } = this.#o;
    const startedMs = clock.monotonicMs();
    const decision = policy.decide({
      subject: request.subject,
      connection: request.connection,
      operation: request.operation,
      reviewed: this.#o.isReviewed(request.subject),
      grants,
      remoteAddress: request.remoteAddress,
    });
    this.#o.onDecision(clock.monotonicMs() - startedMs, decision.verdict.effect, decision.verdict.code);
    return decision;
  }

  /** What refuses an operation whatever the layers say, and what this lane cannot do. */
  #nativeRefusal(request: OperationRequest, verdict: Verdict): ErrorCode | null {
    if (verdict.effect === 'deny') {
      return verdict.code === '' ? 'policy_denied' : verdict.code;
    }
    const { limits } = verdict;
    const unsupportedLimit =
      limits.rowsPerSession ?? limits.subjectsPerSession ?? limits.statementsPerMin ?? limits.concurrency;
    if (unsupportedLimit !== undefined || verdict.obligations.some((name) => !SUPPORTED_OBLIGATIONS.has(name))) {
      return 'obligation_unsupported';
    }
    if (carriesDenied(request.operation, verdict)) {
      // `mask` would have to change a body that is already digested for an approval: this lane only blocks.
      return 'egress_denied';
    }
    if (verdict.evidence === 'replicated' && !this.#o.replicatedAvailable()) {
      return 'replicated_unavailable';
    }
    return null;
  }

  #permit(
    request: OperationRequest,
    decision: Decision,
    grant: Granted | null,
    done: (outcome: Permit | Refusal) => void,
  ): void {
    const { operation } = request;
    const { recorder } = this.#o;
    const clean = operation.kinds.length === 0 && operation.egress.kinds.length === 0;
    const fastPath = operation.safe && !request.hasBody && clean && grant === null;
    let plan: MaskPlan | null;
    let appended: Appended;
    try {
      plan = request.responseShape === null ? null : this.#o.plans.planFor(request.responseShape, decision.verdict);
      appended = recorder.operation(
        request.strand,
        {
          operation,
          decision,
          outcome: 'allow',
          code: '',
          targetDigest: request.targetDigest,
          fastPath,
          copy: fastPath ? null : request.copy,
          approval: grant,
          approvalView: null,
          planDigest: plan?.digest ?? ZERO32,
          traceId: request.traceId,
        },
        request.subject,
        this.#o.isReviewed(request.subject),
      );
    } catch (error) {
      done(failed(error));
      return;
    }
    const permit: Permit = {
      kind: 'permit',
      operationIndex: appended.index,
      position: positionOf(recorder, appended),
      decision,
      plan,
      fastRequest: fastPath ? request.copy : null,
      terminate: decision.verdict.obligations.includes('terminate_session'),
    };
    if (fastPath) {
      // Goes upstream at once: the response is released only with a commit that covers this record as well.
      done(permit);
      return;
    }
    this.whenCommitted(decision.verdict, appended.index, (failure) =>
      done(failure === null ? permit : failed(failure)),
    );
  }

  /** Calls back when a record has the durability that the verdict asks for. */
  whenCommitted(verdict: Verdict, index: number, callback: (failure: Error | null) => void): void {
    const { writer } = this.#o.recorder;
    if (verdict.evidence === 'local') {
      writer.whenDurable(index, callback);
      return;
    }
    writer.whenPublished(index, REPLICATED_WAIT_MS).then(
      () => callback(null),
      () => callback(new GatewayError('replicated_unavailable')),
    );
  }

  #refuse(
    request: OperationRequest,
    decision: Decision,
    code: ErrorCode,
    detail: string,
    done: (outcome: Refusal) => void,
    approval: AskStatus | null = null,
  ): void {
    const { recorder, clock } = this.#o;
    const pending = code === 'approval_pending';
    let appended: Appended;
    try {
      appended = recorder.operation(
        request.strand,
        {
          operation: request.operation,
          decision,
          outcome: pending ? 'approve' : 'deny',
          code,
          targetDigest: request.targetDigest,
          fastPath: false,
          copy: request.copy,
          approval: null,
          approvalView: approval === null ? null : approvalView(approval, ''),
          planDigest: ZERO32,
          traceId: request.traceId,
        },
        request.subject,
        this.#o.isReviewed(request.subject),
      );
    } catch (error) {
      done(failed(error));
      return;
    }
    const retryable = ERROR_CODES[code].retryable;
    const refusal: Refusal = {
      kind: 'refusal',
      code,
      detail,
      decision,
      position: positionOf(recorder, appended),
      approvalId: approval?.id ?? '',
      retryAfterS: pending
        ? Math.max(1, Math.min(30, Math.ceil(((approval?.expiresMs ?? 0) - clock.nowMs()) / 1000)))
        : retryable
          ? 1
          : 0,
    };
    recorder.writer.whenDurable(appended.index, (failure) => done(failure === null ? refusal : failed(failure)));
  }

  #refuseError(request: OperationRequest, decision: Decision, error: unknown, done: (outcome: Refusal) => void): void {
    if (error instanceof GatewayError) {
      this.#refuse(request, decision, error.code, error.detail, done);
    } else {
      this.#refuse(request, decision, 'approval_unavailable', '', done);
    }
  }

  /**
   * Asks, waits up to the hold budget, and claims. What it resolves to finishes the operation: the continuation runs
   * outside of the promise chain, so that an error in it is never taken for one of the desk.
   */
  async #hold(
    request: OperationRequest,
    decision: Decision,
  ): Promise<(done: (outcome: Permit | Refusal) => void) => void> {
    const { desk, clock } = this.#o;
    const refuse =
      (code: ErrorCode, detail: string, status: AskStatus | null = null) =>
      (done: (outcome: Permit | Refusal) => void): void =>
        this.#refuse(request, decision, code, detail, done, status);
    if (request.exact === null) {
      return refuse('approval_body_too_large', '');
    }
    const ask = this.#askRequest(request, decision, request.exact);
    const untilMs = clock.monotonicMs() + this.#o.holdMs;
    for (let attempt = 0; attempt < CLAIM_ATTEMPTS_MAX; attempt++) {
      let status = await desk.ask(ask);
      if (status.state === 'pending') {
        status = await desk.wait(status.id, Math.max(0, untilMs - clock.monotonicMs()));
      }
      if (status.state === 'pending') {
        return refuse('approval_pending', `approval ${status.id} waits for a person`, status);
      }
      if (status.state === 'denied') {
        return refuse('approval_denied', status.reason, status);
      }
      if (status.state !== 'approved') {
        return refuse('approval_expired', '', status);
      }
      if (request.isAborted()) {
        return refuse('upstream_truncated', 'the agent closed the connection before the approval was used', status);
      }
      const granted = this.#decideGranted(request, status);
      if (granted.verdict.effect !== 'allow') {
        const code =
          granted.verdict.effect === 'approve'
            ? 'approval_denied'
            : (this.#nativeRefusal(request, granted.verdict) ?? 'policy_denied');
        return (done) =>
          this.#refuse(
            request,
            granted,
            code,
            'the policy asks for something else than what was approved',
            done,
            status,
          );
      }
      const shown = shownOf(request.connection, request.operation, granted.verdict);
      const claim = await desk.claim({ id: status.id, opDigest: ask.opDigest, shown });
      if (claim !== null) {
        // If the node dies here the use is spent: the agent is told so by the next ask.
        const grant = { leafHash: Buffer.from(claim.leafHash, 'hex'), view: approvalView(status, claim) };
        return (done) => this.#permit(request, granted, grant, done);
      }
    }
    return refuse('approval_unavailable', 'the grant was used by another request');
  }

  #decideGranted(request: OperationRequest, status: AskStatus): Decision {
    const leftMs = status.expiresMs - this.#o.clock.nowMs();
    const grants = status.codes.map((code) => ({
      code,
      by: [...status.decidedBy].sort().join(','),
      scope: 'statement',
      expiresBand: leftMs < 60_000 ? 'soon' : 'later',
    }));
    return this.#decide(request, grants);
  }

  #askRequest(request: OperationRequest, decision: Decision, exact: readonly Buffer[]): AskRequest {
    const { subject, operation, connection } = request;
    const digest = operationDigest(this.#o.approvalsKey, {
      subject,
      connection: connection.name,
      connectionDigest: request.connectionDigest,
      operation,
      catalogueDigest: decision.catalogueDigest,
      exact,
    });
    const agent = subject.actors.at(-1);
    return {
      opDigest: digest.toString('hex'),
      requester: {
        principal: subject.principal.sub,
        person: subject.person,
        chainPersons: [...subject.chainPersons],
        agent: agent?.sub ?? '',
        run: subject.ci?.runId ?? '',
        commit: subject.ci?.sha ?? '',
        repository: subject.ci?.repository ?? '',
        scriptDigest: subject.ci?.scriptDigest ?? '',
      },
      sessionId: request.strand.sessionId.toString('hex'),
      shown: shownOf(connection, operation, decision.verdict),
      summary: `${operation.verb} ${operation.text} on ${connection.name}`,
      reasons: decision.verdict.reasons.map((reason) => reason.message),
      preview: request.preview(),
      uses: 1,
    };
  }
}

/** Whatever a destination may not get, it may not get hidden in something that cannot be read or is not known either. */
function carriesDenied(operation: Operation, verdict: Verdict): boolean {
  const { denyKinds } = verdict.egress;
  return (
    denyKinds.length > 0 &&
    operation.egress.kinds.some((kind) => denyKinds.includes(kind) || kind === UNREADABLE_KIND || kind === UNKNOWN_KIND)
  );
}

function approvalView(status: AskStatus, claim: ClaimGrant | ''): Approval {
  return {
    id: status.id,
    state: claim === '' ? status.state : 'claimed',
    opDigest: Buffer.from(status.opDigest, 'hex'),
    shownDigest: Buffer.alloc(0),
    approver: [...status.decidedBy].join(','),
    method: '',
    signature: Buffer.alloc(0),
    publicKey: Buffer.alloc(0),
    reason: status.reason,
    decidedMs: 0n,
    code: status.codes.join(','),
    use: claim === '' ? 0 : claim.use,
    expiresMs: BigInt(status.expiresMs),
    quorum: 0,
  };
}

function positionOf(recorder: Recorder, appended: Appended): string {
  return `${recorder.writer.writerIdHex}/${appended.index}`;
}

/** Nothing could be recorded: there is no position, and nothing was or will be forwarded. */
function failed(error: unknown): Refusal {
  const known = error instanceof GatewayError ? error : new GatewayError('internal', '', { cause: error });
  return {
    kind: 'refusal',
    code: known.code,
    detail: known.detail,
    decision: null,
    position: '',
    approvalId: '',
    retryAfterS: ERROR_CODES[known.code].retryable ? Math.ceil(LIMITS.headMs / 1000) : 0,
  };
}

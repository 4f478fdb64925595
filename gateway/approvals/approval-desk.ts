import { assert, defined } from '../../core/kernel/assert.ts';
import type { Timer } from '../../core/kernel/clock.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import { verifyBytes } from '../../core/ledger/ed25519.ts';
import { shownDigest } from '../../core/ledger/statement.ts';
import type { ApprovalView } from '../../proto/gen/chaperone/control/v1/approval.ts';
import { makePreview, sealPreview } from '../contract/approval-preview.ts';
import type { PeopleMap } from '../contract/people-map.ts';
import { openScriptAttestation, type ScriptAttestation } from '../contract/script-attestation.ts';
import { ApprovalLog, type ApprovalLogOptions } from './approval-log.ts';
import {
  type Ask,
  decisionStatement,
  isClosed,
  isQuorum,
  type LostWhy,
  usesLeft,
  type VerifySignature,
} from './approval-reducer.ts';
import { codesOf } from './approval-record.ts';
import { statusOf, viewOf } from './approval-view.ts';
import type { AskRequest, AskStatus, ClaimGrant, ClaimRequest, DeskClient, ScriptReview } from './desk-port.ts';
import { eligibleFor, isEligible, isEnrolled, standingDecisions, ttlMs } from './eligibility.ts';
import type { RecordReceipt } from './record-queue.ts';
import { REVIEWERS } from './reviewed-scripts.ts';
import { grantCovers, shownText } from './shown.ts';
import { approvalId } from './transition.ts';

export interface ApprovalDeskOptions extends ApprovalLogOptions {
  readonly people: PeopleMap;
  /** Longest time to live of an ask; a policy may say less. */
  readonly ttlMs?: number;
  readonly seal?: typeof sealPreview;
}

export interface DecideRequest {
  readonly id: string;
  readonly decision: 'approve' | 'deny';
  readonly person: string;
  readonly keyId: string;
  readonly reason: string;
  readonly decidedMs: number;
  readonly signature: Buffer;
}

export interface Decision {
  readonly view: ApprovalView;
  readonly receipt: RecordReceipt;
}

/** Races that one request may lose before it gives up: each loss means that somebody else moved on. */
const ATTEMPTS_MAX = 4;
/** Another node expires an ask only when the one that made it did not. */
const FOREIGN_EXPIRY_GRACE_MS = 5_000;

/**
 * The desk of one node, in its main thread: asks people, holds the answer, gives each grant out once in the cluster.
 * All state is in the log; the desk keeps waiters only, so any node can go on where another stopped.
 *
 * Invariants: nothing is answered from a state that is stale; a claim is answered only after it won on the topic, its
 * signatures were verified against the people map of now, and its record is durable.
 */
export class ApprovalDesk implements DeskClient {
  readonly log: ApprovalLog;
  readonly #options: ApprovalDeskOptions;
  readonly #verify: VerifySignature;
  readonly #asking = new Map<string, Promise<AskStatus>>();
  readonly #expiring = new Set<string>();
  #people: PeopleMap;
  #tick: Timer | null = null;
  #closed = false;

  constructor(options: ApprovalDeskOptions) {
    this.#options = options;
    this.#people = options.people;
    this.#verify = options.verify ?? verifyBytes;
    this.log = new ApprovalLog(options);
  }

  async start(): Promise<void> {
    await this.log.start();
    this.#schedule();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#tick?.cancel();
    await this.log.close();
  }

  /** A new bundle is in force. Grants are judged by the new people from now on. */
  setPeople(people: PeopleMap): void {
    this.#people = people;
  }

  list(state = ''): ApprovalView[] {
    return [...this.log.reducer.asks()].filter((ask) => state === '' || ask.state === state).map(viewOf);
  }

  /** Throws GatewayError `approval_not_found`. */
  get(id: string): ApprovalView {
    return viewOf(this.#find(id));
  }

  get pendingCount(): number {
    return [...this.log.reducer.asks()].filter((ask) => ask.state === 'pending').length;
  }

  async ask(request: AskRequest): Promise<AskStatus> {
    this.log.checkFresh();
    assert(request.uses >= 1, 'a grant has at least one use');
    const key = `${request.opDigest}\n${shownText(request.shown)}`;
    const running = this.#asking.get(key);
    if (running !== undefined) {
      return running;
    }
    const asking = this.#ask(request);
    this.#asking.set(key, asking);
    try {
      return await asking;
    } finally {
      this.#asking.delete(key);
    }
  }

  async wait(id: string, holdMs: number): Promise<AskStatus> {
    const ask = this.#find(id);
    if (ask.state !== 'pending' || holdMs <= 0) {
      return statusOf(ask);
    }
    await new Promise<void>((resolve) => {
      const done = (): void => {
        timer.cancel();
        stop();
        resolve();
      };
      const timer = this.#options.clock.after(holdMs, done);
      const stop = this.log.onChange((changed) => {
        if (changed.asked.id === id && changed.state !== 'pending') {
          done();
        }
      });
    });
    return statusOf(this.log.reducer.get(id) ?? ask);
  }

  async claim(request: ClaimRequest): Promise<ClaimGrant | null> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      this.log.checkFresh();
      const ask = this.log.reducer.get(request.id);
      if (ask === undefined || !(await this.#isUsable(ask, request))) {
        return null;
      }
      const use = ask.claims.length;
      const { applied, receipt } = await this.log.append({
        type: 'claim',
        id: request.id,
        use,
        opDigest: request.opDigest,
      });
      if (applied.outcome === 'won') {
        // From here on the use is spent. If we die here nothing was forwarded, and the identical retry asks again.
        const { writer, index, leafHash } = await defined(receipt, 'a transition of our own that won is recorded');
        const approvers = ask.decisions.filter((d) => d.decision === 'approve').map((d) => d.person);
        const { expiresMs } = ask.asked;
        const leafHashHex = leafHash.toString('hex');
        return {
          id: request.id,
          use,
          codes: codesOf(ask.asked),
          approvers,
          expiresMs,
          writer,
          index,
          leafHash: leafHashHex,
        };
      }
    }
    return null;
  }

  /**
   * Takes a signed decision. Rejects GatewayError `approval_not_found | approval_closed | approval_expired |
   * approval_not_eligible | approval_signature | approval_unavailable | protocol_malformed`.
   */
  async decide(request: DecideRequest): Promise<Decision> {
    this.log.checkFresh();
    const ask = this.#find(request.id);
    this.#checkDecision(ask, request);
    const { applied, receipt } = await this.log.append({
      type: 'decided',
      id: request.id,
      decision: request.decision,
      person: request.person,
      keyId: request.keyId,
      reason: request.reason,
      decidedMs: request.decidedMs,
      signature: request.signature.toString('base64'),
    });
    if (applied.outcome === 'lost') {
      throw lostDecision(applied.why);
    }
    return { view: this.get(request.id), receipt: await defined(receipt, 'our own winning transition is recorded') };
  }

  /** Takes a DSSE envelope that a script was reviewed. Rejects `attestation_invalid | approval_unavailable`. */
  async attest(envelope: Buffer): Promise<{ review: ScriptReview; receipt: RecordReceipt }> {
    this.log.checkFresh();
    const review = openScriptAttestation(envelope);
    if (review === undefined) {
      throw new GatewayError('attestation_invalid', 'this is not a DSSE envelope of a script review');
    }
    const key = this.#people.keyOf(review.reviewer, review.keyId);
    if (key === undefined || !this.#verify(key.ed25519, review.signedBytes, review.signature)) {
      throw new GatewayError('attestation_invalid', 'the signature is not that of an enrolled key of the reviewer');
    }
    if (!this.#people.membersOf(REVIEWERS).includes(review.reviewer)) {
      throw new GatewayError('attestation_invalid', `the signer is not in the group ${REVIEWERS}`);
    }
    if (review.reviewedMs > this.#options.clock.nowMs() + LIMITS.clockSkewMs) {
      throw new GatewayError('attestation_invalid', 'the time of the review is in the future');
    }
    const { applied, receipt } = await this.log.append({
      type: 'script_reviewed',
      id: review.scriptDigest,
      ed25519: key.ed25519.toString('hex'),
      envelope: envelope.toString('base64'),
    });
    if (applied.outcome === 'lost') {
      throw new GatewayError('attestation_invalid', applied.why === 'repeated' ? 'already attested' : applied.why);
    }
    return { review: plainReview(review), receipt: await defined(receipt, 'our own winning transition is recorded') };
  }

  /** The reviews so far, and each further one: for the `ReviewedScripts` of the workers. */
  reviews(onReview: (review: ScriptReview) => void): ScriptReview[] {
    this.log.onReview((review) => onReview(plainReview(review)));
    return [...this.log.reducer.reviews()].map(plainReview);
  }

  async #ask(request: AskRequest): Promise<AskStatus> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const last = this.log.reducer.lastFor(request.opDigest);
      if (last !== undefined && this.#answers(last, request)) {
        return statusOf(last);
      }
      if (last !== undefined && !isClosed(last)) {
        // It expired, or its grant no longer covers the verdict: it has to close before the operation is asked again.
        const isOver = this.#options.clock.nowMs() >= last.asked.expiresMs;
        const { id } = last.asked;
        await this.log.append(
          isOver ? { type: 'expired', id } : { type: 'cancelled', id, reason: 'the verdict changed' },
        );
        continue;
      }
      const { applied } = await this.log.append(await this.#draft(request));
      if (applied.outcome === 'won' && applied.ask !== null) {
        return statusOf(applied.ask);
      }
      // Another node asked for the same operation first: join its ask.
    }
    throw new GatewayError('approval_unavailable', 'too many nodes ask for this operation at once');
  }

  /** An open ask that covers the request answers it; a denial does until the ask would have expired: no nagging. */
  #answers(last: Ask, request: AskRequest): boolean {
    if (this.#options.clock.nowMs() >= last.asked.expiresMs) {
      return false;
    }
    if (last.state === 'denied') {
      return last.asked.shown === shownText(request.shown);
    }
    return !isClosed(last) && grantCovers(last.shown, request.shown);
  }

  async #draft(request: AskRequest): Promise<Parameters<ApprovalLog['append']>[0]> {
    if (this.pendingCount >= LIMITS.approvalsPendingMax) {
      throw new GatewayError('approval_unavailable', 'too many approvals are pending');
    }
    const { shown, requester } = request;
    if (Buffer.byteLength(shownText(shown)) > LIMITS.approvalShownBytesMax) {
      throw new GatewayError('approval_body_too_large', 'what the approver would be shown is too large');
    }
    const eligible = eligibleFor(this.#people, request);
    const generation = this.log.reducer.nextGeneration(request.opDigest);
    const id = approvalId(request.opDigest, generation);
    const preview = makePreview(request.preview);
    const seal = this.#options.seal ?? sealPreview;
    const previews = await Promise.all(
      eligible.recipients.map(async ({ person, keyId, x25519 }) => {
        const sealed = await seal(preview, { approvalId: id, keyId, x25519 });
        return { person, keyId, enc: sealed.enc.toString('base64'), ciphertext: sealed.ciphertext.toString('base64') };
      }),
    );
    return {
      type: 'asked',
      id,
      opDigest: request.opDigest,
      generation,
      expiresMs: this.#options.clock.nowMs() + ttlMs(shown, this.#options.ttlMs ?? LIMITS.approvalTtlMs),
      uses: shown.approvals.some((approval) => approval.scope === 'statement') ? 1 : request.uses,
      requester: { ...requester, chainPersons: [...requester.chainPersons] },
      sessionId: request.sessionId,
      summary: request.summary,
      reasons: [...request.reasons],
      shown: shownText(shown),
      shownDigest: shownDigest(Buffer.from(request.opDigest, 'hex'), shownText(shown), preview.hash).toString('hex'),
      previewHash: preview.hash.toString('hex'),
      quorum: eligible.quorum,
      sets: eligible.sets,
      keys: eligible.keys,
      previews,
    };
  }

  /** Everything that must hold before a use is spent. */
  async #isUsable(ask: Ask, request: ClaimRequest): Promise<boolean> {
    if (
      ask.asked.opDigest !== request.opDigest ||
      usesLeft(ask) === 0 ||
      this.#options.clock.nowMs() >= ask.asked.expiresMs ||
      !grantCovers(ask.shown, request.shown)
    ) {
      return false;
    }
    if (isQuorum(ask.asked, standingDecisions(this.#people, ask))) {
      return true;
    }
    await this.log.append({ type: 'cancelled', id: ask.asked.id, reason: 'an approver is no longer eligible' });
    return false;
  }

  #checkDecision(ask: Ask, request: DecideRequest): void {
    const nowMs = this.#options.clock.nowMs();
    if (ask.state === 'expired' || (ask.state === 'pending' && nowMs >= ask.asked.expiresMs)) {
      throw new GatewayError('approval_expired');
    }
    if (ask.state !== 'pending') {
      throw new GatewayError('approval_closed', ask.state);
    }
    if (!isEligible(this.#people, ask, request.person)) {
      const isInChain = ask.asked.requester.chainPersons.includes(request.person);
      throw new GatewayError('approval_not_eligible', isInChain ? 'part of the request' : 'not an approver of this');
    }
    if (ask.decisions.some((decided) => decided.person === request.person)) {
      throw new GatewayError('approval_closed', 'this person has decided already');
    }
    const needsReason = request.decision === 'deny' || ask.shown.approvals.some((approval) => approval.justify);
    if (needsReason && request.reason.trim() === '') {
      throw new GatewayError('protocol_malformed', 'this decision needs a reason');
    }
    if (Buffer.byteLength(request.reason) > LIMITS.approvalReasonBytesMax) {
      throw new GatewayError('protocol_malformed', `a reason has at most ${LIMITS.approvalReasonBytesMax} bytes`);
    }
    const key = this.#people.keyOf(request.person, request.keyId);
    if (key === undefined || !isEnrolled(this.#people, ask, request.person, request.keyId)) {
      throw new GatewayError('approval_signature', 'the key is not enrolled for this person and ask');
    }
    const { clockSkewMs } = LIMITS;
    if (request.decidedMs < ask.asked.atMs - clockSkewMs || request.decidedMs > nowMs + clockSkewMs) {
      throw new GatewayError('approval_signature', 'the time of the decision is not that of this ask');
    }
    if (!this.#verify(key.ed25519, decisionStatement(ask.asked, request), request.signature)) {
      throw new GatewayError('approval_signature');
    }
  }

  #find(id: string): Ask {
    const ask = this.log.reducer.get(id);
    if (ask === undefined) {
      throw new GatewayError('approval_not_found');
    }
    return ask;
  }

  #schedule(): void {
    this.#tick = this.#options.clock.after(LIMITS.approvalTickMs, () => {
      void this.log.refresh().then(() => {
        if (!this.#closed) {
          this.#expireDue();
          this.log.reducer.prune(this.#options.clock.nowMs());
          this.#schedule();
        }
      });
    });
  }

  #expireDue(): void {
    const nowMs = this.#options.clock.nowMs();
    for (const ask of this.log.reducer.asks()) {
      const { id, node, expiresMs } = ask.asked;
      const dueMs = expiresMs + (node === this.log.node ? 0 : FOREIGN_EXPIRY_GRACE_MS);
      if (isClosed(ask) || nowMs < dueMs || this.#expiring.has(id)) {
        continue;
      }
      this.#expiring.add(id);
      // A failure is not lost: the ask is still open at the next tick. Until then claims refuse it by its time.
      const forget = (): void => void this.#expiring.delete(id);
      this.log.append({ type: 'expired', id }).then(forget, forget);
    }
  }
}

function lostDecision(why: LostWhy): GatewayError {
  switch (why) {
    case 'expired':
      return new GatewayError('approval_expired');
    case 'unknown':
      return new GatewayError('approval_not_found');
    case 'not_eligible':
      return new GatewayError('approval_not_eligible');
    case 'signature':
      return new GatewayError('approval_signature');
    default:
      return new GatewayError('approval_closed', 'another decision was first');
  }
}

function plainReview(review: ScriptAttestation): ScriptReview {
  const { scriptDigest, reviewer, keyId, repository, commit, reviewedMs } = review;
  return { scriptDigest, reviewer, keyId, repository, commit, reviewedMs };
}

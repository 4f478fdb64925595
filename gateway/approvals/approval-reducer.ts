import { LIMITS } from '../../core/kernel/limits.ts';
import { verifyBytes } from '../../core/ledger/ed25519.ts';
import { approvalStatement, shownDigest } from '../../core/ledger/statement.ts';
import { openScriptAttestation, type ScriptAttestation } from '../contract/script-attestation.ts';
import type { ApprovalState, Shown } from './desk-port.ts';
import { shownSchema, shownText } from './shown.ts';
import {
  approvalId,
  type Asked,
  type Cancelled,
  type Claim,
  type Decided,
  decodeTransition,
  type Expired,
  type ScriptReviewed,
  type Transition,
} from './transition.ts';

/** One ask with everything that happened to it. Changed only by the reducer. */
export interface Ask {
  readonly asked: Asked;
  readonly shown: Shown;
  readonly state: ApprovalState;
  /** Decisions that counted, in offset order. */
  readonly decisions: readonly Decided[];
  /** Claims that won, by use. */
  readonly claims: readonly Claim[];
  /** Why it was denied or cancelled. */
  readonly reason: string;
}

export type LostWhy =
  | 'malformed'
  | 'not_next'
  | 'unknown'
  | 'closed'
  | 'not_eligible'
  | 'repeated'
  | 'expired'
  | 'not_expired'
  | 'signature'
  | 'other_operation'
  | 'taken';

/** What one value of the topic did. `ask` is the ask as it is after it; null for a review and for an unknown one. */
export type Applied =
  | {
      readonly outcome: 'won';
      readonly transition: Transition;
      readonly ask: Ask | null;
      readonly review: ScriptAttestation | null;
    }
  | {
      readonly outcome: 'lost';
      readonly why: LostWhy;
      readonly transition: Transition | null;
      readonly ask: Ask | null;
    };

export type VerifySignature = (publicKey: Buffer, message: Buffer, signature: Buffer) => boolean;

interface MutableAsk extends Ask {
  state: ApprovalState;
  decisions: Decided[];
  claims: Claim[];
  reason: string;
}

const HASH_SIZE = 32;
/** Just under the retention of the topic: a node that starts now has never seen what is older. */
const FORGET_OPERATION_MS = 29 * 24 * 3_600_000;

/**
 * The state of all approvals as a pure function of the values of `state.approvals.v1` in offset order: no clock, no
 * people map, no node of its own. Every node that read the same values has the same state, so nobody has to be asked.
 * First by offset wins, for an ask, a decision and a claim alike; times that decide are those inside the transitions.
 *
 * Invariants: an operation (opDigest) has at most one open ask, its last; generations of an operation grow by one; an
 * ask leaves `pending` once, and `approved` only to `expired` or `cancelled` while a use is left; `claims[n].use === n`
 * and `claims.length <= uses`; the persons of `decisions` are distinct, and none of them is in the chain.
 */
export class ApprovalReducer {
  readonly #asks = new Map<string, MutableAsk>();
  /** opDigest -> its last ask; kept longer than the ask itself, for the generation. */
  readonly #last = new Map<string, { readonly id: string; readonly generation: number; readonly expiresMs: number }>();
  readonly #reviews = new Map<string, ScriptAttestation>();
  readonly #verify: VerifySignature;

  constructor(verify: VerifySignature = verifyBytes) {
    this.#verify = verify;
  }

  get(id: string): Ask | undefined {
    return this.#asks.get(id);
  }

  /** The last ask for an operation, open or closed. */
  lastFor(opDigest: string): Ask | undefined {
    const last = this.#last.get(opDigest);
    return last === undefined ? undefined : this.#asks.get(last.id);
  }

  nextGeneration(opDigest: string): number {
    const last = this.#last.get(opDigest);
    return last === undefined ? 0 : last.generation + 1;
  }

  asks(): Iterable<Ask> {
    return this.#asks.values();
  }

  reviews(): Iterable<ScriptAttestation> {
    return this.#reviews.values();
  }

  apply(value: Buffer): Applied {
    const transition = decodeTransition(value);
    if (transition === undefined) {
      return { outcome: 'lost', why: 'malformed', transition: null, ask: null };
    }
    if (transition.type === 'script_reviewed') {
      return this.#scriptReviewed(transition);
    }
    const why = transition.type === 'asked' ? this.#asked(transition) : this.#changed(transition);
    const ask = this.#asks.get(transition.id) ?? null;
    return why === null ? { outcome: 'won', transition, ask, review: null } : { outcome: 'lost', why, transition, ask };
  }

  /**
   * Forgets what can no longer matter, by the caller's clock: that two nodes forget at different times changes no
   * outcome, because a closed ask and an unknown one refuse the same transitions.
   */
  prune(nowMs: number): void {
    for (const [id, ask] of this.#asks) {
      if (isClosed(ask) && ask.asked.expiresMs + LIMITS.approvalKeepClosedMs < nowMs) {
        this.#asks.delete(id);
      }
    }
    for (const [opDigest, last] of this.#last) {
      if (!this.#asks.has(last.id) && last.expiresMs + FORGET_OPERATION_MS < nowMs) {
        this.#last.delete(opDigest);
      }
    }
    for (const [key, review] of this.#reviews) {
      if (review.reviewedMs + FORGET_OPERATION_MS < nowMs) {
        this.#reviews.delete(key);
      }
    }
  }

  #asked(asked: Asked): LostWhy | null {
    const shown = parseShown(asked.shown);
    if (
      shown === null ||
      asked.id !== approvalId(asked.opDigest, asked.generation) ||
      asked.shownDigest !==
        shownDigest(bytesOf(asked.opDigest), asked.shown, bytesOf(asked.previewHash)).toString('hex')
    ) {
      return 'malformed';
    }
    const last = this.#last.get(asked.opDigest);
    if (last !== undefined) {
      const lastAsk = this.#asks.get(last.id);
      if (asked.generation !== last.generation + 1 || (lastAsk !== undefined && !isClosed(lastAsk))) {
        return 'not_next';
      }
    }
    // An operation that this reader never saw starts at any generation: the topic keeps 30 days, counters go on.
    this.#asks.set(asked.id, { asked, shown, state: 'pending', decisions: [], claims: [], reason: '' });
    const { id, generation, expiresMs } = asked;
    this.#last.set(asked.opDigest, { id, generation, expiresMs });
    return null;
  }

  #changed(transition: Decided | Claim | Expired | Cancelled): LostWhy | null {
    const ask = this.#asks.get(transition.id);
    if (ask === undefined) {
      return 'unknown';
    }
    switch (transition.type) {
      case 'decided':
        return this.#decided(ask, transition);
      case 'claim':
        return claim(ask, transition);
      case 'expired':
        return close(ask, 'expired', transition.atMs < ask.asked.expiresMs ? 'not_expired' : null, '');
      case 'cancelled':
        return close(ask, 'cancelled', null, transition.reason);
    }
  }

  #decided(ask: MutableAsk, decided: Decided): LostWhy | null {
    const { asked } = ask;
    // The bound keeps the record of a claim, which holds every decision, within the size of a record.
    if (ask.state !== 'pending' || ask.decisions.length >= LIMITS.approvalDecisionsMax) {
      return 'closed';
    }
    if (decided.atMs >= asked.expiresMs) {
      return 'expired';
    }
    const isMember = asked.sets.some((set) => set.persons.includes(decided.person));
    if (!isMember || asked.requester.chainPersons.includes(decided.person)) {
      return 'not_eligible';
    }
    if (ask.decisions.some((earlier) => earlier.person === decided.person)) {
      return 'repeated';
    }
    if (!isSignedDecision(asked, decided, this.#verify)) {
      return 'signature';
    }
    ask.decisions.push(decided);
    if (decided.decision === 'deny') {
      ask.state = 'denied';
      ask.reason = decided.reason;
    } else if (isQuorum(asked, ask.decisions)) {
      ask.state = 'approved';
    }
    return null;
  }

  #scriptReviewed(transition: ScriptReviewed): Applied {
    const review = openScriptAttestation(Buffer.from(transition.envelope, 'base64'));
    const lost = (why: LostWhy): Applied => ({ outcome: 'lost', why, transition, ask: null });
    if (review === undefined || review.scriptDigest !== transition.id) {
      return lost('malformed');
    }
    if (!this.#verify(bytesOf(transition.ed25519), review.signedBytes, review.signature)) {
      return lost('signature');
    }
    const key = [
      review.scriptDigest,
      review.reviewer,
      review.keyId,
      review.repository,
      review.commit,
      review.reviewedMs,
    ].join('\n');
    if (this.#reviews.has(key)) {
      return lost('repeated');
    }
    this.#reviews.set(key, review);
    return { outcome: 'won', transition, ask: null, review };
  }
}

/** Closed = no transition can change it any more. An approved ask closes with its last use. */
export function isClosed(ask: Ask): boolean {
  return !(ask.state === 'pending' || (ask.state === 'approved' && usesLeft(ask) > 0));
}

export function usesLeft(ask: Ask): number {
  return ask.state === 'approved' ? ask.asked.uses - ask.claims.length : 0;
}

/** Enough distinct persons said yes, and at least one of each set. Sets stay apart: they are never merged into one. */
export function isQuorum(asked: Asked, decisions: readonly Decided[]): boolean {
  const persons = new Set(decisions.filter(({ decision }) => decision === 'approve').map(({ person }) => person));
  return persons.size >= asked.quorum && asked.sets.every((set) => set.persons.some((person) => persons.has(person)));
}

/** The signature is that of the named key as it was enrolled when the ask was made. */
export function isSignedDecision(asked: Asked, decided: Decided, verify: VerifySignature): boolean {
  const key = asked.keys.find(({ person, keyId }) => person === decided.person && keyId === decided.keyId);
  return (
    key !== undefined &&
    verify(bytesOf(key.ed25519), decisionStatement(asked, decided), Buffer.from(decided.signature, 'base64'))
  );
}

export function decisionStatement(
  asked: Asked,
  decided: Pick<Decided, 'decision' | 'decidedMs' | 'person' | 'reason'>,
): Buffer {
  return approvalStatement({
    approvalId: asked.id,
    decision: decided.decision === 'approve' ? 1 : 2,
    shownDigest: bytesOf(asked.shownDigest),
    decidedMs: decided.decidedMs,
    person: decided.person,
    reason: decided.reason,
  });
}

function claim(ask: MutableAsk, claimed: Claim): LostWhy | null {
  if (ask.state !== 'approved') {
    return 'closed';
  }
  if (claimed.opDigest !== ask.asked.opDigest) {
    return 'other_operation';
  }
  if (claimed.use !== ask.claims.length || usesLeft(ask) === 0) {
    return 'taken';
  }
  if (claimed.atMs >= ask.asked.expiresMs) {
    return 'expired';
  }
  ask.claims.push(claimed);
  return null;
}

function close(ask: MutableAsk, state: 'expired' | 'cancelled', why: LostWhy | null, reason: string): LostWhy | null {
  if (isClosed(ask)) {
    return 'closed';
  }
  if (why === null) {
    ask.state = state;
    ask.reason = reason;
  }
  return why;
}

function parseShown(text: string): Shown | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null; // Not JSON: malformed like any other text that is not canonical.
  }
  const parsed = shownSchema.safeParse(value);
  return parsed.success && shownText(parsed.data) === text ? parsed.data : null;
}

function bytesOf(hex: string): Buffer {
  const bytes = Buffer.from(hex, 'hex');
  return bytes.length === HASH_SIZE ? bytes : Buffer.alloc(HASH_SIZE);
}

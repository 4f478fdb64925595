import type { Approval, Note } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import { type Applied, type Ask, usesLeft } from './approval-reducer.ts';
import type { ApprovalRecord, ApprovalRecordKind } from './record-queue.ts';
import type { Asked, Decided, Transition } from './transition.ts';

type Won = Extract<Applied, { outcome: 'won' }>;

/** The record of a transition that won at `offset`. */
export function recordOf(won: Won, offset: number): ApprovalRecord {
  const { transition, ask, review } = won;
  return {
    kind: kindOf(transition),
    sessionId: ask?.asked.sessionId ?? '',
    connection: ask?.shown.connection ?? '',
    requester: ask?.asked.requester ?? null,
    approvals: ask === null ? [] : approvalsOf(transition, ask),
    note: noteOf(transition, ask, offset),
    script:
      review === null
        ? undefined
        : {
            scriptDigest: review.scriptDigest,
            reviewer: review.reviewer,
            keyId: review.keyId,
            commit: review.commit,
            repository: review.repository,
            envelope: review.envelope,
          },
  };
}

function kindOf(transition: Transition): ApprovalRecordKind {
  switch (transition.type) {
    case 'asked':
      return 'approval.asked';
    case 'decided':
      return transition.decision === 'approve' ? 'approval.granted' : 'approval.denied';
    case 'claim':
      return 'approval.claimed';
    case 'expired':
    case 'cancelled':
      return 'approval.expired';
    case 'script_reviewed':
      return 'script.reviewed';
  }
}

/** A claim holds every signed decision, so the leaf that an operation names carries the whole proof of its approval. */
function approvalsOf(transition: Transition, ask: Ask): Approval[] {
  switch (transition.type) {
    case 'decided':
      return [signedApproval(ask, transition)];
    case 'claim':
      return ask.decisions.map((decision) => ({ ...signedApproval(ask, decision), use: transition.use }));
    default:
      return [plainApproval(ask)];
  }
}

function plainApproval({ asked, state, reason }: Ask): Approval {
  return {
    id: asked.id,
    state,
    opDigest: Buffer.from(asked.opDigest, 'hex'),
    shownDigest: Buffer.from(asked.shownDigest, 'hex'),
    approver: '',
    method: '',
    signature: Buffer.alloc(0),
    publicKey: Buffer.alloc(0),
    reason,
    decidedMs: 0n,
    code: codesOf(asked).join(' '),
    use: 0,
    expiresMs: BigInt(asked.expiresMs),
    quorum: asked.quorum,
  };
}

function signedApproval(ask: Ask, decided: Decided): Approval {
  const key = ask.asked.keys.find(({ keyId, person }) => keyId === decided.keyId && person === decided.person);
  return {
    ...plainApproval(ask),
    state: decided.decision === 'approve' ? 'approved' : 'denied',
    approver: decided.person,
    method: 'ed25519',
    signature: Buffer.from(decided.signature, 'base64'),
    publicKey: Buffer.from(key?.ed25519 ?? '', 'hex'),
    reason: decided.reason,
    decidedMs: BigInt(decided.decidedMs),
  };
}

/** With `shown` and the preview's hash anyone can compute shownDigest again: what was signed is what was shown. */
function noteOf(transition: Transition, ask: Ask | null, offset: number): Note {
  const attributes: Record<string, string> = { node: transition.node, bus_offset: String(offset) };
  if (ask !== null) {
    attributes['approval'] = ask.asked.id;
    attributes['state'] = ask.state;
    attributes['uses_left'] = String(usesLeft(ask));
  }
  if (transition.type === 'asked') {
    const { requester } = transition;
    Object.assign(attributes, {
      shown: transition.shown,
      preview_hash: transition.previewHash,
      generation: String(transition.generation),
      uses: String(transition.uses),
      // Names of groups, not of all their members: they are in the bundle of this record.
      sets: transition.sets.map((set) => `${set.code}: ${set.approvers.join(' ')}`).join('; '),
      principal: requester.principal,
      person: requester.person ?? '',
      chain_persons: requester.chainPersons.join(' '),
      agent: requester.agent,
      run: requester.run,
      commit: requester.commit,
    });
  }
  return {
    code: transition.type,
    text: transition.type === 'asked' ? transition.summary : '',
    first: 0n,
    count: 1n,
    digest: Buffer.alloc(0),
    attributes,
  };
}

export function codesOf(asked: Asked): string[] {
  return [...new Set(asked.sets.map((set) => set.code))];
}

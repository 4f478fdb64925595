import type { ApprovalView } from '../../proto/gen/chaperone/control/v1/approval.ts';
import { codesOf } from './approval-record.ts';
import { type Ask, usesLeft } from './approval-reducer.ts';
import type { AskStatus } from './desk-port.ts';

/** What lists and approvers get. Nothing in it is secret but the previews, and those are sealed. */
export function viewOf(ask: Ask): ApprovalView {
  const { asked } = ask;
  return {
    id: asked.id,
    state: ask.state,
    code: codesOf(asked).join(' '),
    connection: ask.shown.connection,
    requester: asked.requester.person ?? asked.requester.principal,
    agent: asked.requester.agent,
    run: asked.requester.run,
    commit: asked.requester.commit,
    summary: asked.summary,
    askedMs: BigInt(asked.atMs),
    expiresMs: BigInt(asked.expiresMs),
    quorum: asked.quorum,
    approvers: [...new Set(asked.sets.flatMap((set) => set.persons))].sort(),
    opDigest: Buffer.from(asked.opDigest, 'hex'),
    shownDigest: Buffer.from(asked.shownDigest, 'hex'),
    shown: Buffer.from(asked.shown, 'utf8'),
    previews: asked.previews.map((preview) => ({
      person: preview.person,
      keyId: preview.keyId,
      enc: Buffer.from(preview.enc, 'base64'),
      ciphertext: Buffer.from(preview.ciphertext, 'base64'),
    })),
    previewHash: Buffer.from(asked.previewHash, 'hex'),
    decisions: ask.decisions.map((decided) => ({
      person: decided.person,
      decision: decided.decision,
      reason: decided.reason,
      decidedMs: BigInt(decided.decidedMs),
    })),
    sessionId: asked.sessionId,
    reasons: asked.reasons,
  };
}

export function statusOf(ask: Ask): AskStatus {
  return {
    id: ask.asked.id,
    state: ask.state,
    opDigest: ask.asked.opDigest,
    expiresMs: ask.asked.expiresMs,
    reason: ask.reason,
    decidedBy: ask.decisions.map((decided) => decided.person),
    codes: ask.state === 'approved' ? codesOf(ask.asked) : [],
    usesLeft: usesLeft(ask),
  };
}

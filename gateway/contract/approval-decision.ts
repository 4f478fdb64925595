import type { KeyObject } from 'node:crypto';
import { GatewayError } from '../../core/kernel/errors.ts';
import { signBytes } from '../../core/ledger/ed25519.ts';
import { approvalStatement, shownDigest } from '../../core/ledger/statement.ts';

/** What the approver's own machine has in hand when it signs; the server's word is not taken for the digest. */
export interface DecisionInput {
  readonly approvalId: string;
  readonly opDigest: Buffer;
  /** Canonical JSON as shown. */
  readonly shown: string;
  /** Of the preview that was opened and displayed. */
  readonly previewHash: Buffer;
  /** As the server names it: must be what the parts give. */
  readonly shownDigest: Buffer;
  readonly decision: 'approve' | 'deny';
  readonly person: string;
  readonly reason: string;
  readonly decidedMs: number;
}

/** The Ed25519 signature of a decision. Throws GatewayError `approval_signature` when what was shown is not what would be signed. */
export function signDecision(input: DecisionInput, key: KeyObject): Buffer {
  const digest = shownDigest(input.opDigest, input.shown, input.previewHash);
  if (!digest.equals(input.shownDigest)) {
    throw new GatewayError('approval_signature', 'the digest of the approval does not cover what was shown');
  }
  return signBytes(
    key,
    approvalStatement({
      approvalId: input.approvalId,
      decision: input.decision === 'approve' ? 1 : 2,
      shownDigest: digest,
      decidedMs: input.decidedMs,
      person: input.person,
      reason: input.reason,
    }),
  );
}

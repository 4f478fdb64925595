import type { JsonValue } from '../../core/kernel/canonical-json.ts';
import type { ApprovalRequirement, MaskStrength, Verdict } from '../contract/verdict.ts';

/**
 * The approval desk as a worker sees it. The desk lives in the node's main thread; everything here crosses threads by
 * structured clone, so it is plain data: digests are lower-case hex, bytes are Uint8Array.
 */
export type ApprovalState = 'pending' | 'approved' | 'denied' | 'expired' | 'cancelled' | 'failed';

/** What an approver is shown besides the preview, and what `grantCovers` compares with the verdict of the retry. */
export interface Shown {
  readonly v: 1;
  readonly connection: string;
  readonly env: string;
  readonly operation: {
    readonly class: string;
    readonly verb: string;
    /** Route template or statement without literals. */
    readonly text: string;
    readonly fingerprint: string;
    readonly objects: readonly string[];
    readonly classes: readonly string[];
    readonly rowsBand: string;
  };
  readonly approvals: readonly ApprovalRequirement[];
  readonly masks: Readonly<Record<string, MaskStrength>>;
  /** `VerdictLimits` without what is absent. */
  readonly limits: Readonly<Record<string, number>>;
  readonly egress: Verdict['egress'];
  readonly obligations: readonly string[];
  readonly evidence: Verdict['evidence'];
}

/** Who asks, as the approver's card shows it. */
export interface Requester {
  readonly principal: string;
  readonly person: string | null;
  readonly chainPersons: readonly string[];
  /** The actor that presented the token, empty when none. */
  readonly agent: string;
  readonly run: string;
  readonly commit: string;
  readonly repository: string;
  readonly scriptDigest: string;
}

export interface AskRequest {
  /** Hex, docs/formats.md. For a scope wider than one statement the digest covers what the scope covers. */
  readonly opDigest: string;
  readonly requester: Requester;
  readonly sessionId: string;
  readonly shown: Shown;
  /** One plain sentence without literals: it stands in clear on the bus and in lists. */
  readonly summary: string;
  readonly reasons: readonly string[];
  /** What will run with its literals, for the approvers' eyes only: sealed before it leaves the node. */
  readonly preview: Readonly<Record<string, JsonValue>>;
  /** How often the grant may be used; 1 for the scope `statement`. */
  readonly uses: number;
}

/** Where an ask stands. `reason` is what the approver gave with a denial; agents get to see it. */
export interface AskStatus {
  readonly id: string;
  readonly state: ApprovalState;
  readonly opDigest: string;
  readonly expiresMs: number;
  readonly reason: string;
  readonly decidedBy: readonly string[];
  /** The codes of the requirements that are approved, for the policy's `approvals` input. Empty unless approved. */
  readonly codes: readonly string[];
  readonly usesLeft: number;
}

export interface ClaimRequest {
  readonly id: string;
  readonly opDigest: string;
  /** What the verdict of this very request says: the grant must cover it. */
  readonly shown: Shown;
}

/** A claim that won. `leafHash` (hex) goes to the operation's leaf as its approval leaf hash. */
export interface ClaimGrant {
  readonly id: string;
  readonly use: number;
  readonly codes: readonly string[];
  readonly approvers: readonly string[];
  readonly expiresMs: number;
  readonly writer: string;
  readonly index: number;
  readonly leafHash: string;
}

export interface DeskClient {
  /**
   * The one ask for this operation: an identical open one is joined, an approved unused one is returned as `approved`,
   * a denied one stays denied until it would have expired. Rejects GatewayError `approval_unavailable`,
   * `approval_requester_unknown`, `approval_no_approver`.
   */
  ask(request: AskRequest): Promise<AskStatus>;
  /** Resolves when the ask leaves `pending`, at the latest after `holdMs`. Rejects `approval_not_found`. */
  wait(id: string, holdMs: number): Promise<AskStatus>;
  /**
   * Uses the grant once. Resolves only after the claim won in the whole cluster and its record is durable; from then on
   * the use is spent, whatever happens to the operation. `null` = there is no grant to use (somebody was faster, it
   * expired, or it does not cover this verdict): ask again. Rejects `approval_unavailable` when the outcome is unknown.
   */
  claim(request: ClaimRequest): Promise<ClaimGrant | null>;
}

/** A review of a script that counts, as the main thread hands it to workers. */
export interface ScriptReview {
  readonly scriptDigest: string;
  readonly reviewer: string;
  readonly keyId: string;
  readonly repository: string;
  readonly commit: string;
  readonly reviewedMs: number;
}

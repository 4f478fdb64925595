export type Effect = 'allow' | 'deny' | 'approve' | 'abstain';

/** Weakest to strongest; the merge takes the strongest (02 section 2). */
export const MASK_STRENGTHS = ['none', 'partial', 'pseudonym', 'token', 'redact', 'null', 'drop'] as const;
export type MaskStrength = (typeof MASK_STRENGTHS)[number];

export interface VerdictReason {
  readonly code: string;
  readonly message: string;
  readonly remediation: string;
  readonly control: string;
  readonly layer: string;
}

export interface ApprovalRequirement {
  readonly code: string;
  /** Groups or persons; one decision must come from each set. */
  readonly approvers: readonly string[];
  readonly quorum: number;
  readonly ttlS: number;
  readonly scope: 'statement' | 'fingerprint' | 'session';
  readonly justify: boolean;
}

export interface VerdictLimits {
  readonly rows?: number;
  readonly bytes?: number;
  readonly rowsPerSession?: number;
  readonly subjectsPerSession?: number;
  readonly statementsPerMin?: number;
  readonly concurrency?: number;
  readonly timeoutMs?: number;
}

/** The merged, validated decision of all layers. Field names in the recorded canonical JSON are those of 02 section 1. */
export interface Verdict {
  readonly effect: 'allow' | 'deny' | 'approve';
  /** Error code for a refusal: policy_denied, default_deny, policy_error, obligation_unsupported. Empty otherwise. */
  readonly code: '' | 'policy_denied' | 'default_deny' | 'policy_error' | 'obligation_unsupported';
  readonly reasons: readonly VerdictReason[];
  readonly approvals: readonly ApprovalRequirement[];
  /** By class or kind. */
  readonly masks: Readonly<Record<string, MaskStrength>>;
  readonly egress: { readonly denyKinds: readonly string[]; readonly action: 'block' | 'mask' };
  readonly limits: VerdictLimits;
  readonly obligations: readonly string[];
  readonly evidence: 'local' | 'replicated';
  readonly cacheTtlS: number;
}

/** A verdict with what is needed to recompute it (promise P6). */
export interface Decision {
  readonly verdict: Verdict;
  /** Canonical JSON of the policy input, and its SHA-256. */
  readonly input: Buffer;
  readonly inputDigest: Buffer;
  /** Canonical JSON of the merged verdict. */
  readonly verdictJson: Buffer;
  readonly bundleDigest: Buffer;
  readonly bundleRevision: number;
  readonly catalogueDigest: Buffer;
  readonly engineDigest: Buffer;
  readonly cached: boolean;
}

/** An approval that was verified natively before the policy sees it. */
export interface GrantFact {
  readonly code: string;
  readonly by: string;
  readonly scope: string;
  readonly expiresBand: string;
}

import type { Effect, MaskStrength, VerdictLimits } from '../contract/verdict.ts';
import { MASK_STRENGTHS } from '../contract/verdict.ts';
import type { LayerApproval, LayerOutput, LayerReason } from './layer-output.ts';

export interface MergedReason extends LayerReason {
  readonly layer: string;
}

/**
 * An element of the lattice that layers are joined in (02 section 2). Every list is sorted and free of duplicates, so
 * that equal elements have equal JSON.
 *
 * Invariant of `join`: commutative, associative, idempotent, and monotone: no field of `join(a, b)` is weaker than that
 * field of `a`. The one thing that a further layer can open is the default deny, by the explicit allow that it needs.
 */
export interface Merged {
  readonly effect: Effect;
  /** Some layer said `allow`. Without one, nothing is allowed and nothing is asked of an approver. */
  readonly allowed: boolean;
  readonly reasons: readonly MergedReason[];
  readonly approvals: readonly LayerApproval[];
  readonly masks: Readonly<Record<string, MaskStrength>>;
  readonly denyKinds: readonly string[];
  /** Null when no layer spoke of egress. */
  readonly egressAction: 'block' | 'mask' | null;
  readonly limits: VerdictLimits;
  readonly obligations: readonly string[];
  readonly evidence: 'local' | 'replicated';
  readonly cacheTtlS: number | null;
}

/** The neutral element: a layer that says nothing. */
export const BOTTOM: Merged = {
  effect: 'abstain',
  allowed: false,
  reasons: [],
  approvals: [],
  masks: {},
  denyKinds: [],
  egressAction: null,
  limits: {},
  obligations: [],
  evidence: 'local',
  cacheTtlS: null,
};

const EFFECT_ORDER: readonly Effect[] = ['abstain', 'allow', 'approve', 'deny'];
/** Widest to narrowest: the narrowest wins. */
const SCOPE_ORDER: readonly LayerApproval['scope'][] = ['session', 'fingerprint', 'statement'];

export function lift(output: LayerOutput, layer: string): Merged {
  return {
    effect: output.effect,
    allowed: output.effect === 'allow',
    reasons: union(
      output.reasons.map((reason) => ({ ...reason, layer })),
      [],
      reasonKey,
    ),
    approvals:
      output.approval === null ? [] : [{ ...output.approval, approvers: union(output.approval.approvers, [], String) }],
    masks: output.masks,
    denyKinds: union(output.egress?.denyKinds ?? [], [], String),
    egressAction: output.egress?.action ?? null,
    limits: output.limits,
    obligations: union(output.obligations, [], String),
    evidence: output.evidence,
    cacheTtlS: output.cacheTtlS,
  };
}

export function join(a: Merged, b: Merged): Merged {
  return {
    effect: later(EFFECT_ORDER, a.effect, b.effect),
    allowed: a.allowed || b.allowed,
    reasons: union(a.reasons, b.reasons, reasonKey),
    approvals: joinApprovals(a.approvals, b.approvals),
    masks: joinMasks(a.masks, b.masks),
    denyKinds: union(a.denyKinds, b.denyKinds, String),
    egressAction:
      a.egressAction === 'block' || b.egressAction === 'block' ? 'block' : (a.egressAction ?? b.egressAction),
    limits: joinLimits(a.limits, b.limits),
    obligations: union(a.obligations, b.obligations, String),
    evidence: a.evidence === 'replicated' ? 'replicated' : b.evidence,
    cacheTtlS: least(a.cacheTtlS, b.cacheTtlS),
  };
}

export function strongest(a: MaskStrength, b: MaskStrength): MaskStrength {
  return later(MASK_STRENGTHS, a, b);
}

function later<T>(order: readonly T[], a: T, b: T): T {
  return order.indexOf(a) >= order.indexOf(b) ? a : b;
}

function least(a: number | null, b: number | null): number | null {
  return a === null ? b : b === null ? a : Math.min(a, b);
}

function reasonKey(reason: MergedReason): string {
  const args = Object.keys(reason.args)
    .sort()
    .map((name) => [name, reason.args[name]]);
  return JSON.stringify([reason.layer, reason.code, args]);
}

function union<T>(a: readonly T[], b: readonly T[], keyOf: (item: T) => string): readonly T[] {
  const byKey = new Map<string, T>();
  for (const item of [...a, ...b]) {
    byKey.set(keyOf(item), item);
  }
  return [...byKey].sort(([left], [right]) => (left < right ? -1 : 1)).map(([, item]) => item);
}

/** Sets of approvers are kept apart: a decision of one set never stands in for another one. */
function joinApprovals(a: readonly LayerApproval[], b: readonly LayerApproval[]): readonly LayerApproval[] {
  const byKey = new Map<string, LayerApproval>();
  for (const approval of [...a, ...b]) {
    const key = JSON.stringify([approval.code, approval.approvers]);
    const other = byKey.get(key);
    byKey.set(key, other === undefined ? approval : joinApproval(other, approval));
  }
  return [...byKey].sort(([left], [right]) => (left < right ? -1 : 1)).map(([, approval]) => approval);
}

function joinApproval(a: LayerApproval, b: LayerApproval): LayerApproval {
  return {
    code: a.code,
    approvers: a.approvers,
    quorum: Math.max(a.quorum, b.quorum),
    ttlS: Math.min(a.ttlS, b.ttlS),
    scope: later(SCOPE_ORDER, a.scope, b.scope),
    justify: a.justify || b.justify,
  };
}

function joinMasks(a: Merged['masks'], b: Merged['masks']): Merged['masks'] {
  const masks: Record<string, MaskStrength> = Object.create(null) as Record<string, MaskStrength>;
  for (const [name, strength] of [...Object.entries(a), ...Object.entries(b)]) {
    const other = masks[name];
    masks[name] = other === undefined ? strength : strongest(other, strength);
  }
  return masks;
}

function joinLimits(a: VerdictLimits, b: VerdictLimits): VerdictLimits {
  const limits: { -readonly [Name in keyof VerdictLimits]: VerdictLimits[Name] } = { ...a };
  for (const [name, bound] of Object.entries(b) as [keyof VerdictLimits, number][]) {
    limits[name] = Math.min(limits[name] ?? bound, bound);
  }
  return limits;
}

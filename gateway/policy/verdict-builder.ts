import { canonicalJson, type JsonValue } from '../../core/kernel/canonical-json.ts';
import { ERROR_CODES } from '../../core/kernel/errors.ts';
import type { ConnectionInfo } from '../contract/operation.ts';
import type { ClassInfo } from '../contract/shape.ts';
import type { MaskStrength, Verdict, VerdictLimits, VerdictReason } from '../contract/verdict.ts';
import { BOTTOM, join, lift, type Merged } from './lattice.ts';
import { LIMIT_NAMES, parseLayerOutput } from './layer-output.ts';
import { resolveReason, type ReasonTable } from './reason-table.ts';

/** A verdict with the bytes that are recorded for it. Both are shared by every decision that has this outcome. */
export interface BuiltVerdict {
  readonly verdict: Verdict;
  readonly json: Buffer;
}

/** Why an evaluation gave no verdict. For counters and alarms; an agent sees `policy_error` only. */
export type PolicyFailure = 'aborted' | 'output_invalid' | 'input_too_large';

export interface VerdictRules {
  /** Names of the layers, by position in the entrypoint's array. */
  readonly layers: readonly string[];
  readonly reasons: ReasonTable;
  readonly classes: ReadonlyMap<string, ClassInfo>;
}

/** Obligations that a lane implements; another one denies. `terminate_session`: closes the session after this operation. */
export const LANE_OBLIGATIONS: Readonly<Record<ConnectionInfo['kind'], ReadonlySet<string>>> = {
  http: new Set(['record_full', 'terminate_session']),
  postgres: new Set(),
  s3: new Set(),
  mcp: new Set(),
};

const CACHE_TTL_S = 60;
/** Layer names of what the gateway itself decides. */
const NATIVE_LAYER = 'gateway';

/**
 * From the result set of an evaluation to a verdict: check every layer, join them, apply what is outside of policy
 * reach. A pure function of its arguments and of the bundle (promise P6). Null when the output is not valid.
 */
export function buildVerdict(
  resultSet: string,
  kind: ConnectionInfo['kind'],
  rules: VerdictRules,
): BuiltVerdict | null {
  const merged = mergeLayers(resultSet, rules.layers);
  return merged === null ? null : built(finish(merged, kind, rules));
}

/** The denial for an evaluation that gave no verdict. */
export function errorVerdict(rules: VerdictRules): BuiltVerdict {
  return built({ ...finish(BOTTOM, 'http', rules), code: 'policy_error', reasons: [nativeReason('policy_error')] });
}

/** Undefined, one value of a drop-in policy, or the array of the layers. */
function mergeLayers(resultSet: string, layers: readonly string[]): Merged | null {
  const results = parse(resultSet);
  if (!Array.isArray(results) || results.length > 1) {
    return null;
  }
  const first: unknown = results[0];
  if (first === undefined) {
    return BOTTOM; // Undefined from every layer.
  }
  if (typeof first !== 'object' || first === null || !('result' in first)) {
    return null;
  }
  const outputs: readonly unknown[] = Array.isArray(first.result) ? first.result : [first.result];
  if (outputs.length > Math.max(layers.length, 1)) {
    return null;
  }
  let merged = BOTTOM;
  for (const [index, value] of outputs.entries()) {
    const output = parseLayerOutput(value);
    if (output === null) {
      return null;
    }
    merged = join(merged, lift(output, layers[index] ?? 'policy'));
  }
  return merged;
}

function finish(merged: Merged, kind: ConnectionInfo['kind'], rules: VerdictRules): Verdict {
  const unsupported = merged.obligations.filter((name) => !LANE_OBLIGATIONS[kind].has(name));
  const { effect, code } = outcome(merged, unsupported);
  const reasons = merged.reasons.map((reason) => resolveReason(reason, rules.reasons));
  if (code === 'default_deny' || code === 'obligation_unsupported') {
    reasons.push(nativeReason(code));
  }
  return {
    effect,
    code,
    reasons,
    approvals: effect === 'approve' ? merged.approvals : [],
    masks: flooredMasks(merged.masks, rules.classes),
    egress: { denyKinds: merged.denyKinds, action: merged.egressAction ?? 'block' },
    limits: merged.limits,
    obligations: merged.obligations,
    evidence: merged.evidence,
    cacheTtlS: merged.cacheTtlS ?? CACHE_TTL_S,
  };
}

function outcome(merged: Merged, unsupported: readonly string[]): Pick<Verdict, 'effect' | 'code'> {
  if (merged.effect === 'deny') {
    return { effect: 'deny', code: 'policy_denied' };
  }
  if (!merged.allowed) {
    return { effect: 'deny', code: 'default_deny' };
  }
  if (unsupported.length > 0) {
    return { effect: 'deny', code: 'obligation_unsupported' };
  }
  return { effect: merged.effect === 'approve' ? 'approve' : 'allow', code: '' };
}

/**
 * The floor under every policy: a class that the catalogue marks as PHI is redacted unless a layer names it or its kind.
 * Every class and every kind gets its entry, so that nobody downstream has to know this rule.
 */
function flooredMasks(masks: Merged['masks'], classes: ReadonlyMap<string, ClassInfo>): Verdict['masks'] {
  const floored = new Map<string, MaskStrength>(Object.entries(masks));
  for (const { name, kind, phi } of classes.values()) {
    const named = masks[name] ?? (kind === '' ? undefined : masks[kind]);
    floored.set(name, named ?? (phi ? 'redact' : 'none'));
    if (kind !== '' && !classes.has(kind) && masks[kind] === undefined) {
      floored.set(kind, phi || floored.get(kind) === 'redact' ? 'redact' : 'none');
    }
  }
  return Object.fromEntries([...floored].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function nativeReason(code: 'default_deny' | 'policy_error' | 'obligation_unsupported'): VerdictReason {
  const { title, remedy } = ERROR_CODES[code];
  return { code, message: title, remediation: remedy, control: '', layer: NATIVE_LAYER };
}

function built(verdict: Verdict): BuiltVerdict {
  return { verdict: Object.freeze(verdict), json: Buffer.from(canonicalJson(verdictDocument(verdict))) };
}

/** The recorded form. Names are those of the output document (02 section 1). */
function verdictDocument(verdict: Verdict): JsonValue {
  return {
    v: 1,
    effect: verdict.effect,
    code: verdict.code,
    reasons: verdict.reasons.map((reason) => ({ ...reason })),
    approvals: verdict.approvals.map(({ code, approvers, quorum, ttlS, scope, justify }) => ({
      code,
      approvers: [...approvers],
      quorum,
      ttl_s: ttlS,
      scope,
      justify,
    })),
    masks: { ...verdict.masks },
    egress: { deny_kinds: [...verdict.egress.denyKinds], action: verdict.egress.action },
    limits: limitsDocument(verdict.limits),
    obligations: [...verdict.obligations],
    evidence: verdict.evidence,
    cache: { ttl_s: verdict.cacheTtlS },
  };
}

function limitsDocument(limits: VerdictLimits): JsonValue {
  const named: Record<string, number> = {};
  for (const [name, field] of Object.entries(LIMIT_NAMES)) {
    const bound = limits[field];
    if (bound !== undefined) {
      named[name] = bound;
    }
  }
  return named;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined; // Not JSON: the caller takes it for an invalid output.
  }
}

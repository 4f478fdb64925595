import type { Effect, MaskStrength, VerdictLimits } from '../contract/verdict.ts';
import { MASK_STRENGTHS } from '../contract/verdict.ts';

/** A reason as the policy gives it: a code and arguments for its message. Arguments are names, never values of rows. */
export interface LayerReason {
  readonly code: string;
  readonly args: Readonly<Record<string, string>>;
}

export interface LayerApproval {
  readonly code: string;
  readonly approvers: readonly string[];
  readonly quorum: number;
  readonly ttlS: number;
  readonly scope: 'statement' | 'fingerprint' | 'session';
  readonly justify: boolean;
}

/** What one layer said, checked (02 section 1, "Output v1"). What the layer left out is absent here, not defaulted. */
export interface LayerOutput {
  readonly effect: Effect;
  readonly reasons: readonly LayerReason[];
  readonly approval: LayerApproval | null;
  readonly masks: Readonly<Record<string, MaskStrength>>;
  readonly egress: { readonly denyKinds: readonly string[]; readonly action: 'block' | 'mask' } | null;
  readonly limits: VerdictLimits;
  readonly obligations: readonly string[];
  readonly evidence: 'local' | 'replicated';
  readonly cacheTtlS: number | null;
}

/** Names of the limits: in the output document, and in a verdict. */
export const LIMIT_NAMES = {
  rows: 'rows',
  bytes: 'bytes',
  rows_per_session: 'rowsPerSession',
  subjects_per_session: 'subjectsPerSession',
  statements_per_min: 'statementsPerMin',
  concurrency: 'concurrency',
  timeout_ms: 'timeoutMs',
} as const satisfies Record<string, keyof VerdictLimits>;

const FIELDS = new Set([
  'effect',
  'reasons',
  'approval',
  'masks',
  'egress',
  'limits',
  'obligations',
  'evidence',
  'cache',
]);
const APPROVAL_FIELDS = new Set(['code', 'approvers', 'quorum', 'ttl_s', 'scope', 'justify']);
const EFFECTS: ReadonlySet<unknown> = new Set<Effect>(['allow', 'deny', 'approve', 'abstain']);
const STRENGTHS: ReadonlySet<unknown> = new Set<string>(MASK_STRENGTHS);
const SCOPES: ReadonlySet<unknown> = new Set(['statement', 'fingerprint', 'session']);
/** Words of a policy: codes, classes, kinds, groups. Long enough for any name, too short for a payload. */
const WORD_CHARS_MAX = 128;
const LIST_ITEMS_MAX = 256;
const EMPTY: readonly never[] = [];

type Fields = Readonly<Record<string, unknown>>;

/**
 * Checks what a layer returned. `null` is a policy error: an unknown field, a wrong type or a value out of range must
 * never be read as something weaker than the author meant.
 *
 * Drop-in OPA policies have no `effect`: `true`/`false` and `{allow: …}` mean allow and deny.
 */
export function parseLayerOutput(value: unknown): LayerOutput | null {
  if (typeof value === 'boolean') {
    return dropIn(value);
  }
  if (!isFields(value)) {
    return null;
  }
  if (value['effect'] === undefined) {
    const allow = value['allow'];
    return typeof allow === 'boolean' && Object.keys(value).length === 1 ? dropIn(allow) : null;
  }
  if (!EFFECTS.has(value['effect']) || !hasOnly(value, FIELDS)) {
    return null;
  }
  const effect = value['effect'] as Effect;
  const reasons = optional(value['reasons'], parseReasons, EMPTY);
  const approval = optional(value['approval'], parseApproval, null);
  const masks = optional(value['masks'], parseMasks, {});
  const egress = optional(value['egress'], parseEgress, null);
  const limits = optional(value['limits'], parseLimits, {});
  const obligations = optional(value['obligations'], parseWords, EMPTY);
  const evidence = optional(value['evidence'], parseEvidence, 'local');
  const cacheTtlS = optional(value['cache'], parseCache, null);
  if (
    reasons === undefined ||
    approval === undefined ||
    masks === undefined ||
    egress === undefined ||
    limits === undefined ||
    obligations === undefined ||
    evidence === undefined ||
    cacheTtlS === undefined ||
    // An approval without `approve`, or the other way round, is a rule that does not say what its author meant.
    (effect === 'approve') !== (approval !== null)
  ) {
    return null;
  }
  return { effect, reasons, approval, masks, egress, limits, obligations, evidence, cacheTtlS };
}

function dropIn(allow: boolean): LayerOutput {
  return {
    effect: allow ? 'allow' : 'deny',
    reasons: EMPTY,
    approval: null,
    masks: {},
    egress: null,
    limits: {},
    obligations: EMPTY,
    evidence: 'local',
    cacheTtlS: null,
  };
}

/** `absent` for a field that is not there, undefined for one that is wrong. */
function optional<T>(value: unknown, parse: (value: unknown) => T | undefined, absent: T): T | undefined {
  return value === undefined ? absent : parse(value);
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function hasOnly(fields: Fields, known: ReadonlySet<string>): boolean {
  return Object.keys(fields).every((name) => known.has(name));
}

function isWord(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= WORD_CHARS_MAX;
}

function parseWords(value: unknown): readonly string[] | undefined {
  return Array.isArray(value) && value.length <= LIST_ITEMS_MAX && value.every(isWord) ? value : undefined;
}

function parseReasons(value: unknown): readonly LayerReason[] | undefined {
  if (!Array.isArray(value) || value.length > LIST_ITEMS_MAX) {
    return undefined;
  }
  const reasons: LayerReason[] = [];
  for (const item of value as readonly unknown[]) {
    if (
      !isFields(item) ||
      !isWord(item['code']) ||
      Object.keys(item).some((name) => name !== 'code' && name !== 'args')
    ) {
      return undefined;
    }
    const args = optional(item['args'], parseArgs, {});
    if (args === undefined) {
      return undefined;
    }
    reasons.push({ code: item['code'], args });
  }
  return reasons;
}

function parseArgs(value: unknown): Readonly<Record<string, string>> | undefined {
  if (!isFields(value)) {
    return undefined;
  }
  const args: Record<string, string> = {};
  for (const [name, argument] of Object.entries(value)) {
    const list = Array.isArray(argument) ? parseWords(argument) : undefined;
    if (list !== undefined) {
      args[name] = list.join(', ');
    } else if (typeof argument === 'number' || typeof argument === 'boolean') {
      args[name] = String(argument);
    } else if (typeof argument === 'string' && argument.length <= WORD_CHARS_MAX) {
      args[name] = argument;
    } else {
      return undefined;
    }
  }
  return args;
}

function parseApproval(value: unknown): LayerApproval | undefined {
  if (!isFields(value) || !hasOnly(value, APPROVAL_FIELDS)) {
    return undefined;
  }
  const { code, quorum, ttl_s: ttlS, scope, justify = false } = value;
  const approvers = parseWords(value['approvers']);
  if (
    !isWord(code) ||
    approvers === undefined ||
    approvers.length === 0 ||
    !isCount(quorum) ||
    quorum === 0 ||
    !isCount(ttlS) ||
    ttlS === 0 ||
    !SCOPES.has(scope) ||
    typeof justify !== 'boolean'
  ) {
    return undefined;
  }
  return { code, approvers, quorum, ttlS, scope: scope as LayerApproval['scope'], justify };
}

function parseMasks(value: unknown): Readonly<Record<string, MaskStrength>> | undefined {
  if (!isFields(value)) {
    return undefined;
  }
  const valid = Object.entries(value).every(([name, strength]) => isWord(name) && STRENGTHS.has(strength));
  return valid ? (value as Readonly<Record<string, MaskStrength>>) : undefined;
}

function parseEgress(value: unknown): NonNullable<LayerOutput['egress']> | undefined {
  if (!isFields(value) || Object.keys(value).some((name) => name !== 'deny_kinds' && name !== 'action')) {
    return undefined;
  }
  const denyKinds = parseWords(value['deny_kinds']);
  const action = value['action'] ?? 'block';
  return denyKinds === undefined || (action !== 'block' && action !== 'mask') ? undefined : { denyKinds, action };
}

function parseLimits(value: unknown): VerdictLimits | undefined {
  if (!isFields(value)) {
    return undefined;
  }
  const limits: { -readonly [Name in keyof VerdictLimits]: VerdictLimits[Name] } = {};
  for (const [name, bound] of Object.entries(value)) {
    if (!Object.hasOwn(LIMIT_NAMES, name) || !isCount(bound)) {
      return undefined;
    }
    limits[LIMIT_NAMES[name as keyof typeof LIMIT_NAMES]] = bound;
  }
  return limits;
}

function parseEvidence(value: unknown): 'local' | 'replicated' | undefined {
  return value === 'local' || value === 'replicated' ? value : undefined;
}

function parseCache(value: unknown): number | undefined {
  if (!isFields(value) || Object.keys(value).length !== 1) {
    return undefined;
  }
  return isCount(value['ttl_s']) ? value['ttl_s'] : undefined;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

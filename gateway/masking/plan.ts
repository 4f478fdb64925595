import { createHash } from 'node:crypto';
import { canonicalJson } from '../../core/kernel/canonical-json.ts';
import type { JsonValue } from '../../core/kernel/canonical-json.ts';
import type { MaskPlan } from '../contract/mask.ts';
import type { ClassInfo, FieldRule, MaskProfile, MediaKind, ResultShape } from '../contract/shape.ts';
import { MASK_STRENGTHS } from '../contract/verdict.ts';
import type { MaskStrength } from '../contract/verdict.ts';
import {
  ACTION_DENY,
  ACTION_DROP,
  ACTION_INNER,
  ACTION_MASK,
  ACTION_PASS,
  ACTION_SCAN,
  CompiledPlan,
} from './compiled-plan.ts';
import type { KindRule, PlanOperator, PlanRule } from './compiled-plan.ts';
import { checkMaskProfile, isSafeHarborOperator } from './mask-profile.ts';
import { PathTrie } from './path-trie.ts';
import { labelOfName } from './scanner/labels.ts';
import { SCANNER_VERSION, SCAN_KINDS } from './scanner/scan-kinds.ts';

export interface MaskPlanInput {
  readonly shape: ResultShape;
  /** `masks` of the verdict: class or kind -> strength. */
  readonly masks: Readonly<Record<string, MaskStrength>>;
  readonly classes: ReadonlyMap<string, ClassInfo>;
  readonly profile: MaskProfile;
  /** For a request that the policy wants masked on its way out: these kinds are masked whatever `masks` says. */
  readonly egress?: { readonly denyKinds: readonly string[]; readonly action: 'block' | 'mask' };
  /** Year of the operation: birth years that tell an age over 89 are then not released by the `year` operator. */
  readonly referenceYear?: number;
}

export interface ScanPlanInput {
  /** Kind -> strength; a kind that is absent is redacted. */
  readonly masks?: Readonly<Record<string, MaskStrength>>;
  readonly id?: string;
}

/** Without a reference year, a later reader may be up to this many years after the newest safe birth year. */
const AGE_MAX = 89;
const REFERENCE_YEAR_DEFAULT = 2026;
const ALL_MEDIA: readonly MediaKind[] = ['json', 'ndjson', 'csv', 'text'];
/** Node 0 of a scan plan stands for every path. */
const ANY_PATH = '';

/**
 * Compiles what the policy decided for the paths that the catalogue knows. Pure: equal input gives an equal digest.
 * Throws GatewayError `bundle_invalid` when the profile contradicts itself (a derived operator under Safe Harbor).
 */
export function compileMaskPlan(input: MaskPlanInput): MaskPlan {
  checkMaskProfile(input.profile);
  const rules = [...input.shape.fields].map(([path, rule]) => ruleOf(input, path, rule));
  const text = input.shape.text === null ? denied('') : ruleOf(input, '', input.shape.text);
  return assemble({
    shapeId: input.shape.id,
    shapeDigest: input.shape.digest,
    media: input.shape.media,
    profile: isSafeHarbor(input, [...rules, text]) ? 'safe-harbor' : claimed(input.profile),
    rules,
    text,
    kinds: kindRules(input.masks, input.classes, input.profile, egressKinds(input)),
    scansUnknown: false,
    oldYearMax: (input.referenceYear ?? REFERENCE_YEAR_DEFAULT) - AGE_MAX - 1,
  });
}

/**
 * The plan for a body that no shape describes and that goes into the sealed record only: everything passes but what
 * the scanner finds. Never use it for bytes on their way to an agent.
 */
export function compileScanPlan(input: ScanPlanInput = {}): MaskPlan {
  const any: PlanRule = { ...denied(ANY_PATH), class: 'request', action: ACTION_SCAN };
  return assemble({
    shapeId: input.id ?? 'scan',
    shapeDigest: Buffer.alloc(32),
    media: ALL_MEDIA,
    profile: 'unclassified',
    rules: [any],
    text: any,
    kinds: kindRules(input.masks ?? {}, new Map(), null, []),
    scansUnknown: true,
    oldYearMax: REFERENCE_YEAR_DEFAULT - AGE_MAX - 1,
  });
}

/** A plan that changes nothing and notes which declared paths have values. Its output must not be released. */
export function compileObservePlan(shape: ResultShape): CompiledPlan {
  const observed = (path: string, rule: FieldRule): PlanRule => ({
    ...denied(path),
    class: rule.class,
    action: ACTION_PASS,
    operator: 'pass',
  });
  return assemble({
    shapeId: shape.id,
    shapeDigest: shape.digest,
    media: shape.media,
    profile: 'unclassified',
    rules: [...shape.fields].map(([path, rule]) => observed(path, rule)),
    text: shape.text === null ? denied('') : observed('', shape.text),
    kinds: kindRules({}, new Map(), null, []),
    scansUnknown: false,
    oldYearMax: 0,
  });
}

interface Parts {
  readonly shapeId: string;
  readonly shapeDigest: Buffer;
  readonly media: readonly MediaKind[];
  readonly profile: string;
  readonly rules: readonly PlanRule[];
  readonly text: PlanRule;
  readonly kinds: readonly KindRule[];
  readonly scansUnknown: boolean;
  readonly oldYearMax: number;
}

function assemble(parts: Parts): CompiledPlan {
  const trie = new PathTrie(new Map(parts.rules.map((rule, index) => [rule.path, index])));
  const actions = Uint8Array.from(trie.rules, (rule) => parts.rules[rule]?.action ?? ACTION_INNER);
  let scanKinds = 0;
  parts.kinds.forEach((kind, index) => {
    scanKinds |= kind.operator === 'pass' ? 0 : 1 << index;
  });
  return new CompiledPlan({
    digest: digestOf(parts),
    profile: parts.profile,
    shapeId: parts.shapeId,
    media: parts.media,
    rules: parts.rules,
    trie,
    actions,
    text: parts.text,
    kindRules: parts.kinds,
    scanKinds,
    scansUnknown: parts.scansUnknown,
    hasDrop: parts.rules.some((rule) => rule.action === ACTION_DROP),
    oldYearMax: parts.oldYearMax,
  });
}

function digestOf(parts: Parts): Buffer {
  const plain = (rule: PlanRule): JsonValue => [
    ...[rule.path, rule.class, rule.kind, rule.action, rule.operator, rule.context, rule.isBucketed],
  ];
  const text = canonicalJson({
    format: 'chaperone/mask-plan/1',
    scanner: SCANNER_VERSION,
    shape: parts.shapeDigest.toString('hex'),
    shapeId: parts.shapeId,
    media: parts.media,
    profile: parts.profile,
    rules: parts.rules.map(plain),
    text: plain(parts.text),
    kinds: parts.kinds.map((kind) => [kind.kind, kind.operator]),
    scansUnknown: parts.scansUnknown,
    oldYearMax: parts.oldYearMax,
  });
  return createHash('sha256').update(text).digest();
}

/** The decision for one path: the class's strength, or that of its kind, whichever is stronger. */
function ruleOf(input: MaskPlanInput, path: string, rule: FieldRule): PlanRule {
  const info = input.classes.get(rule.class);
  if (info === undefined) {
    return { ...denied(path), class: rule.class }; // A class that the catalogue does not explain is unknown.
  }
  const strength = strengthOf(input.masks, info);
  const operator = strength === 'none' ? passOperator(input, info) : operatorOf(input.profile, info, strength);
  return {
    path,
    class: rule.class,
    kind: info.kind,
    action: actionOf(operator, rule.scan),
    operator,
    context: labelOfName(lastName(path)) | labelOfName(info.kind),
    isBucketed: info.hipaa === 'A' || info.kind === 'name',
  };
}

function denied(path: string): PlanRule {
  return { path, class: 'unknown', kind: '', action: ACTION_DENY, operator: 'redact', context: 0, isBucketed: false };
}

function actionOf(operator: PlanOperator, scan: boolean): number {
  if (operator === 'pass') {
    return scan ? ACTION_SCAN : ACTION_PASS;
  }
  return operator === 'drop' ? ACTION_DROP : ACTION_MASK;
}

function strengthOf(masks: MaskPlanInput['masks'], info: ClassInfo): MaskStrength {
  const byClass = own(masks, info.name);
  const byKind = info.kind === '' ? undefined : own(masks, info.kind);
  if (byClass === undefined && byKind === undefined) {
    return info.phi ? 'redact' : 'none';
  }
  return stronger(byClass ?? 'none', byKind ?? 'none');
}

function stronger(a: MaskStrength, b: MaskStrength): MaskStrength {
  return rankOf(a) >= rankOf(b) ? a : b;
}

/** A strength that this version does not know is the strongest. */
function rankOf(strength: MaskStrength): number {
  const rank = MASK_STRENGTHS.indexOf(strength);
  return rank < 0 ? MASK_STRENGTHS.length : rank;
}

/** An age stands, but not one over 89. */
function passOperator(input: MaskPlanInput, info: ClassInfo): PlanOperator {
  return info.kind === 'age' && input.profile.name === 'safe-harbor' ? 'age90' : 'pass';
}

function operatorOf(profile: MaskProfile, info: ClassInfo, strength: MaskStrength): PlanOperator {
  const declared =
    own(own(profile.operators, info.name) ?? {}, strength) ?? own(own(profile.operators, info.kind) ?? {}, strength);
  if (declared !== undefined && declared !== 'pass') {
    return declared;
  }
  if (info.kind === 'age' && strength === 'partial') {
    return 'age90';
  }
  // `pass` for a strength that asks for a mask would be a hole: it falls back like an absent entry.
  return strength === 'null' || strength === 'drop' ? strength : 'redact';
}

function kindRules(
  masks: MaskPlanInput['masks'],
  classes: MaskPlanInput['classes'],
  profile: MaskProfile | null,
  forced: readonly string[],
): KindRule[] {
  return SCAN_KINDS.map((kind) => {
    const replacement = Buffer.from(`[${kind.toUpperCase()}]`);
    const entries = [
      own(masks, kind),
      ...[...classes.values()].filter((c) => c.kind === kind).map((c) => own(masks, c.name)),
    ];
    const given = entries.filter((entry) => entry !== undefined);
    // A bare run that is too long to judge has no class: nothing switches its masking off.
    const strength = given.length === 0 || kind === 'blob' ? 'redact' : given.reduce(stronger, 'none');
    if (strength === 'none') {
      return { kind, operator: forced.includes(kind) ? 'redact' : 'pass', replacement };
    }
    const info: ClassInfo = { name: kind, phi: true, hipaa: '', kind };
    const operator = profile === null ? 'redact' : operatorOf(profile, info, strength);
    return { kind, operator: operator === 'null' || operator === 'drop' ? 'drop' : operator, replacement };
  });
}

function egressKinds(input: MaskPlanInput): readonly string[] {
  return input.egress?.action === 'mask' ? input.egress.denyKinds : [];
}

function lastName(path: string): string {
  return path.slice(path.lastIndexOf('.') + 1).replaceAll('[]', '');
}

/** Own members only: `masks` and profiles come from JSON, and `constructor` is a possible class name. */
function own<T>(record: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

/** The profile that may be claimed when Safe Harbor may not. */
function claimed(profile: MaskProfile): string {
  return profile.name === 'safe-harbor' ? 'unclassified' : profile.name;
}

/**
 * An output is called Safe Harbor only when each of the 18 identifiers is taken out by an operator that satisfies it:
 * nothing with a HIPAA letter passes, free text is not merely scanned, and the year operator knew the year.
 */
function isSafeHarbor(input: MaskPlanInput, rules: readonly PlanRule[]): boolean {
  if (input.profile.name !== 'safe-harbor') {
    return false;
  }
  return rules.every((rule) => {
    const hipaa = input.classes.get(rule.class)?.hipaa ?? '';
    if (rule.action === ACTION_SCAN) {
      return false;
    }
    if (rule.action === ACTION_PASS) {
      return hipaa === '';
    }
    if (rule.operator === 'year' && input.referenceYear === undefined) {
      return false;
    }
    return rule.action !== ACTION_MASK || isSafeHarborOperator(rule.operator, hipaa, rule.kind);
  });
}

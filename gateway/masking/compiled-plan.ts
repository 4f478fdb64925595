import { assert } from '../../core/kernel/assert.ts';
import type { MaskPlan } from '../contract/mask.ts';
import type { MaskOperatorName } from '../contract/shape.ts';
import type { PathTrie } from './path-trie.ts';

/** What happens to the value of a path. */
export const ACTION_PASS = 0;
export const ACTION_SCAN = 1;
export const ACTION_MASK = 2;
export const ACTION_DROP = 3;
/** Withheld: unknown is sensitive (promise P3). */
export const ACTION_DENY = 4;
/** Not declared itself, but something below it is. */
export const ACTION_INNER = 5;

/** `age90`: 89 and below stand, what is above becomes `90+` (45 CFR 164.514(b)(2)(i)(C)). */
export type PlanOperator = MaskOperatorName | 'age90';

export interface PlanRule {
  readonly path: string;
  readonly class: string;
  readonly kind: string;
  readonly action: number;
  readonly operator: PlanOperator;
  /** Label bits of the last name of the path: they help the scanner to judge bare digits. */
  readonly context: number;
  /** The fill is padded to whole buckets, so that its length does not tell a name from another. */
  readonly isBucketed: boolean;
}

/** How the scanner's finds of one kind are written. */
export interface KindRule {
  readonly kind: string;
  readonly operator: PlanOperator;
  readonly replacement: Buffer;
}

/** The tables of one plan. Immutable; shared by all streams that use it. */
export class CompiledPlan implements MaskPlan {
  readonly digest: Buffer;
  readonly profile: string;
  readonly shapeId: string;
  readonly media: readonly string[];
  readonly rules: readonly PlanRule[];
  readonly trie: PathTrie;
  /** Action of each node of the trie. */
  readonly actions: Uint8Array;
  /** Rule for a text body; its action is `ACTION_DENY` when the shape has none. */
  readonly text: PlanRule;
  readonly kindRules: readonly KindRule[];
  /** Bits of the kinds that are masked where the scanner finds them. */
  readonly scanKinds: number;
  /** True: what is not declared is scanned instead of withheld. Only for requests, never for upstream data. */
  readonly scansUnknown: boolean;
  readonly hasDrop: boolean;
  /** Birth years up to this one tell an age over 89; they do not stand. */
  readonly oldYearMax: number;

  constructor(fields: Omit<CompiledPlan, never>) {
    assert(fields.digest.length === 32, 'a plan digest is a SHA-256');
    assert(fields.actions.length === fields.trie.size, 'each node has an action');
    this.digest = fields.digest;
    this.profile = fields.profile;
    this.shapeId = fields.shapeId;
    this.media = fields.media;
    this.rules = fields.rules;
    this.trie = fields.trie;
    this.actions = fields.actions;
    this.text = fields.text;
    this.kindRules = fields.kindRules;
    this.scanKinds = fields.scanKinds;
    this.scansUnknown = fields.scansUnknown;
    this.hasDrop = fields.hasDrop;
    this.oldYearMax = fields.oldYearMax;
  }
}

/** The only plans are those that this room compiled. */
export function compiledPlan(plan: MaskPlan): CompiledPlan {
  assert(plan instanceof CompiledPlan, 'a mask plan comes from compileMaskPlan');
  return plan;
}

import type { MaskCountEntry, MaskStats } from '../contract/mask.ts';
import { ACTION_DENY, ACTION_MASK, ACTION_SCAN } from './compiled-plan.ts';
import type { CompiledPlan, PlanOperator, PlanRule } from './compiled-plan.ts';
import { SCAN_KINDS } from './scanner/scan-kinds.ts';

const UNKNOWN_PATHS_MAX = 64;
const UNKNOWN_PATH_LENGTH_MAX = 256;
/** Names that were turned into text once; past this the parent's path stands for all. */
const NAMES_MAX = 1024;
const KINDS = SCAN_KINDS.length;
/** Numbers of one rule: masked, then one for each kind that the scanner found. */
const SLOTS = KINDS + 1;

/** What one body had: counts by rule and kind, unknown paths (bounded, never values). */
export class MaskCounters {
  rows = 0;
  withheld = 0;
  readonly #plan: CompiledPlan;
  readonly #counts: Float64Array;
  /** 1 for each rule that had a value other than null. */
  readonly #present: Uint8Array;
  readonly #unknownPaths = new Set<string>();
  readonly #names = new Map<number, string>();

  constructor(plan: CompiledPlan) {
    this.#plan = plan;
    this.#counts = new Float64Array((plan.rules.length + 1) * SLOTS);
    this.#present = new Uint8Array(plan.rules.length + 1);
  }

  /** `rule` is an index of `plan.rules`, or their number for the rule of a text body. */
  present(rule: number): void {
    this.#present[rule] = 1;
  }

  masked(rule: number): void {
    const at = rule * SLOTS;
    this.#counts[at] = (this.#counts[at] as number) + 1;
  }

  found(rule: number, kind: number): void {
    const at = rule * SLOTS + 1 + kind;
    this.#counts[at] = (this.#counts[at] as number) + 1;
  }

  /** Notes that the path was withheld because it is unknown. */
  unknown(path: string): void {
    this.withheld++;
    if (this.#unknownPaths.size < UNKNOWN_PATHS_MAX) {
      this.#unknownPaths.add(path.slice(0, UNKNOWN_PATH_LENGTH_MAX));
    }
  }

  /**
   * Path of an unknown member; `isNamed` when its name may be told. Cached by node and hash: a collision gives another
   * schema name of the same object, which is only a label.
   */
  pathOf(
    parent: string,
    node: number,
    hash: number,
    name: Buffer,
    start: number,
    end: number,
    isNamed: boolean,
  ): string {
    const prefix = parent === '' ? '' : `${parent}.`;
    if (!isNamed) {
      return `${prefix}?`;
    }
    const key = node * 0x1_0000_0000 + (hash >>> 0);
    let path = this.#names.get(key);
    if (path === undefined) {
      path = this.#names.size < NAMES_MAX ? `${prefix}${name.toString('latin1', start, end)}` : `${prefix}?`;
      if (this.#names.size < NAMES_MAX) {
        this.#names.set(key, path);
      }
    }
    return path;
  }

  /** Classes that the body has a value of, sorted. */
  classes(): string[] {
    const rules = [...this.#plan.rules, this.#plan.text];
    const names = rules
      .filter((rule, index) => this.#present[index] === 1 && rule.action !== ACTION_DENY)
      .map((rule) => rule.class);
    return [...new Set(names)].sort();
  }

  stats(): MaskStats {
    const counts: MaskCountEntry[] = [];
    const add = (rule: PlanRule, kind: string, operator: PlanOperator, count: number): void => {
      if (count > 0) {
        counts.push({ class: rule.class, kind, action: operator, column: rule.path, count });
      }
    };
    [...this.#plan.rules, this.#plan.text].forEach((rule, index) => {
      const at = index * SLOTS;
      if (rule.action >= ACTION_MASK) {
        add(rule, rule.kind, rule.operator, this.#counts[at] as number);
      }
      for (let kind = 0; rule.action === ACTION_SCAN && kind < KINDS; kind++) {
        const kindRule = this.#plan.kindRules[kind];
        add(rule, kindRule?.kind ?? '', kindRule?.operator ?? 'redact', this.#counts[at + 1 + kind] as number);
      }
    });
    return { rows: this.rows, counts, unknownPaths: [...this.#unknownPaths].sort(), withheld: this.withheld };
  }
}

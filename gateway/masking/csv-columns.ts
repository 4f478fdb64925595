import { malformed } from './body-stream.ts';
import { ACTION_DENY, ACTION_INNER, ACTION_SCAN } from './compiled-plan.ts';
import type { CompiledPlan } from './compiled-plan.ts';
import { hashName } from './path-trie.ts';
import { Findings } from './scanner/findings.ts';
import { labelOfName } from './scanner/labels.ts';
import { CELL_PLAIN, scanCell } from './scanner/scan-cell.ts';
import { isSchemaName } from './schema-name.ts';

const COLUMNS_MAX = 4096;
const LABEL_BYTES_MAX = 64;
const UNKNOWN = -1;

/** Scratch of a synchronous call. */
const findings = new Findings();

/** What the names of a header row decided, by ordinal. Rows look nothing up. */
export class CsvColumns {
  readonly actions: number[] = [];
  /** Index of the rule, -1 for a column that nobody declared. */
  readonly rules: number[] = [];
  /** Label bits of the column's name. */
  readonly contexts: number[] = [];
  readonly paths: string[] = [];
  readonly #plan: CompiledPlan;

  constructor(plan: CompiledPlan) {
    this.#plan = plan;
  }

  get count(): number {
    return this.actions.length;
  }

  /** Adds the next column. Returns the kind found in its name, `''` for a name that may not leave, null when it may. */
  add(name: Buffer): string | null {
    if (this.count === COLUMNS_MAX) {
      malformed('the header has too many columns');
    }
    const { trie, actions, rules } = this.#plan;
    const node = name.length === 0 ? UNKNOWN : trie.member(0, name, 0, name.length, hashName(name));
    if (node < 0) {
      return this.#plan.scansUnknown ? this.#addAny(name) : this.#addUnknown(name);
    }
    const action = actions[node] ?? ACTION_DENY;
    const rule = trie.rules[node] ?? UNKNOWN;
    this.#push(action === ACTION_INNER ? ACTION_DENY : action, rule, rules[rule]?.context ?? 0, trie.paths[node] ?? '');
    return null;
  }

  #addUnknown(name: Buffer): string | null {
    const isNamed = isSchemaName(name, 0, name.length);
    this.#push(ACTION_DENY, UNKNOWN, 0, isNamed ? name.toString('latin1') : '?');
    return isNamed ? null : '';
  }

  /** Any column of a plan that scans everything. Without a header row, the first values stand where names should. */
  #addAny(name: Buffer): string | null {
    this.#push(ACTION_SCAN, 0, labelOfName(name.toString('latin1', 0, LABEL_BYTES_MAX)), '');
    scanCell(name, 0, 0, name.length, CELL_PLAIN, 0, this.#plan.scanKinds, findings);
    return findings.count > 0 ? (this.#plan.kindRules[findings.kindAt(0)]?.kind ?? '') : null;
  }

  #push(action: number, rule: number, context: number, path: string): void {
    this.actions.push(action);
    this.rules.push(rule);
    this.contexts.push(context);
    this.paths.push(path);
  }
}

import type { CompiledPlan, KindRule, PlanRule } from './compiled-plan.ts';
import type { MaskCounters } from './mask-counters.ts';
import { fillOf, yearOf } from './operators.ts';
import type { SpanWriter } from './span-writer.ts';
import { Findings } from './scanner/findings.ts';
import { BLOCK_BYTES, LOOK_BEHIND_BYTES, endOfOpenRun, scanBlock } from './scanner/scan-block.ts';
import { KIND_DATE } from './scanner/scan-kinds.ts';

const NOTHING: Buffer = Buffer.alloc(0);

/** The finds of the cell at hand. Shared: scanning is synchronous. */
const findings = new Findings();

/**
 * Scans one cell of free text, in blocks when it is long, and writes it with its finds replaced.
 *
 * Invariant: everything before `start` is decided and written; `floor` <= `start` is the first byte that may still label what
 * follows. Positions are in the caller's window and move with `shift`.
 */
export class TextReplacer {
  /** First byte that is not decided. */
  start = 0;
  floor = 0;
  /** Label bits of the cell's name. */
  context = 0;
  readonly #plan: CompiledPlan;
  readonly #writer: SpanWriter;
  readonly #counters: MaskCounters;
  #cellStart = 0;
  #isOpen = false;
  #openKind = 0;

  constructor(plan: CompiledPlan, writer: SpanWriter, counters: MaskCounters) {
    this.#plan = plan;
    this.#writer = writer;
    this.#counters = counters;
  }

  /** A new cell begins at `start`; `context` are the label bits of its name. */
  begin(start: number, context: number): void {
    this.start = start;
    this.context = context;
    this.floor = start;
    this.#cellStart = start;
    this.#isOpen = false;
  }

  shift(by: number): void {
    this.start -= by;
    this.floor -= by;
    this.#cellStart -= by;
  }

  /** Where the block that is being gathered ends. */
  get blockEnd(): number {
    return this.start + BLOCK_BYTES;
  }

  /**
   * Decides [start, end), which is one whole block or (`isFinal`) the rest of the cell, and writes what is decided.
   * `rule` is the index for the counters.
   */
  settle(window: Uint8Array, end: number, isFinal: boolean, cell: number, rule: number, planRule: PlanRule): void {
    let from = this.start;
    if (this.#isOpen) {
      from = endOfOpenRun(window, this.start, end);
      this.#isOpen = from === end;
      this.#take(window, this.start, from, NOTHING, this.#openKind, planRule);
      this.start = from;
      this.#keepFloor();
      if (this.#isOpen && !isFinal) {
        return;
      }
    }
    if (from < end) {
      this.#settleBlock(window, end, isFinal, cell, rule, planRule);
    }
  }

  #settleBlock(
    window: Uint8Array,
    end: number,
    isFinal: boolean,
    cell: number,
    rule: number,
    planRule: PlanRule,
  ): void {
    if (!isFinal && end - this.start < BLOCK_BYTES) {
      return; // An open run ended inside this block: gather a whole one from here.
    }
    const kinds = this.#plan.scanKinds;
    const { cut, isOpen } = scanBlock(
      window,
      this.floor,
      this.start,
      end,
      isFinal,
      cell,
      this.context,
      kinds,
      findings,
    );
    for (let i = 0; i < findings.count; i++) {
      const kind = findings.kindAt(i);
      const start = findings.startAt(i);
      const stop = findings.endAt(i);
      this.#take(window, start, stop, this.#replacementFor(window, start, stop, kind), kind, planRule);
      this.#counters.found(rule, kind);
      this.#openKind = kind;
    }
    this.#writer.flush(window, cut);
    this.#isOpen = isOpen;
    this.start = cut;
    this.#keepFloor();
  }

  #keepFloor(): void {
    this.floor = Math.max(this.#cellStart, this.start - LOOK_BEHIND_BYTES);
  }

  #take(window: Uint8Array, start: number, end: number, replacement: Uint8Array, kind: number, rule: PlanRule): void {
    if (start < end) {
      const kindRule = this.#plan.kindRules[kind] as KindRule;
      this.#writer.replace(window, start, end, replacement, rule.class, kindRule.kind, rule.path);
    }
  }

  #replacementFor(window: Uint8Array, start: number, end: number, kind: number): Uint8Array {
    const rule = this.#plan.kindRules[kind] as KindRule;
    switch (rule.operator) {
      case 'drop':
      case 'null':
        return NOTHING;
      case 'fixed':
        return fillOf(end - start);
      case 'year': {
        const year = yearOf(window, start, end, this.#plan.oldYearMax);
        return kind === KIND_DATE && year.length === 4 ? year : rule.replacement;
      }
      default:
        return rule.replacement;
    }
  }
}

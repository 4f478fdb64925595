import type { BodyMachine } from './body-stream.ts';
import { checkHeld, malformed } from './body-stream.ts';
import { ACTION_DENY, ACTION_PASS, ACTION_SCAN } from './compiled-plan.ts';
import type { CompiledPlan } from './compiled-plan.ts';
import type { MaskCounters } from './mask-counters.ts';
import { KEEP, TEXT, WITHHELD, operateOnText, result } from './operators.ts';
import { CELL_PLAIN } from './scanner/scan-cell.ts';
import type { SpanWriter } from './span-writer.ts';
import { TextReplacer } from './text-replacer.ts';

const NOTHING: Buffer = Buffer.alloc(0);

/**
 * A text body is one cell: it passes, is scanned block by block, or is held whole and replaced.
 * Invariant: `#position` is where the next window bytes begin that were not looked at.
 */
export class TextMachine implements BodyMachine {
  readonly #plan: CompiledPlan;
  readonly #writer: SpanWriter;
  readonly #counters: MaskCounters;
  readonly #text: TextReplacer;
  readonly #rule: number;
  #position = 0;
  #start = 0;

  constructor(plan: CompiledPlan, writer: SpanWriter, counters: MaskCounters) {
    this.#plan = plan;
    this.#writer = writer;
    this.#counters = counters;
    this.#text = new TextReplacer(plan, writer, counters);
    this.#rule = plan.rules.length;
    this.#text.begin(0, plan.text.context);
  }

  run(window: Buffer, end: number, isFinal: boolean): number {
    if (window.subarray(this.#position, end).includes(0)) {
      malformed('a text has a zero byte');
    }
    if (this.#position < end) {
      this.#counters.present(this.#rule);
      this.#counters.rows = 1;
    }
    this.#position = end;
    switch (this.#plan.text.action) {
      case ACTION_PASS:
        this.#writer.flush(window, end);
        return end;
      case ACTION_SCAN:
        return this.#scan(window, end, isFinal);
      default:
        checkHeld(end - this.#start);
        if (!isFinal) {
          return this.#start;
        }
        this.#replace(window, end);
        return end;
    }
  }

  shift(by: number): void {
    this.#position -= by;
    this.#start -= by;
    this.#writer.shift(by);
    this.#text.shift(by);
  }

  #scan(window: Buffer, end: number, isFinal: boolean): number {
    while (end >= this.#text.blockEnd) {
      this.#text.settle(window, this.#text.blockEnd, false, CELL_PLAIN, this.#rule, this.#plan.text);
    }
    if (isFinal) {
      this.#text.settle(window, end, true, CELL_PLAIN, this.#rule, this.#plan.text);
      return end;
    }
    return this.#text.floor;
  }

  #replace(window: Buffer, end: number): void {
    const start = this.#start;
    if (start === end) {
      return;
    }
    const rule = this.#plan.text;
    if (rule.action === ACTION_DENY) {
      this.#counters.unknown('');
      this.#writer.replace(window, start, end, WITHHELD, 'unknown', '', '');
      return;
    }
    const answer = operateOnText(rule, window, start, end, this.#plan.oldYearMax);
    if (answer === KEEP) {
      this.#writer.flush(window, end);
      return;
    }
    this.#counters.masked(this.#rule);
    this.#writer.replace(window, start, end, answer === TEXT ? result.text : NOTHING, rule.class, rule.kind, '');
  }
}

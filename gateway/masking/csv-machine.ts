import { assert } from '../../core/kernel/assert.ts';
import type { BodyMachine } from './body-stream.ts';
import { checkHeld, malformed } from './body-stream.ts';
import { ACTION_DENY, ACTION_DROP, ACTION_PASS, ACTION_SCAN } from './compiled-plan.ts';
import type { CompiledPlan, PlanRule } from './compiled-plan.ts';
import { CsvColumns } from './csv-columns.ts';
import type { MaskCounters } from './mask-counters.ts';
import { TEXT, WITHHELD, NULL, operateOnText, result } from './operators.ts';
import { BLOCK_BYTES } from './scanner/scan-block.ts';
import { CELL_CSV_QUOTED, CELL_PLAIN } from './scanner/scan-cell.ts';
import type { SpanWriter } from './span-writer.ts';
import { TextReplacer } from './text-replacer.ts';

/*
 * CSV (RFC 4180), always with a header row, whose names decide the columns:
 *
 *   file   = [ BOM ] record { EOL record } [ EOL ]        EOL = LF | CR LF
 *   record = field { , field }                            as many fields as the header has
 *   field  = plain | " { any but " | "" } "               plain: no quote, comma, CR, LF or control
 */

const NAME_BYTES_MAX = 64 * 1024;
const HEADER = 255;

const AT_START = 0;
const AT_FIELD = 1;
const IN_PLAIN = 2;
const IN_QUOTED = 3;
const AFTER_QUOTE = 4;
const AFTER_CR = 5;

const QUOTE = 0x22;
const COMMA = 0x2c;
const CR = 0x0d;
const LF = 0x0a;

const NOTHING: Buffer = Buffer.alloc(0);

/** 1 for bytes of a plain field, 2 for what only a quoted field may have. */
const FIELD_BYTE: Uint8Array = buildFieldBytes();

/** Scratch of a synchronous call. */
let undoubled = Buffer.alloc(4096);

/**
 * Invariants: `#hold` >= 0 while a field is read that may not stand as it is; `#kept` says whether this row already has
 * a field that stays, so that exactly one comma is between two of them.
 */
export class CsvMachine implements BodyMachine {
  readonly #plan: CompiledPlan;
  readonly #writer: SpanWriter;
  readonly #counters: MaskCounters;
  readonly #text: TextReplacer;
  readonly #hasDrop: boolean;

  #state = AT_START;
  #position = 0;
  #isStarved = false;
  #isHeader = true;
  #ordinal = 0;
  #kept = false;
  /** The comma before this field, -1 for the first one. */
  #separator = -1;
  #hold = -1;
  #field = 0;
  #content = 0;
  #contentEnd = 0;
  #isDoubled = false;
  #action = HEADER;

  readonly #columns: CsvColumns;

  constructor(plan: CompiledPlan, writer: SpanWriter, counters: MaskCounters) {
    this.#plan = plan;
    this.#writer = writer;
    this.#counters = counters;
    this.#text = new TextReplacer(plan, writer, counters);
    this.#hasDrop = plan.hasDrop;
    this.#columns = new CsvColumns(plan);
  }

  run(window: Buffer, end: number, isFinal: boolean): number {
    let position = this.#position;
    this.#isStarved = false;
    while (position < end && !this.#isStarved) {
      position = this.#step(window, position, end);
    }
    if (isFinal) {
      this.#finish(window, position, end);
    }
    this.#position = position;
    const needed = this.#neededFrom(position);
    this.#writer.flush(window, needed);
    const keep = this.#isScanning() ? Math.min(this.#text.floor, needed) : needed;
    checkHeld(end - keep);
    return keep;
  }

  shift(by: number): void {
    this.#position -= by;
    this.#field -= by;
    this.#content -= by;
    this.#contentEnd -= by;
    this.#separator = this.#separator < 0 ? -1 : this.#separator - by;
    this.#hold = this.#hold < 0 ? -1 : this.#hold - by;
    this.#writer.shift(by);
    this.#text.shift(by);
  }

  #isScanning(): boolean {
    const inContent = this.#state === IN_PLAIN || this.#state === IN_QUOTED || this.#state === AFTER_QUOTE;
    return this.#action === ACTION_SCAN && inContent;
  }

  #neededFrom(position: number): number {
    if (this.#hold >= 0) {
      return this.#hold;
    }
    if (this.#separator >= 0 && this.#state === AT_FIELD) {
      return this.#separator;
    }
    return this.#isScanning() ? this.#text.start : position;
  }

  #step(window: Buffer, start: number, end: number): number {
    switch (this.#state) {
      case AT_START:
        return this.#beginFile(window, start, end);
      case AT_FIELD:
        return this.#atField(window, start, end);
      case IN_PLAIN:
        return this.#plain(window, start, end);
      case IN_QUOTED:
        return this.#quoted(window, start, end);
      case AFTER_QUOTE:
        return this.#afterQuote(window, start);
      default:
        if (window[start] !== LF) {
          malformed('a carriage return without a line feed');
        }
        this.#endRow();
        return start + 1;
    }
  }

  /** A byte order mark stands. */
  #beginFile(window: Buffer, start: number, end: number): number {
    if (window[start] !== 0xef) {
      this.#state = AT_FIELD;
      return start;
    }
    if (end - start < 3) {
      this.#isStarved = true;
      return start;
    }
    this.#state = AT_FIELD;
    return window[start + 1] === 0xbb && window[start + 2] === 0xbf ? start + 3 : start;
  }

  /** A plain field that ends in this window is done at once; any other goes through the states. */
  #atField(window: Buffer, start: number, end: number): number {
    let position = start;
    if (!this.#isHeader && !this.#hasDrop) {
      position = this.#fields(window, start, end);
    }
    return position === end || position > start
      ? position
      : this.#beginField(window, position, window[position] === QUOTE);
  }

  /**
   * Plain fields of rows in which nothing is dropped: does exactly what the states do, without one for each byte class.
   * Stops before the first field that is anything else.
   */
  #fields(window: Buffer, start: number, end: number): number {
    const classes = FIELD_BYTE;
    let position = start;
    for (;;) {
      let stop = position;
      while (stop < end && classes[window[stop] as number] === 1) {
        stop++;
      }
      const byte = stop < end ? (window[stop] as number) : QUOTE;
      if ((byte !== COMMA && byte !== LF) || this.#ordinal >= this.#columns.count) {
        return position;
      }
      const action = this.#columns.actions[this.#ordinal] as number;
      if (action === ACTION_SCAN && stop - position >= BLOCK_BYTES) {
        return position;
      }
      this.#field = position;
      this.#content = position;
      this.#contentEnd = stop;
      this.#isDoubled = false;
      this.#action = action;
      this.#kept = true;
      this.#separator = -1;
      if (action === ACTION_SCAN) {
        this.#text.begin(position, this.#columns.contexts[this.#ordinal] ?? 0);
      }
      this.#endField(window, stop);
      position = stop + 1;
    }
  }

  #beginField(window: Buffer, position: number, isQuoted: boolean): number {
    this.#field = position;
    this.#content = isQuoted ? position + 1 : position;
    this.#isDoubled = false;
    this.#state = isQuoted ? IN_QUOTED : IN_PLAIN;
    if (this.#isHeader) {
      this.#action = HEADER;
      this.#hold = this.#separator >= 0 ? this.#separator : position;
      return this.#content;
    }
    if (this.#ordinal >= this.#columns.count) {
      malformed('a row has more fields than the header');
    }
    this.#action = this.#columns.actions[this.#ordinal] as number;
    if (this.#action === ACTION_DROP) {
      this.#hold = this.#separator >= 0 ? this.#separator : position;
      return this.#content;
    }
    this.#keep(window);
    if (this.#action === ACTION_SCAN) {
      this.#text.begin(this.#content, this.#columns.contexts[this.#ordinal] ?? 0);
    } else if (this.#action !== ACTION_PASS) {
      this.#hold = position;
    }
    return this.#content;
  }

  /** The field stays: when it is the first of its row that does, the comma before it goes. */
  #keep(window: Buffer): void {
    if (!this.#kept && this.#separator >= 0) {
      this.#writer.strip(window, this.#separator, this.#separator + 1);
    }
    this.#kept = true;
    this.#separator = -1;
  }

  #plain(window: Buffer, start: number, end: number): number {
    let position = start;
    for (;;) {
      const limit = this.#action === ACTION_SCAN ? Math.min(end, this.#text.blockEnd) : end;
      while (position < limit && FIELD_BYTE[window[position] as number] === 1) {
        position++;
      }
      if (this.#action === ACTION_SCAN && position === this.#text.blockEnd) {
        this.#settle(window, position, false);
        continue;
      }
      break;
    }
    if (position === end) {
      return position;
    }
    if (window[position] === QUOTE || FIELD_BYTE[window[position] as number] === 0) {
      malformed('a field that is not quoted has a quote or a control character');
    }
    this.#contentEnd = position;
    return this.#endField(window, position);
  }

  #quoted(window: Buffer, start: number, end: number): number {
    let position = start;
    for (;;) {
      const isScan = this.#action === ACTION_SCAN;
      if (isScan && position >= this.#text.blockEnd) {
        this.#settle(window, position, false);
      }
      const limit = isScan ? Math.min(end, this.#text.blockEnd) : end;
      while (position < limit && window[position] !== QUOTE && FIELD_BYTE[window[position] as number] !== 0) {
        position++;
      }
      if (isScan && position === this.#text.blockEnd && position < end) {
        continue;
      }
      break;
    }
    if (position === end) {
      return position;
    }
    if (window[position] !== QUOTE) {
      malformed('a field has a control character');
    }
    this.#contentEnd = position;
    this.#state = AFTER_QUOTE;
    return position + 1;
  }

  #afterQuote(window: Buffer, position: number): number {
    if (window[position] === QUOTE) {
      this.#isDoubled = true;
      this.#state = IN_QUOTED;
      return position + 1;
    }
    return this.#endField(window, position);
  }

  /** `position` is the byte behind the field. */
  #endField(window: Buffer, position: number): number {
    const byte = window[position];
    this.#closeField(window, position);
    if (byte === COMMA) {
      this.#separator = position;
      this.#ordinal++;
      this.#state = AT_FIELD;
      return position + 1;
    }
    if (byte === LF) {
      this.#endRow();
      return position + 1;
    }
    if (byte !== CR) {
      malformed('a quoted field goes on behind its quote');
    }
    this.#state = AFTER_CR;
    return position + 1;
  }

  #endRow(): void {
    if (this.#isHeader) {
      this.#isHeader = false;
    } else if (this.#ordinal + 1 !== this.#columns.count) {
      malformed('a row has fewer fields than the header');
    } else {
      this.#counters.rows++;
    }
    this.#ordinal = 0;
    this.#separator = -1;
    this.#kept = false;
    this.#state = AT_FIELD;
  }

  #closeField(window: Buffer, end: number): void {
    const start = this.#field;
    this.#hold = -1;
    switch (this.#action) {
      case HEADER:
        this.#closeHeader(window, end);
        return;
      case ACTION_PASS:
        this.#notePresence();
        return;
      case ACTION_SCAN:
        this.#settle(window, this.#contentEnd, true);
        this.#notePresence();
        return;
      case ACTION_DROP:
        this.#drop(window, end);
        this.#notePresence();
        return;
      case ACTION_DENY:
        checkHeld(end - start);
        this.#counters.unknown(this.#columns.paths[this.#ordinal] ?? '?');
        this.#writer.replace(window, start, end, WITHHELD, 'unknown', '', this.#columns.paths[this.#ordinal] ?? '?');
        return;
      default:
        checkHeld(end - start);
        this.#mask(window, end);
        this.#notePresence();
    }
  }

  #notePresence(): void {
    if (this.#contentEnd > this.#content) {
      this.#counters.present(this.#columns.rules[this.#ordinal] as number);
    }
  }

  #mask(window: Buffer, end: number): void {
    if (this.#contentEnd === this.#content) {
      return; // An empty field is the null of CSV.
    }
    const rule = this.#rule();
    let answer: number;
    if (this.#isDoubled) {
      const content = this.#decoded(window);
      answer = operateOnText(rule, content, 0, content.length, this.#plan.oldYearMax);
    } else {
      answer = operateOnText(rule, window, this.#content, this.#contentEnd, this.#plan.oldYearMax);
    }
    if (answer === TEXT || answer === NULL) {
      const text = answer === TEXT ? result.text : NOTHING;
      this.#counters.masked(this.#columns.rules[this.#ordinal] as number);
      this.#writer.replace(window, this.#field, end, text, rule.class, rule.kind, rule.path);
    }
  }

  #drop(window: Buffer, end: number): void {
    const rule = this.#rule();
    const start = this.#separator >= 0 ? this.#separator : this.#field;
    checkHeld(end - start);
    this.#separator = -1;
    this.#counters.masked(this.#columns.rules[this.#ordinal] as number);
    this.#writer.replace(window, start, end, NOTHING, rule.class, rule.kind, rule.path);
  }

  #rule(): PlanRule {
    const rule = this.#plan.rules[this.#columns.rules[this.#ordinal] as number];
    assert(rule !== undefined, 'a column that is masked has a rule');
    return rule;
  }

  #settle(window: Buffer, end: number, isFinal: boolean): void {
    const cell = this.#isDoubled ? CELL_CSV_QUOTED : CELL_PLAIN;
    this.#text.settle(window, end, isFinal, cell, this.#columns.rules[this.#ordinal] as number, this.#rule());
  }

  /** Content without its doubled quotes. Valid until the next call. */
  #decoded(window: Buffer): Buffer {
    if (!this.#isDoubled) {
      return window.subarray(this.#content, this.#contentEnd);
    }
    if (undoubled.length < this.#contentEnd - this.#content) {
      undoubled = Buffer.alloc((this.#contentEnd - this.#content) * 2);
    }
    let size = 0;
    for (let i = this.#content; i < this.#contentEnd; i++) {
      undoubled[size++] = window[i] as number;
      i += window[i] === QUOTE ? 1 : 0;
    }
    return undoubled.subarray(0, size);
  }

  /** The name decides what happens to the column. */
  #closeHeader(window: Buffer, end: number): void {
    if (end - this.#field > NAME_BYTES_MAX) {
      malformed('a column name is too long');
    }
    const found = this.#columns.add(this.#decoded(window));
    const at = this.#ordinal;
    if (this.#columns.actions[at] === ACTION_DROP) {
      const start = this.#separator >= 0 ? this.#separator : this.#field;
      this.#separator = -1;
      this.#writer.replace(window, start, end, NOTHING, this.#rule().class, '', this.#columns.paths[at] ?? '');
      return;
    }
    this.#keep(window);
    if (found !== null) {
      this.#writer.replace(window, this.#field, end, WITHHELD, 'unknown', found, this.#columns.paths[at] ?? '');
    }
  }

  /** The last row needs no line end. */
  #finish(window: Buffer, position: number, end: number): void {
    if (position !== end || this.#state === IN_QUOTED || this.#state === AFTER_CR) {
      malformed('the body ends inside a field');
    }
    const isRowOpen = this.#ordinal > 0 || this.#state === IN_PLAIN || this.#state === AFTER_QUOTE;
    if (!isRowOpen) {
      return;
    }
    if (this.#state === AT_FIELD) {
      this.#beginField(window, end, false); // An empty field behind the last comma.
    }
    if (this.#state === IN_PLAIN) {
      this.#contentEnd = end;
    }
    this.#closeField(window, end);
    this.#endRow();
  }
}

function buildFieldBytes(): Uint8Array {
  const table = new Uint8Array(256).fill(1, 0x20);
  table[0x09] = 1;
  table[0x7f] = 0;
  for (const byte of [QUOTE, COMMA, CR, LF]) {
    table[byte] = 2;
  }
  return table;
}

import type { BodyMachine } from './body-stream.ts';
import { checkHeld, malformed } from './body-stream.ts';
import type { CompiledPlan } from './compiled-plan.ts';
import { JSON_DEPTH_MAX, JsonRules } from './json-rules.ts';
import { ATOM_BYTES_MAX, JSON_MORE, JSON_REFUSED, atomEnd, escapeSize, isAtom, plainEnd } from './json-tokens.ts';
import type { MaskCounters } from './mask-counters.ts';
import { HASH_START, hashByte } from './path-trie.ts';
import type { SpanWriter } from './span-writer.ts';

/*
 * JSON (RFC 8259) and NDJSON, byte by byte, without a tree:
 *
 *   value  = object | array | string | number | true | false | null
 *   object = { [ string : value { , string : value } ] }
 *   array  = [ [ value { , value } ] ]
 *   NDJSON = { [ value ] LF }, no LF inside a value
 *
 * This file is the grammar; json-rules.ts says what happens to each value. What is declared `pass` is never held; what
 * is masked, withheld or dropped is held until its end and leaves as an original.
 */

const NAME_BYTES_MAX = 64 * 1024;

// What comes next.
const VALUE = 0;
const VALUE_OR_CLOSE = 1;
const NAME_OR_CLOSE = 2;
const NAME = 3;
const COLON = 4;
const AFTER_VALUE = 5;
const AFTER_ROOT = 6;
const IN_NAME = 7;
const IN_STRING = 8;
const IN_SCAN = 9;
const IN_ATOM = 10;

const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const NEWLINE = 0x0a;

/**
 * Invariant: between calls, nothing before the first needed byte is looked at again. That is the start of what waits
 * for a decision, the undecided rest of a text (with the bytes that may label it), the atom at hand, or the position.
 */
export class JsonMachine implements BodyMachine {
  readonly #rules: JsonRules;
  readonly #writer: SpanWriter;
  readonly #counters: MaskCounters;
  readonly #isNdjson: boolean;
  #state = VALUE;
  #position = 0;
  #isStarved = false;
  #hasInput = false;
  /** First byte of the name, string content or atom at hand. */
  #token = 0;
  #isEscaped = false;
  #hash = HASH_START;

  constructor(plan: CompiledPlan, writer: SpanWriter, counters: MaskCounters, isNdjson: boolean) {
    this.#rules = new JsonRules(plan, writer, counters, isNdjson);
    this.#writer = writer;
    this.#counters = counters;
    this.#isNdjson = isNdjson;
  }

  run(window: Buffer, end: number, isFinal: boolean): number {
    let position = this.#position;
    this.#isStarved = false;
    this.#hasInput ||= position < end;
    while (position < end && !this.#isStarved) {
      position = this.#step(window, position, end);
    }
    if (isFinal) {
      position = this.#finish(window, position, end);
    }
    this.#position = position;
    const needed = this.#neededFrom(position);
    this.#writer.flush(window, needed);
    const keep = this.#state === IN_SCAN ? Math.min(this.#rules.text.floor, needed) : needed;
    checkHeld(end - keep);
    return keep;
  }

  shift(by: number): void {
    this.#position -= by;
    this.#token -= by;
    this.#rules.shift(by);
  }

  #neededFrom(position: number): number {
    const waitsFrom = this.#rules.waitsFrom;
    if (waitsFrom >= 0) {
      return waitsFrom;
    }
    switch (this.#state) {
      case IN_SCAN:
        return this.#rules.text.start;
      case IN_ATOM:
        return this.#token;
      default:
        return position;
    }
  }

  #step(window: Buffer, start: number, end: number): number {
    switch (this.#state) {
      case IN_STRING:
        return this.#string(window, start, end);
      case IN_NAME:
        return this.#name(window, start, end);
      case IN_SCAN:
        return this.#scan(window, start, end);
      case IN_ATOM:
        return this.#atom(window, start, end);
      default:
        return this.#structure(window, start, end);
    }
  }

  #structure(window: Buffer, start: number, end: number): number {
    let position = start;
    let byte = window[position] as number;
    while (byte === 0x20 || byte === 0x0d || byte === 0x09 || byte === NEWLINE) {
      if (byte === NEWLINE && this.#isNdjson) {
        this.#endLine();
      }
      if (++position === end) {
        return position;
      }
      byte = window[position] as number;
    }
    switch (this.#state) {
      case AFTER_VALUE:
        return this.#afterValue(window, position, end, byte);
      case COLON:
        if (byte !== 0x3a) {
          malformed('a member name is followed by a colon');
        }
        this.#state = VALUE;
        return position + 1;
      case NAME_OR_CLOSE:
      case NAME:
        if (byte === QUOTE) {
          return this.#beginName(window, position, end);
        }
        return this.#state === NAME_OR_CLOSE
          ? this.#close(window, position, byte)
          : malformed('a member name is missing');
      case VALUE_OR_CLOSE:
        if (byte === CLOSE_ARRAY) {
          return this.#close(window, position, byte);
        }
        this.#separate(position);
        return this.#beginValue(window, position, byte);
      case VALUE:
        return this.#beginValue(window, position, byte);
      default:
        return malformed('there are bytes behind the end of the value');
    }
  }

  #endLine(): void {
    if (this.#state === AFTER_ROOT) {
      this.#state = VALUE;
      this.#rules.beginRoot();
    } else if (this.#rules.depth > 0 || this.#state !== VALUE) {
      malformed('a line ends inside a value');
    }
  }

  /** What follows waits from here until it is known whether it stays. */
  #separate(position: number): void {
    if (!this.#rules.isSwallowing) {
      this.#rules.separator = position;
    }
  }

  #afterValue(window: Buffer, position: number, end: number, byte: number): number {
    if (byte !== COMMA) {
      return this.#close(window, position, byte);
    }
    if (!this.#rules.isInObject) {
      this.#separate(position);
      this.#state = VALUE;
      this.#rules.beginElement();
      return position + 1;
    }
    if (!this.#rules.isSwallowing) {
      const next = this.#rules.members(window, position, end);
      if (next > position) {
        return next;
      }
    }
    this.#separate(position);
    this.#state = NAME;
    return position + 1;
  }

  #close(window: Buffer, position: number, byte: number): number {
    if (byte !== (this.#rules.isInObject ? CLOSE_OBJECT : CLOSE_ARRAY)) {
      malformed('a comma or the end of the container is missing');
    }
    this.#rules.close();
    return this.#endValue(window, position + 1);
  }

  #beginName(window: Buffer, quote: number, end: number): number {
    const position = quote + 1;
    this.#token = position;
    if (this.#state === NAME_OR_CLOSE) {
      this.#separate(quote);
    }
    if (!this.#rules.isSwallowing) {
      const stop = this.#rules.guessName(window, position, end);
      if (stop >= 0) {
        this.#state = COLON;
        return stop + 1;
      }
    }
    this.#state = IN_NAME;
    this.#isEscaped = false;
    this.#hash = HASH_START;
    return position;
  }

  #name(window: Buffer, start: number, end: number): number {
    let position = start;
    for (;;) {
      const stop = plainEnd(window, position, end);
      let hash = this.#hash;
      for (let i = position; i < stop; i++) {
        hash = hashByte(hash, window[i] as number);
      }
      this.#hash = hash;
      position = stop;
      if (position - this.#token > NAME_BYTES_MAX) {
        malformed('a member name is too long');
      }
      if (position === end) {
        return position;
      }
      if (window[position] === QUOTE) {
        this.#state = COLON;
        if (!this.#rules.isSwallowing) {
          this.#rules.endName(window, this.#token, position, this.#hash, this.#isEscaped);
        }
        return position + 1;
      }
      const size = this.#escape(window, position, end);
      if (size === JSON_MORE) {
        return position;
      }
      position += size;
    }
  }

  /** Size of the escape at `position`, or JSON_MORE after noting that more input is needed. */
  #escape(window: Buffer, position: number, end: number): number {
    const size = window[position] === 0x5c ? escapeSize(window, position, end) : JSON_REFUSED;
    if (size === JSON_REFUSED) {
      malformed('a string has a control character, a broken escape or half of a surrogate pair');
    }
    this.#isEscaped = true;
    this.#isStarved = size === JSON_MORE;
    return size;
  }

  #beginValue(window: Buffer, position: number, byte: number): number {
    const rules = this.#rules;
    if (!rules.isSwallowing) {
      rules.decide(window, position, byte);
    }
    this.#isEscaped = false;
    if (byte === QUOTE) {
      this.#token = position + 1;
      this.#state = IN_STRING;
      if (rules.isScan && !rules.isSwallowing) {
        this.#state = IN_SCAN;
        rules.beginText(position + 1);
      }
      return position + 1;
    }
    if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
      if (rules.depth === JSON_DEPTH_MAX) {
        malformed('the value is nested too deeply');
      }
      rules.open(byte === OPEN_ARRAY);
      this.#state = byte === OPEN_ARRAY ? VALUE_OR_CLOSE : NAME_OR_CLOSE;
      return position + 1;
    }
    this.#token = position;
    this.#state = IN_ATOM;
    return position;
  }

  #endValue(window: Buffer, position: number): number {
    this.#rules.endValue(window, position);
    this.#state = this.#rules.depth > 0 ? AFTER_VALUE : AFTER_ROOT;
    return position;
  }

  #string(window: Buffer, start: number, end: number): number {
    let position = start;
    for (;;) {
      position = plainEnd(window, position, end);
      if (position === end) {
        return position;
      }
      if (window[position] === QUOTE) {
        return this.#endValue(window, position + 1);
      }
      const size = this.#escape(window, position, end);
      if (size === JSON_MORE) {
        return position;
      }
      position += size;
    }
  }

  /** Like `#string`, but stops at the end of each block, so that a long text is decided in blocks of equal bytes. */
  #scan(window: Buffer, start: number, end: number): number {
    const text = this.#rules.text;
    let position = start;
    for (;;) {
      if (position >= text.blockEnd) {
        this.#rules.settleText(window, position, false, this.#isEscaped);
      }
      position = plainEnd(window, position, Math.min(end, text.blockEnd));
      if (position >= text.blockEnd) {
        continue;
      }
      if (position === end) {
        return position;
      }
      if (window[position] === QUOTE) {
        this.#rules.settleText(window, position, true, this.#isEscaped);
        return this.#endValue(window, position + 1);
      }
      const size = this.#escape(window, position, end);
      if (size === JSON_MORE) {
        return position;
      }
      position += size;
    }
  }

  #atom(window: Buffer, start: number, end: number): number {
    const position = atomEnd(window, start, end);
    if (position - this.#token > ATOM_BYTES_MAX) {
      malformed('a number is too long');
    }
    return position === end ? position : this.#endAtom(window, position);
  }

  #endAtom(window: Buffer, end: number): number {
    if (!isAtom(window, this.#token, end)) {
      malformed('a value is neither a string, a number, true, false nor null');
    }
    this.#rules.endAtom(window, this.#token, end);
    return this.#endValue(window, end);
  }

  #finish(window: Buffer, position: number, end: number): number {
    let last = position;
    if (this.#state === IN_ATOM && position === end) {
      last = this.#endAtom(window, end);
    }
    const isEmpty = this.#state === VALUE && this.#rules.depth === 0 && (this.#isNdjson || !this.#hasInput);
    if (last !== end || (this.#state !== AFTER_ROOT && !isEmpty)) {
      malformed('the body ends inside a value');
    }
    if (!this.#isNdjson && this.#counters.rows === 0 && this.#hasInput) {
      this.#counters.rows = 1;
    }
    return end;
  }
}

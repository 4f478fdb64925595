import { GatewayError } from '../../core/kernel/errors.ts';
import type { BodyMachine } from './body-stream.ts';
import { checkHeld, malformed } from './body-stream.ts';
import { ACTION_DENY, ACTION_DROP, ACTION_INNER, ACTION_MASK, ACTION_PASS, ACTION_SCAN } from './compiled-plan.ts';
import type { CompiledPlan, PlanRule } from './compiled-plan.ts';
import { JSON_MORE, JSON_REFUSED, atomEnd, escapeSize, isAtom, plainEnd } from './json-tokens.ts';
import { JSON_NULL, JSON_WITHHELD, decodeContent, findsInAtom, findsInName, maskedJson } from './json-values.ts';
import type { MaskCounters } from './mask-counters.ts';
import { HASH_START, hashByte } from './path-trie.ts';
import type { PathTrie } from './path-trie.ts';
import { BLOCK_BYTES } from './scanner/scan-block.ts';
import { CELL_JSON, CELL_PLAIN } from './scanner/scan-cell.ts';
import { labelOfName } from './scanner/labels.ts';
import { isSchemaName } from './schema-name.ts';
import type { SpanWriter } from './span-writer.ts';
import { TextReplacer } from './text-replacer.ts';

/*
 * JSON (RFC 8259) and NDJSON, byte by byte, without a tree:
 *
 *   value  = object | array | string | number | true | false | null
 *   object = { [ string : value { , string : value } ] }
 *   array  = [ [ value { , value } ] ]
 *   NDJSON = { [ value ] LF }, no LF inside a value
 *
 * The path of the value at hand is one node number: the trie is walked as names are read. What is declared `pass` is
 * never held; what is masked, withheld or dropped is held until its end and leaves as an original.
 */

const DEPTH_MAX = 64;
const NAME_BYTES_MAX = 64 * 1024;
const ATOM_BYTES_MAX = 1024;
const UNKNOWN = -1;
const LABELS_MAX = 1024;

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

const IS_OBJECT = 1;
const IS_ARRAY = 2;

const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_OBJECT = 0x7b;
const OPEN_ARRAY = 0x5b;
const NEWLINE = 0x0a;

const NOTHING: Buffer = Buffer.alloc(0);

/**
 * Invariants: `#separator` >= 0 from the comma (or the start of a first member) until it is known whether that member
 * stays; `#swallowDepth` >= 0 while a value is read that will not stand; nothing before the writer's `copied` is needed
 * but what may label a text (`#text.floor`).
 */
export class JsonMachine implements BodyMachine {
  readonly #plan: CompiledPlan;
  readonly #trie: PathTrie;
  readonly #writer: SpanWriter;
  readonly #counters: MaskCounters;
  readonly #text: TextReplacer;
  readonly #isNdjson: boolean;

  #state = VALUE;
  #position = 0;
  #isStarved = false;
  #hasInput = false;
  /** First byte of the name, string content or atom at hand. */
  #token = 0;
  #isEscaped = false;
  #isScan = false;
  #context = 0;
  #hash = HASH_START;
  #separator = -1;

  #depth = 0;
  #arrays = 0;
  readonly #containers = new Uint8Array(DEPTH_MAX + 1);
  /** Object: its own node. Array: the node of its elements. */
  readonly #nodes = new Int32Array(DEPTH_MAX + 1);
  readonly #kept = new Uint8Array(DEPTH_MAX + 1);
  /** Node of the member before; at the start of an object its own node plus the number of nodes. */
  readonly #before = new Int32Array(DEPTH_MAX + 1);
  /** Which member of the same object came after this one last time; -1 when nothing did. */
  readonly #guess: Int32Array;
  readonly #labels = new Map<number, number>();

  /** Node of the value that comes next. */
  #node = 0;
  #unknownPath = '';
  #swallowDepth = -1;
  #swallowStart = 0;
  #swallowAction = ACTION_DENY;
  #swallowNode = UNKNOWN;

  constructor(plan: CompiledPlan, writer: SpanWriter, counters: MaskCounters, isNdjson: boolean) {
    this.#plan = plan;
    this.#trie = plan.trie;
    this.#writer = writer;
    this.#counters = counters;
    this.#text = new TextReplacer(plan, writer, counters);
    this.#isNdjson = isNdjson;
    this.#guess = new Int32Array(plan.trie.size * 2).fill(-1);
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
    const keep = this.#state === IN_SCAN && this.#swallowDepth < 0 ? Math.min(this.#text.floor, needed) : needed;
    checkHeld(end - keep);
    return keep;
  }

  shift(by: number): void {
    this.#position -= by;
    this.#token -= by;
    this.#swallowStart -= by;
    this.#separator = this.#separator < 0 ? -1 : this.#separator - by;
    this.#writer.shift(by);
    this.#text.shift(by);
  }

  #neededFrom(position: number): number {
    if (this.#swallowDepth >= 0) {
      return this.#swallowStart;
    }
    if (this.#separator >= 0) {
      return this.#separator;
    }
    switch (this.#state) {
      case IN_SCAN:
        return this.#text.start;
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
        if (byte === 0x5d) {
          return this.#close(window, position, byte);
        }
        if (this.#swallowDepth < 0) {
          this.#separator = position;
        }
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
      this.#node = 0;
    } else if (this.#depth > 0 || this.#state !== VALUE) {
      malformed('a line ends inside a value');
    }
  }

  #afterValue(window: Buffer, position: number, end: number, byte: number): number {
    if (byte !== COMMA) {
      return this.#close(window, position, byte);
    }
    const isObject = this.#containers[this.#depth] === IS_OBJECT;
    if (this.#swallowDepth < 0) {
      if (isObject && (!this.#plan.hasDrop || this.#kept[this.#depth] === 1)) {
        const next = this.#members(window, position, end);
        if (next > position) {
          return next;
        }
      }
      this.#separator = position;
    }
    if (isObject) {
      this.#state = NAME;
    } else {
      this.#state = VALUE;
      this.#node = this.#nodes[this.#depth] as number;
    }
    return position + 1;
  }

  /**
   * Members that come in the order of the object before, with scalars that end in this window: the common case of rows,
   * done without a state for each token. Stops before the comma of the first member that is anything else, which the
   * states then read. Does exactly what they do: tests compare the two by cutting bodies into single bytes.
   */
  #members(window: Buffer, start: number, end: number): number {
    const trie = this.#trie;
    const actions = this.#plan.actions;
    let position = start;
    let before = this.#before[this.#depth] as number;
    while (before >= 0 && position + 2 < end && window[position] === COMMA) {
      const quote = window[position + 1] === 0x20 ? position + 2 : position + 1;
      const node = this.#guess[before] as number;
      if (node < 0 || window[quote] !== QUOTE) {
        break;
      }
      const colon = trie.endOfName(node, window, quote + 1, end) + 1;
      if (colon === 0 || colon + 2 >= end || window[colon] !== 0x3a) {
        break;
      }
      const value = window[colon + 1] === 0x20 ? colon + 2 : colon + 1;
      const next = this.#scalar(window, value, end, node, actions[node] as number);
      if (next < 0) {
        break;
      }
      before = node;
      position = next;
    }
    this.#before[this.#depth] = before;
    return position;
  }

  /** One scalar that ends in this window, under its action; returns its end, or -1 when it is not that simple. */
  #scalar(window: Buffer, start: number, end: number, node: number, action: number): number {
    const rule = this.#trie.rules[node] as number;
    if (window[start] === QUOTE) {
      const close = plainEnd(window, start + 1, end);
      if (close === end || window[close] !== QUOTE) {
        return -1;
      }
      if (action === ACTION_MASK) {
        checkHeld(close + 1 - start);
        this.#mask(window, start, close + 1, node);
      } else if (action === ACTION_SCAN) {
        if (close - start > BLOCK_BYTES) {
          return -1;
        }
        const planRule = this.#ruleAt(node);
        this.#text.begin(start + 1, planRule.context);
        this.#text.settle(window, close, true, CELL_PLAIN, rule, planRule);
      } else if (action !== ACTION_PASS) {
        return -1;
      }
      this.#counters.present(rule);
      return close + 1;
    }
    if (action !== ACTION_PASS || window[start] === 0x6e) {
      return -1;
    }
    const stop = atomEnd(window, start, end);
    if (stop === end || stop - start > ATOM_BYTES_MAX || !isAtom(window, start, stop)) {
      return -1;
    }
    this.#counters.present(rule);
    return stop;
  }

  #open(byte: number, position: number): number {
    if (this.#depth === DEPTH_MAX) {
      malformed('the value is nested too deeply');
    }
    const node = this.#swallowDepth >= 0 ? UNKNOWN : this.#node;
    const depth = ++this.#depth;
    this.#kept[depth] = 0;
    if (byte === OPEN_OBJECT) {
      this.#containers[depth] = IS_OBJECT;
      this.#nodes[depth] = node;
      this.#before[depth] = node < 0 ? UNKNOWN : node + this.#trie.size;
      this.#state = NAME_OR_CLOSE;
    } else {
      this.#containers[depth] = IS_ARRAY;
      this.#arrays++;
      this.#node = node < 0 || this.#plan.scansUnknown ? node : (this.#trie.elements[node] as number);
      this.#nodes[depth] = this.#node;
      this.#state = VALUE_OR_CLOSE;
    }
    return position + 1;
  }

  #close(window: Buffer, position: number, byte: number): number {
    const container = this.#containers[this.#depth];
    if (byte !== (container === IS_OBJECT ? 0x7d : 0x5d)) {
      malformed('a comma or the end of the container is missing');
    }
    this.#arrays -= container === IS_ARRAY ? 1 : 0;
    this.#depth--;
    return this.#endValue(window, position + 1);
  }

  #beginName(window: Buffer, quote: number, end: number): number {
    const position = quote + 1;
    this.#token = position;
    if (this.#swallowDepth < 0) {
      if (this.#state === NAME_OR_CLOSE) {
        this.#separator = quote;
      }
      const before = this.#before[this.#depth] as number;
      const guess = before < 0 ? -1 : (this.#guess[before] as number);
      const stop = guess < 0 ? -1 : this.#trie.endOfName(guess, window, position, end);
      if (stop >= 0) {
        this.#before[this.#depth] = guess;
        this.#node = guess;
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
        this.#endName(window, position);
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

  #endName(window: Buffer, end: number): void {
    this.#state = COLON;
    if (this.#swallowDepth >= 0) {
      return;
    }
    let name: Buffer = window;
    let first = this.#token;
    let last = end;
    if (this.#isEscaped) {
      name = decodeContent(window, this.#token, end);
      first = 0;
      last = name.length;
      this.#hash = HASH_START;
      for (const byte of name) {
        this.#hash = hashByte(this.#hash, byte);
      }
    }
    const parent = this.#nodes[this.#depth] as number;
    const node = this.#trie.member(parent, name, first, last, this.#hash);
    if (node >= 0) {
      this.#guess[this.#before[this.#depth] as number] = node;
      this.#before[this.#depth] = node;
      this.#node = node;
    } else if (this.#plan.scansUnknown) {
      this.#anyName(window, name, first, last, end);
    } else {
      this.#unknownName(window, name, first, last, end, parent);
    }
  }

  /** A member that nobody declared: the name leaves only when it looks like a schema's. */
  #unknownName(window: Buffer, name: Buffer, first: number, last: number, end: number, parent: number): void {
    const isNamed = isSchemaName(name, first, last);
    const parentPath = this.#trie.paths[parent] as string;
    this.#unknownPath = this.#counters.pathOf(parentPath, parent, this.#hash, name, first, last, isNamed);
    this.#node = UNKNOWN;
    if (!isNamed) {
      this.#keep(window);
      this.#writer.replace(window, this.#token - 1, end + 1, JSON_WITHHELD, 'unknown', '', this.#unknownPath);
    }
  }

  /** Any member of a plan that scans everything: its name can be data as well. */
  #anyName(window: Buffer, name: Buffer, first: number, last: number, end: number): void {
    this.#node = 0;
    const key = this.#hash >>> 0;
    let label = this.#labels.get(key);
    if (label === undefined) {
      label = labelOfName(name.toString('latin1', first, Math.min(last, first + 64)));
      if (this.#labels.size < LABELS_MAX) {
        this.#labels.set(key, label);
      }
    }
    this.#context = label;
    const kind = findsInName(this.#plan, window, this.#token, end, this.#isEscaped);
    if (kind >= 0) {
      this.#keep(window);
      this.#writer.replace(window, this.#token - 1, end + 1, JSON_WITHHELD, 'request', this.#kindName(kind), '');
      this.#counters.found(0, kind);
    }
  }

  #kindName(kind: number): string {
    return this.#plan.kindRules[kind]?.kind ?? '';
  }

  /** The member or element stays: when it is the first that does, the comma before it goes. */
  #keep(window: Buffer): void {
    if (this.#plan.hasDrop && this.#depth > 0 && this.#kept[this.#depth] === 0) {
      this.#kept[this.#depth] = 1;
      if (this.#separator >= 0 && window[this.#separator] === COMMA) {
        this.#writer.strip(window, this.#separator, this.#separator + 1);
      }
    }
    this.#separator = -1;
  }

  #beginValue(window: Buffer, position: number, byte: number): number {
    if (this.#swallowDepth < 0) {
      this.#decide(window, position, byte);
    }
    this.#isEscaped = false;
    if (byte === QUOTE) {
      this.#token = position + 1;
      this.#state = IN_STRING;
      if (this.#isScan && this.#swallowDepth < 0) {
        this.#state = IN_SCAN;
        this.#text.begin(position + 1, this.#context);
      }
      return position + 1;
    }
    if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
      return this.#open(byte, position);
    }
    this.#token = position;
    this.#state = IN_ATOM;
    return position;
  }

  /** What happens to the value that begins with `byte`. Everything that is not plainly allowed is swallowed. */
  #decide(window: Buffer, position: number, byte: number): void {
    const node = this.#node;
    this.#isScan = false;
    this.#countRow();
    let action = node < 0 ? ACTION_DENY : (this.#plan.actions[node] as number);
    const rule = node < 0 ? -1 : (this.#trie.rules[node] as number);
    if (rule >= 0 && byte !== 0x6e) {
      this.#counters.present(rule);
    }
    if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
      action = this.#containerAction(action, node, byte);
    } else if (action === ACTION_INNER) {
      action = byte === 0x6e ? ACTION_PASS : ACTION_DENY; // null where a container may stand says nothing.
    }
    if (action === ACTION_PASS || action === ACTION_SCAN) {
      if (this.#separator >= 0) {
        checkHeld(position - this.#separator);
        this.#keep(window);
      }
      if (action === ACTION_SCAN) {
        this.#isScan = true;
        if (!this.#plan.scansUnknown) {
          this.#context = this.#ruleAt(node).context;
        }
      }
      return;
    }
    this.#swallow(window, position, action, node);
  }

  #countRow(): void {
    if (!this.#isNdjson && this.#arrays === 1 && this.#containers[this.#depth] === IS_ARRAY) {
      this.#counters.rows++;
    }
  }

  #containerAction(action: number, node: number, byte: number): number {
    if (action === ACTION_MASK || action === ACTION_DROP || action === ACTION_DENY) {
      return action;
    }
    if (this.#plan.scansUnknown) {
      return ACTION_PASS;
    }
    const isEntered =
      byte === OPEN_OBJECT ? this.#trie.hasMembers[node] === 1 : (this.#trie.elements[node] as number) >= 0;
    return isEntered ? ACTION_PASS : ACTION_DENY;
  }

  #swallow(window: Buffer, position: number, action: number, node: number): void {
    const isRemoved = action === ACTION_DROP && this.#depth > 0;
    const start = isRemoved ? this.#separator : position;
    if (!isRemoved && this.#separator >= 0) {
      checkHeld(position - this.#separator);
      this.#keep(window);
    }
    this.#separator = -1;
    this.#swallowDepth = this.#depth;
    this.#swallowStart = start;
    this.#swallowAction = action;
    this.#swallowNode = node;
  }

  #endValue(window: Buffer, position: number): number {
    if (this.#swallowDepth === this.#depth) {
      this.#endSwallow(window, position);
    }
    if (this.#depth > 0) {
      this.#state = AFTER_VALUE;
      return position;
    }
    this.#state = AFTER_ROOT;
    this.#counters.rows += this.#isNdjson ? 1 : 0;
    return position;
  }

  #endSwallow(window: Buffer, end: number): void {
    const start = this.#swallowStart;
    checkHeld(end - start);
    this.#swallowDepth = -1;
    if (this.#swallowAction === ACTION_DENY) {
      const path = this.#deniedPath();
      this.#counters.unknown(path);
      this.#writer.replace(window, start, end, JSON_WITHHELD, 'unknown', '', path);
      return;
    }
    const node = this.#swallowNode;
    if (this.#swallowAction === ACTION_MASK) {
      this.#mask(window, start, end, node);
    } else {
      this.#replace(window, start, end, this.#depth === 0 ? JSON_NULL : NOTHING, node);
    }
  }

  #mask(window: Buffer, start: number, end: number, node: number): void {
    const replacement = maskedJson(this.#plan, this.#ruleAt(node), window, start, end);
    if (replacement !== null) {
      this.#replace(window, start, end, replacement, node);
    }
  }

  #replace(window: Buffer, start: number, end: number, replacement: Uint8Array, node: number): void {
    const rule = this.#ruleAt(node);
    this.#counters.masked(this.#trie.rules[node] as number);
    this.#writer.replace(window, start, end, replacement, rule.class, rule.kind, rule.path);
  }

  #deniedPath(): string {
    const isMember = this.#swallowNode === UNKNOWN && this.#containers[this.#depth] === IS_OBJECT;
    if (isMember && this.#depth > 0) {
      return this.#unknownPath;
    }
    const container = this.#swallowNode === UNKNOWN ? '[]' : (this.#trie.paths[this.#swallowNode] as string);
    return container;
  }

  #ruleAt(node: number): PlanRule {
    const rule = this.#plan.rules[this.#trie.rules[node] as number];
    if (rule === undefined) {
      throw new GatewayError('internal', 'a masked path has a rule');
    }
    return rule;
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

  #scan(window: Buffer, start: number, end: number): number {
    let position = start;
    for (;;) {
      const limit = Math.min(end, this.#text.blockEnd);
      position = plainEnd(window, position, limit);
      if (position >= this.#text.blockEnd) {
        this.#settle(window, position, false);
      } else if (position === end) {
        return position;
      } else if (window[position] === QUOTE) {
        this.#settle(window, position, true);
        return this.#endValue(window, position + 1);
      } else {
        const size = this.#escape(window, position, end);
        if (size === JSON_MORE) {
          return position;
        }
        position += size;
        if (position >= this.#text.blockEnd) {
          this.#settle(window, position, false);
        }
      }
    }
  }

  #settle(window: Buffer, end: number, isFinal: boolean): void {
    const cell = this.#isEscaped ? CELL_JSON : CELL_PLAIN;
    const rule = this.#trie.rules[this.#node] as number;
    this.#text.settle(window, end, isFinal, cell, rule, this.#ruleAt(this.#node));
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
    if (this.#isScan && this.#swallowDepth < 0) {
      const kind = findsInAtom(this.#plan, window, this.#token, end, this.#context);
      if (kind >= 0) {
        const rule = this.#ruleAt(this.#node);
        this.#counters.found(this.#trie.rules[this.#node] as number, kind);
        this.#writer.replace(window, this.#token, end, JSON_NULL, rule.class, this.#kindName(kind), rule.path);
      }
    }
    return this.#endValue(window, end);
  }

  #finish(window: Buffer, position: number, end: number): number {
    let last = position;
    if (this.#state === IN_ATOM && position === end) {
      last = this.#endAtom(window, end);
    }
    const isEmpty = this.#state === VALUE && this.#depth === 0 && (this.#isNdjson || !this.#hasInput);
    if (last !== end || (this.#state !== AFTER_ROOT && !isEmpty)) {
      malformed('the body ends inside a value');
    }
    if (!this.#isNdjson && this.#counters.rows === 0 && this.#hasInput) {
      this.#counters.rows = 1;
    }
    return end;
  }
}

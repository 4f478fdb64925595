import { GatewayError } from '../../core/kernel/errors.ts';
import { checkHeld } from './body-stream.ts';
import { ACTION_DENY, ACTION_DROP, ACTION_INNER, ACTION_MASK, ACTION_PASS, ACTION_SCAN } from './compiled-plan.ts';
import type { CompiledPlan, PlanRule } from './compiled-plan.ts';
import { ATOM_BYTES_MAX, atomEnd, isAtom, plainEnd } from './json-tokens.ts';
import { JSON_NULL, JSON_WITHHELD, decodeContent, findsInAtom, findsInName, maskedJson } from './json-values.ts';
import type { MaskCounters } from './mask-counters.ts';
import { hashName } from './path-trie.ts';
import type { PathTrie } from './path-trie.ts';
import { labelOfName } from './scanner/labels.ts';
import { BLOCK_BYTES } from './scanner/scan-block.ts';
import { CELL_JSON, CELL_PLAIN } from './scanner/scan-cell.ts';
import { isSchemaName } from './schema-name.ts';
import type { SpanWriter } from './span-writer.ts';
import { TextReplacer } from './text-replacer.ts';

export const JSON_DEPTH_MAX = 64;

const UNKNOWN = -1;
const LABELS_MAX = 1024;

const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_OBJECT = 0x7b;
const OPEN_ARRAY = 0x5b;

const NOTHING: Buffer = Buffer.alloc(0);

/**
 * What happens to each value of a JSON body: walks the trie along with the tokenizer, decides when a value begins, and
 * writes it when it ends. The path of the value at hand is one node number.
 *
 * Invariants: `separator` >= 0 from the comma (or the start of a first member) until it is known whether that member
 * stays; `isSwallowing` while a value is read that will not stand as it is.
 */
export class JsonRules {
  depth = 0;
  /** The comma before the member or element at hand, or its own start. -1: nothing is waiting. */
  separator = -1;
  /** The value at hand is free text. */
  isScan = false;
  readonly text: TextReplacer;
  readonly #plan: CompiledPlan;
  readonly #trie: PathTrie;
  readonly #writer: SpanWriter;
  readonly #counters: MaskCounters;
  readonly #isNdjson: boolean;

  #arrays = 0;
  readonly #isArray = new Uint8Array(JSON_DEPTH_MAX + 1);
  /** Object: its own node. Array: the node of its elements. */
  readonly #nodes = new Int32Array(JSON_DEPTH_MAX + 1);
  readonly #kept = new Uint8Array(JSON_DEPTH_MAX + 1);
  /** Node of the member before; at the start of an object its own node plus the number of nodes. */
  readonly #before = new Int32Array(JSON_DEPTH_MAX + 1);
  /** Which member of the same object came after this one last time; -1 when nothing did. */
  readonly #guess: Int32Array;
  readonly #labels = new Map<number, number>();

  /** Node of the value that comes next. */
  #node = 0;
  #context = 0;
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
    this.#isNdjson = isNdjson;
    this.text = new TextReplacer(plan, writer, counters);
    this.#guess = new Int32Array(plan.trie.size * 2).fill(-1);
  }

  get isSwallowing(): boolean {
    return this.#swallowDepth >= 0;
  }

  get isInObject(): boolean {
    return this.#isArray[this.depth] === 0;
  }

  shift(by: number): void {
    this.#swallowStart -= by;
    this.separator = this.separator < 0 ? -1 : this.separator - by;
    this.#writer.shift(by);
    this.text.shift(by);
  }

  /** First byte that waits for a decision, or -1. */
  get waitsFrom(): number {
    return this.#swallowDepth >= 0 ? this.#swallowStart : this.separator;
  }

  beginRoot(): void {
    this.#node = 0;
  }

  beginElement(): void {
    this.#node = this.#nodes[this.depth] as number;
  }

  open(isArray: boolean): void {
    const node = this.#swallowDepth >= 0 ? UNKNOWN : this.#node;
    const depth = ++this.depth;
    this.#kept[depth] = 0;
    this.#isArray[depth] = isArray ? 1 : 0;
    if (isArray) {
      this.#arrays++;
      this.#node = node < 0 || this.#plan.scansUnknown ? node : (this.#trie.elements[node] as number);
      this.#nodes[depth] = this.#node;
    } else {
      this.#nodes[depth] = node;
      this.#before[depth] = node < 0 ? UNKNOWN : node + this.#trie.size;
    }
  }

  close(): void {
    this.#arrays -= this.#isArray[this.depth] as number;
    this.depth--;
  }

  /** End of the name at `start` when it is the one that came here last time, else -1. */
  guessName(window: Buffer, start: number, end: number): number {
    const before = this.#before[this.depth] as number;
    const guess = before < 0 ? -1 : (this.#guess[before] as number);
    const stop = guess < 0 ? -1 : this.#trie.endOfName(guess, window, start, end);
    if (stop >= 0) {
      this.#before[this.depth] = guess;
      this.#node = guess;
    }
    return stop;
  }

  /** The member's name is `window` [start, end), `hash` that of its bytes as they are spelled. */
  endName(window: Buffer, start: number, end: number, spelledHash: number, isEscaped: boolean): void {
    let name: Buffer = window;
    let first = start;
    let last = end;
    let hash = spelledHash;
    if (isEscaped) {
      name = decodeContent(window, start, end);
      first = 0;
      last = name.length;
      hash = hashName(name);
    }
    const parent = this.#nodes[this.depth] as number;
    const node = this.#trie.member(parent, name, first, last, hash);
    if (node >= 0) {
      this.#guess[this.#before[this.depth] as number] = node;
      this.#before[this.depth] = node;
      this.#node = node;
      return;
    }
    let kind = '';
    let isNamed: boolean;
    if (this.#plan.scansUnknown) {
      this.#node = 0;
      this.#context = this.#labelOf(name, first, last, hash);
      const found = findsInName(this.#plan, window, start, end, isEscaped);
      kind = this.#kindName(found);
      isNamed = found < 0;
      if (found >= 0) {
        this.#counters.found(0, found);
      }
    } else {
      this.#node = UNKNOWN;
      isNamed = isSchemaName(name, first, last);
      const parentPath = this.#trie.paths[parent] as string;
      this.#unknownPath = this.#counters.pathOf(parentPath, parent, hash, name, first, last, isNamed);
    }
    if (!isNamed) {
      // Nobody declared the name, and it looks like data (maps keyed by an identifier): it does not leave either.
      this.#keep(window);
      this.#writer.replace(window, start - 1, end + 1, JSON_WITHHELD, 'unknown', kind, this.#unknownPath);
    }
  }

  #labelOf(name: Buffer, first: number, last: number, hash: number): number {
    const key = hash >>> 0;
    let label = this.#labels.get(key);
    if (label === undefined) {
      label = labelOfName(name.toString('latin1', first, Math.min(last, first + 64)));
      if (this.#labels.size < LABELS_MAX) {
        this.#labels.set(key, label);
      }
    }
    return label;
  }

  /**
   * Members that come in the order of the object before, with scalars that end in this window: the common case of rows,
   * done without a state for each token. Stops before the comma of the first member that is anything else, which the
   * states then read. Does exactly what they do: tests compare the two by cutting bodies into single bytes.
   */
  members(window: Buffer, start: number, end: number): number {
    if (this.#plan.hasDrop && this.#kept[this.depth] === 0) {
      return start;
    }
    const trie = this.#trie;
    const actions = this.#plan.actions;
    let position = start;
    let before = this.#before[this.depth] as number;
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
    this.#before[this.depth] = before;
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
        this.text.begin(start + 1, planRule.context);
        this.text.settle(window, close, true, CELL_PLAIN, rule, planRule);
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

  /** What happens to the value that begins with `byte`. Everything that is not plainly allowed is swallowed. */
  decide(window: Buffer, position: number, byte: number): void {
    const node = this.#node;
    this.isScan = false;
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
      if (this.separator >= 0) {
        checkHeld(position - this.separator);
        this.#keep(window);
      }
      if (action === ACTION_SCAN) {
        this.isScan = true;
        if (!this.#plan.scansUnknown) {
          this.#context = this.#ruleAt(node).context;
        }
      }
      return;
    }
    this.#swallow(window, position, action, node);
  }

  /** A text that is scanned begins at `start`. */
  beginText(start: number): void {
    this.text.begin(start, this.#context);
  }

  /** Decides a block of the text, or its rest. */
  settleText(window: Buffer, end: number, isFinal: boolean, isEscaped: boolean): void {
    const cell = isEscaped ? CELL_JSON : CELL_PLAIN;
    const rule = this.#trie.rules[this.#node] as number;
    this.text.settle(window, end, isFinal, cell, rule, this.#ruleAt(this.#node));
  }

  /** A number or literal ended. */
  endAtom(window: Buffer, start: number, end: number): void {
    if (!this.isScan || this.#swallowDepth >= 0) {
      return;
    }
    const kind = findsInAtom(this.#plan, window, start, end, this.#context);
    if (kind >= 0) {
      const rule = this.#ruleAt(this.#node);
      this.#counters.found(this.#trie.rules[this.#node] as number, kind);
      this.#writer.replace(window, start, end, JSON_NULL, rule.class, this.#kindName(kind), rule.path);
    }
  }

  /** A value ended at this depth. */
  endValue(window: Buffer, end: number): void {
    if (this.#swallowDepth === this.depth) {
      this.#endSwallow(window, end);
    }
    if (this.depth === 0 && this.#isNdjson) {
      this.#counters.rows++;
    }
  }

  #countRow(): void {
    if (!this.#isNdjson && this.#arrays === 1 && !this.isInObject) {
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
    const isRemoved = action === ACTION_DROP && this.depth > 0;
    const start = isRemoved ? this.separator : position;
    if (!isRemoved && this.separator >= 0) {
      checkHeld(position - this.separator);
      this.#keep(window);
    }
    this.separator = -1;
    this.#swallowDepth = this.depth;
    this.#swallowStart = start;
    this.#swallowAction = action;
    this.#swallowNode = node;
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
      this.#replace(window, start, end, this.depth === 0 ? JSON_NULL : NOTHING, node);
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
    const isMember = this.#swallowNode === UNKNOWN && this.isInObject;
    if (isMember && this.depth > 0) {
      return this.#unknownPath;
    }
    return this.#swallowNode === UNKNOWN ? '[]' : (this.#trie.paths[this.#swallowNode] as string);
  }

  /** The member or element stays: when it is the first that does, the comma before it goes. */
  #keep(window: Buffer): void {
    if (this.#plan.hasDrop && this.depth > 0 && this.#kept[this.depth] === 0) {
      this.#kept[this.depth] = 1;
      if (this.separator >= 0 && window[this.separator] === COMMA) {
        this.#writer.strip(window, this.separator, this.separator + 1);
      }
    }
    this.separator = -1;
  }

  #ruleAt(node: number): PlanRule {
    const rule = this.#plan.rules[this.#trie.rules[node] as number];
    if (rule === undefined) {
      throw new GatewayError('internal', 'a masked path has a rule');
    }
    return rule;
  }

  #kindName(kind: number): string {
    return this.#plan.kindRules[kind]?.kind ?? '';
  }
}

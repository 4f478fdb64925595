import { assert } from '../../core/kernel/assert.ts';
import { canonicalJson, type JsonValue } from '../../core/kernel/canonical-json.ts';

/** The shape of the part of an input that a bundle reads. It is the same for every input; only the leaves differ. */
export interface InputLayout {
  /** Members that are read, each as the names that lead to it. */
  readonly leaves: readonly (readonly string[])[];
  /** Objects that are `null` in some inputs. None is inside of another one. */
  readonly nullables: readonly (readonly string[])[];
}

/** The heap of an OPA module, as far as building values goes. Every call can throw what the module throws. */
export interface OpaHeap {
  /**
   * Writes `json` at `address` and parses it right behind. The text MUST stay where it is as long as the value is used:
   * numbers refer to it. `end` is the first free address after both.
   */
  parse(json: string, address: number): { readonly value: number; readonly end: number };
  /** Puts `value` into the object, creating the objects on the way. Allocates from `address`; returns the new end. */
  addPath(object: number, path: number, value: number, address: number): number;
  /** JSON of a value. Scribbles from `address` on. */
  dump(value: number, address: number): string;
  /** For 32-bit words, little-endian and unaligned. Valid until an abort: the instance is then another one. */
  words(): DataView;
  bytes(): Buffer;
}

const ARENA_BYTES = 1024 * 1024;
/** Longer texts are parsed for one input and not kept. */
const KEPT_CHARS_MAX = 256;
/** A list of one-digit numbers takes the most: a value and its headers for two bytes. */
const PARSED_BYTES_PER_BYTE = 64;
const KEPT_BYTES_MAX = KEPT_CHARS_MAX * PARSED_BYTES_PER_BYTE;

/**
 * An input whose objects are built once, and whose leaves are set for each evaluation: reading the text of an input is
 * the larger part of a decision, and almost every leaf of it is a word that was there before.
 *
 * Memory, from `start` to `end`: the objects | values of words, kept | values of long texts, for one input.
 *
 * Where a leaf is, is not part of OPA's ABI. So it is found, not known: build the objects with a mark in each leaf, look
 * for the address of the mark, and prove every place that is found by changing it and dumping the document. A module that
 * this does not work for has no slots (`InputSlots.build` returns null) and gets its input as text.
 *
 * Invariants: an evaluation never writes to what is below `end` (OPA's values are immutable, as its `data` is); before
 * each one every slot is set; `#kept` holds exactly the values between `#keptStart` and `#keptEnd`.
 */
export class InputSlots {
  /** The first address that an evaluation may use. */
  readonly end: number;
  readonly root: number;
  readonly #heap: OpaHeap;
  readonly #leafSlots: readonly number[];
  readonly #nullSlots: readonly number[];
  readonly #objects: readonly number[];
  readonly #nullValue: number;
  readonly #inputBytesMax: number;
  readonly #kept = new Map<string, number>();
  readonly #keptStart: number;
  #keptEnd: number;
  #longEnd = 0;
  #longBytes = 0;

  private constructor(heap: OpaHeap, layout: InputLayout, start: number, inputBytesMax: number) {
    this.#heap = heap;
    this.#inputBytesMax = inputBytesMax;
    let at = start;
    const parsed = (json: string): number => {
      const { value, end } = heap.parse(json, at);
      assert(value !== 0, 'a constant text is JSON');
      at = end;
      return value;
    };
    const insert = (object: number, path: readonly string[], value: number): void => {
      const names = parsed(JSON.stringify(path));
      at = heap.addPath(object, names, value, at);
    };
    this.#nullValue = parsed('null');
    const marks = layout.leaves.map((_, i) => parsed(JSON.stringify(`leaf ${i}`)));
    this.root = parsed('{}');
    this.#objects = layout.nullables.map(() => parsed('{}'));
    for (const [i, path] of layout.leaves.entries()) {
      const parent = layout.nullables.findIndex((object) => startsWith(path, object));
      const inside = parent === -1 ? path : path.slice(layout.nullables[parent]?.length);
      insert(this.#objects[parent] ?? this.root, inside, marks[i] ?? 0);
    }
    for (const [i, path] of layout.nullables.entries()) {
      insert(this.root, path, this.#objects[i] ?? 0);
    }
    const built = { from: start, to: at };
    this.#leafSlots = marks.map((mark) => this.#find(mark, built));
    this.#nullSlots = this.#objects.map((object) => this.#find(object, built));
    this.#keptStart = at;
    this.#keptEnd = at;
    this.end = aligned(at + ARENA_BYTES + inputBytesMax * PARSED_BYTES_PER_BYTE);
  }

  /** Bytes that the slots take at most, besides the objects themselves. */
  static bytesMax(inputBytesMax: number): number {
    return ARENA_BYTES + inputBytesMax * PARSED_BYTES_PER_BYTE;
  }

  /** Null when the module's values cannot be set in this way. */
  static build(heap: OpaHeap, layout: InputLayout, start: number, inputBytesMax: number): InputSlots | null {
    const slots = new InputSlots(heap, layout, start, inputBytesMax);
    return slots.#isProved(layout) ? slots : null;
  }

  /**
   * Sets every leaf to the value of its JSON text, and every object to null or not. False when a text is not JSON or all
   * of them are too long; the document is then not to be used.
   */
  fill(texts: readonly string[], nulls: readonly boolean[]): boolean {
    if (this.#keptEnd > this.#keptStart + ARENA_BYTES - KEPT_BYTES_MAX * texts.length) {
      this.#kept.clear(); // Starts over: the words in use come back at once.
      this.#keptEnd = this.#keptStart;
    }
    this.#longEnd = this.#keptStart + ARENA_BYTES;
    this.#longBytes = 0;
    const words = this.#heap.words();
    for (let i = 0; i < texts.length; i++) {
      const text = texts[i] as string;
      const value = this.#kept.get(text) ?? this.#parse(text);
      if (value === 0) {
        return false;
      }
      words.setUint32(this.#leafSlots[i] as number, value, true);
    }
    for (let i = 0; i < nulls.length; i++) {
      const value = nulls[i] === true ? this.#nullValue : (this.#objects[i] as number);
      words.setUint32(this.#nullSlots[i] as number, value, true);
    }
    return true;
  }

  /** 0 when the text is not JSON, or its value has no room. */
  #parse(text: string): number {
    if (text.length > KEPT_CHARS_MAX) {
      this.#longBytes += Buffer.byteLength(text);
      if (this.#longBytes > this.#inputBytesMax || this.#longEnd + this.#longBytes > this.end) {
        return 0;
      }
      const { value, end } = this.#heap.parse(text, this.#longEnd);
      this.#longEnd = end;
      return end > this.end ? 0 : value;
    }
    const { value, end } = this.#heap.parse(text, this.#keptEnd);
    if (value === 0 || end > this.#keptStart + ARENA_BYTES) {
      return 0;
    }
    this.#keptEnd = end;
    this.#kept.set(text, value);
    return value;
  }

  /** The place in the built objects that refers to `value`, and whose change changes the document; -1 when none does. */
  #find(value: number, built: { readonly from: number; readonly to: number }): number {
    const pattern = Buffer.alloc(4);
    pattern.writeUInt32LE(value);
    const before = this.#heap.dump(this.root, built.to);
    for (let at = built.from; ; at++) {
      at = this.#heap.bytes().indexOf(pattern, at);
      if (at === -1 || at >= built.to) {
        return -1;
      }
      this.#heap.words().setUint32(at, this.#nullValue, true);
      const isSlot = this.#heap.dump(this.root, built.to) !== before;
      this.#heap.words().setUint32(at, value, true);
      if (isSlot) {
        return at;
      }
    }
  }

  /** Two documents without a common leaf, one with every object and one with none, come out as they went in. */
  #isProved(layout: InputLayout): boolean {
    if ([...this.#leafSlots, ...this.#nullSlots].some((slot) => slot === -1)) {
      return false;
    }
    const trials = [
      { texts: layout.leaves.map((_, i) => JSON.stringify(`a${i}`)), isNull: false },
      { texts: layout.leaves.map((_, i) => `[${i},true,{"b":"\\u00e9${i}"}]`), isNull: true },
      { texts: layout.leaves.map((_, i) => JSON.stringify('long '.repeat(100) + i)), isNull: false },
    ];
    return trials.every(({ texts, isNull }) => {
      const nulls = layout.nullables.map(() => isNull);
      const expected = canonicalJson(documentOf(layout, texts, nulls));
      return (
        this.fill(texts, nulls) &&
        canonicalJson(JSON.parse(this.#heap.dump(this.root, this.end)) as JsonValue) === expected
      );
    });
  }
}

function documentOf(layout: InputLayout, texts: readonly string[], nulls: readonly boolean[]): JsonValue {
  const document: Record<string, JsonValue> = {};
  const set = (path: readonly string[], value: JsonValue): void => {
    let parent = document;
    for (const name of path.slice(0, -1)) {
      parent[name] ??= {};
      parent = parent[name] as Record<string, JsonValue>;
    }
    parent[path.at(-1) ?? ''] = value;
  };
  for (const [i, path] of layout.leaves.entries()) {
    set(path, JSON.parse(texts[i] ?? 'null') as JsonValue);
  }
  for (const [i, path] of layout.nullables.entries()) {
    if (nulls[i] === true) {
      set(path, null);
    }
  }
  return document;
}

function startsWith(path: readonly string[], prefix: readonly string[]): boolean {
  return path.length > prefix.length && prefix.every((name, i) => name === path[i]);
}

function aligned(address: number): number {
  return (address + 15) & ~15;
}

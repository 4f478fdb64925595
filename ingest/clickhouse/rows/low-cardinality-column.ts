import { ByteSink } from './byte-sink.ts';
import type { Column } from './native-columns.ts';

const FLAGS = 0x600;
const NO_KEY = -1;
const NOTHING = Buffer.alloc(0);

/**
 * LowCardinality(String). Values are interned by their bytes, without a JavaScript string: open addressing over FNV-1a,
 * and a first look at the value that was pushed before, which is most often the same.
 *
 * Invariant: `#starts[k]`..`#starts[k + 1]` is key k in `#keys`, and key 0 is empty; `#table` holds key numbers and is
 * less than half full; `#indices` is zero at and past `rows`.
 */
export class LowCardinalityColumn implements Column {
  readonly name: string;
  readonly type: string = 'LowCardinality(String)';
  rows = 0;
  readonly #hex: boolean;
  readonly #keys = new ByteSink();
  #starts = new Uint32Array(64);
  #keyCount = 0;
  #last = 0;
  #table = new Int32Array(128).fill(NO_KEY);
  #indices = new Uint32Array(1024);

  /** With `hex` the dictionary is written as lower-case hex of the bytes that were pushed. */
  constructor(name: string, hex = false) {
    this.name = name;
    this.#hex = hex;
    this.reset();
  }

  pad(rows: number): void {
    if (rows > this.rows) {
      this.#room(rows);
      this.rows = rows;
    }
  }

  slice(source: Buffer, start: number, end: number): void {
    this.index(this.intern(source, start, end));
  }

  index(key: number): void {
    this.#room(this.rows + 1);
    this.#indices[this.rows++] = key;
    this.#last = key;
  }

  intern(source: Buffer, start: number, end: number): number {
    if (this.#equals(this.#last, source, start, end)) {
      return this.#last;
    }
    let hash = 0x811c9dc5;
    for (let i = start; i < end; i++) {
      hash = Math.imul(hash ^ (source[i] as number), 0x01000193);
    }
    const mask = this.#table.length - 1;
    let slot = (hash ^ (hash >>> 15)) & mask;
    for (;;) {
      const key = this.#table[slot] as number;
      if (key === NO_KEY) {
        return this.#add(source, start, end, slot);
      }
      if (this.#equals(key, source, start, end)) {
        return key;
      }
      slot = (slot + 1) & mask;
    }
  }

  writeTo(sink: ByteSink): void {
    sink.u64(1, 0);
    this.writeData(sink);
  }

  /** Without the version, which an array writes before its offsets. */
  writeData(sink: ByteSink): void {
    if (this.rows === 0) {
      return;
    }
    const width = this.#keyCount <= 0x100 ? 0 : this.#keyCount <= 0x10000 ? 1 : 2;
    sink.u64(FLAGS | width, 0);
    sink.u64(this.#keyCount, 0);
    for (let key = 0; key < this.#keyCount; key++) {
      this.#writeKey(sink, this.#starts[key] as number, this.#starts[key + 1] as number);
    }
    sink.u64(this.rows, 0);
    this.#writeIndices(sink, width);
  }

  reset(): void {
    this.#indices.fill(0, 0, this.rows);
    this.rows = 0;
    this.#keyCount = 0;
    this.#keys.reset();
    this.#table.fill(NO_KEY);
    this.#last = 0;
    this.#starts[0] = 0;
    this.#starts[1] = 0;
    this.intern(NOTHING, 0, 0);
  }

  #room(rows: number): void {
    if (rows > this.#indices.length) {
      const grown = new Uint32Array(Math.max(rows, this.#indices.length * 2));
      grown.set(this.#indices);
      this.#indices = grown;
    }
  }

  #writeKey(sink: ByteSink, start: number, end: number): void {
    if (!this.#hex) {
      sink.varuint(end - start);
      sink.slice(this.#keys.bytes, start, end);
      return;
    }
    sink.varuint((end - start) * 2);
    const text = Buffer.from(this.#keys.bytes.toString('hex', start, end), 'ascii');
    sink.slice(text, 0, text.length);
  }

  #writeIndices(sink: ByteSink, width: number): void {
    sink.reserve(this.rows << width);
    const target = sink.bytes;
    let at = sink.size;
    for (let row = 0; row < this.rows; row++) {
      const key = this.#indices[row] as number;
      target[at++] = key;
      if (width > 0) {
        target[at++] = key >>> 8;
      }
      if (width > 1) {
        target[at++] = key >>> 16;
        target[at++] = key >>> 24;
      }
    }
    sink.size = at;
  }

  #equals(key: number, source: Buffer, start: number, end: number): boolean {
    if (key >= this.#keyCount) {
      return false;
    }
    let at = this.#starts[key] as number;
    if ((this.#starts[key + 1] as number) - at !== end - start) {
      return false;
    }
    const keys = this.#keys.bytes;
    for (let i = start; i < end; i++) {
      if (keys[at++] !== source[i]) {
        return false;
      }
    }
    return true;
  }

  #add(source: Buffer, start: number, end: number, slot: number): number {
    const key = this.#keyCount++;
    if (key + 2 > this.#starts.length) {
      const grown = new Uint32Array(this.#starts.length * 2);
      grown.set(this.#starts);
      this.#starts = grown;
    }
    this.#starts[key] = this.#keys.size;
    this.#keys.slice(source, start, end);
    this.#starts[key + 1] = this.#keys.size;
    this.#table[slot] = key;
    if (this.#keyCount * 2 > this.#table.length) {
      this.#rehash();
    }
    return key;
  }

  #rehash(): void {
    const table = new Int32Array(this.#table.length * 2).fill(NO_KEY);
    const mask = table.length - 1;
    const keys = this.#keys.bytes;
    for (let key = 0; key < this.#keyCount; key++) {
      let hash = 0x811c9dc5;
      for (let i = this.#starts[key] as number; i < (this.#starts[key + 1] as number); i++) {
        hash = Math.imul(hash ^ (keys[i] as number), 0x01000193);
      }
      let slot = (hash ^ (hash >>> 15)) & mask;
      while (table[slot] !== NO_KEY) {
        slot = (slot + 1) & mask;
      }
      table[slot] = key;
    }
    this.#table = table;
  }
}

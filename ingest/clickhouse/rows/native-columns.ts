import { assert } from '../../../core/kernel/assert.ts';

/*
 * ClickHouse "Native", as a file has it (no block info), little-endian:
 *
 *   column count varuint | row count varuint | columns
 *   column = name string | type string | data            string = length varuint | bytes
 *
 *   numbers, DateTime64, UInt128, FixedString(n): the values back to back
 *   String: strings            Nullable(T): one byte a row (1 = null), then T with a default at each null
 *   LowCardinality(String): version u64 = 1 | flags u64 (0x600 | index width) | key count u64 | keys as strings
 *     | row count u64 | indices u8, u16 or u32.   Without rows only the version.
 *   Array(T): version of T if T is LowCardinality | end offset u64 a row | all elements as T, without the version
 *   Map(K, V): like Array of two columns: keys, then values
 */

/** A buffer that grows. Positions stay valid, views do not. */
export class ByteSink {
  bytes: Buffer;
  size = 0;

  constructor(capacity = 1024) {
    this.bytes = Buffer.allocUnsafeSlow(capacity);
  }

  reserve(more: number): void {
    if (this.size + more <= this.bytes.length) {
      return;
    }
    const grown = Buffer.allocUnsafeSlow(Math.max(this.bytes.length * 2, this.size + more));
    this.bytes.copy(grown, 0, 0, this.size);
    this.bytes = grown;
  }

  u8(value: number): void {
    this.reserve(1);
    this.bytes[this.size++] = value;
  }

  u32(value: number): void {
    this.reserve(4);
    this.size = this.bytes.writeUInt32LE(value >>> 0, this.size);
  }

  u64(low: number, high: number): void {
    this.reserve(8);
    this.bytes.writeUInt32LE(low >>> 0, this.size);
    this.size = this.bytes.writeUInt32LE(high >>> 0, this.size + 4);
  }

  varuint(value: number): void {
    this.reserve(5);
    let rest = value;
    while (rest >= 0x80) {
      this.bytes[this.size++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.bytes[this.size++] = rest;
  }

  slice(source: Buffer, start: number, end: number): void {
    this.reserve(end - start);
    source.copy(this.bytes, this.size, start, end);
    this.size += end - start;
  }

  text(value: string): void {
    const bytes = Buffer.from(value, 'utf8');
    this.varuint(bytes.length);
    this.slice(bytes, 0, bytes.length);
  }

  zeros(count: number): void {
    this.reserve(count);
    this.bytes.fill(0, this.size, this.size + count);
    this.size += count;
  }
}

const HEX = Buffer.from('0123456789abcdef', 'ascii');

/** One column of a block that is being filled. Every row pushes exactly one value. */
export interface Column {
  readonly name: string;
  readonly type: string;
  /** Rows so far. */
  readonly rows: number;
  writeTo(sink: ByteSink): void;
  reset(): void;
}

/** Numbers and fixed strings: `width` bytes a row. */
export class FixedColumn implements Column {
  readonly name: string;
  readonly type: string;
  readonly #width: number;
  readonly #data = new ByteSink();

  constructor(name: string, type: string, width: number) {
    this.name = name;
    this.type = type;
    this.#width = width;
  }

  get rows(): number {
    return this.#data.size / this.#width;
  }

  /** The low and high halves of a value; what does not fit the width is cut off. */
  number(low: number, high = 0): void {
    const data = this.#data;
    if (this.#width === 8) {
      data.u64(low, high);
    } else if (this.#width === 4) {
      data.u32(low);
    } else {
      data.u8(low);
      if (this.#width === 2) {
        data.u8(low >>> 8);
      }
    }
  }

  /** Big-endian source bytes as a little-endian number of the same width. */
  reversed(source: Buffer, offset: number): void {
    const data = this.#data;
    data.reserve(this.#width);
    const target = data.bytes;
    let at = data.size;
    for (let i = offset + this.#width - 1; i >= offset; i--) {
      target[at++] = source[i] as number;
    }
    data.size = at;
  }

  raw(source: Buffer, offset: number): void {
    this.#data.slice(source, offset, offset + this.#width);
  }

  zero(): void {
    this.#data.zeros(this.#width);
  }

  writeTo(sink: ByteSink): void {
    sink.slice(this.#data.bytes, 0, this.#data.size);
  }

  reset(): void {
    this.#data.size = 0;
  }
}

export class StringColumn implements Column {
  readonly name: string;
  readonly type = 'String';
  rows = 0;
  readonly #data = new ByteSink();

  constructor(name: string) {
    this.name = name;
  }

  slice(source: Buffer, start: number, end: number): void {
    this.rows++;
    this.#data.varuint(end - start);
    this.#data.slice(source, start, end);
  }

  hex(source: Buffer, start: number, end: number): void {
    this.rows++;
    const data = this.#data;
    data.varuint((end - start) * 2);
    data.reserve((end - start) * 2);
    for (let i = start; i < end; i++) {
      const byte = source[i] as number;
      data.bytes[data.size++] = HEX[byte >> 4] as number;
      data.bytes[data.size++] = HEX[byte & 15] as number;
    }
  }

  writeTo(sink: ByteSink): void {
    sink.slice(this.#data.bytes, 0, this.#data.size);
  }

  reset(): void {
    this.rows = 0;
    this.#data.size = 0;
  }
}

const FLAGS = 0x600;
const NO_KEY = -1;

/**
 * LowCardinality(String). Values are interned by their bytes, without a JavaScript string: open addressing over FNV-1a,
 * and a first look at the value of the row before, which is most often the same.
 *
 * Invariant: `#starts[k]`..`#starts[k + 1]` is key k in `#keys`; `#table` holds key numbers, less than half full.
 */
export class LowCardinalityColumn implements Column {
  readonly name: string;
  readonly type: string = 'LowCardinality(String)';
  rows = 0;
  readonly #hex: boolean;
  readonly #keys = new ByteSink();
  #starts = new Uint32Array(64);
  #keyCount = 0;
  #table = new Int32Array(128).fill(NO_KEY);
  #indices = new Uint32Array(1024);

  /** With `hex` the dictionary is written as lower-case hex of the bytes that were pushed. */
  constructor(name: string, hex = false) {
    this.name = name;
    this.#hex = hex;
  }

  slice(source: Buffer, start: number, end: number): void {
    this.index(this.intern(source, start, end));
  }

  /** A row with a key that `intern` gave for this block. */
  index(key: number): void {
    if (this.rows === this.#indices.length) {
      const grown = new Uint32Array(this.rows * 2);
      grown.set(this.#indices);
      this.#indices = grown;
    }
    this.#indices[this.rows++] = key;
  }

  intern(source: Buffer, start: number, end: number): number {
    if (this.rows > 0) {
      const last = this.#indices[this.rows - 1] as number;
      if (this.#equals(last, source, start, end)) {
        return last;
      }
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
    this.rows = 0;
    this.#keyCount = 0;
    this.#keys.size = 0;
    this.#table.fill(NO_KEY);
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

type Element = LowCardinalityColumn | StringColumn | FixedColumn;

/** Array of one element column; a row is ended by `end` after its elements were pushed to `elements`. */
export class ArrayColumn<E extends Element> implements Column {
  readonly name: string;
  readonly type: string;
  readonly elements: E;
  readonly #offsets = new ByteSink();

  constructor(elements: E) {
    this.name = elements.name;
    this.type = `Array(${elements.type})`;
    this.elements = elements;
  }

  get rows(): number {
    return this.#offsets.size / 8;
  }

  end(): void {
    this.#offsets.u64(this.elements.rows, 0);
  }

  writeTo(sink: ByteSink): void {
    const low = this.elements instanceof LowCardinalityColumn ? this.elements : null;
    if (low !== null) {
      sink.u64(1, 0);
    }
    sink.slice(this.#offsets.bytes, 0, this.#offsets.size);
    if (low === null) {
      this.elements.writeTo(sink);
    } else {
      low.writeData(sink);
    }
  }

  reset(): void {
    this.#offsets.size = 0;
    this.elements.reset();
  }
}

/** Map(LowCardinality(String), String). */
export class MapColumn implements Column {
  readonly name: string;
  readonly type = 'Map(LowCardinality(String), String)';
  readonly keys: LowCardinalityColumn;
  readonly values: StringColumn;
  readonly #offsets = new ByteSink();

  constructor(name: string) {
    this.name = name;
    this.keys = new LowCardinalityColumn(name);
    this.values = new StringColumn(name);
  }

  get rows(): number {
    return this.#offsets.size / 8;
  }

  end(): void {
    assert(this.keys.rows === this.values.rows, 'a map has as many keys as values');
    this.#offsets.u64(this.keys.rows, 0);
  }

  writeTo(sink: ByteSink): void {
    sink.u64(1, 0);
    sink.slice(this.#offsets.bytes, 0, this.#offsets.size);
    this.keys.writeData(sink);
    this.values.writeTo(sink);
  }

  reset(): void {
    this.#offsets.size = 0;
    this.keys.reset();
    this.values.reset();
  }
}

/** Nullable(UInt64). */
export class NullableU64Column implements Column {
  readonly name: string;
  readonly type = 'Nullable(UInt64)';
  readonly #nulls = new ByteSink();
  readonly #values = new ByteSink();

  constructor(name: string) {
    this.name = name;
  }

  get rows(): number {
    return this.#nulls.size;
  }

  number(low: number, high: number): void {
    this.#nulls.u8(0);
    this.#values.u64(low, high);
  }

  none(): void {
    this.#nulls.u8(1);
    this.#values.u64(0, 0);
  }

  writeTo(sink: ByteSink): void {
    sink.slice(this.#nulls.bytes, 0, this.#nulls.size);
    sink.slice(this.#values.bytes, 0, this.#values.size);
  }

  reset(): void {
    this.#nulls.size = 0;
    this.#values.size = 0;
  }
}

/** One block of `columns`, which must all have the same number of rows. */
export function writeNativeBlock(columns: readonly Column[], sink: ByteSink): void {
  const rows = columns[0]?.rows ?? 0;
  sink.varuint(columns.length);
  sink.varuint(rows);
  for (const column of columns) {
    assert(column.rows === rows, 'every column has a value for every row');
    sink.text(column.name);
    sink.text(column.type);
    column.writeTo(sink);
  }
}

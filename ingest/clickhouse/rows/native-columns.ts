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

/** Ranges up to this size are copied byte by byte: cheaper than a call into the runtime. */
const SHORT_BYTES_MAX = 48;

/** A buffer that grows. Positions stay valid, views do not. Bytes at and past `size` are zero. */
export class ByteSink {
  bytes: Buffer;
  size = 0;

  constructor(capacity = 1024) {
    this.bytes = Buffer.alloc(capacity);
  }

  reserve(more: number): void {
    if (this.size + more <= this.bytes.length) {
      return;
    }
    const grown = Buffer.alloc(Math.max(this.bytes.length * 2, this.size + more));
    this.bytes.copy(grown, 0, 0, this.size);
    this.bytes = grown;
  }

  u32(value: number): void {
    this.reserve(4);
    const { bytes, size } = this;
    bytes[size] = value;
    bytes[size + 1] = value >>> 8;
    bytes[size + 2] = value >>> 16;
    bytes[size + 3] = value >>> 24;
    this.size = size + 4;
  }

  u64(low: number, high: number): void {
    this.u32(low);
    this.u32(high);
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
    if (end - start > SHORT_BYTES_MAX) {
      source.copy(this.bytes, this.size, start, end);
      this.size += end - start;
      return;
    }
    const target = this.bytes;
    let at = this.size;
    for (let i = start; i < end; i++) {
      target[at++] = source[i] as number;
    }
    this.size = at;
  }

  text(value: string): void {
    const bytes = Buffer.from(value, 'utf8');
    this.varuint(bytes.length);
    this.slice(bytes, 0, bytes.length);
  }

  /** Zero bytes: they are zero already. */
  zeros(count: number): void {
    this.reserve(count);
    this.size += count;
  }

  reset(): void {
    this.bytes.fill(0, 0, this.size);
    this.size = 0;
  }
}

const HEX = Buffer.from('0123456789abcdef', 'ascii');

/**
 * One column of a block that is being filled. A row that got no value has the default, so only values that are there
 * cost anything: before a value for row n, and at the end of the block, the column is padded to n rows.
 */
export interface Column {
  readonly name: string;
  readonly type: string;
  /** Rows so far. */
  readonly rows: number;
  /** Default values up to `rows` rows. */
  pad(rows: number): void;
  writeTo(sink: ByteSink): void;
  reset(): void;
}

/** Numbers and fixed strings: `width` bytes a row, by default zero. */
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

  pad(rows: number): void {
    const missing = rows * this.#width - this.#data.size;
    if (missing > 0) {
      this.#data.zeros(missing);
    }
  }

  /** The low and high halves of a value; what does not fit the width is cut off. */
  number(low: number, high = 0): void {
    const data = this.#data;
    data.reserve(this.#width);
    const { bytes } = data;
    let at = data.size;
    for (let i = 0; i < this.#width; i++) {
      bytes[at++] = i < 4 ? low >>> (8 * i) : high >>> (8 * (i - 4));
    }
    data.size = at;
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

  writeTo(sink: ByteSink): void {
    sink.slice(this.#data.bytes, 0, this.#data.size);
  }

  reset(): void {
    this.#data.reset();
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

  /** The empty string is one zero byte. */
  pad(rows: number): void {
    if (rows > this.rows) {
      this.#data.zeros(rows - this.rows);
      this.rows = rows;
    }
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
    const { bytes } = data;
    let at = data.size;
    for (let i = start; i < end; i++) {
      const byte = source[i] as number;
      bytes[at++] = HEX[byte >> 4] as number;
      bytes[at++] = HEX[byte & 15] as number;
    }
    data.size = at;
  }

  writeTo(sink: ByteSink): void {
    sink.slice(this.#data.bytes, 0, this.#data.size);
  }

  reset(): void {
    this.rows = 0;
    this.#data.reset();
  }
}

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

type Element = LowCardinalityColumn | StringColumn | FixedColumn;

/** End offsets of the rows of an array: counts of elements, below 2^32. */
class Offsets {
  rows = 0;
  #ends = new Uint32Array(1024);

  /** Rows without elements. */
  pad(rows: number): void {
    if (rows > this.rows) {
      this.#room(rows);
      this.#ends.fill(this.rows === 0 ? 0 : (this.#ends[this.rows - 1] as number), this.rows, rows);
      this.rows = rows;
    }
  }

  end(elements: number): void {
    this.#room(this.rows + 1);
    this.#ends[this.rows++] = elements;
  }

  writeTo(sink: ByteSink): void {
    sink.reserve(this.rows * 8);
    for (let row = 0; row < this.rows; row++) {
      sink.u64(this.#ends[row] as number, 0);
    }
  }

  reset(): void {
    this.rows = 0;
  }

  #room(rows: number): void {
    if (rows > this.#ends.length) {
      const grown = new Uint32Array(Math.max(rows, this.#ends.length * 2));
      grown.set(this.#ends);
      this.#ends = grown;
    }
  }
}

/** Array of one element column; a row is ended by `end` after its elements were pushed to `elements`. */
export class ArrayColumn<E extends Element> implements Column {
  readonly name: string;
  readonly type: string;
  readonly elements: E;
  readonly #offsets = new Offsets();

  constructor(elements: E) {
    this.name = elements.name;
    this.type = `Array(${elements.type})`;
    this.elements = elements;
  }

  get rows(): number {
    return this.#offsets.rows;
  }

  pad(rows: number): void {
    this.#offsets.pad(rows);
  }

  end(): void {
    this.#offsets.end(this.elements.rows);
  }

  writeTo(sink: ByteSink): void {
    const low = this.elements instanceof LowCardinalityColumn ? this.elements : null;
    if (low !== null) {
      sink.u64(1, 0);
    }
    this.#offsets.writeTo(sink);
    if (low === null) {
      this.elements.writeTo(sink);
    } else {
      low.writeData(sink);
    }
  }

  reset(): void {
    this.#offsets.reset();
    this.elements.reset();
  }
}

/** Map(LowCardinality(String), String). */
export class MapColumn implements Column {
  readonly name: string;
  readonly type = 'Map(LowCardinality(String), String)';
  readonly keys: LowCardinalityColumn;
  readonly values: StringColumn;
  readonly #offsets = new Offsets();

  constructor(name: string) {
    this.name = name;
    this.keys = new LowCardinalityColumn(name);
    this.values = new StringColumn(name);
  }

  get rows(): number {
    return this.#offsets.rows;
  }

  pad(rows: number): void {
    this.#offsets.pad(rows);
  }

  end(): void {
    assert(this.keys.rows === this.values.rows, 'a map has as many keys as values');
    this.#offsets.end(this.keys.rows);
  }

  writeTo(sink: ByteSink): void {
    sink.u64(1, 0);
    this.#offsets.writeTo(sink);
    this.keys.writeData(sink);
    this.values.writeTo(sink);
  }

  reset(): void {
    this.#offsets.reset();
    this.keys.reset();
    this.values.reset();
  }
}

/** Nullable(UInt64), by default null. The bytes are inverted when they are written: 1 in memory is a value. */
export class NullableU64Column implements Column {
  readonly name: string;
  readonly type = 'Nullable(UInt64)';
  readonly #present = new FixedColumn('', 'UInt8', 1);
  readonly #values = new FixedColumn('', 'UInt64', 8);

  constructor(name: string) {
    this.name = name;
  }

  get rows(): number {
    return this.#present.rows;
  }

  pad(rows: number): void {
    this.#present.pad(rows);
    this.#values.pad(rows);
  }

  number(low: number, high: number): void {
    this.#present.number(1);
    this.#values.number(low, high);
  }

  writeTo(sink: ByteSink): void {
    const start = sink.size;
    this.#present.writeTo(sink);
    for (let at = start; at < sink.size; at++) {
      sink.bytes[at] = 1 - (sink.bytes[at] as number);
    }
    this.#values.writeTo(sink);
  }

  reset(): void {
    this.#present.reset();
    this.#values.reset();
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

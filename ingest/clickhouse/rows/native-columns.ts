import { assert } from '../../../core/kernel/assert.ts';
import { ByteSink } from './byte-sink.ts';

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

const HEX = Buffer.from('0123456789abcdef', 'ascii');

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

import { assert } from '../../../core/kernel/assert.ts';
import type { ByteSink } from './byte-sink.ts';
import { LowCardinalityColumn } from './low-cardinality-column.ts';
import { StringColumn } from './native-columns.ts';
import type { Column, FixedColumn } from './native-columns.ts';

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

type Element = LowCardinalityColumn | StringColumn | FixedColumn;

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

import { assert } from '../../../core/kernel/assert.ts';

const CAPACITY_START = 64;

/**
 * A list of `[start, end) kind` in three typed arrays, reused from cell to cell so that the byte loops allocate nothing.
 * Invariant after `settle`: sorted by start, no two overlap.
 */
export class Findings {
  starts: Int32Array = new Int32Array(CAPACITY_START);
  ends: Int32Array = new Int32Array(CAPACITY_START);
  kinds: Uint8Array = new Uint8Array(CAPACITY_START);
  count = 0;
  #ordered = true;

  clear(): void {
    this.count = 0;
    this.#ordered = true;
  }

  add(start: number, end: number, kind: number): void {
    assert(start < end, 'a finding has at least one byte');
    if (this.count === this.starts.length) {
      this.#grow();
    }
    const at = this.count++;
    if (at > 0 && start < (this.ends[at - 1] as number)) {
      this.#ordered = false;
    }
    this.starts[at] = start;
    this.ends[at] = end;
    this.kinds[at] = kind;
  }

  startAt(index: number): number {
    return this.starts[index] as number;
  }

  endAt(index: number): number {
    return this.ends[index] as number;
  }

  kindAt(index: number): number {
    return this.kinds[index] as number;
  }

  /** Keeps the first `count` findings. */
  truncate(count: number): void {
    assert(count <= this.count, 'truncate only shortens');
    this.count = count;
  }

  /** Sorts, and joins what overlaps; the joined finding has the kind of its longest part. */
  settle(): void {
    if (this.#ordered) {
      return;
    }
    const order = Array.from({ length: this.count }, (_, i) => i);
    order.sort((a, b) => this.startAt(a) - this.startAt(b) || this.endAt(b) - this.endAt(a));
    const sorted = order.map((i) => ({ start: this.startAt(i), end: this.endAt(i), kind: this.kindAt(i) }));
    this.clear();
    let longest = 0;
    for (const { start, end, kind } of sorted) {
      const last = this.count - 1;
      if (last < 0 || start >= this.endAt(last)) {
        this.add(start, end, kind);
        longest = end - start;
        continue;
      }
      this.ends[last] = Math.max(this.endAt(last), end);
      if (end - start > longest) {
        this.kinds[last] = kind;
        longest = end - start;
      }
    }
    this.#ordered = true;
  }

  #grow(): void {
    const size = this.starts.length * 2;
    const starts = new Int32Array(size);
    const ends = new Int32Array(size);
    const kinds = new Uint8Array(size);
    starts.set(this.starts);
    ends.set(this.ends);
    kinds.set(this.kinds);
    this.starts = starts;
    this.ends = ends;
    this.kinds = kinds;
  }
}

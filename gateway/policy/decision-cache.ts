import { assert } from '../../core/kernel/assert.ts';

interface Entry<T> {
  readonly value: T;
  readonly untilMs: number;
}

/**
 * A bounded map from whole canonical inputs to decisions of one bundle; the least recently used entry leaves first. The
 * key is the input itself and not a hash of it, so that two inputs can never share an entry. It lives and dies with the
 * engine of one bundle: a new bundle starts with an empty cache.
 *
 * Invariant: at most `entriesMax` entries, in order of their last use.
 */
export class DecisionCache<T> {
  readonly #entriesMax: number;
  readonly #entries = new Map<string, Entry<T>>();

  constructor(entriesMax: number) {
    assert(entriesMax >= 0, 'entriesMax must not be negative');
    this.#entriesMax = entriesMax;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string, nowMs: number): T | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) {
      return undefined;
    }
    this.#entries.delete(key);
    if (entry.untilMs <= nowMs) {
      return undefined;
    }
    this.#entries.set(key, entry);
    return entry.value;
  }

  set(key: string, value: T, untilMs: number): void {
    this.#entries.delete(key);
    if (this.#entriesMax === 0) {
      return;
    }
    if (this.#entries.size >= this.#entriesMax) {
      const oldest = this.#entries.keys().next();
      this.#entries.delete(oldest.value as string);
    }
    this.#entries.set(key, { value, untilMs });
  }
}

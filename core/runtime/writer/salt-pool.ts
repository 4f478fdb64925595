import { randomFillSync } from 'node:crypto';
import { SALT_SIZE } from '../../ledger/record.ts';

const POOL_SALTS = 1024;

/** Fills its argument with random bytes. */
export type RandomFill = (target: Buffer) => void;

/**
 * Salts from a pool: one call of the random generator for many records. A salt is used once and wiped from the pool, so
 * that a later read of this memory cannot open the commit of a record that left it out.
 */
export class SaltPool {
  readonly #pool = Buffer.alloc(POOL_SALTS * SALT_SIZE);
  readonly #fill: RandomFill;
  #next = POOL_SALTS * SALT_SIZE;

  constructor(fill: RandomFill = (target) => void randomFillSync(target)) {
    this.#fill = fill;
  }

  /** Writes one salt to the start of `target`. */
  take(target: Buffer): void {
    if (this.#next === this.#pool.length) {
      this.#fill(this.#pool);
      this.#next = 0;
    }
    // Byte by byte: for so few of them `copy` and `fill` cost more than the work.
    const from = this.#next;
    for (let i = 0; i < SALT_SIZE; i++) {
      target[i] = this.#pool[from + i] as number;
      this.#pool[from + i] = 0;
    }
    this.#next = from + SALT_SIZE;
  }
}

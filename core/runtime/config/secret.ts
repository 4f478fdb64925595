import { inspect } from 'node:util';
import { assert } from '../../kernel/assert.ts';

const REDACTED = '[redacted]';

/**
 * A secret that the configuration names by reference (`file:/run/secrets/x`, `env:NAME`). Its value leaves only by
 * `reveal`: text, JSON, logs and the inspector see `[redacted]`. The reference itself is no secret.
 */
export class Secret {
  readonly reference: string;
  #value: string | null = null;

  constructor(reference: string) {
    this.reference = reference;
  }

  reveal(): string {
    assert(this.#value !== null, 'the loader resolved every secret');
    return this.#value;
  }

  /** For the loader, once. */
  resolve(value: string): void {
    assert(this.#value === null, 'a secret is resolved once');
    this.#value = value;
  }

  toString(): string {
    return REDACTED;
  }

  toJSON(): string {
    return REDACTED;
  }

  [Symbol.toPrimitive](): string {
    return REDACTED;
  }

  [inspect.custom](): string {
    return REDACTED;
  }
}

import type { Teller } from './teller.ts';

export interface FailedCheck {
  readonly check: string;
  readonly expected: string;
  readonly got: string;
}

/**
 * The checks of one step. Each is about something that came back: a reply, a row, an exit code.
 *
 * Invariant: a step is true when it checked something and every check held.
 */
export class Checks {
  readonly #teller: Teller;
  readonly #failed: FailedCheck[] = [];
  #count = 0;

  constructor(teller: Teller) {
    this.#teller = teller;
  }

  get ok(): boolean {
    return this.#count > 0 && this.#failed.length === 0;
  }

  get count(): number {
    return this.#count;
  }

  get failed(): readonly FailedCheck[] {
    return this.#failed;
  }

  /** `got` is shown only when the check does not hold. */
  that(check: string, holds: boolean, expected: string, got: unknown): boolean {
    this.#count++;
    if (holds) {
      this.#teller.good(check);
    } else {
      const failed = { check, expected, got: shortText(got) };
      this.#failed.push(failed);
      this.#teller.bad(check);
      this.#teller.output([`expected: ${failed.expected}`, `got:      ${failed.got}`]);
    }
    return holds;
  }

  equal(check: string, got: unknown, expected: unknown): boolean {
    return this.that(check, JSON.stringify(got) === JSON.stringify(expected), shortText(expected), got);
  }
}

const TEXT_MAX = 600;

export function shortText(value: unknown): string {
  const text = (typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value)))
    .replace(/\s+/g, ' ')
    .trim();
  return text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text;
}

import type { Finding, Verdict } from './verdict.ts';

/** A place in a file of the evidence. */
export interface Place {
  /** `journal`, `bus segment`, `archive object`, … */
  readonly kind: string;
  /** Relative to the evidence. */
  readonly file: string;
  readonly offset: number;
}

/** What is kept of the findings: one bad disk can give millions, and the first ones tell. */
const FINDINGS_MAX = 10_000;

export function placeText(place: Place): string {
  return `${place.kind} ${place.file}@${place.offset}`;
}

/**
 * Everything that was found, in order.
 *
 * Invariant: `#counts` counts every finding, also those past the bound; equal findings are kept once.
 */
export class Findings {
  readonly #kept = new Map<string, Finding>();
  readonly #counts = new Map<Verdict, number>();
  #dropped = 0;

  get all(): Finding[] {
    return [...this.#kept.values()];
  }

  get dropped(): number {
    return this.#dropped;
  }

  count(verdict: Verdict): number {
    return this.#counts.get(verdict) ?? 0;
  }

  add(
    verdict: Verdict,
    detail: string,
    about: { readonly writer?: string | null; readonly index?: number | null; readonly place?: Place | null } = {},
  ): void {
    const where = about.place === undefined || about.place === null ? '' : placeText(about.place);
    const finding = { verdict, writer: about.writer ?? null, index: about.index ?? null, where, detail };
    const key = `${verdict}\n${finding.writer ?? ''}\n${finding.index ?? ''}\n${where}\n${detail}`;
    if (this.#kept.has(key)) {
      return;
    }
    this.#counts.set(verdict, this.count(verdict) + 1);
    if (this.#kept.size >= FINDINGS_MAX) {
      this.#dropped++;
      return;
    }
    this.#kept.set(key, finding);
  }

  ofWriter(writer: string): Finding[] {
    return this.all.filter((finding) => finding.writer === writer);
  }

  /** Whether something in this file was found altered already. */
  alteredIn(file: string): boolean {
    for (const { verdict, where } of this.#kept.values()) {
      if (verdict === 'ALTERED' && where.includes(` ${file}@`)) {
        return true;
      }
    }
    return false;
  }
}

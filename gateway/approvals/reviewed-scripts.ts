import type { ScriptReview } from './desk-port.ts';
import type { PeopleMap } from '../contract/people-map.ts';

/** The run that wants to know whether its script was reviewed. Empty `repository` or `sha` match nothing. */
export interface ReviewQuery {
  readonly scriptDigest: string;
  readonly repository: string;
  readonly sha: string;
  /** Persons behind the request: a review by one of them does not count. */
  readonly chainPersons: readonly string[];
  readonly nowMs: number;
}

/** Group of the people map whose members may attest scripts. */
export const REVIEWERS = 'reviewers';
/** Under the 30 days of the topic: every node, also one that started today, gives the same answer. */
const REVIEW_LIFE_MS = 29 * 24 * 3_600_000;

/**
 * Which scripts were reviewed, as a worker knows it. Fed by the main thread with reviews whose signatures it verified;
 * whether the reviewer still is one is asked of the people map of now.
 * Limit: a review counts for 29 days, then the script is attested again.
 */
export class ReviewedScripts {
  readonly #byDigest = new Map<string, ScriptReview[]>();
  #people: PeopleMap;

  constructor(people: PeopleMap) {
    this.#people = people;
  }

  setPeople(people: PeopleMap): void {
    this.#people = people;
  }

  add(review: ScriptReview): void {
    const known = (this.#byDigest.get(review.scriptDigest) ?? []).filter(
      (other) => other.reviewedMs + REVIEW_LIFE_MS > review.reviewedMs,
    );
    this.#byDigest.set(review.scriptDigest, [...known, review]);
  }

  /** The input `ci.reviewed` of the policy: this script, at this commit of this repository, by somebody else. */
  isReviewed(query: ReviewQuery): boolean {
    return (this.#byDigest.get(query.scriptDigest) ?? []).some(
      (review) =>
        review.repository === query.repository &&
        review.commit === query.sha &&
        !query.chainPersons.includes(review.reviewer) &&
        review.reviewedMs + REVIEW_LIFE_MS > query.nowMs &&
        this.#people.membersOf(REVIEWERS).includes(review.reviewer) &&
        this.#people.keyOf(review.reviewer, review.keyId) !== undefined,
    );
  }
}

import { equal } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PeopleMap } from '../contract/people-map.ts';
import { ReviewedScripts, type ReviewQuery } from './reviewed-scripts.ts';
import { cast, people, peopleOf } from './testing/cast.ts';

const DAY_MS = 24 * 3_600_000;
const review = {
  scriptDigest: 'a'.repeat(64),
  reviewer: 'bo',
  keyId: 'bo-1',
  repository: 'r',
  commit: 'c',
  reviewedMs: 1000,
};
const query: ReviewQuery = {
  scriptDigest: review.scriptDigest,
  repository: 'r',
  sha: 'c',
  chainPersons: ['ada'],
  nowMs: 1000,
};

describe('ReviewedScripts', () => {
  test('knows a review of this script at this commit by somebody else', () => {
    const scripts = new ReviewedScripts(people);
    equal(scripts.isReviewed(query), false);
    scripts.add(review);
    equal(scripts.isReviewed(query), true);
  });

  const refused: readonly (readonly [string, Partial<ReviewQuery>])[] = [
    ['for another script', { scriptDigest: 'b'.repeat(64) }],
    ['for no script', { scriptDigest: '' }],
    ['at another commit', { sha: 'd' }],
    ['without a commit', { sha: '' }],
    ['in another repository', { repository: 'fork' }],
    ['for the reviewer’s own request', { chainPersons: ['ada', 'bo'] }],
    ['after 29 days', { nowMs: 1000 + 29 * DAY_MS }],
  ];
  for (const [name, change] of refused) {
    test(`does not count ${name}`, () => {
      const scripts = new ReviewedScripts(people);
      scripts.add(review);
      equal(scripts.isReviewed({ ...query, ...change }), false);
    });
  }

  test('asks the people map of now whether the reviewer still is one, with that key', () => {
    const scripts = new ReviewedScripts(people);
    scripts.add(review);
    scripts.setPeople(PeopleMap.empty);
    equal(scripts.isReviewed(query), false);
    scripts.setPeople(peopleOf([{ entry: { ...cast.bo.entry, groups: ['owners'] } }]));
    equal(scripts.isReviewed(query), false);
    scripts.setPeople(peopleOf([{ entry: { ...cast.bo.entry, keys: [] } }]));
    equal(scripts.isReviewed(query), false);
    scripts.setPeople(people);
    equal(scripts.isReviewed(query), true);
  });

  test('counts a second review when the first is the requester’s own', () => {
    const scripts = new ReviewedScripts(people);
    scripts.add({ ...review, reviewer: 'ada', keyId: 'ada-1' });
    equal(scripts.isReviewed(query), false);
    scripts.add(review);
    equal(scripts.isReviewed(query), true);
  });
});

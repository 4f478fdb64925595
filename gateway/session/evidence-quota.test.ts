import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../core/kernel/testing/manual-clock.ts';
import { EvidenceQuota } from './evidence-quota.ts';
import { testSubject } from './testing/subjects.ts';

const dana = testSubject();
const other = testSubject({ principal: { iss: 'https://issuer.test', sub: 'eve', kind: 'user' } });

test('a principal waits from the limit on until its minute is over, others do not', () => {
  const clock = new ManualClock();
  const quota = new EvidenceQuota(clock, 100);
  quota.charge(dana, 99);
  equal(quota.waitMs(dana), 0);
  quota.charge(dana, 1);
  ok(quota.waitMs(dana) > 0);
  equal(quota.waitMs(other), 0);
  clock.advance(59_999);
  ok(quota.waitMs(dana) > 0);
  clock.advance(1);
  equal(quota.waitMs(dana), 0);
});

test('a new minute begins empty', () => {
  const clock = new ManualClock();
  const quota = new EvidenceQuota(clock, 100);
  quota.charge(dana, 1_000);
  clock.advance(60_000);
  quota.charge(dana, 1);
  equal(quota.waitMs(dana), 0);
});

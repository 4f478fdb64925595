import { deepEqual, equal, notDeepEqual } from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { describe, test } from 'node:test';
import type { Subject } from '../contract/subject.ts';
import { SessionIds } from './session-id.ts';

const KEY = Buffer.alloc(32, 7);
const NOON_MS = Date.UTC(2026, 0, 1, 12);
const HOUR_MS = 3_600_000;

const subject: Subject = {
  principal: { iss: 'i', sub: 's', kind: 'user' },
  actors: [{ iss: 'i', sub: 'agent', kind: 'ai_agent', verified: true }],
  ci: null,
  person: null,
  chainPersons: [],
  groups: [],
  purpose: '',
  env: '',
  auth: { method: 'jwt', issuer: 'i', mfa: false, issuedMs: 0 },
  expiresMs: NOON_MS,
  runOrFamily: 'family',
  tokenDigest: Buffer.alloc(32),
  tokenClaims: '',
};
const run = {
  repoId: '1',
  repository: 'r',
  ref: 'm',
  sha: 'c',
  workflow: 'w',
  runId: '5',
  environment: '',
  scriptDigest: '',
};

describe('SessionIds', () => {
  test('writes the parts as documented', () => {
    const parts = [
      'chaperone/session/v1',
      'default',
      'i',
      's',
      'user',
      '1',
      'i',
      'agent',
      'ai_agent',
      '1',
      'family',
      'c1',
    ];
    const window = `block:${NOON_MS / (8 * HOUR_MS) - 0.5}`;
    const hmac = createHmac('sha256', KEY);
    for (const part of [...parts, window]) {
      hmac.update(Buffer.from([0, 0, 0, part.length])).update(part);
    }
    deepEqual(idOf(subject), hmac.digest().subarray(0, 16));
  });

  test('gives every node the same id inside one block of eight hours, and another one after it', () => {
    deepEqual(idOf(subject, 'c1', NOON_MS + 3.99 * HOUR_MS), idOf({ ...subject }, 'c1', NOON_MS - 4 * HOUR_MS));
    notDeepEqual(idOf(subject, 'c1', NOON_MS + 4 * HOUR_MS), idOf(subject));
  });

  test('keeps the id of a run for as long as the run lasts', () => {
    const inRun = { ...subject, ci: run, runOrFamily: '5' };
    deepEqual(idOf(inRun, 'c1', NOON_MS + 30 * HOUR_MS), idOf(inRun));
  });

  test('differs by each of its parts, and not by where a part ends', () => {
    const others: readonly [Subject, string][] = [
      [{ ...subject, principal: { iss: 'is', sub: '', kind: 'user' } }, 'c1'],
      [{ ...subject, principal: { iss: 'i', sub: 's', kind: 'service' } }, 'c1'],
      [{ ...subject, actors: [] }, 'c1'],
      [{ ...subject, actors: [{ iss: 'i', sub: 'agent', kind: 'ai_agent', verified: false }] }, 'c1'],
      [{ ...subject, runOrFamily: 'other' }, 'c1'],
      [{ ...subject, runOrFamily: 'familyc' }, '1'],
      [{ ...subject, ci: run }, 'c1'],
      [subject, 'c2'],
    ];
    const ids = new Set([idOf(subject).toString('hex')]);
    for (const [other, connection] of others) {
      ids.add(idOf(other, connection).toString('hex'));
    }
    ids.add(new SessionIds(KEY, 'other').idOf(subject, 'c1', NOON_MS).toString('hex'));
    ids.add(new SessionIds(Buffer.alloc(32, 8), 'default').idOf(subject, 'c1', NOON_MS).toString('hex'));
    equal(ids.size, others.length + 3);
  });

  test('remembers per subject without mixing connections or windows', () => {
    const ids = new SessionIds(KEY, 'default');
    const first = ids.idOf(subject, 'c1', NOON_MS);
    equal(ids.idOf(subject, 'c1', NOON_MS), first);
    notDeepEqual(ids.idOf(subject, 'c2', NOON_MS), first);
    notDeepEqual(ids.idOf(subject, 'c2', NOON_MS), ids.idOf(subject, 'c2', NOON_MS + 8 * HOUR_MS));
    deepEqual(ids.idOf(subject, 'c1', NOON_MS), first);
  });
});

function idOf(of: Subject, connection = 'c1', nowMs = NOON_MS): Buffer {
  return new SessionIds(KEY, 'default').idOf(of, connection, nowMs);
}

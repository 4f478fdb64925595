import { deepEqual, equal } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { httpExactParts } from '../../core/ledger/statement.ts';
import type { Operation } from '../contract/operation.ts';
import type { Subject } from '../contract/subject.ts';
import { operationDigest, type OperationDigestInput } from './operation-digest.ts';

const subject: Subject = {
  principal: { iss: 'i', sub: 'ada', kind: 'user' },
  actors: [{ iss: 'i', sub: 'agent', kind: 'ai_agent', verified: true }],
  ci: {
    repoId: '1',
    repository: 'r',
    ref: 'm',
    sha: 'c',
    workflow: 'w',
    runId: '5',
    environment: 'e',
    scriptDigest: '',
  },
  person: 'ada',
  chainPersons: ['ada'],
  groups: ['g'],
  purpose: 'p',
  env: 'staging',
  auth: { method: 'jwt', issuer: 'i', mfa: false, issuedMs: 1 },
  expiresMs: 2,
  runOrFamily: '5',
  tokenDigest: Buffer.alloc(32, 1),
  tokenClaims: 'h.c',
};
const operation: Operation = {
  class: 'read',
  verb: 'GET',
  text: '/export',
  fingerprint: 'f',
  objects: [],
  classes: [],
  outputsClasses: [],
  filtersClasses: [],
  kinds: [],
  egress: { kinds: [], destination: '' },
  unresolved: false,
  safe: true,
  facts: { hasWhere: false, hasLimit: false, multi: false, functionCalls: [], lineage: 'exact', rowsBand: 'bulk' },
};
const request = { method: 'GET', target: '/export?a=1', contentType: '', bodyDigest: Buffer.alloc(32, 2) };
const input: OperationDigestInput = {
  subject,
  connection: 'api',
  connectionDigest: Buffer.alloc(32, 3),
  operation,
  catalogueDigest: Buffer.alloc(32, 4),
  exact: httpExactParts(request),
};

describe('operationDigest', () => {
  test('is the same for an honest retry: fresh token of the same run, other times, other band', () => {
    const retry: Subject = {
      ...subject,
      auth: { ...subject.auth, issuedMs: 9 },
      expiresMs: 10,
      tokenDigest: Buffer.alloc(32, 9),
      tokenClaims: 'x.y',
    };
    const facts = { ...operation.facts, rowsBand: 'large' };
    deepEqual(digest({ subject: retry, operation: { ...operation, facts } }), digest({}));
  });

  const changes: readonly (readonly [string, Partial<OperationDigestInput>])[] = [
    ['principal', { subject: { ...subject, principal: { ...subject.principal, sub: 'eve' } } }],
    ['actor', { subject: { ...subject, actors: [] } }],
    ['run', { subject: { ...subject, ci: null } }],
    ['script', { subject: { ...subject, ci: { ...(subject.ci as NonNullable<Subject['ci']>), scriptDigest: 'x' } } }],
    ['connection', { connection: 'other' }],
    ['upstream', { connectionDigest: Buffer.alloc(32, 5) }],
    ['catalogue', { catalogueDigest: Buffer.alloc(32, 5) }],
    ['classes', { operation: { ...operation, classes: ['ssn'] } }],
    ['method', { exact: httpExactParts({ ...request, method: 'PUT' }) }],
    ['query', { exact: httpExactParts({ ...request, target: '/export?a=2' }) }],
    ['content type', { exact: httpExactParts({ ...request, contentType: 'text/csv' }) }],
    ['body', { exact: httpExactParts({ ...request, bodyDigest: Buffer.alloc(32, 7) }) }],
  ];
  test('changes with everything that an approval binds', () => {
    const digests = new Set([digest({}), ...changes.map(([, change]) => digest(change))].map((d) => d.toString('hex')));
    digests.add(operationDigest(Buffer.alloc(32, 8), input).toString('hex'));
    equal(digests.size, changes.length + 2);
  });
});

function digest(change: Partial<OperationDigestInput>): Buffer {
  return operationDigest(Buffer.alloc(32, 1), { ...input, ...change });
}

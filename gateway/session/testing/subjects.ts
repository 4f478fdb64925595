import type { Subject } from '../../contract/subject.ts';

/** A human behind an agent in a CI run. */
export function testSubject(overrides: Partial<Subject> = {}): Subject {
  return {
    principal: { iss: 'https://issuer.test', sub: 'dana', kind: 'user' },
    actors: [{ iss: 'https://issuer.test', sub: 'agent-7', kind: 'ai_agent', verified: true }],
    ci: {
      repoId: '42',
      repository: 'acme/pipeline',
      ref: 'refs/heads/main',
      sha: 'a'.repeat(40),
      workflow: 'etl',
      runId: '1001',
      environment: 'staging',
      scriptDigest: 'b'.repeat(64),
    },
    person: 'dana',
    chainPersons: ['dana'],
    groups: ['developers'],
    purpose: 'analytics',
    env: 'staging',
    auth: { method: 'jwt', issuer: 'https://issuer.test', mfa: true, issuedMs: 0 },
    expiresMs: 1e15,
    runOrFamily: '1001',
    tokenDigest: Buffer.alloc(32, 9),
    tokenClaims: 'header.claims',
    ...overrides,
  };
}

import type { SeededRandom } from '../../../core/kernel/testing/seeded-random.ts';
import type { ConnectionInfo, Operation } from '../../contract/operation.ts';
import type { CiRun, Subject } from '../../contract/subject.ts';
import type { GrantFact } from '../../contract/verdict.ts';
import type { PolicyRequest } from '../policy-input.ts';

export const TRAFFIC_NOW_MS: number = Date.UTC(2026, 2, 4, 10, 30);

const ISSUER = 'https://issuer.demo.chaperone.invalid';
const MINUTE_MS = 60_000;
const DIGEST_SIZE = 32;

/** What can be special about a generated request. Nothing named = an agent reads patients of the clinic. */
export interface TrafficChoice {
  readonly bulk?: boolean;
  readonly reviewed?: boolean;
  readonly granted?: boolean;
  readonly post?: boolean;
  readonly write?: boolean;
  readonly service?: boolean;
  readonly nobody?: boolean;
  readonly unverified?: boolean;
  readonly expired?: boolean;
  readonly unresolved?: boolean;
  readonly filtered?: boolean;
  readonly carrying?: boolean;
  readonly elsewhere?: boolean;
  readonly ddl?: boolean;
}

/** The mix of the benchmark: five of eight are allowed, two denied, each for another reason, and one is to be approved. */
export const TRAFFIC_MIX: readonly TrafficChoice[] = [
  ...Array.from({ length: 10 }, () => ({})),
  ...Array.from({ length: 3 }, () => ({ service: true })),
  ...Array.from({ length: 3 }, () => ({ post: true })),
  ...Array.from({ length: 2 }, () => ({ service: true, write: true })),
  ...Array.from({ length: 2 }, () => ({ bulk: true, reviewed: true, granted: true })),
  ...Array.from({ length: 4 }, () => ({ bulk: true, reviewed: true })),
  { bulk: true },
  { post: true, carrying: true },
  { filtered: true },
  { unresolved: true },
  { write: true },
  { nobody: true },
  { expired: true },
  { elsewhere: true },
];

/** A request made of fresh objects: no two calls share a Subject or an Operation. */
export function trafficRequest(random: SeededRandom, choice: TrafficChoice): PolicyRequest {
  return {
    subject: trafficSubject(random, choice),
    connection: trafficConnection(choice),
    operation: trafficOperation(random, choice),
    reviewed: choice.reviewed ?? false,
    grants: choice.granted === true ? [trafficGrant()] : [],
    remoteAddress: `10.0.${random.below(256)}.${random.below(256)}`,
  };
}

const CONNECTIONS = {
  clinic: connection('clinic'),
  analytics: connection('analytics'),
  payroll: connection('payroll'),
} as const;

function connection(name: string): ConnectionInfo {
  return { name, kind: 'http', env: 'demo', database: '', labels: { tier: 'internal' } };
}

/** Any combination of what can be special, for comparing engines. */
export function oddChoice(random: SeededRandom): TrafficChoice {
  const names = ['bulk', 'reviewed', 'granted', 'post', 'write', 'service', 'nobody', 'unverified', 'expired'] as const;
  const more = ['unresolved', 'filtered', 'carrying', 'elsewhere', 'ddl'] as const;
  const chosen = [...names, ...more].filter(() => random.below(4) === 0);
  return Object.fromEntries(chosen.map((name) => [name, true]));
}

function trafficSubject(random: SeededRandom, choice: TrafficChoice): Subject {
  const person = random.pick(['dana', 'kim', 'lee', 'noor']);
  const isService = choice.service === true;
  return {
    principal: isService
      ? { iss: ISSUER, sub: `etl-${random.below(50)}`, kind: 'service' }
      : { iss: ISSUER, sub: `${person}@demo.invalid`, kind: 'user' },
    actors: isService
      ? []
      : [{ iss: ISSUER, sub: `agent-${random.below(50)}`, kind: 'ai_agent', verified: choice.unverified !== true }],
    ci: random.below(8) === 0 && choice.bulk !== true ? null : trafficRun(random, choice),
    person: choice.nobody === true || isService ? null : person,
    chainPersons: isService ? [] : [person],
    groups: random.pick([['developers'], ['developers', 'on-call'], []]),
    purpose: random.pick(['etl', 'research', '']),
    env: 'demo',
    auth: {
      method: 'jwt',
      issuer: ISSUER,
      mfa: random.below(2) === 0,
      issuedMs: TRAFFIC_NOW_MS - random.below(600) * MINUTE_MS,
    },
    expiresMs: TRAFFIC_NOW_MS + (choice.expired === true ? -1 : MINUTE_MS),
    runOrFamily: `run-${random.below(1_000_000)}`,
    tokenDigest: Buffer.alloc(DIGEST_SIZE),
    tokenClaims: '',
  };
}

function trafficRun(random: SeededRandom, choice: TrafficChoice): CiRun {
  return {
    repoId: String(random.below(1000)),
    repository: `acme/etl-${random.below(20)}`,
    ref: 'refs/heads/main',
    sha: random.bytes(20).toString('hex'),
    workflow: 'acme/etl/.github/workflows/nightly.yml@refs/heads/main',
    runId: String(random.below(1_000_000)),
    environment: 'staging',
    scriptDigest: choice.reviewed === true ? random.bytes(DIGEST_SIZE).toString('hex') : '',
  };
}

function trafficConnection(choice: TrafficChoice): ConnectionInfo {
  const name = choice.elsewhere === true ? 'payroll' : choice.post === true ? 'analytics' : 'clinic';
  return CONNECTIONS[name];
}

function trafficOperation(random: SeededRandom, choice: TrafficChoice): Operation {
  const isWrite = choice.post === true || choice.write === true;
  const table = random.pick(['patients', 'encounters', 'observations', 'claims', 'notes']);
  const destination = choice.elsewhere === true ? 'payroll' : choice.post === true ? 'analytics' : 'clinic';
  const kinds = choice.carrying === true ? random.pick([['email', 'ssn'], ['name'], ['date', 'mrn', 'phone']]) : [];
  const classes = random.pick([
    ['clinical', 'record_id', 'service_date'],
    ['birth_date', 'demographic', 'name', 'ssn', 'zip'],
    ['free_text', 'provider_name', 'record_id'],
  ]);
  return {
    class: choice.ddl === true ? 'ddl' : isWrite ? 'write' : 'read',
    verb: isWrite ? 'append' : choice.bulk === true ? 'export' : 'list',
    text: `${isWrite ? 'POST' : 'GET'} /${table}`,
    fingerprint: `http:${destination}:${isWrite ? 'POST' : 'GET'}:${table}.${random.below(1_000)}`,
    objects: [{ type: 'table', id: table, labels: ['phi'] }],
    classes,
    outputsClasses: isWrite ? [] : classes,
    filtersClasses: choice.filtered === true ? ['ssn'] : random.pick([[], ['record_id'], ['clinical', 'paging']]),
    kinds,
    egress: { kinds, destination },
    unresolved: choice.unresolved ?? false,
    safe: !isWrite,
    facts: {
      hasWhere: random.below(2) === 0,
      hasLimit: random.below(2) === 0,
      multi: false,
      functionCalls: [],
      lineage: 'exact',
      rowsBand: choice.bulk === true ? 'bulk' : isWrite ? 'none' : random.pick(['small', 'large']),
    },
  };
}

function trafficGrant(): GrantFact {
  return { code: 'bulk_export', by: 'pat', scope: 'statement', expiresBand: 'later' };
}

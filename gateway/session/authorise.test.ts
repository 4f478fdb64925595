import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { GatewayError } from '../../core/kernel/errors.ts';
import { ManualClock } from '../../core/kernel/testing/manual-clock.ts';
import { DECISIONS, KINDS, OBLIGATIONS } from '../../core/ledger/leaf.ts';
import { Event } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import type { AskRequest, AskStatus, ClaimGrant, ClaimRequest, DeskClient } from '../approvals/desk-port.ts';
import type { Operation } from '../contract/operation.ts';
import type { Decision, Verdict } from '../contract/verdict.ts';
import { Recorder } from '../recorder/recorder.ts';
import { FakeSealers } from '../recorder/testing/fake-sealers.ts';
import { FakeWriter } from '../recorder/testing/fake-writer.ts';
import { Authoriser, type OperationRequest, type Permit, type Refusal } from './authorise.ts';
import { PlanCache } from './plan-cache.ts';
import type { DecideInput } from './ports.ts';
import { testSubject } from './testing/subjects.ts';

const ALLOW: Verdict = {
  effect: 'allow',
  code: '',
  reasons: [],
  approvals: [],
  masks: {},
  egress: { denyKinds: [], action: 'block' },
  limits: {},
  obligations: [],
  evidence: 'local',
  cacheTtlS: 0,
};
const APPROVAL = {
  code: 'bulk',
  approvers: ['privacy-officers'],
  quorum: 1,
  ttlS: 900,
  scope: 'statement',
  justify: false,
} as const;
const READ: Operation = {
  class: 'read',
  verb: 'list',
  text: 'GET /patients',
  fingerprint: 'f',
  objects: [],
  classes: [],
  outputsClasses: [],
  filtersClasses: [],
  kinds: [],
  egress: { kinds: [], destination: 'clinic' },
  unresolved: false,
  safe: true,
  facts: { hasWhere: false, hasLimit: false, multi: false, functionCalls: [], lineage: 'exact', rowsBand: 'small' },
};

class Desk implements DeskClient {
  readonly calls: string[] = [];
  state: AskStatus['state'] = 'pending';
  claims: (ClaimGrant | null)[] = [];
  failure: GatewayError | null = null;
  #answer(): AskStatus {
    return {
      id: 'ap-1',
      state: this.state,
      opDigest: 'aa',
      expiresMs: 1e15,
      reason: 'no',
      decidedBy: ['pat'],
      codes: ['bulk'],
      usesLeft: 1,
    };
  }
  ask(_request: AskRequest): Promise<AskStatus> {
    this.calls.push('ask');
    return this.failure === null ? Promise.resolve(this.#answer()) : Promise.reject(this.failure);
  }
  wait(): Promise<AskStatus> {
    this.calls.push('wait');
    return Promise.resolve(this.#answer());
  }
  claim(_request: ClaimRequest): Promise<ClaimGrant | null> {
    this.calls.push('claim');
    return Promise.resolve(this.claims.shift() ?? null);
  }
}

const GRANT: ClaimGrant = {
  id: 'ap-1',
  use: 0,
  codes: ['bulk'],
  approvers: ['pat'],
  expiresMs: 1e15,
  writer: 'w',
  index: 9,
  leafHash: 'ab'.repeat(32),
};

function setUp(decide: (input: DecideInput) => Verdict, replicated = false) {
  const writer = new FakeWriter();
  const clock = new ManualClock();
  const desk = new Desk();
  const sealers = new FakeSealers(writer.writerId);
  const recorder = new Recorder({
    writer,
    sealers: sealers.forSession,
    clock,
    tenant: 'default',
    configDigest: Buffer.alloc(32),
    bundleDigest: Buffer.alloc(32),
  });
  const catalogue = { digest: Buffer.alloc(32), classes: new Map(), resolveHttp: () => undefined };
  const authoriser = new Authoriser({
    recorder,
    policy: { decide: (input) => decisionOf(decide(input)) },
    plans: new PlanCache(catalogue, { name: 'safe-harbor', operators: {} }, clock),
    desk,
    clock,
    isReviewed: () => false,
    quotaWaitMs: () => 0,
    approvalsKey: Buffer.alloc(32, 3),
    holdMs: 1_000,
    replicatedAvailable: () => replicated,
    onDecision: () => undefined,
  });
  const subject = testSubject();
  const strand = recorder.openStrand(Buffer.alloc(16, 1), subject, 'clinic', false);
  let outcome: Permit | Refusal | null = null;
  const authorise = (overrides: Partial<OperationRequest> = {}): void => {
    const request: OperationRequest = {
      strand,
      subject,
      connection: { name: 'clinic', kind: 'http', env: 'staging', database: '', labels: {} },
      connectionDigest: Buffer.alloc(32),
      operation: READ,
      remoteAddress: '127.0.0.1',
      targetDigest: Buffer.alloc(32),
      traceId: '',
      exact: [],
      copy: {
        request: { method: 'GET', target: '/patients', headers: [], body: Buffer.alloc(0), bodyOffset: 0n, host: 'h' },
        originals: [],
      },
      preview: () => ({}),
      hasBody: false,
      responseShape: null,
      isAborted: () => false,
      ...overrides,
    };
    authoriser.authorise(request, (value) => {
      equal(outcome, null, 'done is called once');
      outcome = value;
    });
  };
  return { writer, desk, sealers, authorise, outcome: () => outcome };
}

function decisionOf(verdict: Verdict): Decision {
  return {
    verdict,
    input: Buffer.from('{}'),
    inputDigest: Buffer.alloc(32, 1),
    verdictJson: Buffer.from('{}'),
    bundleDigest: Buffer.alloc(32),
    bundleRevision: 1,
    catalogueDigest: Buffer.alloc(32),
    engineDigest: Buffer.alloc(32),
    cached: false,
  };
}

const settle = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) {
    await Promise.resolve();
  }
};
const last = (writer: FakeWriter): Event => Event.decode(writer.records.at(-1)?.meta ?? Buffer.alloc(0));

describe('what goes upstream waits for its record', () => {
  test('a write is permitted only after its record is durable', () => {
    const { writer, authorise, outcome } = setUp(() => ALLOW);
    authorise({ operation: { ...READ, class: 'write', safe: false } });
    equal(outcome(), null);
    equal(writer.records.at(-1)?.kind, KINDS['operation']);
    writer.commit();
    equal(outcome()?.kind, 'permit');
  });

  test('a write whose flush fails is never permitted', () => {
    const { writer, authorise, outcome } = setUp(() => ALLOW);
    authorise({ operation: { ...READ, class: 'write', safe: false } });
    writer.fail();
    deepEqual(
      [outcome()?.kind, (outcome() as Refusal).code, (outcome() as Refusal).position],
      ['refusal', 'disk_failed', ''],
    );
  });

  test('a safe read without a body goes at once and is marked so', () => {
    const { writer, authorise, outcome } = setUp(() => ALLOW);
    authorise();
    equal(outcome()?.kind, 'permit');
    ok((outcome() as Permit).fastRequest !== null);
    equal((writer.records.at(-1)?.obligations ?? 0) & OBLIGATIONS.read_fast_path, OBLIGATIONS.read_fast_path);
    equal(writer.records.at(-1)?.units.length, 0);
  });

  for (const [what, overrides] of [
    ['a body', { hasBody: true }],
    ['identifiers in its target', { operation: { ...READ, kinds: ['ssn'] } }],
    ['a route that is not safe', { operation: { ...READ, safe: false } }],
  ] as const) {
    test(`a read with ${what} waits`, () => {
      const { writer, authorise, outcome } = setUp(() => ALLOW);
      authorise(overrides);
      equal(outcome(), null);
      writer.commit();
      equal(outcome()?.kind, 'permit');
      equal((outcome() as Permit).fastRequest, null);
    });
  }

  test('replicated evidence waits for the bus, and is refused where the bus is one disk', async () => {
    const single = setUp(() => ({ ...ALLOW, evidence: 'replicated' }));
    single.authorise();
    single.writer.commit();
    equal((single.outcome() as Refusal).code, 'replicated_unavailable');
    const cluster = setUp(() => ({ ...ALLOW, evidence: 'replicated' }), true);
    cluster.authorise({ hasBody: true });
    cluster.writer.commit();
    await settle();
    equal((cluster.outcome() as Refusal).code, 'replicated_unavailable');
  });

  test('a recorder that takes no record refuses, without a position', () => {
    const { writer, authorise, outcome } = setUp(() => ALLOW);
    writer.fail(new GatewayError('disk_full'));
    authorise();
    deepEqual([(outcome() as Refusal).code, (outcome() as Refusal).position], ['disk_full', '']);
  });

  test('without a sealing key nothing is permitted', () => {
    const { sealers, authorise, outcome } = setUp(() => ALLOW);
    sealers.exhausted = true;
    authorise({ hasBody: true });
    equal((outcome() as Refusal).code, 'keystore_unavailable');
  });
});

describe('refusals', () => {
  const cases: [string, Verdict, Partial<OperationRequest>, string][] = [
    ['a denial', { ...ALLOW, effect: 'deny', code: 'policy_denied' }, {}, 'policy_denied'],
    ['a policy error', { ...ALLOW, effect: 'deny', code: 'policy_error' }, {}, 'policy_error'],
    ['an unknown obligation', { ...ALLOW, obligations: ['watermark'] }, {}, 'obligation_unsupported'],
    [
      'a limit that this lane does not keep',
      { ...ALLOW, limits: { subjectsPerSession: 3 } },
      {},
      'obligation_unsupported',
    ],
    [
      'identifiers on their way out',
      { ...ALLOW, egress: { denyKinds: ['ssn'], action: 'block' } },
      { operation: { ...READ, egress: { kinds: ['ssn'], destination: 'x' } } },
      'egress_denied',
    ],
  ];
  for (const [what, verdict, overrides, code] of cases) {
    test(`${what} is recorded before it is answered`, () => {
      const { writer, authorise, outcome } = setUp(() => verdict);
      authorise(overrides);
      equal(outcome(), null);
      writer.commit();
      equal((outcome() as Refusal).code, code);
      equal(writer.records.at(-1)?.decision, DECISIONS.deny);
      equal(last(writer).decision?.code, code);
    });
  }
});

describe('approvals', () => {
  const byGrant = (input: DecideInput): Verdict =>
    input.grants.some((grant) => grant.code === 'bulk')
      ? ALLOW
      : { ...ALLOW, effect: 'approve', approvals: [APPROVAL] };

  test('nobody decides within the hold: the agent gets the id, and the record says approve', async () => {
    const { writer, desk, authorise, outcome } = setUp(byGrant);
    authorise();
    await settle();
    writer.commit();
    const refusal = outcome() as Refusal;
    deepEqual([refusal.code, refusal.approvalId, desk.calls], ['approval_pending', 'ap-1', ['ask', 'wait']]);
    equal(writer.records.at(-1)?.decision, DECISIONS.approve);
    ok(refusal.retryAfterS > 0);
  });

  test('an approved operation claims its grant, names it in its leaf and waits for its record', async () => {
    const { writer, desk, authorise, outcome } = setUp(byGrant);
    desk.state = 'approved';
    desk.claims = [GRANT];
    authorise();
    await settle();
    equal(outcome(), null, 'an approved read is no fast path');
    writer.commit();
    equal(outcome()?.kind, 'permit');
    equal(writer.records.at(-1)?.approvalLeafHash.toString('hex'), GRANT.leafHash);
  });

  test('a grant that others used is asked for again, but not for ever', async () => {
    const { writer, desk, authorise, outcome } = setUp(byGrant);
    desk.state = 'approved';
    authorise();
    await settle();
    await settle();
    writer.commit();
    equal((outcome() as Refusal).code, 'approval_unavailable');
    equal(desk.calls.filter((call) => call === 'claim').length, 3);
  });

  test('no use is spent when the policy would not let it through', async () => {
    const { writer, desk, authorise, outcome } = setUp((input) =>
      input.grants.length > 0 ? { ...ALLOW, effect: 'deny', code: 'policy_denied' } : byGrant(input),
    );
    desk.state = 'approved';
    authorise();
    await settle();
    writer.commit();
    equal((outcome() as Refusal).code, 'policy_denied');
    ok(!desk.calls.includes('claim'));
  });

  test('a denial carries the reason that the approver gave', async () => {
    const { writer, desk, authorise, outcome } = setUp(byGrant);
    desk.state = 'denied';
    authorise();
    await settle();
    writer.commit();
    deepEqual([(outcome() as Refusal).code, (outcome() as Refusal).detail], ['approval_denied', 'no']);
  });

  test('a body that was not held whole cannot be approved', async () => {
    const { writer, desk, authorise, outcome } = setUp(byGrant);
    authorise({ exact: null });
    await settle();
    writer.commit();
    equal((outcome() as Refusal).code, 'approval_body_too_large');
    deepEqual(desk.calls, []);
  });

  test('a desk that cannot be reached refuses', async () => {
    const { writer, desk, authorise, outcome } = setUp(byGrant);
    desk.failure = new GatewayError('approval_unavailable');
    authorise();
    await settle();
    writer.commit();
    equal((outcome() as Refusal).code, 'approval_unavailable');
  });

  test('an agent that went away does not spend the use', async () => {
    const { desk, authorise } = setUp(byGrant);
    desk.state = 'approved';
    authorise({ isAborted: () => true });
    await settle();
    ok(!desk.calls.includes('claim'));
  });
});

import { deepEqual, equal, notEqual, ok, rejects, throws } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MemoryBus, MemoryBusStore } from '../../core/bus/memory-bus.ts';
import { TOPICS } from '../../core/bus/topics.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import { ManualClock } from '../../core/kernel/testing/manual-clock.ts';
import { shownDigest } from '../../core/ledger/statement.ts';
import { Event } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import { openPreview } from '../contract/approval-preview.ts';
import type { PeopleMap } from '../contract/people-map.ts';
import { signScriptAttestation } from '../contract/script-attestation.ts';
import { ApprovalDesk, type DecideRequest } from './approval-desk.ts';
import type { AskRequest, AskStatus } from './desk-port.ts';
import { shownText } from './shown.ts';
import { askRequest, cast, decisionBy, member, people, peopleOf, REQUIREMENT, shown } from './testing/cast.ts';
import { FakeRecorder } from './testing/fake-recorder.ts';

const claimOf = (status: AskStatus, changes: Partial<AskRequest> = {}) => ({
  id: status.id,
  opDigest: status.opDigest,
  shown: changes.shown ?? shown(),
});

describe('ApprovalDesk', () => {
  test('asks, takes a signed approval, gives the grant once, and asks again after it', async () => {
    const { desk, clock, recorder } = await setUp();
    const status = await desk.ask(askRequest());
    equal(status.state, 'pending');
    equal(await desk.claim(claimOf(status)), null);
    const { view, receipt } = await desk.decide(decisionBy(cast.bo, desk.get(status.id), clock.nowMs()));
    equal(view.state, 'approved');
    equal(recorder.records[receipt.index]?.kind, 'approval.granted');
    const retry = await desk.ask(askRequest());
    deepEqual([retry.id, retry.state, retry.codes, retry.decidedBy], [status.id, 'approved', ['bulk_export'], ['bo']]);
    const grant = await desk.claim(claimOf(retry));
    ok(grant !== null);
    deepEqual([grant.use, grant.approvers, grant.codes], [0, ['bo'], ['bulk_export']]);
    equal(recorder.records[grant.index]?.kind, 'approval.claimed');
    equal(await desk.claim(claimOf(retry)), null);
    const again = await desk.ask(askRequest());
    equal(again.state, 'pending');
    notEqual(again.id, status.id);
    deepEqual(recorder.kinds, ['approval.asked', 'approval.granted', 'approval.claimed', 'approval.asked']);
  });

  test('records a claim with the signed decisions, and an ask with everything that shownDigest covers', async () => {
    const { desk, clock, recorder } = await setUp();
    const status = await approved(desk, clock);
    await desk.claim(claimOf(status));
    const [claimed] = recorder.records.find(({ kind }) => kind === 'approval.claimed')?.approvals ?? [];
    const view = desk.get(status.id);
    equal(claimed?.approver, 'bo');
    equal(claimed?.signature.length, 64);
    deepEqual(claimed?.shownDigest, view.shownDigest);
    const note = recorder.records.find(({ kind }) => kind === 'approval.asked')?.note;
    const previewHash = Buffer.from(note?.attributes['preview_hash'] ?? '', 'hex');
    deepEqual(shownDigest(view.opDigest, note?.attributes['shown'] ?? '', previewHash), view.shownDigest);
  });

  test('never puts the preview on the bus in clear, and every eligible approver can open theirs', async () => {
    const { desk, store } = await setUp();
    const { id } = await desk.ask(askRequest({ preview: { query: 'ssn=078-05-1120' } }));
    const stored = store.topics.get(TOPICS.approvals.name)?.partitions[0]?.messages ?? [];
    equal(stored.length, 1);
    equal(stored[0]?.value.includes('078-05-1120'), false);
    equal(stored[0]?.value.includes(Buffer.from('078-05-1120').toString('base64').slice(0, 12)), false);
    const { previews, previewHash, approvers } = desk.get(id);
    deepEqual(approvers, ['bo', 'cy', 'ed']);
    deepEqual(
      previews.map(({ person }) => person),
      approvers,
    );
    for (const who of [cast.bo, cast.cy, cast.ed]) {
      const sealed = previews.find(({ person }) => person === who.id);
      ok(sealed !== undefined);
      const opened = await openPreview(sealed, { approvalId: id, keyId: who.keyId, x25519: who.x25519 }, previewHash);
      deepEqual(opened, { query: 'ssn=078-05-1120' });
    }
  });

  test('joins identical asks, also at the same time, and asks apart for another operation', async () => {
    const { desk, recorder } = await setUp();
    const [a, b, c] = await Promise.all([
      desk.ask(askRequest()),
      desk.ask(askRequest()),
      desk.ask(askRequest({ opDigest: 'e'.repeat(64) })),
    ]);
    equal(a.id, b.id);
    notEqual(a.id, c.id);
    equal((await desk.ask(askRequest())).id, a.id);
    deepEqual(recorder.kinds, ['approval.asked', 'approval.asked']);
  });

  test('stays denied with the reason until the ask would have expired: asking again does not nag', async () => {
    const { desk, clock } = await setUp();
    const { id, expiresMs } = await desk.ask(askRequest());
    await desk.decide(decisionBy(cast.cy, desk.get(id), clock.nowMs(), 'deny', 'use the masked view'));
    const retry = await desk.ask(askRequest());
    deepEqual([retry.id, retry.state, retry.reason], [id, 'denied', 'use the masked view']);
    equal(await desk.claim(claimOf(retry)), null);
    const narrower = await desk.ask(askRequest({ shown: shown({ limits: { rows: 500 } }) }));
    deepEqual([narrower.state, narrower.id === id], ['pending', false]);
    clock.advance(expiresMs - clock.nowMs());
    await settle();
    await desk.log.refresh();
    equal((await desk.ask(askRequest())).state, 'pending');
  });

  test('cancels a grant that no longer covers the verdict and asks anew', async () => {
    const { desk, clock } = await setUp();
    const status = await approved(desk, clock);
    const looser = shown({ limits: { rows: 1_000_000 } });
    equal(await desk.claim({ ...claimOf(status), shown: looser }), null);
    const again = await desk.ask(askRequest({ shown: looser }));
    deepEqual([again.state, again.id === status.id], ['pending', false]);
    equal(desk.get(status.id).state, 'cancelled');
    equal(await desk.claim(claimOf(status)), null);
  });

  test('gives no grant for another operation, an unknown approval, or past its time', async () => {
    const { desk, clock } = await setUp();
    const status = await approved(desk, clock);
    equal(await desk.claim({ ...claimOf(status), opDigest: 'e'.repeat(64) }), null);
    equal(await desk.claim({ ...claimOf(status), id: 'ap-0' }), null);
    clock.advance(status.expiresMs - clock.nowMs());
    await settle();
    await desk.log.refresh();
    equal(await desk.claim(claimOf(status)), null);
  });

  test('judges a grant by the people of now: who left no longer counts', async () => {
    for (const now of [
      peopleOf([cast.ada, cast.cy]),
      peopleOf([{ entry: { ...cast.bo.entry, groups: ['interns'] } }, cast.cy]),
      peopleOf([{ entry: { ...cast.bo.entry, keys: [] } }, cast.cy]),
    ]) {
      const { desk, clock } = await setUp();
      const status = await approved(desk, clock);
      desk.setPeople(now);
      equal(await desk.claim(claimOf(status)), null);
      equal(desk.get(status.id).state, 'cancelled');
    }
  });

  test('needs as many persons as the policy says, one of each set', async () => {
    const { desk, clock } = await setUp();
    const security = { ...REQUIREMENT, code: 'phi_egress', approvers: ['security'], quorum: 2 };
    const { id } = await desk.ask(askRequest({ shown: shown({ approvals: [REQUIREMENT, security] }) }));
    const decide = (who: (typeof cast)['bo']) => desk.decide(decisionBy(who, desk.get(id), clock.nowMs()));
    equal((await decide(cast.bo)).view.state, 'pending');
    equal((await decide(cast.cy)).view.state, 'pending');
    deepEqual(
      desk.get(id).decisions.map(({ person }) => person),
      ['bo', 'cy'],
    );
    equal((await decide(cast.di)).view.state, 'approved');
  });

  test('takes the shortest time to live of the approvals', async () => {
    const { desk, clock } = await setUp();
    const short = { ...REQUIREMENT, code: 'short', ttlS: 60 };
    const { expiresMs } = await desk.ask(askRequest({ shown: shown({ approvals: [REQUIREMENT, short] }) }));
    equal(expiresMs, clock.nowMs() + 60_000);
  });
});

describe('a decision is refused', () => {
  const cases: readonly (readonly [
    string,
    (good: DecideRequest, desk: ApprovalDesk, nowMs: number) => DecideRequest,
    string,
  ])[] = [
    ['for an unknown approval', (good) => ({ ...good, id: 'ap-0' }), 'approval_not_found'],
    ['by the requester', (_good, desk, now) => decisionBy(cast.ada, first(desk), now), 'approval_not_eligible'],
    [
      'by someone of another group',
      (_good, desk, now) => decisionBy(cast.di, first(desk), now),
      'approval_not_eligible',
    ],
    ['by nobody', (good) => ({ ...good, person: 'eve' }), 'approval_not_eligible'],
    ['in another’s name', (good) => ({ ...good, person: 'cy', keyId: 'cy-1' }), 'approval_signature'],
    ['with another’s key', (good) => ({ ...good, keyId: 'cy-1' }), 'approval_signature'],
    ['turned around', (good) => ({ ...good, decision: 'deny' }), 'approval_signature'],
    ['with another reason', (good) => ({ ...good, reason: 'other' }), 'approval_signature'],
    ['unsigned', (good) => ({ ...good, signature: Buffer.alloc(0) }), 'approval_signature'],
    ['with a flipped bit', (good) => ({ ...good, signature: flip(good.signature) }), 'approval_signature'],
    [
      'from the future',
      (_g, desk, now) => decisionBy(cast.bo, first(desk), now + LIMITS.clockSkewMs + 1),
      'approval_signature',
    ],
    [
      'from before the ask',
      (_g, desk, now) => decisionBy(cast.bo, first(desk), now - LIMITS.clockSkewMs - 1),
      'approval_signature',
    ],
    [
      'as a denial without a reason',
      (_g, desk, now) => decisionBy(cast.bo, first(desk), now, 'deny', ' '),
      'protocol_malformed',
    ],
    [
      'with a reason over the limit',
      (_g, desk, now) => decisionBy(cast.bo, first(desk), now, 'deny', 'x'.repeat(LIMITS.approvalReasonBytesMax + 1)),
      'protocol_malformed',
    ],
  ];
  for (const [name, change, code] of cases) {
    test(name, async () => {
      const { desk, clock, recorder } = await setUp();
      await desk.ask(askRequest());
      const good = decisionBy(cast.bo, first(desk), clock.nowMs());
      await rejects(desk.decide(change(good, desk, clock.nowMs())), { code });
      equal(first(desk).state, 'pending');
      deepEqual(recorder.kinds, ['approval.asked']);
      equal((await desk.decide(good)).view.state, 'approved', 'the good one was good');
    });
  }

  test('after another one, and after the time of the ask', async () => {
    const { desk, clock } = await setUp();
    await desk.ask(askRequest());
    const late = decisionBy(cast.cy, first(desk), clock.nowMs());
    await desk.decide(decisionBy(cast.bo, first(desk), clock.nowMs()));
    await rejects(desk.decide(late), { code: 'approval_closed' });
    const { id, expiresMs } = await desk.ask(askRequest({ opDigest: 'e'.repeat(64) }));
    const tooLate = decisionBy(cast.cy, desk.get(id), clock.nowMs());
    clock.advance(expiresMs - clock.nowMs());
    await settle();
    await desk.log.refresh();
    await rejects(desk.decide(tooLate), { code: 'approval_expired' });
  });

  test('without a reason where the policy wants one', async () => {
    const { desk, clock } = await setUp();
    await desk.ask(askRequest({ shown: shown({ approvals: [{ ...REQUIREMENT, justify: true }] }) }));
    await rejects(desk.decide(decisionBy(cast.bo, first(desk), clock.nowMs(), 'approve', '')), {
      code: 'protocol_malformed',
    });
  });

  test('by someone who joined the group after the ask, or left it since', async () => {
    const { desk, clock } = await setUp(peopleOf([cast.ada, cast.bo]));
    await desk.ask(askRequest());
    desk.setPeople(peopleOf([cast.ada, cast.cy]));
    for (const who of [cast.cy, cast.bo]) {
      await rejects(desk.decide(decisionBy(who, first(desk), clock.nowMs())), { code: 'approval_not_eligible' });
    }
  });
});

describe('an ask is refused', () => {
  const cases: readonly (readonly [string, AskRequest, GatewayError['code']])[] = [
    [
      'for a requester nobody knows',
      askRequest({ requester: { ...askRequest().requester, person: null, chainPersons: [] } }),
      'approval_requester_unknown',
    ],
    [
      'when no group member has a key',
      askRequest({ shown: shown({ approvals: [{ ...REQUIREMENT, approvers: ['keyless'] }] }) }),
      'approval_no_approver',
    ],
    [
      'when the requester is the only approver',
      askRequest({ shown: shown({ approvals: [{ ...REQUIREMENT, approvers: ['engineers'] }] }) }),
      'approval_no_approver',
    ],
    [
      'when the quorum cannot be reached',
      askRequest({ shown: shown({ approvals: [{ ...REQUIREMENT, quorum: 4 }] }) }),
      'approval_no_approver',
    ],
    [
      'when what would be shown is too large for a record',
      askRequest({ shown: shown({ obligations: Array.from({ length: 30 }, () => 'x'.repeat(1000)) }) }),
      'approval_body_too_large',
    ],
    ['when nothing needs approval', askRequest({ shown: shown({ approvals: [] }) }), 'approval_no_approver'],
    [
      'when the preview is too large to be shown',
      askRequest({ preview: { body: 'x'.repeat(LIMITS.previewBytesMax) } }),
      'approval_body_too_large',
    ],
  ];
  for (const [name, request, code] of cases) {
    test(name, async () => {
      const { desk } = await setUp();
      await rejects(desk.ask(request), { code });
      deepEqual(desk.list(), []);
    });
  }
});

test('the largest ask and its claim fit into a record', async () => {
  const many = Array.from({ length: LIMITS.approvalQuorumMax }, (_, i) => member(`owner-${i}`, ['owners']));
  const { desk, clock, recorder } = await setUp(peopleOf([cast.ada, ...many]));
  const wide = shown({ approvals: [{ ...REQUIREMENT, quorum: LIMITS.approvalQuorumMax }] });
  const room = LIMITS.approvalShownBytesMax - shownText(wide).length;
  const full = { ...wide, obligations: [...wide.obligations, ...pieces(room)] };
  const { id } = await desk.ask(askRequest({ shown: full }));
  for (const who of many) {
    await desk.decide(
      decisionBy(who, desk.get(id), clock.nowMs(), 'approve', 'x'.repeat(LIMITS.approvalReasonBytesMax)),
    );
  }
  ok((await desk.claim({ id, opDigest: askRequest().opDigest, shown: full })) !== null);
  const sizes = recorder.records.map(({ connection, approvals, note }) => {
    const event = Event.fromPartial({ connection, approvals: [...approvals], ...(note === undefined ? {} : { note }) });
    return Event.encode(event).finish().length;
  });
  equal(sizes.length, many.length + 2);
  ok(Math.max(...sizes) > 16_384 && Math.max(...sizes) < LIMITS.metaBytesMax - 16_384, `${Math.max(...sizes)} bytes`);
});

describe('waiting', () => {
  test('ends with the decision, or after the hold', async () => {
    const { desk, clock } = await setUp();
    const { id } = await desk.ask(askRequest());
    const held = desk.wait(id, 2_000);
    clock.advance(2_000);
    equal((await held).state, 'pending');
    const decided = desk.wait(id, 40_000);
    await desk.decide(decisionBy(cast.bo, desk.get(id), clock.nowMs()));
    equal((await decided).state, 'approved');
    equal((await desk.wait(id, 40_000)).state, 'approved');
    await rejects(desk.wait('ap-0', 1), { code: 'approval_not_found' });
  });

  test('ends when the ask expires, which the desk sees by its clock', async () => {
    const { desk, clock, recorder } = await setUp();
    const { id, expiresMs } = await desk.ask(askRequest());
    const waiting = desk.wait(id, 3_600_000);
    await ticks(clock, expiresMs - clock.nowMs() + LIMITS.approvalTickMs);
    equal((await waiting).state, 'expired');
    deepEqual(recorder.kinds, ['approval.asked', 'approval.expired']);
    equal(desk.pendingCount, 0);
  });
});

describe('two nodes', () => {
  test('share asks, decisions and claims; each transition is recorded by the node that made it', async () => {
    const one = await setUp();
    const two = await setUp(people, { node: 'n2', clock: one.clock, store: one.store });
    const { id } = await one.desk.ask(askRequest());
    await settle();
    equal((await two.desk.ask(askRequest())).id, id);
    await two.desk.decide(decisionBy(cast.bo, two.desk.get(id), one.clock.nowMs()));
    await settle();
    const status = await one.desk.ask(askRequest());
    const claims = await Promise.all([one.desk.claim(claimOf(status)), two.desk.claim(claimOf(status))]);
    equal(claims.filter((grant) => grant !== null).length, 1);
    const { kinds } = { kinds: [...one.recorder.kinds, ...two.recorder.kinds].sort() };
    deepEqual(kinds, ['approval.asked', 'approval.claimed', 'approval.granted']);
    equal(two.recorder.kinds.includes('approval.granted'), true);
  });

  test('the ask of a node that died is expired by another one', async () => {
    const one = await setUp();
    const { id, expiresMs } = await one.desk.ask(askRequest());
    await one.desk.close();
    const two = await setUp(people, { node: 'n2', clock: one.clock, store: one.store });
    await ticks(one.clock, expiresMs - one.clock.nowMs() + 4_000);
    equal(two.desk.get(id).state, 'pending');
    await ticks(one.clock, 3_000);
    equal(two.desk.get(id).state, 'expired');
    deepEqual(two.recorder.kinds, ['approval.expired']);
  });

  test('a node that starts again finds its asks, and records what it had not recorded, once', async () => {
    const one = await setUp();
    one.recorder.failure = new GatewayError('disk_full');
    const { id } = await one.desk.ask(askRequest());
    await one.desk.close();
    const again = await setUp(people, { clock: one.clock, store: one.store });
    equal(again.desk.get(id).state, 'pending');
    await settle();
    deepEqual(again.recorder.kinds, ['approval.asked']);
    await again.desk.close();
    const third = await setUp(people, { clock: one.clock, store: one.store });
    equal(third.desk.get(id).state, 'pending');
    await settle();
    deepEqual(third.recorder.kinds, []);
  });
});

describe('when something is down', () => {
  test('a claim whose record cannot be written is not answered, and its use is spent', async () => {
    const { desk, clock, recorder } = await setUp();
    const status = await approved(desk, clock);
    recorder.failure = new GatewayError('disk_full');
    await rejects(desk.claim(claimOf(status)), { code: 'disk_full' });
    equal(await desk.claim(claimOf(status)), null);
    recorder.failure = null;
    await ticks(clock, 2_000);
    deepEqual(recorder.kinds.at(-1), 'approval.claimed');
    equal(desk.log.unrecorded, 0);
  });

  test('without the bus nothing is asked, decided or claimed, and all goes on when it is back', async () => {
    const { desk, clock, store } = await setUp();
    const status = await approved(desk, clock);
    const view = desk.get((await desk.ask(askRequest({ opDigest: 'e'.repeat(64) }))).id);
    store.available = false;
    await rejects(desk.ask(askRequest({ opDigest: 'f'.repeat(64) })), { code: 'approval_unavailable' });
    await rejects(desk.claim(claimOf(status)), { code: 'approval_unavailable' });
    await rejects(desk.decide(decisionBy(cast.bo, view, clock.nowMs())), { code: 'approval_unavailable' });
    store.available = true;
    ok((await desk.claim(claimOf(status))) !== null);
  });

  test('a state that is stale is not acted on; a quiet topic is not stale', async () => {
    const { desk, clock, store } = await setUp();
    const status = await approved(desk, clock);
    await ticks(clock, LIMITS.approvalsStaleMaxMs * 2);
    ok(desk.log.isFresh);
    store.available = false;
    await ticks(clock, LIMITS.approvalsStaleMaxMs - 1_000);
    ok(desk.log.isFresh);
    await ticks(clock, 2_000);
    ok(!desk.log.isFresh);
    store.available = true;
    await rejects(desk.ask(askRequest()), { code: 'approval_unavailable' });
    await rejects(desk.claim(claimOf(status)), { code: 'approval_unavailable' });
    await rejects(desk.decide(decisionBy(cast.bo, desk.get(status.id), clock.nowMs())), {
      code: 'approval_unavailable',
    });
    await ticks(clock, 1_000);
    ok((await desk.claim(claimOf(status))) !== null);
  });

  test('a value that nobody can read stops nothing', async () => {
    const { desk, clock, store } = await setUp();
    const bus = new MemoryBus(clock, store);
    await bus.publish(TOPICS.approvals.name, Buffer.from('x'), [Buffer.from('not a transition')]);
    equal((await desk.ask(askRequest())).state, 'pending');
  });
});

describe('attesting a script', () => {
  const statement = (nowMs: number) => ({
    scriptDigest: 'a'.repeat(64),
    reviewer: 'bo',
    repository: 'clinic/etl',
    commit: 'c0ffee',
    reviewedMs: nowMs,
  });

  test('records the review and tells it to every node', async () => {
    const { desk, clock, recorder, store } = await setUp();
    const told: string[] = [];
    deepEqual(
      desk.reviews((review) => told.push(review.reviewer)),
      [],
    );
    const envelope = Buffer.from(signScriptAttestation(statement(clock.nowMs()), 'bo-1', cast.bo.ed25519));
    const { review, receipt } = await desk.attest(envelope);
    deepEqual([review.reviewer, recorder.records[receipt.index]?.script?.envelope], ['bo', envelope]);
    deepEqual(told, ['bo']);
    await rejects(desk.attest(envelope), { code: 'attestation_invalid' });
    const two = await setUp(people, { node: 'n2', clock, store });
    deepEqual(
      two.desk.reviews(() => undefined),
      [{ ...statement(clock.nowMs()), keyId: 'bo-1' }],
    );
    deepEqual(two.recorder.kinds, []);
  });

  test('is refused for anyone but an enrolled reviewer with their own key', async () => {
    const { desk, clock, recorder } = await setUp();
    const good = statement(clock.nowMs());
    const future = { ...good, reviewedMs: clock.nowMs() + LIMITS.clockSkewMs + 1 };
    for (const envelope of [
      signScriptAttestation(good, 'bo-1', cast.cy.ed25519),
      signScriptAttestation(good, 'cy-1', cast.cy.ed25519),
      signScriptAttestation({ ...good, reviewer: 'cy' }, 'cy-1', cast.cy.ed25519),
      signScriptAttestation({ ...good, reviewer: 'eve' }, 'bo-1', cast.bo.ed25519),
      signScriptAttestation(future, 'bo-1', cast.bo.ed25519),
      '{}',
    ]) {
      await rejects(desk.attest(Buffer.from(envelope)), { code: 'attestation_invalid' });
    }
    deepEqual(recorder.kinds, []);
  });
});

test('lists by state, and an unknown approval is not found', async () => {
  const { desk, clock } = await setUp();
  await approved(desk, clock);
  await desk.ask(askRequest({ opDigest: 'e'.repeat(64) }));
  deepEqual([desk.list().length, desk.list('pending').length, desk.list('denied').length], [2, 1, 0]);
  throws(() => desk.get('ap-0'), { code: 'approval_not_found' });
});

async function setUp(
  who: PeopleMap = people,
  shared: { node?: string; clock?: ManualClock; store?: MemoryBusStore } = {},
) {
  const clock = shared.clock ?? new ManualClock();
  const store = shared.store ?? new MemoryBusStore();
  const bus = new MemoryBus(clock, store);
  await bus.ensure(TOPICS.approvals);
  const recorder = new FakeRecorder();
  const desk = new ApprovalDesk({ node: shared.node ?? 'n1', bus, clock, recorder, people: who });
  await desk.start();
  await desk.log.caughtUp;
  return { desk, clock, store, bus, recorder };
}

async function approved(desk: ApprovalDesk, clock: ManualClock): Promise<AskStatus> {
  const { id } = await desk.ask(askRequest());
  await desk.decide(decisionBy(cast.bo, desk.get(id), clock.nowMs()));
  return desk.ask(askRequest());
}

/** Texts that together take about `room` bytes of canonical JSON. */
function pieces(room: number): string[] {
  return Array.from({ length: Math.floor(room / 1_003) }, () => 'x'.repeat(1_000));
}

function first(desk: ApprovalDesk) {
  const [view] = desk.list();
  ok(view !== undefined);
  return view;
}

function flip(signature: Buffer): Buffer {
  const copy = Buffer.from(signature);
  copy[10] = (copy[10] ?? 0) ^ 1;
  return copy;
}

/** Advances tick by tick, letting what each tick started finish. */
async function ticks(clock: ManualClock, totalMs: number): Promise<void> {
  for (let leftMs = totalMs; leftMs > 0; leftMs -= 1_000) {
    clock.advance(Math.min(leftMs, 1_000));
    await settle();
  }
}

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

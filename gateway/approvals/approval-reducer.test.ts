import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { LIMITS } from '../../core/kernel/limits.ts';
import { publicKeyRaw, signBytes } from '../../core/ledger/ed25519.ts';
import { shownDigest } from '../../core/ledger/statement.ts';
import { signScriptAttestation } from '../contract/script-attestation.ts';
import { ApprovalReducer, decisionStatement, isClosed, usesLeft } from './approval-reducer.ts';
import { shownText } from './shown.ts';
import { askRequest, cast, type Member, shown } from './testing/cast.ts';
import { approvalId, type Asked, encodeTransition, type Transition } from './transition.ts';

const ASKED_MS = 1_000_000;
const EXPIRES_MS = ASKED_MS + 900_000;
const OP = 'd'.repeat(64);
const DAY_MS = 24 * 3_600_000;
const runs = 150 * Number(process.env['CHAPERONE_TEST_SCALE'] ?? 1);

describe('ApprovalReducer', () => {
  test('goes from pending to approved to used up', () => {
    const { reducer, outcome } = setUp();
    equal(outcome(asked()), 'won');
    equal(reducer.get(asked().id)?.state, 'pending');
    equal(outcome(decided(asked(), cast.bo)), 'won');
    const ask = reducer.get(asked().id);
    equal(ask?.state, 'approved');
    ok(ask !== undefined && usesLeft(ask) === 1 && !isClosed(ask));
    equal(outcome(claim(asked())), 'won');
    ok(usesLeft(ask) === 0 && isClosed(ask));
    equal(reducer.nextGeneration(OP), 1);
  });

  test('takes the first decision by offset, and only that', () => {
    const { reducer, outcome } = setUp();
    outcome(asked());
    equal(outcome(decided(asked(), cast.cy, 'deny')), 'won');
    equal(outcome(decided(asked(), cast.bo, 'approve')), 'closed');
    equal(reducer.get(asked().id)?.state, 'denied');
    equal(outcome(claim(asked())), 'closed');
  });

  test('lets nobody of the requester’s chain decide, even when the ask lists them', () => {
    const { outcome } = setUp();
    const listed = asked({ sets: [{ code: 'c', approvers: ['owners'], persons: ['ada', 'bo'] }] });
    outcome(listed);
    equal(outcome(decided(listed, cast.ada)), 'not_eligible');
    equal(outcome(decided(listed, cast.di)), 'not_eligible');
    equal(outcome(decided(listed, cast.bo)), 'won');
  });

  test('counts distinct persons for the quorum', () => {
    const { reducer, outcome } = setUp();
    const two = asked({ quorum: 2 });
    outcome(two);
    equal(outcome(decided(two, cast.bo)), 'won');
    equal(outcome(decided(two, cast.bo, 'deny')), 'repeated');
    equal(outcome(decided(two, cast.bo)), 'repeated');
    equal(reducer.get(two.id)?.state, 'pending');
    equal(outcome(claim(two)), 'closed');
    equal(outcome(decided(two, cast.cy)), 'won');
    equal(reducer.get(two.id)?.state, 'approved');
  });

  test('keeps sets of approvers apart: each needs a decision of its own members', () => {
    const { reducer, outcome } = setUp();
    const both = asked({
      quorum: 2,
      sets: [
        { code: 'a', approvers: ['owners'], persons: ['bo', 'cy', 'ed'] },
        { code: 'b', approvers: ['security'], persons: ['di', 'ed'] },
      ],
    });
    outcome(both);
    outcome(decided(both, cast.bo));
    outcome(decided(both, cast.cy));
    equal(reducer.get(both.id)?.state, 'pending', 'two owners are no security officer');
    outcome(decided(both, cast.di));
    equal(reducer.get(both.id)?.state, 'approved');
  });

  test('judges time by the times inside the transitions, to the millisecond', () => {
    for (const [atMs, expected] of [
      [EXPIRES_MS - 1, 'won'],
      [EXPIRES_MS, 'expired'],
    ] as const) {
      const { outcome } = setUp();
      outcome(asked());
      equal(outcome(decided(asked(), cast.bo, 'approve', atMs)), expected);
    }
    for (const [atMs, expected] of [
      [EXPIRES_MS - 1, 'won'],
      [EXPIRES_MS, 'expired'],
    ] as const) {
      const { outcome } = setUp();
      outcome(asked());
      outcome(decided(asked(), cast.bo));
      equal(outcome(claim(asked(), { atMs })), expected);
    }
  });

  test('expires an ask or an unused grant, not before its time and not after its end', () => {
    const { reducer, outcome } = setUp();
    outcome(asked());
    equal(outcome(change('expired', asked(), EXPIRES_MS - 1)), 'not_expired');
    equal(outcome(change('expired', asked(), EXPIRES_MS)), 'won');
    equal(outcome(change('expired', asked(), EXPIRES_MS)), 'closed');
    equal(outcome(decided(asked(), cast.bo)), 'closed');
    const grant = asked({ generation: 1 });
    equal(outcome(grant), 'won');
    outcome(decided(grant, cast.bo));
    equal(outcome(change('expired', grant, EXPIRES_MS)), 'won');
    equal(outcome(claim(grant)), 'closed');
    equal(reducer.get(grant.id)?.state, 'expired');
  });

  test('gives each use once, in order, for the operation of the ask', () => {
    const { outcome } = setUp();
    const three = asked({ uses: 2 });
    outcome(three);
    outcome(decided(three, cast.bo));
    equal(outcome(claim(three, { opDigest: 'e'.repeat(64) })), 'other_operation');
    equal(outcome(claim(three, { use: 1 })), 'taken');
    equal(outcome(claim(three, { use: 0 })), 'won');
    equal(outcome(claim(three, { use: 0 })), 'taken');
    equal(outcome(claim(three, { use: 1 })), 'won');
    equal(outcome(claim(three, { use: 2 })), 'taken');
  });

  test('has one open ask for an operation, and the generations follow each other', () => {
    const { reducer, outcome } = setUp();
    outcome(asked());
    equal(outcome(asked()), 'not_next');
    equal(outcome(asked({ generation: 1 })), 'not_next');
    outcome(change('cancelled', asked(), ASKED_MS));
    equal(outcome(asked()), 'not_next', 'a late copy of the first ask opens nothing');
    equal(outcome(asked({ generation: 2 })), 'not_next');
    equal(outcome(asked({ generation: 1 })), 'won');
    equal(reducer.lastFor(OP)?.asked.generation, 1);
  });

  test('starts an operation that it never saw at any generation', () => {
    const { outcome } = setUp();
    equal(outcome(asked({ generation: 41 })), 'won');
  });

  const forged: readonly (readonly [string, (t: Extract<Transition, { type: 'decided' }>) => Transition])[] = [
    ['another person', (t) => ({ ...t, person: 'cy' })],
    ['the other decision', (t) => ({ ...t, decision: 'deny' })],
    ['another reason', (t) => ({ ...t, reason: 'other' })],
    ['another time', (t) => ({ ...t, decidedMs: t.decidedMs + 1 })],
    ['another key', (t) => ({ ...t, keyId: 'cy-1' })],
    ['no signature', (t) => ({ ...t, signature: '' })],
  ];
  for (const [name, forge] of forged) {
    test(`refuses a decision that was signed for ${name}`, () => {
      const { reducer, outcome } = setUp();
      outcome(asked());
      equal(outcome(forge(decided(asked(), cast.bo))), 'signature');
      equal(reducer.get(asked().id)?.state, 'pending');
    });
  }

  test('refuses a decision that was signed for another ask of the same operation', () => {
    const { outcome } = setUp();
    outcome(asked());
    const old = decided(asked(), cast.bo);
    outcome(change('cancelled', asked(), ASKED_MS));
    const next = asked({ generation: 1 });
    outcome(next);
    equal(outcome({ ...old, id: next.id }), 'signature');
  });

  for (const [name, wrong] of [
    ['an id that is not that of the operation', { id: 'ap-0' }],
    ['a digest of something else', { shownDigest: '0'.repeat(64) }],
    ['shown text that is not canonical', { shown: ` ${shownText(shown())}` }],
    ['shown text that is no document', { shown: '{}' }],
    ['shown text that is not JSON', { shown: 'x' }],
  ] as const) {
    test(`refuses an ask with ${name}`, () => {
      const { reducer, outcome } = setUp();
      equal(outcome({ ...asked(), ...wrong }), 'malformed');
      deepEqual([...reducer.asks()], []);
    });
  }

  test('passes over what it cannot read and what belongs to nothing', () => {
    const { reducer, outcome } = setUp();
    equal(reducer.apply(Buffer.from('{}')).outcome, 'lost');
    equal(outcome(claim(asked())), 'unknown');
    equal(outcome(decided(asked(), cast.bo)), 'unknown');
    equal(outcome(change('expired', asked(), EXPIRES_MS)), 'unknown');
  });

  test('takes a signed review once, and none that is forged', () => {
    const { reducer, outcome } = setUp();
    equal(outcome(review(cast.bo, cast.cy)), 'signature');
    equal(outcome({ ...review(cast.bo, cast.bo), id: 'e'.repeat(64) }), 'malformed');
    equal(outcome(review(cast.bo, cast.bo)), 'won');
    equal(outcome(review(cast.bo, cast.bo)), 'repeated');
    equal([...reducer.reviews()].length, 1);
  });

  test('forgets only what can no longer matter', () => {
    const { reducer, outcome } = setUp();
    outcome(asked());
    reducer.prune(EXPIRES_MS + 400 * DAY_MS);
    ok(reducer.get(asked().id) !== undefined, 'an open ask is never forgotten');
    outcome(change('expired', asked(), EXPIRES_MS));
    reducer.prune(EXPIRES_MS + LIMITS.approvalKeepClosedMs);
    ok(reducer.get(asked().id) !== undefined);
    reducer.prune(EXPIRES_MS + LIMITS.approvalKeepClosedMs + 1);
    equal(reducer.get(asked().id), undefined);
    equal(outcome(asked()), 'not_next', 'its generation is remembered longer');
    equal(reducer.nextGeneration(OP), 1);
    reducer.prune(EXPIRES_MS + 29 * DAY_MS + 1);
    equal(reducer.nextGeneration(OP), 0);
  });

  test('keeps its invariants for any order of transitions, and replays to the same state', () => {
    const pool: Transition[] = [0, 1].flatMap((generation) => {
      const ask = asked({ generation, uses: 2, quorum: 2 });
      return [
        ask,
        decided(ask, cast.bo),
        decided(ask, cast.cy),
        decided(ask, cast.ed, 'deny'),
        claim(ask),
        claim(ask, { use: 1 }),
        change('expired', ask, EXPIRES_MS),
        change('cancelled', ask, ASKED_MS),
      ];
    });
    let approvedSeen = 0;
    fc.assert(
      fc.property(fc.array(fc.nat(pool.length - 1), { maxLength: 40 }), (order) => {
        const one = new ApprovalReducer(() => true);
        const two = new ApprovalReducer(() => true);
        for (const index of order) {
          const value = encodeTransition(pool[index] as Transition);
          one.apply(value);
          two.apply(value);
          const asks = [...one.asks()];
          ok(asks.filter((ask) => !isClosed(ask)).length <= 1);
          for (const { asked, claims, decisions, state } of asks) {
            ok(claims.length <= asked.uses && claims.every((claim, i) => claim.use === i));
            equal(new Set(decisions.map(({ person }) => person)).size, decisions.length);
            ok(claims.length === 0 || ['approved', 'expired', 'cancelled'].includes(state));
            approvedSeen += state === 'approved' ? 1 : 0;
          }
        }
        deepEqual([...one.asks()], [...two.asks()]);
      }),
      // The first run is one that ends in an approval and its use, so that the check has seen some.
      { numRuns: runs, examples: [[[0, 1, 2, 4, 5]]] },
    );
    ok(approvedSeen > 0);
  });
});

function setUp() {
  const reducer = new ApprovalReducer();
  const outcome = (transition: Transition): string => {
    const applied = reducer.apply(encodeTransition(transition));
    return applied.outcome === 'won' ? 'won' : applied.why;
  };
  return { reducer, outcome };
}

function asked(changes: Partial<Asked> = {}): Asked {
  const generation = changes.generation ?? 0;
  const text = shownText(shown());
  return {
    v: 1,
    type: 'asked',
    id: approvalId(OP, generation),
    node: 'n1',
    nonce: '0'.repeat(32),
    atMs: ASKED_MS,
    opDigest: OP,
    generation,
    expiresMs: EXPIRES_MS,
    uses: 1,
    requester: { ...askRequest().requester, chainPersons: ['ada'] },
    sessionId: '',
    summary: 's',
    reasons: [],
    shown: text,
    shownDigest: shownDigest(Buffer.from(OP, 'hex'), text, Buffer.alloc(32, 9)).toString('hex'),
    previewHash: '09'.repeat(32),
    quorum: 1,
    sets: [{ code: 'bulk_export', approvers: ['owners'], persons: ['bo', 'cy', 'ed'] }],
    keys: [cast.ada, cast.bo, cast.cy, cast.di, cast.ed].map((who) => ({
      person: who.id,
      keyId: who.keyId,
      ed25519: publicKeyRaw(who.ed25519).toString('hex'),
    })),
    previews: [],
    ...changes,
  };
}

function decided(ask: Asked, who: Member, decision: 'approve' | 'deny' = 'approve', atMs = ASKED_MS + 1) {
  const content = { decision, person: who.id, reason: 'because', decidedMs: ASKED_MS + 1 };
  const signature = signBytes(who.ed25519, decisionStatement(ask, content)).toString('base64');
  return { ...common('decided', ask.id, atMs), ...content, keyId: who.keyId, signature };
}

function claim(ask: Asked, changes: { atMs?: number; use?: number; opDigest?: string } = {}) {
  return { ...common('claim', ask.id, ASKED_MS + 2), use: 0, opDigest: ask.opDigest, ...changes };
}

function change(type: 'expired' | 'cancelled', ask: Asked, atMs: number): Transition {
  return type === 'expired' ? common(type, ask.id, atMs) : { ...common(type, ask.id, atMs), reason: 'r' };
}

function review(who: Member, signer: Member): Transition {
  const statement = { scriptDigest: 'a'.repeat(64), reviewer: who.id, repository: 'r', commit: 'c', reviewedMs: 1 };
  const envelope = signScriptAttestation(statement, who.keyId, signer.ed25519);
  return {
    ...common('script_reviewed', statement.scriptDigest, 1),
    ed25519: publicKeyRaw(who.ed25519).toString('hex'),
    envelope: Buffer.from(envelope).toString('base64'),
  };
}

function common<T extends Transition['type']>(type: T, id: string, atMs: number) {
  return { v: 1 as const, type, id, node: 'n1', nonce: '0'.repeat(32), atMs };
}

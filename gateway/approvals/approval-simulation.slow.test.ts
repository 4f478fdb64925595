import { deepEqual, equal, ok } from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, test } from 'node:test';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import { ManualClock } from '../../core/kernel/testing/manual-clock.ts';
import { SeededRandom } from '../../core/kernel/testing/seeded-random.ts';
import { verifyBytes } from '../../core/ledger/ed25519.ts';
import { ApprovalDesk } from './approval-desk.ts';
import { ApprovalReducer, type VerifySignature } from './approval-reducer.ts';
import type { ClaimGrant } from './desk-port.ts';
import type { ApprovalRecord, RecordReceipt } from './record-queue.ts';
import { askRequest, cast, decisionBy, people, shown } from './testing/cast.ts';
import { SimulatedBus, SimulatedTopic } from './testing/simulated-bus.ts';
import { decodeTransition, type Transition } from './transition.ts';

const SEEDS = 1_000 * Number(process.env['CHAPERONE_TEST_SCALE'] ?? 1);
const FIRST_SEED = Number(process.env['CHAPERONE_SEED'] ?? 1);
const NODES = ['n1', 'n2'] as const;
const OP = askRequest().opDigest;
/** Outcomes that a request may have in a cluster with faults; anything else is a bug. */
const EXPECTED = new Set(['approval_unavailable', 'approval_closed', 'approval_expired', 'approval_not_found']);

interface Node {
  readonly desk: ApprovalDesk;
  readonly kill: () => void;
}

interface Recorded {
  readonly node: string;
  readonly record: ApprovalRecord;
}

/**
 * Two nodes on one simulated topic. A seed decides the order of every store, acknowledgement, delivery and record, which
 * sends fail (before or after they were stored, or are stored twice) and when a node is killed and starts again.
 */
class Simulation {
  readonly random: SeededRandom;
  readonly clock = new ManualClock();
  readonly topic: SimulatedTopic;
  readonly grants: ClaimGrant[] = [];
  readonly recorded: Recorded[] = [];
  readonly failures: unknown[] = [];
  readonly nodes = new Map<string, Node>();
  kills = 0;

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
    this.topic = new SimulatedTopic(this.random, this.random.pick([0, 0, 0.1, 0.3]));
  }

  async start(name: string): Promise<void> {
    let isAlive = true;
    const bus = new SimulatedBus(this.topic);
    const record = (entry: ApprovalRecord): Promise<RecordReceipt> =>
      new Promise((resolve) => {
        this.topic.later(() => {
          if (isAlive) {
            const index = this.recorded.push({ node: name, record: entry }) - 1;
            this.topic.later(() =>
              isAlive ? resolve({ writer: name, index, leafHash: Buffer.alloc(32) }) : undefined,
            );
          }
        });
      });
    const desk = new ApprovalDesk({
      node: name,
      bus,
      clock: this.clock,
      people,
      recorder: { record },
      verify: rememberedVerify,
      nonce: () => this.random.bytes(16),
      seal: async () => ({ enc: Buffer.alloc(32), ciphertext: Buffer.alloc(16) }),
    });
    this.nodes.set(name, {
      desk,
      kill: () => {
        isAlive = false;
        bus.kill();
        void desk.close();
      },
    });
    await desk.start();
  }

  desk(): ApprovalDesk {
    return (this.nodes.get(this.random.pick(NODES)) as Node).desk;
  }

  /** An agent: asks, and takes the grant if there is one. */
  async request(): Promise<void> {
    const desk = this.desk();
    const status = await desk.ask(askRequest());
    if (status.state === 'approved') {
      const grant = await desk.claim({ id: status.id, opDigest: OP, shown: shown() });
      if (grant !== null) {
        this.grants.push(grant);
      }
    }
  }

  async decide(): Promise<void> {
    const desk = this.desk();
    const [view] = desk.list('pending');
    if (view !== undefined) {
      const decision = this.random.pick(['approve', 'approve', 'deny'] as const);
      const who = this.random.pick([cast.bo, cast.cy] as const);
      await desk.decide(decisionBy(who, view, Number(view.askedMs), decision));
    }
  }

  async restart(): Promise<void> {
    const name = this.random.pick(NODES);
    (this.nodes.get(name) as Node).kill();
    this.kills += 1;
    await this.start(name);
  }

  run(action: Promise<void>): void {
    action.catch((error: unknown) => {
      if (!(error instanceof GatewayError && EXPECTED.has(error.code))) {
        this.failures.push(error);
      }
    });
  }

  async drain(): Promise<void> {
    for (;;) {
      await settle();
      if (!this.topic.step()) {
        await settle();
        if (!this.topic.step()) {
          return;
        }
      }
    }
  }
}

describe('approvals in a simulated cluster', () => {
  test(`exactly one claim wins a use, and both nodes agree on everything (${SEEDS} seeds)`, async () => {
    const seen = {
      grants: 0,
      contestedClaims: 0,
      contestedDecisions: 0,
      contestedAsks: 0,
      kills: 0,
      denied: 0,
      spent: 0,
    };
    for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
      const simulation = await simulate(seed);
      const context = `CHAPERONE_SEED=${seed} CHAPERONE_TEST_SCALE=0.001`;
      deepEqual(simulation.failures, [], context);
      checkAgreement(simulation, context);
      const oracle = slowOracle(simulation);
      checkGrants(simulation, oracle, context);
      checkRecords(simulation, oracle, context);
      seen.grants += simulation.grants.length;
      seen.kills += simulation.kills;
      seen.spent += oracle.claimNonces.size - simulation.grants.length;
      for (const [type, count] of oracle.losers) {
        seen.contestedClaims += type === 'claim' ? count : 0;
        seen.contestedDecisions += type === 'decided' ? count : 0;
        seen.contestedAsks += type === 'asked' ? count : 0;
      }
      seen.denied += oracle.denied;
    }
    // A simulation in which nothing contested anything would prove nothing.
    for (const [what, count] of Object.entries(seen)) {
      ok(count > 0 || SEEDS < 100, `${what} never happened`);
    }
  });
});

async function simulate(seed: number): Promise<Simulation> {
  const simulation = new Simulation(seed);
  const { random, clock, topic } = simulation;
  for (const name of NODES) {
    await simulation.start(name);
  }
  const canKill = random.next() < 0.3;
  for (let step = 0; step < 60; step++) {
    const dice = random.next();
    if (dice < 0.16) {
      simulation.run(simulation.request());
    } else if (dice < 0.26) {
      simulation.run(simulation.decide());
    } else if (dice < 0.28 && canKill) {
      simulation.run(simulation.restart());
    } else if (dice < 0.29) {
      clock.advance(random.pick([LIMITS.approvalTickMs, LIMITS.approvalTtlMs]));
    } else {
      topic.step();
    }
    await settle();
  }
  await simulation.drain();
  return simulation;
}

function checkAgreement({ nodes, topic }: Simulation, context: string): void {
  const fresh = new ApprovalReducer(rememberedVerify);
  for (const { value } of topic.messages) {
    fresh.apply(value);
  }
  for (const { desk } of nodes.values()) {
    deepEqual([...desk.log.reducer.asks()], [...fresh.asks()], context);
  }
}

function checkGrants({ grants }: Simulation, oracle: Oracle, context: string): void {
  const uses = grants.map(({ id, use }) => `${id}/${use}`);
  equal(new Set(uses).size, uses.length, `${context}: a use was given twice`);
  for (const use of uses) {
    ok(oracle.wonUses.has(use), `${context}: a grant that the topic does not show`);
  }
}

function checkRecords({ recorded, kills, nodes }: Simulation, oracle: Oracle, context: string): void {
  const positions = recorded.map(({ node, record }) => {
    const attributes = record.note?.attributes ?? {};
    equal(attributes['node'], node, `${context}: recorded by another node`);
    return Number(attributes['bus_offset']);
  });
  const unrecorded = [...nodes.values()].reduce((sum, { desk }) => sum + desk.log.unrecorded, 0);
  equal(unrecorded, 0, context);
  deepEqual(
    [...new Set(positions)].sort((a, b) => a - b),
    oracle.wonOffsets,
    `${context}: every transition that won has its record, and no other`,
  );
  if (kills === 0) {
    equal(positions.length, new Set(positions).size, `${context}: recorded twice without a crash`);
  }
}

interface Oracle {
  readonly wonOffsets: readonly number[];
  readonly wonUses: ReadonlySet<string>;
  readonly claimNonces: ReadonlySet<string>;
  readonly losers: ReadonlyMap<Transition['type'], number>;
  readonly denied: number;
}

interface OpenAsk {
  readonly id: string;
  readonly isApproved: boolean;
  readonly expiresMs: number;
}

/** The rules for one operation with one approval, quorum 1 and one use, written down once more in the plainest way. */
function slowOracle({ topic }: Simulation): Oracle {
  const wonOffsets: number[] = [];
  const wonUses = new Set<string>();
  const claimNonces = new Set<string>();
  const losers = new Map<Transition['type'], number>();
  let denied = 0;
  let open = null as OpenAsk | null;
  let generation = 0;
  for (const { offset, value } of topic.messages) {
    const t = decodeTransition(value) as Transition;
    let isWon = false;
    if (t.type === 'asked') {
      isWon = open === null && t.generation === generation;
      open = isWon ? { id: t.id, isApproved: false, expiresMs: t.expiresMs } : open;
      generation += isWon ? 1 : 0;
    } else if (open !== null && t.id === open.id) {
      if (t.type === 'decided' && !open.isApproved && t.atMs < open.expiresMs) {
        isWon = true;
        denied += t.decision === 'deny' ? 1 : 0;
        open = t.decision === 'deny' ? null : { ...open, isApproved: true };
      } else if (t.type === 'claim' && open.isApproved && t.atMs < open.expiresMs) {
        isWon = true;
        wonUses.add(`${t.id}/${t.use}`);
        claimNonces.add(t.nonce);
        open = null;
      } else if (t.type === 'cancelled' || (t.type === 'expired' && t.atMs >= open.expiresMs)) {
        isWon = true;
        open = null;
      }
    }
    if (isWon) {
      wonOffsets.push(offset);
    } else {
      losers.set(t.type, (losers.get(t.type) ?? 0) + 1);
    }
  }
  return { wonOffsets, wonUses, claimNonces, losers, denied };
}

const verified = new Map<string, boolean>();
/** The real check, once for each distinct question: signatures repeat across seeds. */
const rememberedVerify: VerifySignature = (publicKey, message, signature) => {
  const key = hash('sha256', Buffer.concat([publicKey, signature, message]), 'binary');
  const known = verified.get(key) ?? verifyBytes(publicKey, message, signature);
  verified.set(key, known);
  return known;
};

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

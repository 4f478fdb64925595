import { randomBytes } from 'node:crypto';
import { channel } from 'node:diagnostics_channel';
import type { Bus, BusMessage, Tail } from '../../core/bus/bus.ts';
import { TOPICS } from '../../core/bus/topics.ts';
import { assert } from '../../core/kernel/assert.ts';
import type { Clock, Timer } from '../../core/kernel/clock.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import type { ScriptAttestation } from '../contract/script-attestation.ts';
import { recordOf } from './approval-record.ts';
import { type Applied, ApprovalReducer, type Ask, type VerifySignature } from './approval-reducer.ts';
import { type ApprovalRecorder, RecordQueue, type RecordReceipt } from './record-queue.ts';
import { encodeTransition, type Transition } from './transition.ts';

/** What a transition of ours came to, once the topic says so. `receipt` is there when it won. */
export interface Settled {
  readonly applied: Applied;
  readonly receipt: Promise<RecordReceipt> | null;
}

export interface ApprovalLogOptions {
  /** Unique in the cluster: two nodes of one name would both record each other's transitions. */
  readonly node: string;
  readonly bus: Bus;
  readonly clock: Clock;
  readonly recorder: ApprovalRecorder;
  readonly staleMaxMs?: number;
  readonly verify?: VerifySignature;
  /** 16 random bytes; tests give seeded ones. */
  readonly nonce?: () => Buffer;
}

/** A transition as its author knows it: the log adds version, node, nonce and time. */
export type Draft = Transition extends infer T
  ? T extends Transition
    ? Omit<T, 'v' | 'node' | 'nonce' | 'atMs'>
    : never
  : never;

/** Messages `{offset, why}`: values of the topic that no reader understands. */
export const malformedTransitions = channel('chaperone:approvals:malformed');

const PARTITION = 0;
const REOPEN_MS = 1_000;

/**
 * One node's end of `state.approvals.v1`: appends transitions, reads all of them in offset order into the reducer, and
 * tells what became of its own. Nothing counts because it was appended; it counts when its offset was read and it won.
 *
 * Invariants: `#nextOffset` is the offset after the last one that the reducer saw, and every value was seen once; a nonce
 * is settled at most once, by the first of its offsets (a bus may store one append twice).
 */
export class ApprovalLog {
  readonly node: string;
  readonly reducer: ApprovalReducer;
  /** Resolves when everything was read that was on the topic at some moment after `start`. */
  readonly caughtUp: Promise<void>;
  readonly #bus: Bus;
  readonly #clock: Clock;
  readonly #staleMaxMs: number;
  readonly #nonce: () => Buffer;
  readonly #queue: RecordQueue;
  readonly #waiting = new Map<string, (settled: Settled) => void>();
  readonly #listeners = new Set<(ask: Ask) => void>();
  readonly #reviewListeners = new Set<(review: ScriptAttestation) => void>();
  #tail: Tail | null = null;
  #timer: Timer | null = null;
  #nextOffset = 0;
  /** Own transitions below this offset were recorded before this start. */
  #recordedBelow = 0;
  #freshAtMs = -Infinity;
  /** An end offset that was seen but not yet read up to, with the time when it was asked for. */
  #target: { readonly offset: number; readonly atMs: number } | null = null;
  #closed = false;
  #resolveCaughtUp: () => void = () => undefined;

  constructor(options: ApprovalLogOptions) {
    this.caughtUp = new Promise((resolve) => {
      this.#resolveCaughtUp = resolve;
    });
    this.node = options.node;
    this.reducer = new ApprovalReducer(options.verify);
    this.#bus = options.bus;
    this.#clock = options.clock;
    this.#staleMaxMs = options.staleMaxMs ?? LIMITS.approvalsStaleMaxMs;
    this.#nonce = options.nonce ?? ((): Buffer => randomBytes(16));
    this.#queue = new RecordQueue(options.recorder, options.clock, (offset) =>
      this.#bus.commit(this.#consumer, TOPICS.approvals.name, [{ partition: PARTITION, offset }]),
    );
  }

  /**
   * Begins to read. The topic must exist (the composition root ensures all topics). Rejects `bus_unavailable`. The node is
   * ready when `caughtUp` resolved.
   */
  async start(): Promise<void> {
    const committed = await this.#bus.committed(this.#consumer, TOPICS.approvals.name);
    this.#recordedBelow = committed[PARTITION] ?? 0;
    this.#read();
    await this.refresh();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#queue.close();
    this.#timer?.cancel();
    await this.#tail?.close();
  }

  /** True while everything is known that was on the topic at most `staleMaxMs` ago. A quiet topic is not stale. */
  get isFresh(): boolean {
    return this.stalenessMs <= this.#staleMaxMs;
  }

  get stalenessMs(): number {
    return this.#clock.monotonicMs() - this.#freshAtMs;
  }

  get unrecorded(): number {
    return this.#queue.waiting;
  }

  /** Throws GatewayError `approval_unavailable` when the state is too old to act on. */
  checkFresh(): void {
    if (!this.isFresh) {
      throw new GatewayError('approval_unavailable', 'the state of approvals is stale');
    }
  }

  /** Called after every transition that changed an ask. */
  onChange(listener: (ask: Ask) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  onReview(listener: (review: ScriptAttestation) => void): void {
    this.#reviewListeners.add(listener);
  }

  /** Asks the bus how far the topic goes. Never rejects: without an answer the state just grows stale. */
  async refresh(): Promise<void> {
    const atMs = this.#clock.monotonicMs();
    try {
      const ends = await this.#bus.endOffsets(TOPICS.approvals.name);
      this.#target = { offset: ends[PARTITION] ?? 0, atMs };
    } catch {
      return; // The age of the last good answer is the signal; readers see it as `stalenessMs`.
    }
    this.#noteProgress();
  }

  /**
   * Appends with all acks and resolves when the topic has shown what became of it. Rejects `approval_unavailable` when
   * that cannot be known now; the transition may still be there, and then counts.
   */
  async append(draft: Draft): Promise<Settled> {
    assert(!this.#closed, 'a closed log appends nothing');
    const nonce = this.#nonce().toString('hex');
    const transition = { ...draft, v: 1, node: this.node, nonce, atMs: this.#clock.nowMs() } as Transition;
    const value = encodeTransition(transition);
    if (value.length > LIMITS.approvalTransitionBytesMax) {
      throw new GatewayError('approval_body_too_large', 'the sealed previews of this approval are too large');
    }
    let timer: Timer | null = null;
    const settled = new Promise<Settled>((resolve, reject) => {
      this.#waiting.set(nonce, resolve);
      timer = this.#clock.after(this.#staleMaxMs, () => {
        reject(new GatewayError('approval_unavailable', 'the bus does not show the transition'));
      });
    });
    settled.catch(() => undefined); // The publish may fail first, and is then the one that is reported.
    try {
      const key = Buffer.from(draft.type === 'script_reviewed' ? 'script' : draft.id);
      const published = this.#bus.publish(TOPICS.approvals.name, key, [value], { acks: 'all' });
      // If we die here the transition may be on the topic; at the next start it is read, and recorded if it won.
      await Promise.race([settled, published.then(() => settled)]);
      return await settled;
    } catch (cause) {
      throw cause instanceof GatewayError && cause.code === 'approval_unavailable'
        ? cause
        : new GatewayError('approval_unavailable', 'the bus did not take the transition', { cause });
    } finally {
      this.#waiting.delete(nonce);
      (timer as Timer | null)?.cancel();
    }
  }

  get #consumer(): string {
    return `approvals-${this.node.toLowerCase()}`;
  }

  #read(): void {
    const from = [{ partition: PARTITION, offset: this.#nextOffset === 0 ? ('start' as const) : this.#nextOffset }];
    this.#tail = this.#bus.tail(TOPICS.approvals.name, from, (messages) => this.#apply(messages));
    const again = (): void => {
      if (!this.#closed) {
        this.#timer = this.#clock.after(REOPEN_MS, () => this.#read());
      }
    };
    this.#tail.done.then(again, again);
  }

  #apply(messages: readonly BusMessage[]): void {
    for (const { offset, value } of messages) {
      if (offset < this.#nextOffset) {
        continue; // A tail that was opened again may repeat; every value is applied once.
      }
      this.#nextOffset = offset + 1;
      this.#applyOne(offset, value);
    }
    this.#noteProgress();
  }

  #applyOne(offset: number, value: Buffer): void {
    const applied = this.reducer.apply(value);
    if (applied.transition === null) {
      malformedTransitions.publish({ offset, why: 'malformed' });
      return;
    }
    const isOwn = applied.transition.node === this.node;
    const isToRecord = isOwn && applied.outcome === 'won' && offset >= this.#recordedBelow;
    const receipt = isToRecord ? this.#queue.push(offset, recordOf(applied, offset)) : null;
    if (isOwn) {
      this.#waiting.get(applied.transition.nonce)?.({ applied, receipt });
      this.#waiting.delete(applied.transition.nonce);
    }
    if (applied.outcome === 'won' && applied.ask !== null) {
      for (const listener of this.#listeners) {
        listener(applied.ask);
      }
    }
    if (applied.outcome === 'won' && applied.review !== null) {
      for (const listener of this.#reviewListeners) {
        listener(applied.review);
      }
    }
  }

  #noteProgress(): void {
    if (this.#target !== null && this.#nextOffset >= this.#target.offset) {
      this.#freshAtMs = Math.max(this.#freshAtMs, this.#target.atMs);
      this.#target = null;
      this.#resolveCaughtUp();
    }
  }
}

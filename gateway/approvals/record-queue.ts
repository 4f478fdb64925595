import type { Clock } from '../../core/kernel/clock.ts';
import type { Approval, Note, ScriptReview } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import type { Requester } from './desk-port.ts';

/** Kinds of docs/formats.md that the desk writes. `cancelled` has no kind of its own: it is an `approval.expired`. */
export type ApprovalRecordKind =
  | 'approval.asked'
  | 'approval.granted'
  | 'approval.denied'
  | 'approval.expired'
  | 'approval.claimed'
  | 'script.reviewed';

/** The parts of an `Event` that the desk knows; the control writer's side adds what every record has. */
export interface ApprovalRecord {
  readonly kind: ApprovalRecordKind;
  /** Hex, empty when the record belongs to no session. */
  readonly sessionId: string;
  readonly connection: string;
  /** Who asked; null for a script review. */
  readonly requester: Pick<Requester, 'principal' | 'person'> | null;
  readonly approvals: readonly Approval[];
  readonly note: Note | undefined;
  readonly script: ScriptReview | undefined;
}

/** A real position: the record is durable. */
export interface RecordReceipt {
  /** Writer id, hex. */
  readonly writer: string;
  readonly index: number;
  readonly leafHash: Buffer;
}

/** The control writer as the desk sees it. MUST resolve only when the record is durable. */
export interface ApprovalRecorder {
  record(record: ApprovalRecord): Promise<RecordReceipt>;
}

interface Entry {
  readonly offset: number;
  readonly record: ApprovalRecord;
  readonly resolve: (receipt: RecordReceipt) => void;
  readonly reject: (error: unknown) => void;
}

const RETRY_MS = 1_000;

/**
 * Writes the records of the transitions that this node appended and that won, in offset order, and remembers on the bus
 * how far it came. A transition is recorded by exactly one node: the one whose name it carries.
 *
 * Where the process may die:
 * - before the append: there is no transition and no record;
 * - after the append, before the record: the transition stands in the cluster; this node reads it again at its next
 *   start, from the committed offset on, and records it then;
 * - after the record is durable, before the commit: recorded a second time at the next start. Both records name the
 *   approval and the bus offset, so a reader sees one transition. A lost record would be worse than a double one.
 * Limit: a node that never starts again leaves its last unrecorded transitions to the topic alone (30 days); nothing was
 * forwarded for them, because `claim` waits for its record.
 *
 * Invariants: entries leave in offset order, each after its record is durable; `committed` never passes an entry that
 * is not; at most one `record` call is running.
 */
export class RecordQueue {
  readonly #recorder: ApprovalRecorder;
  readonly #clock: Clock;
  readonly #commit: (nextOffset: number) => Promise<void>;
  readonly #entries: Entry[] = [];
  #running = false;
  #closed = false;

  constructor(recorder: ApprovalRecorder, clock: Clock, commit: (nextOffset: number) => Promise<void>) {
    this.#recorder = recorder;
    this.#clock = clock;
    this.#commit = commit;
  }

  get waiting(): number {
    return this.#entries.length;
  }

  /**
   * Rejects with the first failure to write, so that a claim is not answered by silence; the record itself stays queued
   * until it is written.
   */
  push(offset: number, record: ApprovalRecord): Promise<RecordReceipt> {
    const receipt = new Promise<RecordReceipt>((resolve, reject) => {
      this.#entries.push({ offset, record, resolve, reject });
    });
    receipt.catch(() => undefined); // Most records have nobody who waits for them.
    void this.#run();
    return receipt;
  }

  close(): void {
    this.#closed = true;
  }

  async #run(): Promise<void> {
    if (this.#running) {
      return;
    }
    this.#running = true;
    for (let entry = this.#entries[0]; entry !== undefined && !this.#closed; entry = this.#entries[0]) {
      try {
        const receipt = await this.#recorder.record(entry.record);
        this.#entries.shift();
        entry.resolve(receipt);
      } catch (error) {
        // All who wait are told: none of the records behind this one can be written before it.
        for (const waiting of this.#entries) {
          waiting.reject(error);
        }
        await new Promise<void>((resolve) => void this.#clock.after(RETRY_MS, resolve));
        continue;
      }
      // If we die here the record is written once more at the next start (see above).
      await this.#commit(entry.offset + 1).catch(() => undefined); // Best effort: the next commit covers this one.
    }
    this.#running = false;
  }
}

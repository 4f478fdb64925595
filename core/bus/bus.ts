/**
 * The bus: named topics of partitions, each an append-only list of (key, value) with an offset. Bytes only; what they
 * mean is for `core/ledger`. Kafka is one implementation, the file bus the embedded one, memory the one for tests; all
 * pass `bus-contract.ts`.
 */
export interface TopicSettings {
  readonly name: string;
  readonly partitions: number;
  readonly cleanup: 'delete' | 'compact';
  readonly retentionMs: number;
  readonly replicationFactor: number;
  readonly minInSyncReplicas: number;
}

/** One stored message. `value` is valid for as long as the receiver keeps it. */
export interface BusMessage {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly key: Buffer;
  readonly value: Buffer;
  readonly timestampMs: number;
}

/** Where a value was stored. A failed send may still have been stored: readers dedupe by content, never by offset. */
export interface BusPosition {
  readonly partition: number;
  readonly offset: number;
}

/** `all`: durable on every in-sync replica (file bus: after fdatasync) before the promise resolves. */
export type Acks = 'all' | 'leader';

/** A partition with the offset from which to read; `'start'` is the oldest kept, `'end'` the next to be written. */
export interface TailFrom {
  readonly partition: number;
  readonly offset: number | 'start' | 'end';
}

export interface Tail {
  /**
   * Reads on until `close`. MUST deliver the messages of a partition in offset order, without a gap that retention does
   * not explain, and MUST NOT deliver the next batch before the promise of `onMessages` settled (that is the back
   * pressure). A rejected `onMessages` ends the tail with that error in `done`. A lost connection does not end it: it
   * goes on from the next offset when the bus is back.
   */
  readonly done: Promise<void>;
  /** Resolves when no further delivery can happen. MUST NOT be awaited inside `onMessages`, which it waits for. */
  close(): Promise<void>;
}

export interface Bus {
  /**
   * Appends `values` under one key to the partition of that key, in order and contiguous with each other unless the
   * promise rejects. MUST resolve only after `acks` holds. Rejects with GatewayError `bus_unavailable` (may have been
   * stored) or `bus_misconfigured` (unknown topic; was not stored).
   */
  publish(
    topic: string,
    key: Buffer,
    values: readonly Buffer[],
    options?: { readonly acks?: Acks },
  ): Promise<BusPosition[]>;
  tail(
    topic: string,
    from: readonly TailFrom[] | 'start' | 'end',
    onMessages: (messages: readonly BusMessage[]) => Promise<void> | void,
  ): Tail;
  /** The next offset of each partition, by partition number. */
  endOffsets(topic: string): Promise<number[]>;
  /** Stored offset of a named consumer (at-least-once), by partition; undefined where it never committed. */
  committed(consumer: string, topic: string): Promise<(number | undefined)[]>;
  commit(consumer: string, topic: string, offsets: readonly BusPosition[]): Promise<void>;
  /** Creates the topic if absent; rejects `bus_misconfigured` when it exists with other settings. */
  ensure(settings: TopicSettings): Promise<void>;
  describe(topic: string): Promise<TopicSettings | undefined>;
  /** Whether publish can be expected to work, and whether `acks: all` means more than one machine. */
  health(): Promise<{ readonly ok: boolean; readonly replicated: boolean; readonly detail: string }>;
  close(): Promise<void>;
}

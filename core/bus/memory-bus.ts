import type { Clock } from '../kernel/clock.ts';
import { GatewayError } from '../kernel/errors.ts';
import { LIMITS } from '../kernel/limits.ts';
import type { Acks, Bus, BusMessage, BusPosition, Tail, TailFrom, TopicSettings } from './bus.ts';
import { partitionOf } from './partition.ts';
import { checkBusName, checkMessageSizes, checkSameSettings, checkTopicSettings } from './topic-settings.ts';

export interface MemoryBusOptions {
  /** What `health` says, and so whether `replicated` evidence is possible. Default true: it stands in for Kafka. */
  readonly replicated?: boolean;
}

/**
 * What outlives a client: the topics of one simulated cluster. Several `MemoryBus` may share one.
 * `available` is the fault switch: while false, every request of every client rejects `bus_unavailable` and tails wait.
 */
export class MemoryBusStore {
  readonly topics = new Map<string, MemoryTopic>();
  readonly committed = new Map<string, (number | undefined)[]>();
  readonly #waiters = new Set<() => void>();
  #available = true;

  get available(): boolean {
    return this.#available;
  }

  set available(value: boolean) {
    this.#available = value;
    this.wake();
  }

  wake(): void {
    for (const waiter of this.#waiters) {
      this.#waiters.delete(waiter);
      waiter();
    }
  }

  onChange(waiter: () => void): void {
    this.#waiters.add(waiter);
  }
}

interface MemoryTopic {
  readonly settings: TopicSettings;
  readonly partitions: MemoryPartition[];
}

interface MemoryPartition {
  /** Ascending offsets; holes only where compaction removed something. */
  messages: BusMessage[];
  end: number;
}

/** The bus in the memory of one process: for tests, and for what is thrown away with the process. */
export class MemoryBus implements Bus {
  readonly #clock: Clock;
  readonly #store: MemoryBusStore;
  readonly #replicated: boolean;
  readonly #tails = new Set<MemoryTail>();
  #closed = false;

  constructor(clock: Clock, store: MemoryBusStore = new MemoryBusStore(), options: MemoryBusOptions = {}) {
    this.#clock = clock;
    this.#store = store;
    this.#replicated = options.replicated ?? true;
  }

  async publish(
    topic: string,
    key: Buffer,
    values: readonly Buffer[],
    _options?: { readonly acks?: Acks },
  ): Promise<BusPosition[]> {
    const { settings, partitions } = this.#topic(topic);
    checkMessageSizes(topic, key, values);
    const partition = partitionOf(key, settings.partitions);
    const target = partitions[partition] as MemoryPartition;
    const timestampMs = this.#clock.nowMs();
    const ownKey = Buffer.from(key);
    const positions = values.map((value) => {
      const offset = target.end++;
      target.messages.push({ topic, partition, offset, key: ownKey, value: Buffer.from(value), timestampMs });
      return { partition, offset };
    });
    this.#store.wake();
    return positions;
  }

  tail(
    topic: string,
    from: readonly TailFrom[] | 'start' | 'end',
    onMessages: (messages: readonly BusMessage[]) => Promise<void> | void,
  ): Tail {
    const tail = new MemoryTail(this.#store, onMessages);
    this.#tails.add(tail);
    let cursors: Cursor[] | null = null;
    try {
      const { partitions } = this.#topic(topic);
      cursors = cursorsOf(topic, partitions, from);
    } catch (error) {
      tail.fail(error);
    }
    if (cursors !== null) {
      tail.start(cursors);
    }
    const forget = (): void => void this.#tails.delete(tail);
    tail.done.then(forget, forget);
    return tail;
  }

  async endOffsets(topic: string): Promise<number[]> {
    return this.#topic(topic).partitions.map((p) => p.end);
  }

  async committed(consumer: string, topic: string): Promise<(number | undefined)[]> {
    checkBusName(consumer);
    const { settings } = this.#topic(topic);
    const stored = this.#store.committed.get(`${consumer}/${topic}`) ?? [];
    return Array.from({ length: settings.partitions }, (_, partition) => stored[partition]);
  }

  async commit(consumer: string, topic: string, offsets: readonly BusPosition[]): Promise<void> {
    checkBusName(consumer);
    const { settings } = this.#topic(topic);
    const stored = [...(this.#store.committed.get(`${consumer}/${topic}`) ?? [])];
    for (const { partition, offset } of offsets) {
      if (partition >= settings.partitions) {
        throw new GatewayError('bus_misconfigured', `${topic} has no partition ${partition}`);
      }
      stored[partition] = offset;
    }
    this.#store.committed.set(`${consumer}/${topic}`, stored);
  }

  async ensure(settings: TopicSettings): Promise<void> {
    this.#checkOpen();
    checkTopicSettings(settings);
    const existing = this.#store.topics.get(settings.name);
    if (existing !== undefined) {
      checkSameSettings(existing.settings, settings);
      return;
    }
    const partitions = Array.from({ length: settings.partitions }, () => ({ messages: [], end: 0 }));
    this.#store.topics.set(settings.name, { settings: { ...settings }, partitions });
  }

  async describe(topic: string): Promise<TopicSettings | undefined> {
    this.#checkOpen();
    return this.#store.topics.get(topic)?.settings;
  }

  async health(): Promise<{ readonly ok: boolean; readonly replicated: boolean; readonly detail: string }> {
    const ok = !this.#closed && this.#store.available;
    return { ok, replicated: this.#replicated, detail: ok ? 'memory' : 'memory bus is switched off' };
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#tails].map((tail) => tail.close()));
  }

  /** Applies the retention of every topic as of now. Nothing calls it by itself: tests decide when. */
  applyRetention(): void {
    const nowMs = this.#clock.nowMs();
    for (const { settings, partitions } of this.#store.topics.values()) {
      for (const partition of partitions) {
        partition.messages =
          settings.cleanup === 'compact'
            ? newestByKey(partition.messages)
            : partition.messages.filter((m) => m.timestampMs + settings.retentionMs >= nowMs);
      }
    }
  }

  #topic(name: string): MemoryTopic {
    this.#checkOpen();
    const topic = this.#store.topics.get(name);
    if (topic === undefined) {
      throw new GatewayError('bus_misconfigured', 'unknown topic');
    }
    return topic;
  }

  #checkOpen(): void {
    if (this.#closed) {
      throw new GatewayError('bus_unavailable', 'this client is closed');
    }
    if (!this.#store.available) {
      throw new GatewayError('bus_unavailable', 'memory bus is switched off');
    }
  }
}

interface Cursor {
  readonly partition: MemoryPartition;
  next: number;
}

/** Invariant: at most one `onMessages` is running, and `next` of a cursor passes a message only when it is handed over. */
class MemoryTail implements Tail {
  readonly done: Promise<void>;
  readonly #store: MemoryBusStore;
  readonly #onMessages: (messages: readonly BusMessage[]) => Promise<void> | void;
  #resolve: () => void = () => undefined;
  #reject: (error: unknown) => void = () => undefined;
  #closing = false;

  constructor(store: MemoryBusStore, onMessages: (messages: readonly BusMessage[]) => Promise<void> | void) {
    this.#store = store;
    this.#onMessages = onMessages;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // An owner that never looks at `done` must not end the process by an unhandled rejection.
    this.done.catch(() => undefined);
  }

  start(cursors: Cursor[]): void {
    this.#run(cursors).then(this.#resolve, this.#reject);
  }

  fail(error: unknown): void {
    this.#reject(error);
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.#store.wake();
    await this.done.catch(() => undefined);
  }

  async #run(cursors: Cursor[]): Promise<void> {
    while (!this.#closing) {
      const batch = this.#store.available ? takeBatch(cursors) : [];
      if (batch.length === 0) {
        await new Promise<void>((resolve) => this.#store.onChange(resolve));
        continue;
      }
      await this.#onMessages(batch);
    }
  }
}

function cursorsOf(
  topic: string,
  partitions: readonly MemoryPartition[],
  from: readonly TailFrom[] | 'start' | 'end',
): Cursor[] {
  if (typeof from === 'string') {
    return partitions.map((partition) => ({ partition, next: from === 'start' ? 0 : partition.end }));
  }
  return from.map(({ partition: number, offset }) => {
    const partition = partitions[number];
    if (partition === undefined) {
      throw new GatewayError('bus_misconfigured', `${topic} has no partition ${number}`);
    }
    return { partition, next: offset === 'start' ? 0 : offset === 'end' ? partition.end : offset };
  });
}

function takeBatch(cursors: readonly Cursor[]): BusMessage[] {
  const batch: BusMessage[] = [];
  let bytes = 0;
  for (const cursor of cursors) {
    const { messages } = cursor.partition;
    for (let i = firstAtOrAfter(messages, cursor.next); i < messages.length; i++) {
      const message = messages[i] as BusMessage;
      if (batch.length > 0 && bytes + message.value.length > LIMITS.busTailChunkBytes) {
        return batch;
      }
      batch.push(message);
      bytes += message.value.length;
      cursor.next = message.offset + 1;
    }
  }
  return batch;
}

/** Index of the first message whose offset is at or past `offset`. */
function firstAtOrAfter(messages: readonly BusMessage[], offset: number): number {
  let low = 0;
  let high = messages.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((messages[middle] as BusMessage).offset < offset) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

function newestByKey(messages: readonly BusMessage[]): BusMessage[] {
  const newest = new Map<string, number>();
  for (const { key, offset } of messages) {
    newest.set(key.toString('latin1'), offset);
  }
  return messages.filter(({ key, offset }) => newest.get(key.toString('latin1')) === offset);
}

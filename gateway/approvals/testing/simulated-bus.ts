import type { Bus, BusMessage, BusPosition, Tail, TopicSettings } from '../../../core/bus/bus.ts';
import { GatewayError } from '../../../core/kernel/errors.ts';
import type { SeededRandom } from '../../../core/kernel/testing/seeded-random.ts';

/**
 * A topic of one partition whose every step waits for the test: storing, acknowledging, delivering. Several clients share
 * one `SimulatedTopic`. A publish may fail before it is stored, after it, or be stored twice: what a real bus does.
 */
export class SimulatedTopic {
  readonly messages: BusMessage[] = [];
  readonly committed = new Map<string, number>();
  /** Called after each store: the tails look for what is new. */
  readonly onStored = new Set<() => void>();
  readonly #random: SeededRandom;
  readonly #faultRate: number;
  readonly #steps: (() => void)[] = [];

  constructor(random: SeededRandom, faultRate: number) {
    this.#random = random;
    this.#faultRate = faultRate;
  }

  /** Takes one of the possible steps; false when there is none. */
  step(): boolean {
    const index = this.#random.below(this.#steps.length);
    const [step] = this.#steps.splice(index, 1);
    step?.();
    return step !== undefined;
  }

  later(step: () => void): void {
    this.#steps.push(step);
  }

  fault(): 'none' | 'lost' | 'stored' | 'twice' {
    return this.#random.next() >= this.#faultRate ? 'none' : this.#random.pick(['lost', 'stored', 'twice']);
  }

  store(key: Buffer, value: Buffer): number {
    const offset = this.messages.length;
    this.messages.push({ topic: 'simulated', partition: 0, offset, key, value, timestampMs: 0 });
    for (const look of this.onStored) {
      look();
    }
    return offset;
  }
}

export class SimulatedBus implements Bus {
  readonly #topic: SimulatedTopic;
  #alive = true;

  constructor(topic: SimulatedTopic) {
    this.#topic = topic;
  }

  /** The process died: nothing of it is answered or delivered any more; what was sent may still be stored. */
  kill(): void {
    this.#alive = false;
  }

  publish(_topic: string, key: Buffer, values: readonly Buffer[]): Promise<BusPosition[]> {
    return new Promise((resolve, reject) => {
      const fault = this.#topic.fault();
      this.#topic.later(() => {
        const positions = fault === 'lost' ? [] : values.map((value) => this.#store(key, value, fault === 'twice'));
        this.#topic.later(() => {
          if (!this.#alive) {
            return;
          }
          if (fault === 'none' || fault === 'twice') {
            resolve(positions);
          } else {
            reject(new GatewayError('bus_unavailable', 'simulated'));
          }
        });
      });
    });
  }

  tail(
    _topic: string,
    from: readonly { readonly offset: number | 'start' | 'end' }[] | 'start' | 'end',
    onMessages: (messages: readonly BusMessage[]) => Promise<void> | void,
  ): Tail {
    const first = typeof from === 'string' ? from : (from[0]?.offset ?? 'start');
    let next = typeof first === 'number' ? first : first === 'start' ? 0 : this.#topic.messages.length;
    let isClosed = false;
    let isBusy = false;
    const look = (): void => {
      if (isBusy || isClosed || next >= this.#topic.messages.length) {
        return;
      }
      isBusy = true;
      this.#topic.later(() => {
        if (isClosed || !this.#alive) {
          return;
        }
        const batch = this.#topic.messages.slice(next, next + 2);
        next += batch.length;
        // The next delivery waits for this one to settle, as the port demands.
        void Promise.resolve(onMessages(batch)).then(() => {
          isBusy = false;
          look();
        });
      });
    };
    this.#topic.onStored.add(look);
    look();
    return {
      done: new Promise(() => undefined),
      close: async () => {
        isClosed = true;
        this.#topic.onStored.delete(look);
      },
    };
  }

  async endOffsets(): Promise<number[]> {
    return [this.#topic.messages.length];
  }

  async committed(consumer: string): Promise<(number | undefined)[]> {
    return [this.#topic.committed.get(consumer)];
  }

  async commit(consumer: string, _topic: string, offsets: readonly BusPosition[]): Promise<void> {
    if (this.#alive) {
      this.#topic.committed.set(consumer, offsets[0]?.offset ?? 0);
    }
  }

  async ensure(): Promise<void> {
    // The one topic is always there.
  }

  async describe(): Promise<TopicSettings | undefined> {
    return undefined;
  }

  async health(): Promise<{ ok: boolean; replicated: boolean; detail: string }> {
    return { ok: true, replicated: true, detail: 'simulated' };
  }

  async close(): Promise<void> {
    this.#alive = false;
  }

  #store(key: Buffer, value: Buffer, isTwice: boolean): BusPosition {
    const offset = this.#topic.store(key, value);
    if (isTwice) {
      this.#topic.later(() => void this.#topic.store(key, value));
    }
    return { partition: 0, offset };
  }
}

import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { defined } from '../kernel/assert.ts';
import { SeededRandom } from '../kernel/testing/seeded-random.ts';
import { GatewayError } from '../kernel/errors.ts';
import { LIMITS } from '../kernel/limits.ts';
import type { Bus, BusMessage, BusPosition, Tail, TailFrom, TopicSettings } from './bus.ts';
import { partitionOf } from './partition.ts';

/** A store that the suite may use for itself. */
export interface BusUnderTest {
  /** A new client of the same store. The suite closes it. */
  connect(): Promise<Bus>;
  readonly replicated: boolean;
  /** Ends the process that owns the store without warning, and starts another one. Absent where there is none. */
  readonly crash?: () => Promise<void>;
  close(): Promise<void>;
}

const SCALE = Number(process.env['CHAPERONE_TEST_SCALE'] ?? 1);

const SETTINGS: TopicSettings = {
  name: 'contract',
  partitions: 3,
  cleanup: 'delete',
  retentionMs: 86_400_000,
  replicationFactor: 1,
  minInSyncReplicas: 1,
};

/** What every `Bus` must do. One suite, run on each adapter; `inProcess` ones have no owner that could be killed. */
export function busContract(
  name: string,
  open: () => Promise<BusUnderTest>,
  options: { readonly inProcess?: boolean } = {},
): void {
  describe(`bus contract: ${name}`, () => {
    let subject: BusUnderTest;
    let bus: Bus;
    let topics = 0;
    before(async () => {
      subject = await open();
      bus = await subject.connect();
    });
    after(async () => {
      await bus.close();
      await subject.close();
    });
    const newTopic = async (overrides: Partial<TopicSettings> = {}): Promise<string> => {
      const settings = { ...SETTINGS, ...overrides, name: `contract.${topics++}` };
      await bus.ensure(settings);
      return settings.name;
    };

    test('gives each key one partition and its values contiguous offsets from 0', async () => {
      const topic = await newTopic();
      const key = Buffer.from('writer-a');
      const first = await bus.publish(topic, key, [Buffer.from('0'), Buffer.from('1')]);
      const second = await bus.publish(topic, key, [Buffer.from('2')], { acks: 'all' });
      const partition = partitionOf(key, SETTINGS.partitions);
      deepEqual(
        [...first, ...second],
        [0, 1, 2].map((offset) => ({ partition, offset })),
      );
      const ends = await bus.endOffsets(topic);
      deepEqual(
        ends,
        [0, 1, 2].map((p) => (p === partition ? 3 : 0)),
      );
    });

    test('delivers the bytes as published, whatever their size, and leaves them valid', async () => {
      const topic = await newTopic({ partitions: 1 });
      const random = new SeededRandom(1);
      const sizes = [0, 1, 31, 4095, 4096, 65_535, 65_536, 262_144, LIMITS.busValueBytesMax];
      const values = sizes.map((size) => filled(size, random.below(256)));
      const keys = [Buffer.alloc(0), Buffer.alloc(1, 9), Buffer.alloc(LIMITS.busKeyBytesMax, 7)];
      for (const key of keys) {
        await bus.publish(topic, key, values);
      }
      const got = await collect(bus, topic, 'start', keys.length * values.length);
      got.forEach((message, i) => {
        equal(message.offset, i);
        ok(message.key.equals(keys[Math.floor(i / values.length)] as Buffer), `key of ${i}`);
        ok(message.value.equals(values[i % values.length] as Buffer), `value of ${i}`);
      });
    });

    test('keeps what was published when the publisher reuses its buffers afterwards', async () => {
      const topic = await newTopic({ partitions: 1 });
      const key = Buffer.from('key');
      const value = Buffer.from('before');
      await bus.publish(topic, key, [value]);
      key.fill(0);
      value.fill(0);
      const [message] = await collect(bus, topic, 'start', 1);
      equal(message?.key.toString(), 'key');
      equal(message?.value.toString(), 'before');
    });

    test('keeps the order and loses nothing with many publishers at once', async () => {
      const topic = await newTopic();
      const clients = await Promise.all([subject.connect(), subject.connect()]);
      const sent = 300;
      const positions = await Promise.all(
        Array.from({ length: sent }, (_, i) =>
          (clients[i % 2] as Bus).publish(topic, Buffer.from(`key-${i % 7}`), [
            Buffer.from(`a${i}`),
            Buffer.from(`b${i}`),
          ]),
        ),
      );
      const got = await collect(bus, topic, 'start', 2 * sent);
      const byPosition = new Map(got.map((m) => [`${m.partition}/${m.offset}`, m.value.toString()]));
      equal(byPosition.size, 2 * sent, 'every position once');
      positions.flat().forEach(({ partition, offset }, i) => {
        equal(byPosition.get(`${partition}/${offset}`), `${i % 2 === 0 ? 'a' : 'b'}${i >> 1}`);
      });
      checkContiguous(got, [0, 0, 0]);
      await Promise.all(clients.map((client) => client.close()));
    });

    test('tails from a named offset, from the end, and waits for what comes', async () => {
      const topic = await newTopic({ partitions: 1 });
      const key = Buffer.from('k');
      await bus.publish(
        topic,
        key,
        ['0', '1', '2'].map((v) => Buffer.from(v)),
      );
      const late = new Collector(bus, topic, 'end');
      const listed = new Collector(bus, topic, [{ partition: 0, offset: 'end' }]);
      deepEqual(texts(await collect(bus, topic, [{ partition: 0, offset: 1 }], 2)), ['1', '2']);
      deepEqual(texts(await collect(bus, topic, [{ partition: 0, offset: 'start' }], 3)), ['0', '1', '2']);
      await bus.endOffsets(topic); // Answered after the tails were opened: 'end' is behind us now.
      await bus.publish(topic, key, [Buffer.from('3')]);
      deepEqual(texts(await late.take(1)), ['3']);
      deepEqual(texts(await listed.take(1)), ['3']);
    });

    test('does not deliver the next batch to a slow consumer, and does not make others wait for it', async () => {
      const topic = await newTopic({ partitions: 1 });
      const key = Buffer.from('k');
      const value = filled(LIMITS.busTailChunkBytes / 2, 1);
      const count = 12;
      let running = 0;
      let overlapped = false;
      let release: () => void = () => undefined;
      const gate = new Promise<void>((resolve) => {
        release = resolve;
      });
      const slow: number[] = [];
      let finish: () => void = () => undefined;
      const finished = new Promise<void>((resolve) => {
        finish = resolve;
      });
      const tail = bus.tail(topic, 'start', async (messages) => {
        running += 1;
        overlapped ||= running > 1;
        await gate;
        slow.push(...messages.map((m) => m.offset));
        running -= 1;
        if (slow.length === count) {
          finish();
        }
      });
      for (let i = 0; i < count; i++) {
        await bus.publish(topic, key, [value]);
      }
      equal((await collect(bus, topic, 'start', count)).length, count);
      deepEqual(slow, [], 'the slow one still holds its first batch');
      equal(running, 1);
      release();
      await finished;
      await tail.close();
      ok(!overlapped, 'batches never overlap');
      deepEqual(
        slow,
        Array.from({ length: count }, (_, i) => i),
      );
    });

    test('ends a tail with the error of its consumer', async () => {
      const topic = await newTopic({ partitions: 1 });
      await bus.publish(topic, Buffer.from('k'), [Buffer.from('v')]);
      const tail = bus.tail(topic, 'start', async () => {
        throw new Error('consumer failed');
      });
      await rejects(tail.done, /consumer failed/);
      await tail.close();
    });

    test('delivers nothing after close', async () => {
      const topic = await newTopic({ partitions: 1 });
      const collector = new Collector(bus, topic, 'start');
      await bus.publish(topic, Buffer.from('k'), [Buffer.from('1')]);
      await collector.take(1, { keepOpen: true });
      await collector.close();
      await bus.publish(topic, Buffer.from('k'), [Buffer.from('2')]);
      equal((await collect(bus, topic, 'start', 2)).length, 2);
      equal(collector.received.length, 1);
    });

    test('rejects an unknown topic and a partition that is not there', async () => {
      const misconfigured = hasCode('bus_misconfigured');
      await rejects(bus.publish('contract.none', Buffer.from('k'), [Buffer.from('v')]), misconfigured);
      await rejects(bus.endOffsets('contract.none'), misconfigured);
      await rejects(bus.committed('consumer', 'contract.none'), misconfigured);
      await rejects(bus.tail('contract.none', 'start', () => undefined).done, misconfigured);
      const topic = await newTopic();
      await rejects(bus.tail(topic, [{ partition: 3, offset: 0 }], () => undefined).done, misconfigured);
      equal(await bus.describe('contract.none'), undefined);
    });

    test('ensures a topic once and refuses other settings', async () => {
      const topic = await newTopic();
      const settings = { ...SETTINGS, name: topic };
      await bus.ensure(settings);
      deepEqual({ ...(await bus.describe(topic)) }, settings);
      for (const change of [
        { partitions: 4 },
        { cleanup: 'compact' as const },
        { retentionMs: 1 },
        { minInSyncReplicas: 2 },
      ]) {
        await rejects(bus.ensure({ ...settings, ...change }), hasCode('bus_misconfigured'));
      }
      await rejects(bus.ensure({ ...settings, name: '../escape' }), hasCode('bus_misconfigured'));
      deepEqual({ ...(await bus.describe(topic)) }, settings);
    });

    test('refuses a value one byte over the limit and stores nothing of it', async () => {
      const topic = await newTopic({ partitions: 1 });
      const key = Buffer.from('k');
      const tooLarge = [Buffer.from('small'), filled(LIMITS.busValueBytesMax + 1, 0)];
      await rejects(bus.publish(topic, key, tooLarge), hasCode('bus_misconfigured'));
      await rejects(
        bus.publish(topic, Buffer.alloc(LIMITS.busKeyBytesMax + 1), [Buffer.alloc(1)]),
        hasCode('bus_misconfigured'),
      );
      deepEqual(await bus.endOffsets(topic), [0]);
    });

    test('stores the offsets of a consumer for every client', async () => {
      const topic = await newTopic();
      deepEqual(await bus.committed('reader', topic), [undefined, undefined, undefined]);
      await bus.commit('reader', topic, [
        { partition: 0, offset: 5 },
        { partition: 2, offset: 0 },
      ]);
      await bus.commit('reader', topic, [{ partition: 0, offset: 6 }]);
      const other = await subject.connect();
      deepEqual(await other.committed('reader', topic), [6, undefined, 0]);
      deepEqual(await other.committed('reader-2', topic), [undefined, undefined, undefined]);
      await rejects(other.commit('reader', topic, [{ partition: 3, offset: 1 }]), hasCode('bus_misconfigured'));
      await other.close();
    });

    test('says whether it is healthy and replicated, and rejects when closed', async () => {
      const client = await subject.connect();
      await client.describe('contract.none');
      const { ok: healthy, replicated } = await client.health();
      equal(healthy, true);
      equal(replicated, subject.replicated);
      await client.close();
      await rejects(client.publish('contract.0', Buffer.from('k'), [Buffer.from('v')]), hasCode('bus_unavailable'));
      equal((await client.health()).ok, false);
    });

    if (options.inProcess !== true) {
      crashTests(
        () => ({ subject, bus }),
        () => newTopic(),
      );
    }
  });
}

function crashTests(current: () => { subject: BusUnderTest; bus: Bus }, newTopic: () => Promise<string>): void {
  test('loses no acknowledged message when its owner is killed under load, and tails go on without gap or repeat', async (t) => {
    const { subject, bus } = current();
    const crash = defined(subject.crash, 'an adapter with an owner process can kill it');
    const seed = Math.floor(performance.now() * 1000);
    t.diagnostic(`seed ${seed}`);
    const topic = await newTopic();
    const tail = new Collector(bus, topic, 'start');
    const acknowledged = new Map<string, string>();
    const cycles = 3 * SCALE;
    for (let cycle = 0; cycle < cycles; cycle++) {
      const publishers = Array.from({ length: 4 }, (_, p) =>
        publishUntilRefused(bus, topic, `${cycle}-${p}`, new SeededRandom(seed + p), acknowledged),
      );
      const before = acknowledged.size;
      await until(() => acknowledged.size >= before + 50);
      await crash();
      await Promise.all(publishers);
      await untilReady(bus, topic);
    }
    const ends = await bus.endOffsets(topic);
    const total = ends.reduce((sum, end) => sum + end, 0);
    ok(acknowledged.size >= 50 * cycles && total >= acknowledged.size, 'the publishers were acknowledged');
    const seen = await tail.take(total);
    checkContiguous(seen, [0, 0, 0]);
    const stored = await collect(bus, topic, 'start', total);
    for (const messages of [seen, stored]) {
      const byPosition = new Map(messages.map((m) => [`${m.partition}/${m.offset}`, digestOf(m.value)]));
      equal(byPosition.size, total);
      for (const [position, digest] of acknowledged) {
        equal(byPosition.get(position), digest, `acknowledged ${position}`);
      }
    }
  });
}

async function publishUntilRefused(
  bus: Bus,
  topic: string,
  key: string,
  random: SeededRandom,
  acknowledged: Map<string, string>,
): Promise<void> {
  for (let sequence = 0; ; sequence++) {
    const value = filled(8 + random.below(20_000), random.below(256));
    value.writeUInt32BE(sequence, 0);
    let positions: BusPosition[];
    try {
      positions = await bus.publish(topic, Buffer.from(key), [value]);
    } catch (error) {
      equal(error instanceof GatewayError && error.code, 'bus_unavailable');
      return;
    }
    const [{ partition, offset }] = positions as [BusPosition];
    const position = `${partition}/${offset}`;
    ok(!acknowledged.has(position), `two values were acknowledged at ${position}`);
    acknowledged.set(position, digestOf(value));
  }
}

async function untilReady(bus: Bus, topic: string): Promise<void> {
  for (;;) {
    try {
      await bus.endOffsets(topic);
      return;
    } catch (error) {
      equal(error instanceof GatewayError && error.code, 'bus_unavailable');
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Gathers what a tail delivers. */
class Collector {
  readonly received: BusMessage[] = [];
  readonly #tail: Tail;
  #wanted = Number.POSITIVE_INFINITY;
  #enough: () => void = () => undefined;

  constructor(bus: Bus, topic: string, from: readonly TailFrom[] | 'start' | 'end') {
    this.#tail = bus.tail(topic, from, (messages) => {
      this.received.push(...messages);
      if (this.received.length >= this.#wanted) {
        this.#enough();
      }
    });
  }

  /** Waits for exactly `count` messages in all. */
  async take(count: number, options: { keepOpen?: boolean } = {}): Promise<BusMessage[]> {
    if (this.received.length < count) {
      const enough = new Promise<void>((resolve) => {
        this.#wanted = count;
        this.#enough = resolve;
      });
      await Promise.race([enough, this.#tail.done]);
    }
    if (options.keepOpen !== true) {
      await this.close();
    }
    equal(this.received.length, count);
    return this.received;
  }

  close(): Promise<void> {
    return this.#tail.close();
  }
}

function collect(
  bus: Bus,
  topic: string,
  from: readonly TailFrom[] | 'start' | 'end',
  count: number,
): Promise<BusMessage[]> {
  return new Collector(bus, topic, from).take(count);
}

/** Each partition's offsets go up by one from `starts`, in the order of delivery. */
function checkContiguous(messages: readonly BusMessage[], starts: readonly number[]): void {
  const next = [...starts];
  for (const { partition, offset } of messages) {
    equal(offset, next[partition], `offset in partition ${partition}`);
    next[partition] = offset + 1;
  }
}

function texts(messages: readonly BusMessage[]): string[] {
  return messages.map((m) => m.value.toString());
}

function filled(size: number, byte: number): Buffer {
  return Buffer.alloc(size, byte);
}

function digestOf(value: Buffer): string {
  return `${value.length}:${value.subarray(0, 8).toString('hex')}`;
}

function hasCode(code: string): (error: unknown) => boolean {
  return (error) => error instanceof GatewayError && error.code === code;
}

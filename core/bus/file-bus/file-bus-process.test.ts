import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { SystemClock } from '../../kernel/clock.ts';
import { ManualClock } from '../../kernel/testing/manual-clock.ts';
import type { BusMessage } from '../bus.ts';
import { FileBus } from './file-bus.ts';
import { type RunningFileBus, startFileBus } from './file-bus-process.ts';
import { FileBusOwner } from './testing/file-bus-owner.ts';
import { FRAME_BYTES_MAX, FRAME_HEADER_SIZE, frameHeader, HELLO } from './wire.ts';

const SETTINGS = { name: 't', partitions: 1, cleanup: 'delete', retentionMs: 1000, replicationFactor: 3 } as const;
const TOPIC = { ...SETTINGS, minInSyncReplicas: 2 };

describe('file bus process', () => {
  let root: string;
  let directory: string;
  let socketPath: string;
  const clock = new SystemClock();
  const open: { close(): Promise<void> }[] = [];
  const start = async (options: object = {}): Promise<RunningFileBus> => {
    const bus = await startFileBus({ directory, socketPath, ...options });
    open.push(bus);
    return bus;
  };
  const client = (): FileBus => {
    const bus = new FileBus({ socketPath, clock });
    open.push(bus);
    return bus;
  };
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'chaperone-fbp-'));
    directory = join(root, 'data');
    socketPath = join(root, 's');
  });
  afterEach(async () => {
    for (const item of open.splice(0).reverse()) {
      await item.close();
    }
    await rm(root, { recursive: true });
  });

  test('listens on a socket that only its owner may use, in directories only it may read', async () => {
    await start();
    await client().ensure(TOPIC);
    equal((await stat(socketPath)).mode & 0o777, 0o600);
    equal((await stat(directory)).mode & 0o777, 0o700);
    const segments = join(directory, 'topics', 't', '0');
    const [name] = await readdir(segments);
    equal((await stat(join(segments, name as string))).mode & 0o777, 0o600);
  });

  test('refuses a second owner of the directory, in this process or another, until the first is gone', async () => {
    const first = await startFileBus({ directory, socketPath });
    const other = join(root, 's2');
    await rejects(startFileBus({ directory, socketPath: other }), { code: 'bus_unavailable' });
    await rejects(FileBusOwner.start(directory, other), /another process owns this directory/);
    await first.close();
    const owner = await FileBusOwner.start(directory, other);
    await rejects(start(), { code: 'bus_unavailable' });
    await owner.kill();
    await start();
  });

  test('refuses a socket that another bus serves, and takes the place of a dead one', async () => {
    await start();
    const other = join(root, 'other');
    await rejects(startFileBus({ directory: other, socketPath }), { code: 'bus_unavailable' });
    const deadPath = join(root, 'dead');
    const owner = await FileBusOwner.start(other, deadPath);
    await owner.kill();
    ok((await stat(deadPath)).isSocket(), 'the killed one left its socket');
    open.push(await startFileBus({ directory: other, socketPath: deadPath }));
  });

  test('requests wait for the first start; later a stopped bus rejects at once and tails go on when it is back', async () => {
    const bus = client();
    const ensured = bus.ensure(TOPIC);
    const first = await startFileBus({ directory, socketPath });
    await ensured;
    const seen = new Seen();
    const tail = bus.tail('t', 'start', (messages) => seen.add(messages));
    await bus.publish('t', Buffer.from('k'), [Buffer.from('1')]);
    await seen.count(1);
    await first.close();
    await rejects(untilRejected(bus), { code: 'bus_unavailable' });
    equal((await bus.health()).ok, false);
    await start();
    const other = client();
    await other.publish('t', Buffer.from('k'), [Buffer.from('2')]);
    await seen.count(2);
    deepEqual(seen.values, ['1', '2']);
    await tail.close();
  });

  test('gives up waiting for a bus that never comes', async () => {
    const manual = new ManualClock();
    const bus = new FileBus({ socketPath, clock: manual, connectWaitMs: 100 });
    open.push(bus);
    const refused = rejects(bus.endOffsets('t'), { code: 'bus_unavailable' });
    manual.advance(100);
    await refused;
  });

  test('rejects what is pending when the bus dies', async () => {
    const owner = await FileBusOwner.start(directory, socketPath);
    const bus = client();
    await bus.ensure(TOPIC);
    const value = Buffer.alloc(1024 * 1024);
    const pending = Array.from({ length: 16 }, () => bus.publish('t', Buffer.from('k'), [value]));
    const results = Promise.allSettled(pending);
    await owner.kill();
    const rejected = (await results).filter((r) => r.status === 'rejected');
    ok(rejected.length > 0);
    for (const { reason } of rejected) {
      equal((reason as { code: string }).code, 'bus_unavailable');
    }
  });

  test('cuts a torn tail and keeps what was acknowledged; refuses damage before it', async () => {
    const first = await startFileBus({ directory, socketPath });
    const writer = new FileBus({ socketPath, clock });
    await writer.ensure(TOPIC);
    for (const value of ['one', 'two', 'three']) {
      await writer.publish('t', Buffer.from('k'), [Buffer.from(value)]);
    }
    await writer.close();
    await first.close();
    const segment = join(directory, 'topics', 't', '0', '0000000000000000.seg');
    const whole = await readFile(segment);
    await truncate(segment, whole.length - 1);
    const second = await startFileBus({ directory, socketPath });
    const reader = new FileBus({ socketPath, clock });
    deepEqual(await reader.endOffsets('t'), [2]);
    await reader.close();
    await second.close();
    const damaged = Buffer.from(whole);
    damaged[whole.indexOf('one')] = 0;
    await writeFile(segment, damaged);
    await rejects(startFileBus({ directory, socketPath }), { code: 'bus_damaged' });
    ok((await readFile(segment)).equals(damaged), 'the segment is left as it was found');
    await writeFile(segment, whole);
    await start();
  });

  test('ends a tail over a record that changed on disk instead of delivering it', async () => {
    await start();
    const bus = client();
    await bus.ensure(TOPIC);
    await bus.publish('t', Buffer.from('k'), [Buffer.from('original')]);
    const segment = join(directory, 'topics', 't', '0', '0000000000000000.seg');
    const bytes = await readFile(segment);
    bytes[bytes.indexOf('original')] = 0;
    await writeFile(segment, bytes);
    const seen = new Seen();
    await rejects(bus.tail('t', 'start', (messages) => seen.add(messages)).done, { code: 'bus_damaged' });
    deepEqual(seen.values, []);
  });

  test('removes what is older than the retention, by the clock', async () => {
    const manual = new ManualClock();
    const running = await start({ clock: manual, segmentBytes: 100 });
    const bus = client();
    await bus.ensure(TOPIC);
    await bus.publish('t', Buffer.from('k'), [Buffer.alloc(90, 1)]);
    await bus.publish('t', Buffer.from('k'), [Buffer.alloc(90, 2)]);
    for (let round = 0; round < 2; round++) {
      manual.advance(1001);
      await running.applyRetention();
    }
    await bus.publish('t', Buffer.from('k'), [Buffer.from('new')]);
    const seen = new Seen();
    const tail = bus.tail('t', 'start', (messages) => seen.add(messages));
    await seen.count(1);
    deepEqual(seen.values, ['new']);
    await tail.close();
    deepEqual(await bus.endOffsets('t'), [3]);
  });

  for (const [what, bytes] of [
    ['another protocol', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['a wrong hello', Buffer.concat([frameHeader(1, 0, 5), Buffer.from('CFBP\x02', 'latin1')])],
    ['a request before hello', frameHeader(11, 1, 0)],
    ['a frame over the limit', Buffer.concat([frameHeader(1, 0, FRAME_BYTES_MAX - FRAME_HEADER_SIZE + 5), HELLO])],
  ] as const) {
    test(`hangs up on ${what} and goes on for others`, async () => {
      await start();
      const bus = client();
      await bus.ensure(TOPIC);
      await new Promise<void>((resolve, reject) => {
        const socket = connect(socketPath, () => socket.write(bytes));
        socket.on('error', reject);
        socket.on('close', () => resolve());
        socket.resume();
      });
      equal((await bus.publish('t', Buffer.from('k'), [Buffer.from('v')])).length, 1);
    });
  }

  test('answers a request that is cut short with an error and keeps the connection', async () => {
    await start();
    const replies = await new Promise<Buffer>((resolve, reject) => {
      const socket = connect(socketPath, () => {
        socket.write(Buffer.concat([frameHeader(1, 0, HELLO.length), HELLO, frameHeader(2, 7, 1), Buffer.from([0])]));
        socket.write(frameHeader(11, 8, 0));
      });
      const chunks: Buffer[] = [];
      socket.on('error', reject);
      socket.on('data', (chunk) => {
        chunks.push(chunk);
        const all = Buffer.concat(chunks);
        if (all.includes('file bus')) {
          socket.destroy();
          resolve(all);
        }
      });
    });
    ok(replies.includes('a frame that ends early'));
  });
});

class Seen {
  readonly values: string[] = [];
  #wake: () => void = () => undefined;

  add(messages: readonly BusMessage[]): void {
    this.values.push(...messages.map((m) => m.value.toString()));
    this.#wake();
  }

  async count(wanted: number): Promise<void> {
    while (this.values.length < wanted) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** Publishes until the bus refuses: the loss of a connection is seen a moment after the other side closed. */
async function untilRejected(bus: FileBus): Promise<never> {
  for (;;) {
    await bus.describe('t');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

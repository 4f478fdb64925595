import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { GatewayError } from '../../kernel/errors.ts';
import { ManualClock } from '../../kernel/testing/manual-clock.ts';
import { SeededRandom } from '../../kernel/testing/seeded-random.ts';
import { decodeBatch } from '../../ledger/batch.ts';
import { CompactRange } from '../../ledger/compact-range.ts';
import { leafHash } from '../../ledger/hash.ts';
import { decodeHead, verifyHead } from '../../ledger/head.ts';
import { FaultDisk } from '../testing/fault-disk.ts';
import { readJournal } from './journal-reader.ts';
import type { JournalWriter } from './journal-writer.ts';
import { CollectingSink, durable, leafOf, openWriter, record, settle } from './testing/writer-fixture.ts';
import type { WriterLimits } from './writer-limits.ts';

interface Setup {
  readonly disk: FaultDisk;
  readonly clock: ManualClock;
  readonly sink: CollectingSink;
  readonly writer: JournalWriter;
}

async function setUp(limits: Partial<WriterLimits> = {}): Promise<Setup> {
  const disk = new FaultDisk();
  const clock = new ManualClock();
  const sink = new CollectingSink();
  const writer = await openWriter(disk, { clock, batches: sink, heads: sink, limits });
  return { disk, clock, sink, writer };
}

async function fill(writer: JournalWriter, count: number, metaBytes = 300): Promise<number> {
  let last = 0;
  for (let i = 0; i < count; i++) {
    last = writer.append(record(Buffer.alloc(metaBytes, i))).index;
    if (i % 5 === 4) {
      await durable(writer, last);
    }
  }
  equal(await durable(writer, last), null);
  return last;
}

/** Lets time pass in small steps until nothing more happens. */
async function pass(clock: ManualClock, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 50) {
    clock.advance(50);
    await settle(6);
  }
}

/** Every batch follows the one before, and its ranges, roots and heads are those of its records. */
async function checkBatches({ disk, sink, writer }: Setup): Promise<void> {
  const bodies: Buffer[] = [];
  for await (const event of readJournal(disk, writer.writerId)) {
    if (event.type === 'record') {
      bodies[event.index] = event.body;
    }
  }
  ok(sink.batches.length > 0);
  for (const { first, count, bytes } of sink.batches) {
    const batch = decodeBatch(bytes);
    deepEqual([batch.first, batch.count], [first, count]);
    deepEqual(batch.records, bodies.slice(first, first + count));
    const range = new CompactRange();
    for (let i = 0; i < first; i++) {
      range.append(leafHash(leafOf(bodies[i] as Buffer)));
    }
    deepEqual(batch.compact, range.hashes);
    batch.records.forEach((body) => range.append(leafHash(leafOf(body))));
    deepEqual(batch.rootAfter, range.root());
    ok(verifyHead(batch.head, writer.publicKey));
    const head = decodeHead(batch.head);
    deepEqual([head.size, head.root], [first + count, batch.rootAfter]);
    equal(batch.epoch !== null, first === 0);
  }
}

describe('EvidencePublisher', () => {
  test('publishes everything in order, in batches near their size', async () => {
    const setup = await setUp();
    await fill(setup.writer, 100);
    await setup.writer.close();
    await checkBatches(setup);
    let next = 0;
    for (const { first, count, bytes } of setup.sink.batches) {
      equal(first, next);
      next += count;
      ok(bytes.length < 4096 + 1024, `${bytes.length} bytes`);
    }
    equal(next, 102);
  });

  test('keeps memory bounded while the bus is away and reads the rest back from the journal', async () => {
    const setup = await setUp({ publishQueueBatchesMax: 2 });
    const { clock, sink, writer } = setup;
    sink.failure = new GatewayError('bus_unavailable');
    const last = await fill(writer, 300);
    await pass(clock, 500);
    const away = writer.status.publisher;
    equal(away.published, 0);
    equal(away.fromJournal, true);
    ok(away.batched < 60, `${away.batched} records in memory`);
    equal(away.failure?.code, 'bus_unavailable');
    ok(away.retries > 1);
    ok(away.unpublishedMs >= 500, `${away.unpublishedMs} ms`);
    sink.failure = null;
    await pass(clock, 3000);
    const back = writer.status.publisher;
    deepEqual([back.published, back.fromJournal, back.failure, back.unpublishedMs], [last + 1, false, null, 0]);
    await fill(writer, 20);
    await writer.close();
    equal(sink.records().size, last + 22);
    await checkBatches(setup);
  });

  test('retries with growing pauses', async () => {
    const { clock, sink, writer } = await setUp({ publishRetryMs: 100, publishRetryMaxMs: 400 });
    sink.failure = new Error('away');
    let attempts = 0;
    sink.before = () => {
      attempts++;
      return Promise.resolve();
    };
    await fill(writer, 1);
    const atMs: number[] = [];
    for (let ms = 0; ms < 1500; ms += 50) {
      const before = attempts;
      clock.advance(50);
      await settle(6);
      if (attempts > before) {
        atMs.push(ms + 50);
      }
    }
    deepEqual(atMs, [100, 200, 400, 800, 1200]);
  });

  test('goes back after a nack, sends the range again, and says so after the third', async () => {
    const setup = await setUp();
    const { clock, sink, writer } = setup;
    const last = await fill(writer, 60);
    await pass(clock, 200);
    const refused = sink.batches[2]?.first as number;
    for (const times of [1, 2]) {
      const sent = sink.batches.length;
      writer.nack(refused);
      await pass(clock, 200);
      const again = sink.batches.slice(sent);
      equal(again[0]?.first, refused, `refusal ${times}`);
      equal(
        again.reduce((sum, batch) => sum + batch.count, 0),
        last + 1 - refused,
      );
      equal(writer.status.publisher.failure, null);
    }
    const sent = sink.batches.length;
    writer.nack(refused);
    await pass(clock, 200);
    equal(sink.batches.length, sent, 'not sent a fourth time');
    equal(writer.status.publisher.failure?.code, 'evidence_backlog');
    equal(writer.status.publisher.refusals, 3);
    await fill(writer, 5);
    await pass(clock, 200);
    equal(writer.status.publisher.published, last + 6, 'later records still go out');
    writer.archived(refused + 1);
    equal(writer.status.publisher.failure, null, 'the mark passed it');
    await checkBatches(setup);
  });

  test('a nack while batches wait and new records come loses and repeats nothing for good', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = new SeededRandom(seed);
      const setup = await setUp({ publishQueueBatchesMax: 1 + random.below(3), publishRefusalsMax: 1000 });
      const { clock, sink, writer } = setup;
      for (let step = 0; step < 25; step++) {
        await fill(writer, 1 + random.below(15), random.below(900));
        if (random.next() < 0.3) {
          sink.failure = sink.failure === null ? new Error('away') : null;
        }
        if (random.next() < 0.3) {
          writer.nack(random.below(writer.nextIndex));
        }
        if (random.next() < 0.2) {
          writer.archived(random.below(writer.status.publisher.published + 1));
        }
        await pass(clock, 50 * random.below(6));
      }
      sink.failure = null;
      await pass(clock, 5000);
      const { published, failure } = writer.status.publisher;
      deepEqual([published, failure], [writer.nextIndex, null], `seed ${seed}`);
      equal(sink.records().size, writer.nextIndex, `seed ${seed}`);
      equal((await writer.close()).published, true);
    }
  });

  test('does not skip a record that somebody changed under it', async () => {
    const { disk, clock, sink, writer } = await setUp({ publishQueueBatchesMax: 1 });
    sink.failure = new Error('away');
    await fill(writer, 100);
    const name = (await disk.list()).filter((each) => each.endsWith('.seg')).sort()[1] as string;
    disk.corrupt(name, (bytes) => bytes.fill(0x55, 500, 520));
    sink.failure = null;
    await pass(clock, 3000);
    const { published, failure } = writer.status.publisher;
    equal(failure?.code, 'evidence_altered');
    ok(published < 100);
    equal(writer.failure, null, 'the journal itself still takes records');
  });

  test('gives up waiting for the bus when closed, and says so', async () => {
    const { clock, sink, writer } = await setUp({ closePublishMs: 1000 });
    sink.failure = new Error('away');
    const last = await fill(writer, 10);
    const waiting = rejects(writer.whenPublished(last, 60_000), { code: 'recorder_unavailable' });
    const closing = writer.close();
    await pass(clock, 2000);
    deepEqual(await closing, { clean: true, size: last + 2, published: false });
    await waiting;
  });

  test('who waits for the bus shares the next batch while one is under way', async () => {
    const { sink, writer } = await setUp();
    let goOn: () => void = () => undefined;
    sink.before = () =>
      new Promise((resolve) => {
        goOn = resolve;
      });
    const first = writer.append(record(Buffer.from('1'))).index;
    const waiting = [writer.whenPublished(first, 60_000)];
    await settle();
    for (let i = 0; i < 5; i++) {
      waiting.push(writer.whenPublished(writer.append(record(Buffer.from('more'))).index, 60_000));
    }
    await settle();
    equal(sink.batches.length, 0);
    goOn();
    await settle();
    goOn();
    await Promise.all(waiting);
    deepEqual(
      sink.batches.map(({ count }) => count),
      [2, 5],
    );
  });
});

describe('heads', () => {
  test('are published each second when the log grew, and each minute when it did not', async () => {
    const { clock, sink, writer } = await setUp();
    await fill(writer, 3);
    await pass(clock, 900);
    equal(sink.heads.length, 0);
    await pass(clock, 100);
    equal(sink.heads.length, 1);
    await pass(clock, 10_000);
    equal(sink.heads.length, 1);
    await pass(clock, 50_000);
    equal(sink.heads.length, 2);
    const [first, second] = sink.heads.map((head) => decodeHead(head));
    deepEqual([second?.size, second?.root], [first?.size, first?.root]);
    ok((second?.timeNs ?? 0n) > (first?.timeNs ?? 0n));
    ok(verifyHead(sink.heads[1] as Buffer, writer.publicKey));
    await fill(writer, 1);
    await pass(clock, 1000);
    equal(decodeHead(sink.heads.at(-1) as Buffer).size, 5);
  });

  test('cover only what the bus has, and are sent again after a failure', async () => {
    const { clock, sink, writer } = await setUp();
    await fill(writer, 3);
    await pass(clock, 200);
    sink.failure = new Error('away');
    await fill(writer, 3);
    await pass(clock, 2000);
    equal(sink.heads.length, 0);
    sink.failure = null;
    await pass(clock, 3000);
    equal(decodeHead(sink.heads.at(-1) as Buffer).size, 7);
  });
});

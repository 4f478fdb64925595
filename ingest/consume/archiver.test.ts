import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SystemClock } from '../../core/kernel/clock.ts';
import { MemoryBus, MemoryBusStore } from '../../core/bus/memory-bus.ts';
import { TOPICS } from '../../core/bus/topics.ts';
import { decodeBatch, encodeBatch } from '../../core/ledger/batch.ts';
import { signHead } from '../../core/ledger/head.ts';
import { SAMPLE_CA_PEM } from '../../core/ledger/testing/sample-node.ts';
import { SampleWriter } from '../../core/ledger/testing/sample-evidence.ts';
import { createDevelopmentCa } from '../../core/runtime/mtls/development-ca.ts';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryBlobStore } from '../archive/testing/memory-blob-store.ts';
import { checkArchive, nacksOf, watermarkOf } from '../testing/archive-contents.ts';
import { eventually } from '../testing/eventually.ts';
import { appendExchange, openedWriter } from '../testing/sample-log.ts';
import { Archiver, CONSUMER } from './archiver.ts';
import type { ArchiverOptions } from './archiver.ts';
import { Quarantine } from './quarantine.ts';

const clock = new SystemClock();
const SESSION = Buffer.alloc(16, 3);

class Lab {
  readonly store = new MemoryBusStore();
  readonly bus = new MemoryBus(clock, this.store);
  readonly blobs = new MemoryBlobStore();
  archiver: Archiver | null = null;

  async start(overrides: Partial<ArchiverOptions> = {}): Promise<Archiver> {
    await this.bus.ensure(TOPICS.batches);
    await this.bus.ensure(TOPICS.acks);
    this.archiver = new Archiver({
      bus: new MemoryBus(clock, this.store),
      blobs: this.blobs,
      clock,
      clusterCas: [SAMPLE_CA_PEM],
      quarantine: new Quarantine(this.blobs, clock),
      onArchived: () => undefined,
      flushMs: 2,
      ...overrides,
    });
    await this.archiver.start();
    return this.archiver;
  }

  async publish(writer: SampleWriter, ...batches: Buffer[]): Promise<void> {
    await this.bus.publish(TOPICS.batches.name, writer.writerId, batches, { acks: 'all' });
  }

  async reaches(writer: SampleWriter, size = writer.size): Promise<void> {
    await eventually(async () => (await watermarkOf(this.bus, writer.writerId)) === size, `watermark ${size}`);
  }

  async nacked(...nacks: string[]): Promise<void> {
    await eventually(async () => (await nacksOf(this.bus)).length >= nacks.length, `nacks ${nacks.join()}`);
    deepEqual(await nacksOf(this.bus), nacks);
  }
}

function batches(writer: SampleWriter, count: number): Buffer[] {
  return Array.from({ length: count }, (_, i) => {
    appendExchange(writer, SESSION, i);
    return writer.batch();
  });
}

describe('the archiver', () => {
  test('archives what holds, writes tiles and heads, and says how far it is', async () => {
    const lab = new Lab();
    const [one, two] = [openedWriter(1), openedWriter(2, 'control')];
    const archiver = await lab.start();
    await lab.publish(one, ...batches(one, 120));
    await lab.publish(two, ...batches(two, 3));
    await lab.reaches(one);
    await lab.reaches(two);
    await archiver.close();
    await checkArchive(lab.blobs, [one, two]);
    deepEqual(await nacksOf(lab.bus), []);
    const committed = await lab.bus.committed(CONSUMER, TOPICS.batches.name);
    deepEqual(
      committed.map((offset) => offset ?? 0),
      await lab.bus.endOffsets(TOPICS.batches.name),
    );
  });

  test('goes on from the archive after a restart', async () => {
    const lab = new Lab();
    const writer = openedWriter(3);
    for (let round = 0; round < 5; round++) {
      const archiver = await lab.start();
      await lab.publish(writer, ...batches(writer, 40));
      await lab.reaches(writer);
      await archiver.close();
    }
    await checkArchive(lab.blobs, [writer]);
  });

  test('knows a batch that comes again, and slices one that overlaps', async () => {
    const lab = new Lab();
    const writer = openedWriter(4);
    const archiver = await lab.start();
    const [first, second, third] = batches(writer, 3) as [Buffer, Buffer, Buffer];
    await lab.publish(writer, first, second, first);
    await lab.reaches(writer, 7);
    await lab.publish(writer, second, merge(second, third), third);
    await lab.reaches(writer);
    await archiver.close();
    await checkArchive(lab.blobs, [writer]);
    deepEqual(await nacksOf(lab.bus), []);
  });

  test('asks once for a range that is missing', async () => {
    const lab = new Lab();
    const writer = openedWriter(5);
    const archiver = await lab.start();
    const [first, second, third, fourth] = batches(writer, 4) as [Buffer, Buffer, Buffer, Buffer];
    await lab.publish(writer, first, third, fourth);
    await lab.nacked('4 gap');
    await lab.publish(writer, second, third, fourth);
    await lab.reaches(writer);
    await archiver.close();
    await checkArchive(lab.blobs, [writer]);
    deepEqual(await nacksOf(lab.bus), ['4 gap']);
  });

  test('a writer whose first batch is missing is a gap from 0', async () => {
    const lab = new Lab();
    const writer = openedWriter(6);
    await lab.start();
    const [, second] = batches(writer, 2) as [Buffer, Buffer];
    await lab.publish(writer, second);
    await lab.nacked('0 gap');
    await lab.archiver?.close();
    deepEqual(await lab.blobs.list('objects/'), []);
  });

  test('a log that says something else where it was archived is a fork', async () => {
    const lab = new Lab();
    const [honest, liar] = [openedWriter(7), openedWriter(7)];
    const archiver = await lab.start();
    const [a1, a2] = batches(honest, 2) as [Buffer, Buffer];
    appendExchange(liar, SESSION, 77);
    const b1 = liar.batch();
    appendExchange(liar, SESSION, 78);
    const b2 = liar.batch();
    await lab.publish(honest, a1, b1);
    await lab.nacked('0 fork');
    await lab.publish(honest, a2, merge(b1, b2));
    await lab.nacked('0 fork', '0 fork');
    appendExchange(liar, SESSION, 79);
    await lab.publish(honest, merge(merge(b1, b2), liar.batch()));
    await lab.nacked('0 fork', '0 fork', '0 fork');
    await archiver.close();
    await checkArchive(lab.blobs, [honest]);
    equal((await new Quarantine(lab.blobs, clock).list()).length, 3);
  });

  for (const [what, alter, nack] of alterations()) {
    test(`refuses a batch with ${what}, keeps it in quarantine, and takes the true one after it`, async () => {
      const lab = new Lab();
      const writer = openedWriter(8);
      const archiver = await lab.start();
      const [first, second] = batches(writer, 2) as [Buffer, Buffer];
      await lab.publish(writer, first);
      await lab.reaches(writer, 4);
      const altered = alter(second, writer);
      ok(!altered.equals(second));
      await lab.publish(writer, altered);
      if (nack !== null) {
        await lab.nacked(nack);
      }
      await lab.publish(writer, second);
      await lab.reaches(writer);
      await archiver.close();
      await checkArchive(lab.blobs, [writer]);
      const [entry] = await new Quarantine(lab.blobs, clock).list();
      ok(entry !== undefined);
      ok((await lab.blobs.read(`quarantine/${entry.id}.batch`))?.equals(altered));
    });
  }

  test('refuses a writer that no node of the cluster vouches for', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'chaperone-ca-'));
    const other = await createDevelopmentCa(directory, 'other', clock);
    const lab = new Lab();
    const writer = openedWriter(9);
    await lab.start({ clusterCas: [other.certificatePem] });
    await lab.publish(writer, ...batches(writer, 1));
    await lab.nacked('0 node-certificate');
    await lab.archiver?.close();
    deepEqual(await lab.blobs.list('writers/'), []);
    await rm(directory, { recursive: true });
  });

  test('refuses a writer whose opening names another key than its certificate', async () => {
    const lab = new Lab();
    const writer = new SampleWriter(10, { openMeta: Buffer.alloc(0) });
    await lab.start();
    await lab.publish(writer, writer.batch());
    await lab.nacked('0 epoch');
    await lab.archiver?.close();
  });
});

describe('recovered writers', () => {
  test('the tail that the control writer listed is taken, in one batch or several, whichever comes first', async () => {
    const lab = new Lab();
    const archiver = await lab.start();
    const dead = openedWriter(20);
    await lab.publish(dead, ...batches(dead, 2));
    await lab.reaches(dead);
    const parts = batches(dead, 3);
    const control = openedWriter(21, 'control', [{ writerId: dead.writerId, size: dead.size, root: dead.root }]);
    await lab.publish(dead, ...parts.map((part) => recovered(part, dead, control)));
    await lab.publish(control, control.batch());
    await lab.reaches(control);
    await lab.reaches(dead);
    await archiver.close();
    await checkArchive(lab.blobs, [dead, control]);
    deepEqual(await nacksOf(lab.bus), []);
  });

  test('a writer of which nothing was ever published is recovered from its beginning', async () => {
    const lab = new Lab();
    const archiver = await lab.start();
    const dead = openedWriter(22);
    const parts = batches(dead, 3);
    const control = openedWriter(23, 'control', [{ writerId: dead.writerId, size: dead.size, root: dead.root }]);
    await lab.publish(control, control.batch());
    await lab.reaches(control);
    await lab.publish(dead, ...parts.map((part) => recovered(part, dead, control)));
    await lab.reaches(dead);
    await archiver.close();
    await checkArchive(lab.blobs, [dead, control]);
  });

  test('nothing is taken for another size or root than was listed, or from a writer that is no control writer', async () => {
    const dead = openedWriter(24);
    const parts = batches(dead, 2);
    const truth = { writerId: dead.writerId, size: dead.size, root: dead.root };
    for (const [role, journals] of [
      ['control', [{ ...truth, root: Buffer.alloc(32, 1) }]],
      ['control', [{ ...truth, size: truth.size - 1 }]],
      ['control', []],
      ['worker', [truth]],
    ] as const) {
      const lab = new Lab();
      const archiver = await lab.start();
      const control = openedWriter(25, role, journals);
      await lab.publish(control, control.batch());
      await lab.reaches(control);
      await lab.publish(dead, ...parts.map((part) => recovered(part, dead, control)));
      await eventually(
        async () => (await nacksOf(lab.bus)).some((nack) => nack.endsWith('recovery-not-listed')),
        'nack',
      );
      await archiver.close();
      await checkArchive(lab.blobs, [control]);
    }
  });

  test('a tail that stays incomplete is not committed, so a restart sees it again', async () => {
    const lab = new Lab();
    const dead = openedWriter(26);
    const parts = batches(dead, 2);
    const control = openedWriter(27, 'control', [{ writerId: dead.writerId, size: dead.size, root: dead.root }]);
    const first = await lab.start();
    await lab.publish(control, control.batch());
    await lab.publish(dead, recovered(parts[0] as Buffer, dead, control));
    await lab.reaches(control);
    await first.close();
    const second = await lab.start();
    await lab.publish(dead, recovered(parts[1] as Buffer, dead, control));
    await lab.reaches(dead);
    await second.close();
    await checkArchive(lab.blobs, [dead, control]);
  });
});

describe('faults of the archive', () => {
  /** The calls of an undisturbed run, so that every one of them can fail. */
  async function run(lab: Lab, writer: SampleWriter, parts: readonly Buffer[], over = () => false): Promise<void> {
    for (const part of parts) {
      await lab.publish(writer, part);
      const end = decodeBatch(part).first + decodeBatch(part).count;
      await eventually(async () => over() || (await watermarkOf(lab.bus, writer.writerId)) === end, `watermark ${end}`);
      if (over()) {
        return;
      }
    }
  }

  test('each call that fails, applied or not, is repeated to the same archive', async () => {
    const calm = new Lab();
    const writer = openedWriter(30);
    const parts = batches(writer, 2);
    await calm.start();
    await run(calm, writer, parts);
    await calm.archiver?.close();
    const calls = calm.blobs.calls.length;
    ok(calls >= 6, `a run has ${calls} calls`);
    for (const fault of ['before', 'after'] as const) {
      for (let at = 1; at <= calls; at++) {
        const lab = new Lab();
        lab.blobs.fault = (_, number) => (number === at ? fault : null);
        await lab.start({ clock: hastyClock() });
        await run(lab, writer, parts);
        await lab.archiver?.close();
        await checkArchive(lab.blobs, [writer]);
      }
    }
  });

  test('a death at each call, applied or not, loses nothing and acknowledges nothing too early', async () => {
    const calm = new Lab();
    const writer = openedWriter(31);
    const parts = batches(writer, 3);
    await calm.start();
    await run(calm, writer, parts);
    await calm.archiver?.close();
    const calls = calm.blobs.calls.length;
    let deaths = 0;
    for (const fault of ['before', 'after'] as const) {
      for (let at = 1; at <= calls; at++) {
        const lab = new Lab();
        let dead = false;
        let died = (): void => undefined;
        const diedSignal = new Promise<void>((resolve) => (died = resolve));
        lab.blobs.fault = (_, number) => {
          if (number === at && !dead) {
            dead = true;
            died();
            lab.store.available = false; // A dead process reaches the bus no more either.
            return fault;
          }
          return dead ? 'before' : null;
        };
        const first = await lab.start();
        const living = run(lab, writer, parts, () => dead).catch(() => undefined);
        await Promise.race([living, diedSignal]);
        await first.close();
        if (!dead) {
          continue; // Flushes were grouped otherwise: fewer calls.
        }
        deaths++;
        lab.blobs.fault = () => null;
        lab.store.available = true;
        const acknowledged = await watermarkOf(lab.bus, writer.writerId);
        const head = await lab.blobs.read(`writers/${writer.writerId.toString('hex')}/head`);
        ok(acknowledged === 0 || head !== null, 'what was acknowledged is archived');
        const second = await lab.start();
        await lab.publish(writer, ...parts); // The publisher, too, sends again what it is not sure of.
        await lab.reaches(writer);
        await second.close();
        await checkArchive(lab.blobs, [writer]);
      }
    }
    ok(deaths > 0, 'a test that saw no death must not pass');
  });
});

function alterations(): [string, (batch: Buffer, writer: SampleWriter) => Buffer, string | null][] {
  const change = (bytes: Buffer, edit: (batch: ReturnType<typeof decodeBatch>) => object): Buffer => {
    const batch = decodeBatch(Buffer.from(bytes));
    return encodeBatch({ ...batch, ...edit(batch) });
  };
  const flip = (record: Buffer | undefined, at: number): Buffer => {
    const copy = Buffer.from(record ?? Buffer.alloc(0));
    copy[at] = (copy[at] as number) ^ 1;
    return copy;
  };
  const signed = (batch: ReturnType<typeof decodeBatch>, writer: SampleWriter, root: Buffer): Buffer =>
    signHead(
      {
        writerId: writer.writerId,
        size: batch.first + batch.count,
        root,
        timeNs: 1n,
        signerKind: 1,
        signerWriterId: writer.writerId,
      },
      writer.key,
    );
  const wrongRoot = Buffer.alloc(32, 5);
  return [
    [
      'a flipped bit in a meta',
      (b) => change(b, ({ records }) => ({ records: [flip(records[0], 330), ...records.slice(1)] })),
      '4 meta-commit',
    ],
    [
      'a flipped bit in a leaf',
      (b) => change(b, ({ records }) => ({ records: [flip(records[0], 60), ...records.slice(1)] })),
      '4 root',
    ],
    [
      'a flipped bit in a sealed unit',
      (b) =>
        change(b, ({ records }) => ({
          records: [records[0], flip(records[1], (records[1]?.length ?? 0) - 1), records[2]],
        })),
      '4 unit-commit',
    ],
    ['records out of order', (b) => change(b, ({ records }) => ({ records: records.toReversed() })), '4 leaf'],
    [
      'a compact range of another tree',
      (b) => change(b, ({ compact }) => ({ compact: compact.map(() => wrongRoot) })),
      '4 compact-range',
    ],
    [
      'a wrong root under a true signature',
      (b, w) => change(b, (batch) => ({ rootAfter: wrongRoot, head: signed(batch, w, wrongRoot) })),
      '4 root',
    ],
    ['a head of another root', (b) => change(b, () => ({ rootAfter: wrongRoot })), '4 head'],
    ['a flipped bit in the signature', (b) => change(b, ({ head }) => ({ head: flip(head, 120) })), '4 signature'],
    ['bytes that are no batch', (b) => b.subarray(0, b.length - 1), null],
  ];
}

/** The batches of [a.first, b.end) as one. */
function merge(a: Buffer, b: Buffer): Buffer {
  const [left, right] = [decodeBatch(a), decodeBatch(b)];
  const records = [...left.records, ...right.records];
  return encodeBatch({ ...left, records, count: records.length, rootAfter: right.rootAfter, head: right.head });
}

/** The batch as the control writer of the next start publishes it. */
function recovered(bytes: Buffer, dead: SampleWriter, control: SampleWriter): Buffer {
  const batch = decodeBatch(bytes);
  const head = signHead(
    {
      writerId: dead.writerId,
      size: batch.first + batch.count,
      root: batch.rootAfter,
      timeNs: 1n,
      signerKind: 2,
      signerWriterId: control.writerId,
    },
    control.key,
  );
  return encodeBatch({ ...batch, head });
}

/** Time as it is, but waits of a retry end at once. */
function hastyClock(): SystemClock {
  const hasty = new SystemClock();
  const after = hasty.after.bind(hasty);
  hasty.after = (delayMs, callback) => after(Math.min(delayMs, 1), callback);
  return hasty;
}

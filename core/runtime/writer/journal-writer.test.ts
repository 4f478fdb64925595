import { deepEqual, equal, ok, rejects, throws } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { GatewayError } from '../../kernel/errors.ts';
import { ManualClock } from '../../kernel/testing/manual-clock.ts';
import { decodeBatch } from '../../ledger/batch.ts';
import { decodeEpochEntry } from '../../ledger/cluster-leaf.ts';
import { leafHash, sha256 } from '../../ledger/hash.ts';
import { verifyHead } from '../../ledger/head.ts';
import { decodeLeaf, KINDS } from '../../ledger/leaf.ts';
import { MerkleTree } from '../../ledger/merkle.ts';
import { decodeRecord } from '../../ledger/record.ts';
import { FaultDisk } from '../testing/fault-disk.ts';
import { CollectingSink, durable, leafOf, metaOf, openWriter, record, settle } from './testing/writer-fixture.ts';

describe('JournalWriter', () => {
  test('begins with epoch.open, acknowledges in order and ends with epoch.close', async () => {
    const disk = new FaultDisk();
    const sink = new CollectingSink();
    const writer = await openWriter(disk, { batches: sink, heads: sink });
    equal(writer.nextIndex, 1);
    const order: number[] = [];
    for (let i = 1; i <= 100; i++) {
      const { index } = writer.append(record(Buffer.from(`record ${i}`)));
      equal(index, i);
      writer.whenDurable(index, (failure) => {
        equal(failure, null);
        order.push(index);
      });
    }
    deepEqual(order, [], 'nothing is acknowledged before the disk answered');
    equal(await durable(writer, 100), null);
    deepEqual(await writer.close(), { clean: true, size: 102, published: true });
    deepEqual(
      order,
      Array.from({ length: 100 }, (_, i) => i + 1),
    );

    const records = sink.records();
    equal(records.size, 102);
    const tree = new MerkleTree();
    for (let i = 0; i < 102; i++) {
      const body = records.get(i) as Buffer;
      const leaf = decodeLeaf(leafOf(body));
      equal(leaf.index, i);
      deepEqual(leaf.writerId, writer.writerId);
      tree.append(leafHash(leafOf(body)));
    }
    equal(metaOf(records.get(7) as Buffer), 'record 7');
    equal(decodeLeaf(leafOf(records.get(0) as Buffer)).kind, KINDS['epoch.open']);
    equal(decodeLeaf(leafOf(records.get(101) as Buffer)).kind, KINDS['epoch.close']);
    const last = decodeBatch(sink.batches.at(-1)?.bytes as Buffer);
    deepEqual(last.rootAfter, tree.root());
    ok(verifyHead(last.head, writer.publicKey));
    deepEqual(sink.heads.at(-1), last.head, 'the final head is published');
    deepEqual(decodeEpochEntry(writer.opening), { epoch: writer.epochCertificate, record: records.get(0) });
  });

  test('binds meta, units and keys into the leaf', async () => {
    const sink = new CollectingSink();
    const writer = await openWriter(new FaultDisk(), { batches: sink });
    const payload = Buffer.from('a sealed payload');
    const originals = Buffer.from('sealed originals');
    const input = record(Buffer.from('meta'), {
      decision: 3,
      obligations: 5,
      strandSeq: 9,
      sessionId: Buffer.alloc(16, 7),
      units: [
        { unitClass: 1, keyId: Buffer.alloc(16, 1), bytes: payload },
        { unitClass: 2, keyId: Buffer.alloc(16, 2), bytes: originals },
      ],
    });
    const { index, leafHash: hash } = writer.append(input);
    payload.fill(0); // The writer has its own copy.
    await writer.close();
    const body = sink.records().get(index) as Buffer;
    const { salt, meta, units } = decodeRecord(body);
    const leaf = decodeLeaf(leafOf(body));
    deepEqual(hash, leafHash(leafOf(body)));
    deepEqual(leaf.metaCommit, sha256(salt, meta));
    deepEqual(leaf.payloadCommit, sha256(Buffer.from('a sealed payload')));
    deepEqual(leaf.originalsCommit, sha256(originals));
    deepEqual(
      units.map((unit) => unit.bytes.toString()),
      ['a sealed payload', 'sealed originals'],
    );
    deepEqual([leaf.payloadKeyId, leaf.originalsKeyId], [Buffer.alloc(16, 1), Buffer.alloc(16, 2)]);
    deepEqual([leaf.decision, leaf.obligations, leaf.strandSeq], [3, 5, 9]);
    ok(!salt.equals(Buffer.alloc(16)));
  });

  test('gathers what is appended while the disk is busy into one group', async () => {
    const disk = new FaultDisk();
    const writer = await openWriter(disk);
    const before = writer.status.commits;
    const release = disk.hold('datasync');
    const first = writer.append(record(Buffer.from('alone')));
    await settle();
    let last = first;
    for (let i = 0; i < 5; i++) {
      last = writer.append(record(Buffer.from(`together ${i}`)));
    }
    await settle();
    equal(writer.status.durable, 1);
    release();
    equal(await durable(writer, last.index), null);
    equal(writer.status.commits, before + 2);
    equal(writer.status.queuedBytes, 0);
  });

  test('never acknowledges while datasync has not returned', async () => {
    const disk = new FaultDisk();
    const writer = await openWriter(disk);
    disk.inject({ operation: 'datasync', fault: { kind: 'hang' } });
    const { index } = writer.append(record(Buffer.from('hangs')));
    let told = false;
    writer.whenDurable(index, () => (told = true));
    await settle(50);
    equal(told, false);
    ok(writer.status.queuedBytes > 0);
  });

  test('refuses new records when too many bytes wait for the disk, and takes them again later', async () => {
    const disk = new FaultDisk();
    const writer = await openWriter(disk, { limits: { writerQueueBytesMax: 2000 } });
    const release = disk.hold('datasync');
    const meta = Buffer.alloc(180); // A body of exactly 500 bytes.
    for (let i = 0; i < 4; i++) {
      writer.append(record(meta));
    }
    throws(() => writer.append(record(Buffer.alloc(0))), { code: 'overloaded' });
    equal(writer.failure, null);
    release();
    equal(await durable(writer, writer.nextIndex - 1), null);
    const { index } = writer.append(record(meta));
    equal(await durable(writer, index), null);
  });

  test('goes on in the next segment and frees archived ones, never before', async () => {
    const disk = new FaultDisk();
    const sink = new CollectingSink();
    const writer = await openWriter(disk, { batches: sink });
    let last = 0;
    for (let i = 0; i < 100; i++) {
      last = writer.append(record(Buffer.alloc(500, i))).index;
      await durable(writer, last);
    }
    const names = async (): Promise<string[]> => (await disk.list()).filter((name) => name.endsWith('.seg')).sort();
    const all = await names();
    ok(all.length >= 5, `${all.length} segments`);
    await writer.whenPublished(last, 1000);
    await settle();
    deepEqual(await names(), all, 'published is not archived');
    writer.archived(50);
    await settle();
    const kept = await names();
    ok(kept.length < all.length && kept.length > 1);
    deepEqual(kept, all.slice(all.length - kept.length), 'the oldest went');
    deepEqual((await writer.close()).clean, true);
    equal(sink.records().size, last + 2);
  });

  test('refuses appends after close', async () => {
    const writer = await openWriter(new FaultDisk());
    await writer.close();
    throws(() => writer.append(record(Buffer.from('late'))), { code: 'recorder_unavailable' });
  });

  test('a record that breaks an invariant leaves no trace', async () => {
    const sink = new CollectingSink();
    const writer = await openWriter(new FaultDisk(), { batches: sink });
    throws(() => writer.append(record(Buffer.from('x'), { tenantTag: Buffer.alloc(3) })), { name: 'InvariantError' });
    await settle();
    equal(writer.append(record(Buffer.from('y'))).index, 1);
    deepEqual(await writer.close(), { clean: true, size: 3, published: true });
  });

  test('does not open on a full disk and says so', async () => {
    await rejects(openWriter(new FaultDisk({ capacityBytes: 20_000 })), { code: 'disk_full' });
  });
});

describe('JournalWriter.whenPublished', () => {
  test('cuts a batch at once for who waits', async () => {
    const clock = new ManualClock();
    const sink = new CollectingSink();
    const writer = await openWriter(new FaultDisk(), { clock, batches: sink });
    const { index } = writer.append(record(Buffer.from('replicated')));
    await writer.whenPublished(index, 1000);
    equal(sink.batches.length, 1, 'without any time passing');
  });

  test('otherwise waits for the age of the batch', async () => {
    const clock = new ManualClock();
    const sink = new CollectingSink();
    const writer = await openWriter(new FaultDisk(), { clock, batches: sink });
    const { index } = writer.append(record(Buffer.from('local')));
    await durable(writer, index);
    clock.advance(99);
    await settle();
    equal(sink.batches.length, 0);
    clock.advance(1);
    await settle();
    equal(sink.batches.length, 1);
    equal(writer.status.publisher.published, 2);
  });

  test('rejects when the bus does not answer in time', async () => {
    const clock = new ManualClock();
    const sink = new CollectingSink();
    sink.failure = new GatewayError('bus_unavailable');
    const writer = await openWriter(new FaultDisk(), { clock, batches: sink });
    const { index } = writer.append(record(Buffer.from('replicated')));
    const waiting = rejects(writer.whenPublished(index, 500), { code: 'replicated_unavailable' });
    await settle();
    clock.advance(500);
    await waiting;
    equal(writer.status.publisher.failure?.code, 'bus_unavailable');
  });
});

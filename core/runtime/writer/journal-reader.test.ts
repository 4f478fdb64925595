import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SeededRandom } from '../../kernel/testing/seeded-random.ts';
import { encodeSegmentHeader, FRAME_HEADER_SIZE, segmentName, writeFrameHeader } from '../../ledger/journal-format.ts';
import { MerkleTree } from '../../ledger/merkle.ts';
import { FaultDisk } from '../testing/fault-disk.ts';
import {
  type JournalEnd,
  type JournalFinding,
  type JournalRecord,
  listJournals,
  readJournal,
} from './journal-reader.ts';
import type { JournalWriter } from './journal-writer.ts';
import { gapRecords, publishRecovered, recoverJournals, releaseRecovered } from './recovery.ts';
import { CollectingSink, durable, metaOf, openWriter, record } from './testing/writer-fixture.ts';
import { ManualClock } from '../../kernel/testing/manual-clock.ts';
import { generateKeyPairSync } from 'node:crypto';

const SCALE = Number(process.env['CHAPERONE_TEST_SCALE'] ?? '1');
const KEY = generateKeyPairSync('ed25519').privateKey;

interface Reading {
  readonly records: JournalRecord[];
  readonly findings: JournalFinding[];
  readonly end: JournalEnd;
}

async function read(disk: FaultDisk, writerId: Buffer): Promise<Reading> {
  const records: JournalRecord[] = [];
  const findings: JournalFinding[] = [];
  let end: JournalEnd | undefined;
  for await (const event of readJournal(disk, writerId)) {
    if (event.type === 'record') {
      records.push(event);
    } else if (event.type === 'finding') {
      findings.push(event);
    } else {
      end = event;
    }
  }
  ok(end !== undefined, 'a reading ends');
  return { records, findings, end };
}

/** A journal of several segments with groups of one to four records; the bytes are random, so none look unwritten. */
async function journal(closed: boolean): Promise<{ disk: FaultDisk; writer: JournalWriter }> {
  const disk = new FaultDisk();
  const writer = await openWriter(disk);
  const random = new SeededRandom(3);
  for (let i = 0; i < 60; i += 1 + (i % 4)) {
    let last = 0;
    for (let j = 0; j <= i % 4; j++) {
      last = writer.append(record(random.bytes(200 + random.below(300)))).index;
    }
    await durable(writer, last);
  }
  if (closed) {
    await writer.close();
  }
  return { disk, writer };
}

describe('readJournal', () => {
  test('gives every record of a closed journal with its place, and no finding', async () => {
    const { disk, writer } = await journal(true);
    const { records, findings, end } = await read(disk, writer.writerId);
    deepEqual(findings, []);
    equal(end.state, 'clean');
    equal(end.size, records.length);
    ok(end.files.length >= 2, 'more than one segment');
    const tree = new MerkleTree();
    for (const [i, { index, body, location, leafHash }] of records.entries()) {
      equal(index, i);
      const stored = disk.contents(location.file).subarray(location.offset + FRAME_HEADER_SIZE);
      deepEqual(stored.subarray(0, location.bodyBytes), body);
      tree.append(leafHash);
    }
    deepEqual(end.range?.root(), tree.root());
    deepEqual(await listJournals(disk), [writer.writerIdHex]);
  });

  test('calls a journal without epoch.close a crash', async () => {
    const { disk, writer } = await journal(false);
    const { findings, end } = await read(disk, writer.writerId);
    deepEqual(findings, []);
    equal(end.state, 'crash');
  });

  test('finds and locates any flipped bit, and still gives every other record', async () => {
    for (const closed of [true, false]) {
      const { disk, writer } = await journal(closed);
      const before = await read(disk, writer.writerId);
      const random = new SeededRandom(closed ? 11 : 12);
      for (let round = 0; round < 300 * SCALE; round++) {
        const target = random.pick(before.records);
        const { file, offset, bodyBytes } = target.location;
        const at = offset + random.below(FRAME_HEADER_SIZE + bodyBytes);
        const mask = 1 << random.below(8);
        const flip = (bytes: Buffer): void => void (bytes[at] = (bytes[at] as number) ^ mask);
        disk.corrupt(file, flip);
        const after = await read(disk, writer.writerId);
        disk.corrupt(file, flip);
        const label = `bit ${mask} of byte ${at} of ${file}, record ${target.index} at ${offset}`;
        const found = after.findings.filter(
          (each) => each.index <= target.index && target.index < each.index + each.count,
        );
        equal(found.length, 1, `${label}: ${JSON.stringify(after.findings)}`);
        const finding = found[0] as JournalFinding;
        equal(finding.file, file, label);
        equal(after.end.state, 'torn', label);
        equal(after.end.size, finding.index, label);
        if (finding.finding !== 'torn') {
          deepEqual([finding.finding, finding.index, finding.count], ['altered', target.index, 1], label);
          equal(after.records.length, before.records.length - 1, label);
          equal(
            after.records.every((each) => each.afterGap === each.index > target.index),
            true,
            label,
          );
        }
      }
    }
  });

  test('a flipped bit in the last group is not taken for a torn tail', async () => {
    const { disk, writer } = await journal(true);
    const { records } = await read(disk, writer.writerId);
    const last = records.at(-1) as JournalRecord;
    const { file, offset, bodyBytes } = last.location;
    for (let at = offset; at < offset + FRAME_HEADER_SIZE + bodyBytes; at++) {
      const flip = (bytes: Buffer): void => void (bytes[at] = (bytes[at] as number) ^ 0x10);
      disk.corrupt(file, flip);
      const { findings } = await read(disk, writer.writerId);
      disk.corrupt(file, flip);
      equal(findings[0]?.index, last.index);
      equal(findings[0]?.finding, 'altered', `byte ${at - offset} of the last frame`);
    }
  });

  test('takes nothing of a group that was cut, whichever of its sectors are missing', async () => {
    for (let missing = 0; missing < 8; missing++) {
      const disk = new FaultDisk();
      const writer = await openWriter(disk);
      const random = new SeededRandom(missing);
      for (let i = 0; i < 4; i++) {
        writer.append(record(random.bytes(600)));
      }
      await durable(writer, 4);
      const { records } = await read(disk, writer.writerId);
      equal(records.length, 5);
      const { file, offset } = (records[1] as JournalRecord).location;
      const sector = Math.floor(offset / 512) + missing;
      disk.corrupt(file, (bytes) => bytes.fill(0, Math.max(offset, sector * 512), (sector + 1) * 512));
      const torn = await read(disk, writer.writerId);
      equal(torn.records.length, 1, `sector ${missing} of the group`);
      deepEqual(
        torn.findings.map(({ finding, index }) => ({ finding, index })),
        [{ finding: 'torn', index: 1 }],
      );
      equal(torn.end.size, 1);
    }
  });

  test('takes nothing of a group whose last frames never reached the disk', async () => {
    for (const kept of [1, 2, 3]) {
      const disk = new FaultDisk();
      const writer = await openWriter(disk);
      for (let i = 0; i < 4; i++) {
        writer.append(record(Buffer.alloc(100, i)));
      }
      await durable(writer, 4);
      const { records } = await read(disk, writer.writerId);
      const { file, offset } = (records[1 + kept] as JournalRecord).location;
      disk.corrupt(file, (bytes) => bytes.fill(0, offset));
      const torn = await read(disk, writer.writerId);
      equal(torn.records.length, 1);
      deepEqual(
        torn.findings.map(({ finding, index, count }) => ({ finding, index, count })),
        [{ finding: 'torn', index: 1, count: kept }],
      );
    }
  });

  test('finds a changed segment header, a removed segment, and bytes behind the end', async () => {
    const { disk, writer } = await journal(true);
    const { end } = await read(disk, writer.writerId);
    const [first, second] = end.files;
    ok(first !== undefined && second !== undefined);
    const flipHeader = (bytes: Buffer): void => void (bytes[30] = (bytes[30] as number) ^ 1);
    disk.corrupt(second.name, flipHeader);
    const header = await read(disk, writer.writerId);
    deepEqual(
      header.findings.map(({ finding, index, count, detail }) => ({ finding, index, count, detail })),
      [{ finding: 'altered', index: second.firstIndex, count: 0, detail: 'segment header' }],
    );
    equal(header.records.length, end.size, 'no record is lost by it');
    disk.corrupt(second.name, flipHeader);

    const lastFile = end.files.at(-1) as { name: string };
    disk.corrupt(lastFile.name, (bytes) => void (bytes[bytes.length - 1] = 1));
    equal((await read(disk, writer.writerId)).findings.length, 1);
    disk.corrupt(lastFile.name, (bytes) => void (bytes[bytes.length - 1] = 0));

    await disk.remove(second.name);
    const removed = await read(disk, writer.writerId);
    deepEqual(
      removed.findings.map(({ finding, index, count }) => ({ finding, index, count })),
      [{ finding: 'missing', index: second.firstIndex, count: second.endIndex - second.firstIndex }],
    );
    equal(removed.end.size, second.firstIndex);
  });

  test('reports two different records for one index as a fork, and equal ones not at all', async () => {
    for (const differs of [false, true]) {
      const { disk, writer } = await journal(true);
      const { records, end } = await read(disk, writer.writerId);
      const last = records.at(-1) as JournalRecord;
      const body = Buffer.from(last.body);
      body[40] = (body[40] as number) ^ (differs ? 1 : 0); // In the tenant tag of the leaf.
      const segment = 77;
      const file = await disk.createZeroed(segmentName(writer.writerId, segment), 4096);
      const header = { writerId: writer.writerId, segment, firstIndex: last.index, createdNs: 0n };
      const frame = Buffer.alloc(FRAME_HEADER_SIZE);
      const place = { writerId: writer.writerId, segment, index: last.index, group: 1, groupEnd: true };
      writeFrameHeader(frame, 0, place, body);
      await file.writeDurable([encodeSegmentHeader(header), frame, body], 0);
      const again = await read(disk, writer.writerId);
      equal(again.records.length, records.length);
      equal(again.end.size, end.size);
      deepEqual(
        again.findings.map(({ finding, index }) => ({ finding, index })),
        differs ? [{ finding: 'fork', index: last.index }] : [],
      );
    }
  });

  test('does not take the bytes of another writer', async () => {
    const { disk, writer } = await journal(true);
    const other = await journal(true);
    const [first] = (await read(disk, writer.writerId)).end.files;
    const [foreign] = (await read(other.disk, other.writer.writerId)).end.files;
    ok(first !== undefined && foreign !== undefined);
    const bytes = other.disk.contents(foreign.name);
    disk.corrupt(first.name, (target) => void bytes.copy(target));
    const { findings, end } = await read(disk, writer.writerId);
    ok(findings.length > 0);
    equal(end.size, 0);
  });
});

describe('recovery of a damaged journal', () => {
  test('keeps what is before the damage, quarantines the rest and declares the range', async () => {
    const { disk, writer } = await journal(false);
    const before = await read(disk, writer.writerId);
    const target = before.records[20] as JournalRecord;
    const { file, offset } = target.location;
    disk.corrupt(file, (bytes) => bytes.fill(0xff, offset + 100, offset + 110));
    disk.crash();
    const [recovered] = await recoverJournals(disk);
    ok(recovered !== undefined);
    deepEqual([recovered.size, recovered.state], [20, 'torn']);
    deepEqual(
      recovered.gaps.map(({ finding, index, count }) => ({ finding, index, count })),
      [{ finding: 'altered', index: 20, count: 1 }],
    );
    ok(recovered.quarantined.includes(`${file}.quarantined`));
    equal(gapRecords(recovered).length, 1);
    deepEqual(await recoverJournals(disk), [recovered], 'and again');

    const sink = new CollectingSink();
    const options = { disk, clock: new ManualClock(), signerWriterId: Buffer.alloc(16, 1), key: KEY, sink };
    const result = await publishRecovered({ ...options, journal: recovered, watermark: 0 });
    deepEqual([result.records, result.missing], [20, 0]);
    deepEqual(sink.records().get(19), before.records[19]?.body);
    equal(await releaseRecovered(disk, recovered, 1000), false, 'quarantine is for people to look at');
  });

  test('says how much is missing below an archive watermark', async () => {
    const { disk, writer } = await journal(false);
    const { end } = await read(disk, writer.writerId);
    disk.crash();
    const [recovered] = await recoverJournals(disk);
    ok(recovered !== undefined);
    const sink = new CollectingSink();
    const options = { disk, clock: new ManualClock(), signerWriterId: Buffer.alloc(16, 1), key: KEY, sink };
    const result = await publishRecovered({ ...options, journal: recovered, watermark: end.size + 5 });
    equal(result.missing, 5);
    equal(sink.batches.length, 0);
  });

  test('does not touch the files of living writers', async () => {
    const { disk, writer } = await journal(false);
    const names = await disk.list();
    deepEqual(await recoverJournals(disk, new Set([writer.writerIdHex])), []);
    deepEqual(await disk.list(), names);
    const { index } = writer.append(record(Buffer.from('alive')));
    equal(await durable(writer, index), null);
    equal(metaOf((await read(disk, writer.writerId)).records.at(-1)?.body as Buffer), 'alive');
  });
});

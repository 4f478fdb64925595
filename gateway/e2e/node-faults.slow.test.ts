import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { closeSync, openSync, readdirSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { decodeRecord } from '../../core/ledger/record.ts';
import { decodeLeaf, kindName } from '../../core/ledger/leaf.ts';
import { NodeDisk } from '../../core/runtime/node-disk.ts';
import { type JournalRecord, readJournal } from '../../core/runtime/writer/journal-reader.ts';
import { Event } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import { NodeFiles, NodeHarness } from './testing/node-harness.ts';
import { jsonAnswer, RawUpstream } from './testing/raw-upstream.ts';

/** A node in a process of its own, killed in the middle of its life; then what lies on its disk is damaged. */
describe('a whole node', () => {
  let upstream: RawUpstream;
  let crashed: NodeFiles;
  let writer = '';
  /** Records that an agent was told of. */
  const acknowledged: number[] = [];
  const made: NodeFiles[] = [];
  before(async () => {
    upstream = await RawUpstream.start();
    upstream.say(jsonAnswer('[{"ssn":"999-88-1111","race":"white"}]'));
    crashed = NodeFiles.make();
    made.push(crashed);
  });
  after(async () => {
    for (const files of made) {
      files.remove();
    }
    await upstream.close();
  });

  test('the sequencer is down at the start: serves UNREGISTERED after 5 s, with an alarm', async () => {
    const node = await NodeHarness.start(crashed, upstream.port);
    equal(node.ready.registration, 'unregistered');
    ok(node.ready.logged.some((line) => line.startsWith('error no checkpoint yet: serving UNREGISTERED')));
    for (let i = 0; i < 12; i++) {
      const { status, text, position } = await node.read();
      equal(status, 200, text);
      ok(!text.includes('999-88'));
      const [id = '', index] = position.split('/');
      writer = id;
      acknowledged.push(Number(index));
    }
    await node.kill();
    equal(new Set(acknowledged).size, 12);
  });

  test('the sequencer is down and registration.require is on: the node refuses to start and says why', async () => {
    const files = NodeFiles.make();
    made.push(files);
    const earlier = upstream.receivedBytes;
    await rejects(NodeHarness.start(files, upstream.port, true), {
      code: 'evidence_incomplete',
      detail: /no checkpoint covers the writers of this node, and registration.require is on/,
    });
    equal(upstream.receivedBytes, earlier);
  });

  test('killed with a torn tail: recovery takes what was acknowledged, nothing more, and says so', async () => {
    const files = crashed.copy();
    made.push(files);
    const records = await recordsOf(files, writer);
    const last = records.at(-1);
    ok(last !== undefined && last.index > Math.max(...acknowledged), 'the last record is one that nobody waits for');
    // The end of the last write never reached the disk.
    overwrite(
      files,
      last,
      last.location.bodyBytes >> 1,
      Buffer.alloc(last.location.bodyBytes - (last.location.bodyBytes >> 1)),
    );
    const node = await NodeHarness.start(files, upstream.port);
    const { batches, logged } = await publishedBy(node);
    ok(
      logged.some((line) => line.includes('journal found') && line.includes(writer) && line.includes('torn')),
      logged.join('\n'),
    );
    const published = indexesOf(batches, writer);
    deepEqual(
      acknowledged.filter((index) => !published.has(index)),
      [],
    );
    ok(!published.has(last.index));
    deepEqual(gapsOf(batches), []);
    await node.kill();
  });

  test('a bit flipped mid-segment: gap.declared names the record, the file is kept, every other record is there', async () => {
    const files = crashed.copy();
    made.push(files);
    const target = acknowledged[5] ?? 0;
    const record = (await recordsOf(files, writer)).find(({ index }) => index === target);
    ok(record !== undefined);
    const at = record.location.bodyBytes >> 1;
    overwrite(files, record, at, Buffer.from([(record.body[at] ?? 0) ^ 0x10]));
    const node = await NodeHarness.start(files, upstream.port);
    const { batches } = await publishedBy(node);
    deepEqual(gapsOf(batches), [{ writer, first: target, count: 1 }]);
    const published = indexesOf(batches, writer);
    ok(
      [...published].every((index) => index < target),
      'nothing behind the hole is vouched for',
    );
    deepEqual(
      Array.from({ length: target }, (_, index) => index).filter((index) => !published.has(index)),
      [],
    );
    await node.kill();
    ok(readdirSync(files.journal).some((name) => name.startsWith(writer) && name.endsWith('.quarantined')));
    const left = new Set((await recordsOf(files, writer)).map(({ index }) => index));
    deepEqual(
      acknowledged.filter((index) => !left.has(index)),
      [target],
      'what was not damaged can still be read',
    );
  });

  test('a journal that somebody cut off: every missing range is declared, never silently shorter', async () => {
    const files = crashed.copy();
    made.push(files);
    const records = await recordsOf(files, writer);
    const from = records.find(({ index }) => index === acknowledged[3]);
    const to = records.find(({ index }) => index === acknowledged[6]);
    ok(from !== undefined && to !== undefined);
    overwrite(files, from, 0, Buffer.alloc(to.location.offset - from.location.offset));
    const node = await NodeHarness.start(files, upstream.port);
    const { batches } = await publishedBy(node);
    const gaps = gapsOf(batches);
    const missing = new Set(gaps.flatMap(({ first, count }) => Array.from({ length: count }, (_, i) => first + i)));
    const published = indexesOf(batches, writer);
    await node.kill();
    const left = new Set((await recordsOf(files, writer)).map(({ index }) => index));
    for (const index of acknowledged) {
      ok(published.has(index) || left.has(index) || missing.has(index), `record ${index} is accounted for`);
    }
    ok(missing.has(acknowledged[4] ?? -1));
    match(gaps[0]?.writer ?? '', new RegExp(writer));
  });
});

/** Serves one read and waits until its record is on the bus: what was appended before it is there by then as well. */
async function publishedBy(node: NodeHarness): Promise<Awaited<ReturnType<NodeHarness['dump']>>> {
  const { status, position } = await node.read();
  equal(status, 200, 'the node serves with new writers');
  const [id = '', index = ''] = position.split('/');
  for (;;) {
    const dumped = await node.dump();
    if (indexesOf(dumped.batches, id).has(Number(index))) {
      return dumped;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function recordsOf(files: NodeFiles, writerIdHex: string): Promise<JournalRecord[]> {
  const disk = await NodeDisk.open(files.journal);
  const out: JournalRecord[] = [];
  for await (const event of readJournal(disk, Buffer.from(writerIdHex, 'hex'))) {
    if (event.type === 'record') {
      out.push({ ...event, body: Buffer.from(event.body) });
    }
  }
  return out;
}

/** Changes bytes of a record's body on the disk, behind everybody's back. */
function overwrite(files: NodeFiles, record: JournalRecord, at: number, bytes: Buffer): void {
  const { file, offset, bodyBytes } = record.location;
  const handle = openSync(join(files.journal, file), 'r+');
  const frame = Buffer.alloc(bodyBytes + 256);
  readSync(handle, frame, 0, frame.length, offset);
  const body = frame.indexOf(record.body);
  ok(body > 0, 'the body lies behind the header of its frame');
  writeSync(handle, bytes, 0, bytes.length, offset + body + at);
  closeSync(handle);
}

type Batches = Awaited<ReturnType<NodeHarness['dump']>>['batches'];

function indexesOf(batches: Batches, writerIdHex: string): Set<number> {
  return new Set(
    batches
      .filter((batch) => batch.writerId.toString('hex') === writerIdHex)
      .flatMap(({ first, count }) => Array.from({ length: count }, (_, i) => first + i)),
  );
}

function gapsOf(batches: Batches): { writer: string; first: number; count: number }[] {
  return batches
    .flatMap(({ records }) => records.map((bytes) => decodeRecord(bytes)))
    .filter((record) => kindName(decodeLeaf(record.leaf).kind) === 'gap.declared')
    .map((record) => {
      const { note } = Event.decode(record.meta);
      return { writer: note?.attributes['writer'] ?? '', first: Number(note?.first), count: Number(note?.count) };
    });
}

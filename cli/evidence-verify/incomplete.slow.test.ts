import { equal, ok } from 'node:assert/strict';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { crc32 } from 'node:zlib';
import { decodeSegmentHeader, readFrame, SEGMENT_HEADER_SIZE } from '../../core/ledger/journal-format.ts';
import { listFiles } from './evidence-files.ts';
import { EvidenceLab, type LabWriter } from './testing/evidence-lab.ts';
import type { EvidenceReport } from './verify-evidence.ts';

const NEVER = 60_000;

describe('evidence that is not complete', () => {
  let lab: EvidenceLab;
  let worker: LabWriter;
  let session: string;
  let copies = 0;

  before(async () => {
    lab = await EvidenceLab.start();
    worker = await lab.open('worker');
    session = await lab.session(worker, 60);
    await lab.close(worker);
    await lab.settled();
  });
  after(async () => {
    await lab.stop();
    await lab.remove();
  });

  /** Verifies a copy after `change`. */
  async function changed(change: (copy: string) => void): Promise<EvidenceReport> {
    const copy = lab.copy(`changed-${copies++}`);
    change(copy);
    return (await lab.verify(copy)).report;
  }

  const remove = (copy: string, pattern: RegExp): void => {
    const found = listFiles(copy).filter((name) => pattern.test(name));
    ok(found.length > 0, 'there is something to remove');
    found.forEach((name) => rmSync(join(copy, name)));
  };

  test('a record mode proof goes up to the witness, and names what is missing without one', async () => {
    const { proveRecord } = await import('./prove-record.ts');
    const { id } = worker;
    const verified = await lab.verify(lab.data, { writer: id });
    const proof = proveRecord(verified, 17);
    ok(proof.proven, JSON.stringify(proof));
    equal(proof.steps.length, 5);
    equal(proveRecord(verified, worker.writer.nextIndex).proven, false);
    const unwitnessed = await lab.verify(lab.data, { writer: id }, { clusterLog: null });
    equal(proveRecord(unwitnessed, 17).proven, false);
  });

  test('a session is PROVEN complete with the cluster log and ASSERTED without it', async () => {
    const { proveSession } = await import('./prove-session.ts');
    const proven = proveSession(await lab.verify(lab.data, { session }), session);
    equal(proven.completeness, 'PROVEN', JSON.stringify(proven.reasons));
    equal(proven.records, 122);
    equal(proven.strands[0]?.closed, true);
    const asserted = proveSession(await lab.verify(lab.data, { session }, { clusterLog: null }), session);
    equal(asserted.completeness, 'ASSERTED');
    equal(
      proveSession(await lab.verify(lab.data, { session: 'ab'.repeat(16) }), 'ab'.repeat(16)).completeness,
      'ASSERTED',
    );
  });

  test('an archive object that is gone is MISSING although bus and journal still have its records', async () => {
    const report = await changed((copy) => remove(copy, /^archive\/objects\//));
    equal(report.exit, 8);
    equal(report.writers.find(({ writer }) => writer === worker.id)?.verdict, 'MISSING');
  });

  test('records that are nowhere any more are MISSING below the witnessed head', async () => {
    const report = await changed((copy) => {
      remove(copy, /^archive\/objects\//);
      remove(copy, /^bus\/topics\/evidence\.batches\.v1\/.*\.seg$/);
      remove(copy, /^journal\/.*-00000000\.seg$/);
    });
    equal(report.exit, 8);
    ok(
      report.findings.some(
        ({ verdict, writer, index }) => verdict === 'MISSING' && writer === worker.id && index === 0,
      ),
    );
  });

  test('a missing writer tile and a missing bundle of the cluster log are MISSING', async () => {
    equal((await changed((copy) => remove(copy, /^archive\/writers\/.*\/tile\/0\//))).exit, 8);
    equal((await changed((copy) => remove(copy, /^sequencer\/log\/tile\/entries\//))).exit, 8);
  });

  test('a cluster log that was rolled back is found by the checkpoints that were published', async () => {
    const early = lab.copy('early');
    const late = await lab.open('worker', { agoMs: 0 });
    await lab.session(late, 2);
    await lab.close(late);
    await lab.settled();
    const report = await changed((copy) => {
      rmSync(join(copy, 'sequencer'), { recursive: true });
      cpSync(join(early, 'sequencer'), join(copy, 'sequencer'), { recursive: true });
    });
    // Young in a copy, so PENDING: what is certain is that nothing claims to be witnessed.
    ok(report.findings.some(({ detail }) => detail.includes('was published')));
    equal(report.writers.find(({ writer }) => writer === late.id)?.witnessed, 0);
  });

  test('a writer that nobody registered is UNREGISTERED once it is older than the young bound', async () => {
    const stranger = await lab.open('worker', { announce: false, agoMs: NEVER });
    await lab.session(stranger, 2);
    const { report } = await lab.verify(lab.data, {}, { live: true, livingNode: 'node-1' });
    const found = report.writers.find(({ writer }) => writer === stranger.id);
    equal(found?.verdict, 'UNREGISTERED');
    equal(report.exit, 9);
    lab.kill(stranger);
    rmJournal(lab, stranger);
  });

  test('a tail that was never published is UNWITNESSED once it is old', async () => {
    const silent = await lab.open('worker', { agoMs: NEVER });
    await lab.settled();
    lab.kill(silent);
    await lab.session(silent, 2);
    const { report } = await lab.verify(lab.data, { writer: silent.id }, { live: true, livingNode: 'node-1' });
    equal(report.writers[0]?.verdict, 'UNWITNESSED');
    ok(report.window >= NEVER / 1000);
    rmJournal(lab, silent);
  });

  test('a record that was changed together with its checksum is ALTERED by its commit', async () => {
    const report = await changed((copy) => {
      const name = listFiles(copy).find(
        (file) => file.startsWith('journal/') && file.includes(worker.id) && file.endsWith('-00000001.seg'),
      );
      const path = join(copy, name ?? '');
      const bytes = readFileSync(path);
      const { firstIndex, segment, writerId } = decodeSegmentHeader(bytes);
      const frame = readFrame(bytes, SEGMENT_HEADER_SIZE, { writerId, segment, index: firstIndex });
      ok(typeof frame !== 'string');
      frame.body[frame.body.length - 4] = (frame.body[frame.body.length - 4] as number) ^ 1;
      const header = bytes.subarray(SEGMENT_HEADER_SIZE, SEGMENT_HEADER_SIZE + 40);
      bytes.writeUInt32BE(crc32(frame.body, crc32(header)), SEGMENT_HEADER_SIZE + 40);
      writeFileSync(path, bytes);
    });
    equal(report.exit, 7);
    const [altered] = report.findings;
    ok(altered !== undefined && altered.where.startsWith('journal journal/'), JSON.stringify(altered));
    ok(altered.detail.includes('meta'));
  });

  test('a leaf that was changed together with its checksum is ALTERED by the tree', async () => {
    let index = 0;
    const report = await changed((copy) => {
      const name = listFiles(copy).find(
        (file) => file.startsWith('journal/') && file.includes(worker.id) && file.endsWith('-00000001.seg'),
      );
      const path = join(copy, name ?? '');
      const bytes = readFileSync(path);
      const { firstIndex, segment, writerId } = decodeSegmentHeader(bytes);
      index = firstIndex;
      const frame = readFrame(bytes, SEGMENT_HEADER_SIZE, { writerId, segment, index });
      ok(typeof frame !== 'string');
      frame.body[30] = (frame.body[30] as number) ^ 1; // Its time.
      const header = bytes.subarray(SEGMENT_HEADER_SIZE, SEGMENT_HEADER_SIZE + 40);
      bytes.writeUInt32BE(crc32(frame.body, crc32(header)), SEGMENT_HEADER_SIZE + 40);
      writeFileSync(path, bytes);
    });
    equal(report.exit, 7);
    ok(
      report.findings.some(
        (each) => each.verdict === 'ALTERED' && each.index === index && each.where.includes('journal/'),
      ),
    );
  });

  test('a check that saw nothing fails', async () => {
    const { report } = await lab.verify(join(lab.directory, 'nothing'), {}, { clusterLog: null });
    equal(report.exit, 8);
    equal(report.checked.copies, 0);
  });
});

/** So that the tests after it see the deployment as it was. */
function rmJournal(lab: EvidenceLab, { id }: LabWriter): void {
  for (const name of listFiles(join(lab.data, 'journal')).filter((file) => file.startsWith(id))) {
    rmSync(join(lab.data, 'journal', name));
  }
}

import { deepEqual, equal, ok } from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { decodeSegmentHeader, readFrame, SEGMENT_HEADER_SIZE } from '../../core/ledger/journal-format.ts';
import { listFiles } from './evidence-files.ts';
import { EvidenceLab, type LabWriter } from './testing/evidence-lab.ts';
import type { EvidenceReport, WriterReport } from './verify-evidence.ts';

function writerOf(report: EvidenceReport, { id }: LabWriter): WriterReport {
  const found = report.writers.find(({ writer }) => writer === id);
  ok(found !== undefined, 'the writer is in the report');
  return found;
}

describe('a node that dies and comes back', () => {
  let lab: EvidenceLab;
  before(async () => {
    lab = await EvidenceLab.start();
  });
  after(async () => {
    await lab.stop();
    await lab.remove();
  });

  test('is OPEN-ENDED in a copy taken before the restart, and RECOVERED after it', async () => {
    const control = await lab.open('control');
    const worker = await lab.open('worker');
    await lab.session(worker, 20);
    await lab.settled();
    const live = { live: true, livingNode: 'node-1' };
    const running = (await lab.verify(lab.data, {}, live)).report;
    deepEqual(
      running.findings.filter(({ verdict }) => verdict !== 'PENDING'),
      [],
    );
    equal(running.exit, 0);
    equal(writerOf(running, worker).verdict, 'PRESENT');
    equal(writerOf(running, worker).witnessed, worker.writer.nextIndex);

    lab.kill(worker);
    lab.kill(control);
    await lab.session(worker, 3, false);
    const open = (await lab.verify(lab.copy('between'))).report;
    equal(open.exit, 9);
    equal(writerOf(open, worker).verdict, 'OPEN-ENDED');
    equal(writerOf(open, control).verdict, 'OPEN-ENDED');
    deepEqual(
      open.findings.map(({ verdict }) => verdict),
      ['OPEN-ENDED', 'OPEN-ENDED'],
    );
    // The deployment itself, whose gateway is down, says the same; a node that runs again without having recovered, too.
    equal((await lab.verify(lab.data, {}, { live: true })).report.exit, 9);

    const next = await lab.recover();
    await lab.settled();
    const recovered = (await lab.verify(lab.data, {}, live)).report;
    deepEqual(
      recovered.findings.map(({ verdict }) => verdict).filter((verdict) => verdict !== 'PENDING'),
      ['RECOVERED', 'RECOVERED'],
    );
    equal(recovered.exit, 0);
    equal(writerOf(recovered, worker).verdict, 'RECOVERED');
    equal(writerOf(recovered, worker).size, worker.writer.nextIndex);
    equal((await lab.verify(lab.data, { strict: true }, live)).report.exit, 9);
    await lab.close(next);
    await lab.settled();
    const cold = (await lab.verify(lab.copy('after'))).report;
    deepEqual(
      cold.findings.map(({ verdict }) => verdict),
      ['RECOVERED', 'RECOVERED'],
    );
    equal(cold.exit, 0);
  });
});

describe('a journal that was damaged before the restart', () => {
  let lab: EvidenceLab;
  before(async () => {
    lab = await EvidenceLab.start();
  });
  after(async () => {
    await lab.stop();
    await lab.remove();
  });

  test('is a GAP that the control writer declares, and below a published head MISSING', async () => {
    const worker = await lab.open('worker');
    await lab.session(worker, 3);
    await lab.settled();
    const published = worker.writer.nextIndex;
    lab.kill(worker);
    await lab.session(worker, 30);
    const name = segmentsOf(lab, worker)[0] ?? '';
    const bytes = readFileSync(name);
    // In the middle of what was never published: nobody else has it.
    const header = decodeSegmentHeader(bytes);
    let at = SEGMENT_HEADER_SIZE;
    for (let index = header.firstIndex; index < published + 4; index++) {
      const frame = readFrame(bytes, at, { writerId: header.writerId, segment: header.segment, index });
      ok(typeof frame !== 'string');
      at = frame.end;
    }
    bytes[at + 200] = (bytes[at + 200] as number) ^ 1;
    writeFileSync(name, bytes);
    const control = await lab.recover();
    await lab.close(control);
    const found = writerOf((await lab.verify(lab.data)).report, worker);
    ok(found.findings.some(({ verdict, index }) => verdict === 'GAP' && index === published + 4));
    equal(
      found.findings.some(({ verdict }) => verdict === 'ALTERED'),
      false,
      JSON.stringify(found.findings),
    );
    equal((await lab.verify(lab.data, { writer: worker.id })).report.exit, 9);
  });

  test('whose end was cut off below a witnessed head is MISSING', async () => {
    const worker = await lab.open('worker', { agoMs: 60_000 });
    await lab.session(worker, 4);
    await lab.settled();
    lab.kill(worker);
    const copy = lab.copy('cut');
    const name = segmentsOf(lab, worker)[0]?.replace(lab.data, copy) ?? '';
    const bytes = readFileSync(name);
    bytes.fill(0, Math.floor(bytes.findLastIndex((byte) => byte !== 0) / 2));
    writeFileSync(name, bytes);
    for (const file of listFiles(copy).filter((each) =>
      /^(archive\/objects|bus\/topics\/evidence\.batches)/.test(each),
    )) {
      rmSync(join(copy, file));
    }
    const { report } = await lab.verify(copy, { writer: worker.id });
    equal(report.exit, 8, JSON.stringify(report.findings));
    ok(report.findings.some(({ verdict, detail }) => verdict === 'MISSING' && detail.includes('are not there')));
  });
});

function segmentsOf(lab: EvidenceLab, { id }: LabWriter): string[] {
  const names = listFiles(join(lab.data, 'journal')).filter((name) => name.startsWith(id) && name.endsWith('.seg'));
  return names.map((name) => join(lab.data, 'journal', name));
}

import { deepEqual, equal, ok } from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
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

import { deepEqual, equal, ok } from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { jsonOf, runCaptured } from '../testing/captured-io.ts';
import { listFiles } from './evidence-files.ts';
import { EvidenceLab, type LabWriter } from './testing/evidence-lab.ts';
import type { EvidenceReport } from './verify-evidence.ts';

/** No process has it: the largest id that the kernel gives is far below. */
const NO_PID = 2 ** 30;

describe('chaperone evidence verify', () => {
  let lab: EvidenceLab;
  let worker: LabWriter;
  let copy: string;

  before(async () => {
    lab = await EvidenceLab.start();
    worker = await lab.open('worker');
    await lab.session(worker, 10);
    await lab.settled();
    lab.writeRunFile(lab.data, process.pid);
    copy = lab.copy('copy');
  });
  after(async () => {
    await lab.stop();
    await lab.remove();
  });

  test('a data directory that is in use is live, a copy of it is not', async () => {
    const live = await runCaptured(['evidence', 'verify', '--data', lab.data, '--no-rows', '--json']);
    equal(live.exit, 0, live.out.join('\n') + live.err.join('\n'));
    const report = jsonOf<EvidenceReport>(live);
    equal(report.live, true);
    equal(report.ok, true);
    const cold = await runCaptured(['evidence', 'verify', '--data', copy, '--json']);
    equal(cold.exit, 9);
    equal(jsonOf<EvidenceReport>(cold).writers[0]?.verdict, 'OPEN-ENDED');
    ok(jsonOf<EvidenceReport>(cold).unchecked.some((line) => line.startsWith('rows:')));
    // The deployment itself with its gateway gone: nothing is open any more that could be written.
    lab.writeRunFile(lab.data, NO_PID);
    const down = await runCaptured(['evidence', 'verify', '--data', lab.data, '--no-rows', '--json']);
    equal(down.exit, 9);
    lab.writeRunFile(lab.data, process.pid);
  });

  test('the report names every part that a program reads', async () => {
    const result = await runCaptured(['evidence', 'verify', '--data', lab.data, '--no-rows', '--json']);
    const report = jsonOf<EvidenceReport & Record<string, unknown>>(result);
    for (const key of ['ok', 'exit', 'window', 'writers', 'findings', 'counts', 'checked']) {
      ok(key in report, key);
    }
    deepEqual(
      ['records', 'batches', 'objects', 'tiles', 'rows', 'checkpoints'].filter((key) => !(key in report.checked)),
      [],
    );
    const [writer] = report.writers;
    equal(writer?.writer, worker.id);
    equal(writer.role, 'worker');
    equal(writer.size, worker.writer.nextIndex);
    equal(writer.archived, writer.size);
  });

  test('for people: a table, the findings with their place, and one sentence', async () => {
    const name = listFiles(copy).find((file) => file.startsWith('archive/objects/')) ?? '';
    const bytes = readFileSync(join(copy, name));
    const at = Math.floor(bytes.length / 2);
    bytes[at] = (bytes[at] as number) ^ 1;
    writeFileSync(join(copy, name), bytes);
    const result = await runCaptured(['evidence', 'verify', '--data', copy]);
    equal(result.exit, 7);
    const altered = result.out.find((line) => line.startsWith('ALTERED'));
    ok(
      altered?.includes(`${worker.id.slice(0, 8)}…/`) === true && altered.includes(`archive object ${name}@`),
      altered,
    );
    ok(/^NOT in order: \d+ ALTERED/.test(result.out.at(-1) ?? ''), result.out.at(-1));
  });

  test('one record, one session and one range', async () => {
    const data = ['--data', lab.data, '--no-rows', '--json'];
    const record = await runCaptured(['evidence', 'verify', ...data, '--record', `${worker.id}/3`]);
    equal(record.exit, 0, record.out.join('\n'));
    ok(record.out[0]?.includes('"proven":true') === true);
    const beyond = await runCaptured(['evidence', 'verify', ...data, '--record', `${worker.id}/99999`]);
    equal(beyond.exit, 9);
    const range = await runCaptured(['evidence', 'verify', ...data, '--writer', worker.id, '--from', '2', '--to', '5']);
    equal(range.exit, 0);
  });

  test('wrong use is 2, and nothing to check is 8', async () => {
    for (const args of [
      ['--data', join(lab.directory, 'nowhere')],
      ['--record', 'x'],
      ['--writer', 'zz'],
      ['--from', '3'],
      ['--record', `${worker.id}/1`, '--writer', worker.id],
      ['--archive', join(lab.directory, 'nowhere')],
    ]) {
      equal((await runCaptured(['evidence', 'verify', '--data', lab.data, ...args])).exit, 2, args.join(' '));
    }
    equal((await runCaptured(['evidence', 'verify', '--archive', lab.directory])).exit, 8);
  });
});

import { equal, ok } from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { SeededRandom } from '../../../core/kernel/testing/seeded-random.ts';
import { listFiles } from '../evidence-files.ts';
import { EvidenceLab } from './evidence-lab.ts';

const SCALE = Number(process.env['CHAPERONE_TEST_SCALE'] ?? 1);
const SEED = Number(process.env['CHAPERONE_TEST_SEED'] ?? Date.now() % 1_000_000);

/** What a flipped byte must be found in. */
const KINDS: readonly (readonly [name: string, pattern: RegExp])[] = [
  ['journal', /^journal\/.*\.(seg|base|reserve)$/],
  ['batch on the bus', /^bus\/topics\/evidence\.batches\.v1\/.*\.seg$/],
  ['head, ack or checkpoint on the bus', /^bus\/topics\/evidence\.(heads|acks|checkpoints)\.v1\/.*\.seg$/],
  ['archive object', /^archive\/objects\//],
  ['writer tile', /^archive\/writers\/.*\/tile\//],
  ['identity of a writer in the archive', /^archive\/writers\/[^/]+\/(epoch|head|opening)$/],
  ['cluster log tile', /^sequencer\/log\/tile\//],
  ['checkpoint', /^sequencer\/log\/checkpoint/],
];

/** Flips bytes of every kind of file of a copy, one at a time; the verifier must say so, and where. */
export function flippedByteSuite(casesAtScale1: number): void {
  const cases = Math.max(1, Math.round(casesAtScale1 * SCALE));
  describe(`one flipped byte anywhere is found and located (seed ${SEED})`, () => {
    let lab: EvidenceLab;
    let copy: string;

    before(async () => {
      lab = await EvidenceLab.start();
      const [control, worker, second] = [await lab.open('control'), await lab.open('worker'), await lab.open('worker')];
      await lab.session(worker, 150);
      await lab.session(second, 10);
      await lab.settled();
      lab.kill(worker);
      lab.kill(control);
      await lab.session(worker, 4, false);
      const next = await lab.recover([second]);
      await lab.session(second, 5);
      await lab.close(second);
      await lab.close(next);
      await lab.settled();
      copy = lab.copy('copy');
      await lab.stop();
    });
    after(() => lab.remove());

    test('the copy as it is verifies', async () => {
      const { report } = await lab.verify(copy);
      equal(report.exit, 0, JSON.stringify(report.findings));
      ok(report.checked.records > 300 && report.checked.tiles > 5 && report.checked.objects > 1);
    });

    for (const [name, pattern] of KINDS) {
      test(`in a ${name}`, async () => {
        const random = new SeededRandom(SEED);
        const files = listFiles(copy).filter((file) => pattern.test(file) && readFileSync(join(copy, file)).length > 0);
        ok(files.length > 0, 'there is such a file');
        for (let i = 0; i < cases; i++) {
          const file = files[random.below(files.length)] as string;
          const bytes = readFileSync(join(copy, file));
          const at = random.below(bytes.length);
          const mask = 1 + random.below(255);
          await flipped(lab, copy, file, at, mask);
        }
      });
    }

    test('at the first, a middle and the last used byte of a journal, and in space that was never used', async () => {
      for (const file of listFiles(copy).filter((name) => name.endsWith('.seg') && name.startsWith('journal/'))) {
        const bytes = readFileSync(join(copy, file));
        const used = bytes.findLastIndex((byte) => byte !== 0) + 1;
        for (const at of [0, Math.floor(used / 2), used - 1, used, bytes.length - 1]) {
          if (at >= 0 && at < bytes.length) {
            await flipped(lab, copy, file, at, 0x40);
          }
        }
      }
    });
  });
}

async function flipped(lab: EvidenceLab, copy: string, file: string, at: number, mask: number): Promise<void> {
  const path = join(copy, file);
  const original = readFileSync(path);
  const changed = Buffer.from(original);
  changed[at] = (changed[at] as number) ^ mask;
  writeFileSync(path, changed);
  try {
    const { report } = await lab.verify(copy);
    const what = `${file} @${at} ^${mask} (size ${original.length}): ${JSON.stringify(report.findings.slice(0, 6))}`;
    ok(report.exit === 7 || report.exit === 8, what);
    const folder = file.startsWith('sequencer/log/tile/entries') ? 'sequencer/log/tile/entries' : file;
    ok(
      report.findings.some(({ verdict, where }) => verdict === 'ALTERED' && where.includes(folder)),
      `not located: ${what}`,
    );
  } finally {
    writeFileSync(path, original);
  }
}

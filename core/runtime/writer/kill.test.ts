import { equal, ok } from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { NodeDisk } from '../node-disk.ts';
import { readJournal } from './journal-reader.ts';
import { recoverJournals } from './recovery.ts';

const SCALE = Number(process.env['CHAPERONE_TEST_SCALE'] ?? '1');
const HERE = fileURLToPath(import.meta.url);
const CHILD = join(HERE, '..', 'testing', `writer-process${extname(HERE)}`);

test('kill -9 of a writer on a real disk loses nothing that it acknowledged', async () => {
  const cycles = 3 * SCALE;
  let total = 0;
  for (let cycle = 0; cycle < cycles; cycle++) {
    const directory = await mkdtemp(join(tmpdir(), 'chaperone-kill-'));
    try {
      const { writerId, acknowledged } = await runUntilKilled(directory, 50 + cycle * 400);
      const disk = await NodeDisk.open(directory);
      const [journal] = await recoverJournals(disk);
      equal(journal?.writerIdHex, writerId);
      const hashes = new Map<number, string>();
      for await (const event of readJournal(disk, Buffer.from(writerId, 'hex'))) {
        if (event.type === 'record') {
          hashes.set(event.index, event.leafHash.toString('hex'));
        }
      }
      for (const [index, leafHash] of acknowledged) {
        equal(hashes.get(index), leafHash, `cycle ${cycle}: record ${index} was acknowledged`);
      }
      equal(journal?.size, hashes.size);
      total += acknowledged.size;
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }
  ok(total > 50 * cycles, `${total} acknowledged records`);
});

async function runUntilKilled(
  directory: string,
  acknowledgedMin: number,
): Promise<{ writerId: string; acknowledged: Map<number, string> }> {
  const child = spawn(process.execPath, [CHILD, directory], { stdio: ['ignore', 'pipe', 'inherit'] });
  const acknowledged = new Map<number, string>();
  let writerId = '';
  // What the child wrote before it died is still in the pipe and is read to its end.
  for await (const line of createInterface({ input: child.stdout })) {
    const [key, value] = line.split(' ');
    if (key === 'writer') {
      writerId = value ?? '';
    } else if (value?.length === 64) {
      acknowledged.set(Number(key), value);
    }
    if (acknowledged.size === acknowledgedMin) {
      child.kill('SIGKILL');
    }
  }
  ok(acknowledged.size >= acknowledgedMin, `the child died early, after ${acknowledged.size} records`);
  return { writerId, acknowledged };
}

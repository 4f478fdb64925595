import { deepEqual, equal } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { privateKeyObject } from '../../ledger/ed25519.ts';
import { signEpoch } from '../../ledger/epoch.ts';
import { FRAME_HEADER_SIZE } from '../../ledger/journal-format.ts';
import { KINDS } from '../../ledger/leaf.ts';
import { packageRoot } from '../package-root.ts';
import { FaultDisk } from '../testing/fault-disk.ts';
import { readJournal } from './journal-reader.ts';
import { durable, metaOf, openWriter, record } from './testing/writer-fixture.ts';

const VECTOR = join(packageRoot(), 'core/runtime/writer/vectors/golden-journal.hex');
const WRITER_ID = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex');
const NAME = `${WRITER_ID.toString('hex')}-00000000.seg`;

const GOLDEN = [
  '705 alone in its group',
  '1087 one of two, class 1',
  '1539 one of two, class 2',
  '1991 ',
  'clean 5 d12e637ef0e0fa968fb36e1387f73f356e00163fa6760f11bbf5819dbb2da7af',
];

/** A short life in which nothing is left to chance: keys, salts, clock and groups are fixed. */
async function goldenSegment(): Promise<Buffer> {
  const disk = new FaultDisk();
  const nodeKey = privateKeyObject(Buffer.alloc(32, 1));
  let salt = 0;
  const writer = await openWriter(disk, {
    certify: (publicKey, writerId, role, createdNs) =>
      signEpoch({ publicKey, writerId, role, createdNs, nodeCertificate: Buffer.from('golden node') }, nodeKey),
    deterministic: {
      writerId: WRITER_ID,
      key: privateKeyObject(Buffer.alloc(32, 2)),
      randomFill: (target) => target.forEach((_, i) => (target[i] = salt++ & 0xff)),
    },
  });
  await durable(writer, writer.append(record(Buffer.from('alone in its group'))).index);
  for (const unitClass of [1, 2] as const) {
    writer.append(
      record(Buffer.from(`one of two, class ${unitClass}`), {
        kind: KINDS.response,
        units: [{ unitClass, keyId: Buffer.alloc(16, unitClass), bytes: Buffer.alloc(64, 0xe0 + unitClass) }],
      }),
    );
  }
  await durable(writer, 3);
  await writer.close();
  let end = 0;
  for await (const event of readJournal(disk, WRITER_ID)) {
    if (event.type === 'record') {
      end = event.location.offset + FRAME_HEADER_SIZE + event.location.bodyBytes;
    }
  }
  return disk.contents(NAME).subarray(0, end);
}

test('the writer writes the golden journal, byte for byte', async () => {
  const bytes = await goldenSegment();
  const golden = Buffer.from(readFileSync(VECTOR, 'ascii').replaceAll('\n', ''), 'hex');
  equal(bytes.length, golden.length);
  deepEqual(bytes, golden);
});

test('the golden journal is read as what it is', async () => {
  const golden = Buffer.from(readFileSync(VECTOR, 'ascii').replaceAll('\n', ''), 'hex');
  const disk = new FaultDisk();
  await disk.createZeroed(NAME, 16 * 1024);
  disk.corrupt(NAME, (bytes) => void golden.copy(bytes));
  const seen: string[] = [];
  for await (const event of readJournal(disk, WRITER_ID)) {
    if (event.type === 'record') {
      seen.push(`${event.location.offset} ${metaOf(event.body)}`);
    } else {
      seen.push(
        event.type === 'end' ? `${event.state} ${event.size} ${event.range?.root().toString('hex')}` : 'finding',
      );
    }
  }
  deepEqual(seen.slice(1), GOLDEN);
});

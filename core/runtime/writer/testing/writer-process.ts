/**
 * A process that writes evidence until somebody kills it: `node writer-process.js <directory>`. For each record it prints
 * `<index> <leaf hash>` after the writer acknowledged it and not before.
 */
import { SystemClock } from '../../../kernel/clock.ts';
import { NodeDisk } from '../../node-disk.ts';
import { CollectingSink, openWriter, record } from './writer-fixture.ts';

const IN_FLIGHT = 16;

const sink = new CollectingSink();
sink.failure = new Error('this node is on its own');
const writer = await openWriter(await NodeDisk.open(process.argv[2] as string), {
  clock: new SystemClock(),
  batches: sink,
  heads: sink,
  limits: { segmentBytes: 256 * 1024, reserveSegmentBytes: 64 * 1024, groupCommitBytesMax: 32 * 1024 },
});
process.stdout.write(`writer ${writer.writerIdHex}\n`);
for (let i = 0; i < IN_FLIGHT; i++) {
  next();
}

function next(): void {
  const meta = Buffer.alloc(100 + ((writer.nextIndex * 131) % 900), writer.nextIndex);
  const { index, leafHash } = writer.append(record(meta));
  writer.whenDurable(index, (failure) => {
    if (failure !== null) {
      throw failure;
    }
    process.stdout.write(`${index} ${leafHash.toString('hex')}\n`);
    next();
  });
}

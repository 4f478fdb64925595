import type { VerifiedBatch } from '../../archive/write-objects.ts';
import { ByteSink } from './byte-sink.ts';
import { FixedColumn, StringColumn, writeNativeBlock } from './native-columns.ts';

/** Offsets of docs/formats.md, "Head". */
const WRITER_AT = 5;
const SIZE_AT = 21;
const ROOT_AT = 29;
const TIME_AT = 61;
const KIND_AT = 69;
const SIGNER_AT = 70;

/** Rows of `heads`: the newest head of each writer among the batches. The heads were decoded before. */
export function headBlock(batches: readonly VerifiedBatch[]): Buffer {
  const newest = new Map(batches.map((batch) => [batch.writerId.toString('hex'), batch.head]));
  const writer = new FixedColumn('writer_id', 'UInt128', 16);
  const size = new FixedColumn('size', 'UInt64', 8);
  const root = new FixedColumn('root', 'FixedString(32)', 32);
  const time = new FixedColumn('time', "DateTime64(9, 'UTC')", 8);
  const kind = new FixedColumn('signer_kind', 'UInt8', 1);
  const signer = new FixedColumn('signer_writer_id', 'UInt128', 16);
  const bytes = new StringColumn('head');
  for (const head of newest.values()) {
    writer.reversed(head, WRITER_AT);
    size.reversed(head, SIZE_AT);
    root.raw(head, ROOT_AT);
    time.reversed(head, TIME_AT);
    kind.number(head[KIND_AT] as number);
    signer.reversed(head, SIGNER_AT);
    bytes.slice(head, 0, head.length);
  }
  const sink = new ByteSink();
  writeNativeBlock([writer, size, root, time, kind, signer, bytes], sink);
  return sink.bytes.subarray(0, sink.size);
}

import type { BusMessage } from '../../../core/bus/bus.ts';
import { decodeCheckpoint, decodeCheckpointValue, inputOffsetOf } from '../../../core/ledger/checkpoint.ts';
import { parseNote } from '../../../core/ledger/note.ts';
import { ByteSink } from './byte-sink.ts';
import { FixedColumn, StringColumn, writeNativeBlock } from './native-columns.ts';

const TWO_32 = 0x1_0000_0000;

/**
 * Rows of `checkpoints` for messages of `evidence.checkpoints.v1`, or null when none of them is a checkpoint. An index:
 * signatures are not checked here, the note is kept whole for whoever checks them.
 */
export function checkpointBlock(messages: readonly BusMessage[]): Buffer | null {
  const busOffset = new FixedColumn('bus_offset', 'UInt64', 8);
  const published = new FixedColumn('published', "DateTime64(3, 'UTC')", 8);
  const size = new FixedColumn('size', 'UInt64', 8);
  const root = new FixedColumn('root', 'FixedString(32)', 32);
  const inputOffset = new FixedColumn('input_offset', 'UInt64', 8);
  const witnesses = new FixedColumn('witnesses', 'UInt16', 2);
  const note = new StringColumn('note');
  for (const message of messages) {
    const parsed = parseMessage(message);
    if (parsed !== null) {
      pushNumber(busOffset, message.offset);
      pushNumber(published, message.timestampMs);
      pushNumber(size, parsed.size);
      root.raw(parsed.root, 0);
      pushNumber(inputOffset, parsed.inputOffset);
      witnesses.number(parsed.witnesses);
      const bytes = Buffer.from(parsed.note, 'utf8');
      note.slice(bytes, 0, bytes.length);
    }
  }
  if (size.rows === 0) {
    return null;
  }
  const sink = new ByteSink();
  writeNativeBlock([busOffset, published, size, root, inputOffset, witnesses, note], sink);
  return sink.bytes.subarray(0, sink.size);
}

function parseMessage(
  message: BusMessage,
): { size: number; root: Buffer; inputOffset: number; witnesses: number; note: string } | null {
  try {
    const { note } = decodeCheckpointValue(message.value);
    const { text, signatures } = parseNote(note);
    const checkpoint = decodeCheckpoint(text);
    const inputOffset = inputOffsetOf(checkpoint) ?? 0;
    const cosigned = signatures.filter(({ signature }) => signature.length === COSIGNATURE_SIZE).length;
    return { size: checkpoint.size, root: checkpoint.root, inputOffset, witnesses: cosigned, note };
  } catch {
    // Not a checkpoint: whoever verifies the topic says so; there is nothing to index.
    return null;
  }
}

/** Time u64 and an Ed25519 signature. */
const COSIGNATURE_SIZE = 8 + 64;

function pushNumber(column: FixedColumn, value: number): void {
  column.number(value % TWO_32, Math.floor(value / TWO_32));
}

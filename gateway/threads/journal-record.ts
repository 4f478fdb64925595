import type { Disk } from '../../core/runtime/disk.ts';
import { readJournal } from '../../core/runtime/writer/journal-reader.ts';

/** The body of one durable record of a journal on this disk; null when it is not kept any more. Reads from the start. */
export async function recordBody(disk: Disk, writerId: Buffer, index: number): Promise<Buffer | null> {
  for await (const event of readJournal(disk, writerId)) {
    if (event.type === 'record' && event.index >= index) {
      return event.index === index ? Buffer.from(event.body) : null;
    }
  }
  return null;
}

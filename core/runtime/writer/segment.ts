import type { CompactRange } from '../../ledger/compact-range.ts';
import type { DiskFile } from '../disk.ts';

/** One journal file of a living writer. */
export interface Segment {
  readonly number: number;
  readonly name: string;
  readonly sizeBytes: number;
  readonly createdNs: bigint;
  /** Null while it is being created and after it was closed. */
  file: DiskFile | null;
  /** Index of the first record that was planned for it; -1 until one is. */
  firstIndex: number;
  /** One past the newest durable record in it; equals `firstIndex` while there is none. */
  endIndex: number;
  /** The compact range [0, `firstIndex`), known once the publisher got there. */
  rangeAtFirst: CompactRange | null;
}

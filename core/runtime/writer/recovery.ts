import type { Clock } from '../../kernel/clock.ts';
import type { PrivateKey } from '../../ledger/ed25519.ts';
import { SIGNER_KINDS } from '../../ledger/head.ts';
import { ZERO32 } from '../../kernel/bytes.ts';
import type { Disk } from '../disk.ts';
import { BatchBuilder } from './batch-builder.ts';
import { gapDeclared } from './epoch-records.ts';
import type { RecordInput } from './evidence-writer.ts';
import { type JournalEnd, type JournalFinding, listJournals, QUARANTINED, readJournal } from './journal-reader.ts';
import { baseName } from './journal-base.ts';
import type { BatchSink } from './publisher.ts';
import { type RecordFile, RecordReader } from './record-reader.ts';
import { reserveName } from './segment-files.ts';
import { writerLimits } from './writer-limits.ts';

/** The journal of a writer whose process is gone. Serves as an entry of `EpochDetails.journals`. */
export interface RecoveredJournal {
  readonly writerId: Buffer;
  readonly writerIdHex: string;
  /** Records from the start of the log without a hole. */
  readonly size: number;
  /** Root at `size`; zero when the base of the journal is lost. */
  readonly root: Buffer;
  readonly state: 'clean' | 'crash' | 'torn';
  /** Encoded epoch certificate; null when the base is lost. */
  readonly epoch: Buffer | null;
  /** Index of the oldest record that is kept: what is below is archived. */
  readonly firstIndex: number;
  readonly findings: readonly JournalFinding[];
  /** Ranges that were acknowledged and cannot be read any more. The control writer declares each (`gapRecords`). */
  readonly gaps: readonly JournalFinding[];
  readonly files: readonly RecordFile[];
  /** Files that were kept as they are under another name. */
  readonly quarantined: readonly string[];
}

export interface PublishRecoveredOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly journal: RecoveredJournal;
  /** Everything below is archived: the last archive watermark of this writer, 0 when unknown. */
  readonly watermark: number;
  readonly sink: BatchSink;
  /** The control writer that vouches for what it found. */
  readonly signerWriterId: Buffer;
  readonly key: PrivateKey;
  readonly batchBytes?: number;
}

export interface PublishedRecovery {
  readonly records: number;
  /** Signed by the control writer (signer kind 2), for `evidence.heads.v1`. */
  readonly head: Buffer;
  /** Records that were archived and are not in the journal: more than 0 means that the journal was cut. */
  readonly missing: number;
}

/**
 * Recovers every journal of this disk except those of `living` writers. Starts after the old process has exited.
 *
 * Reads only, but for two things that can be repeated: files without records are removed, and files with altered or
 * missing records are renamed. If we die here, at any point, the next start finds the same records, sizes and roots.
 */
export async function recoverJournals(
  disk: Disk,
  living: ReadonlySet<string> = new Set(),
): Promise<RecoveredJournal[]> {
  const recovered: RecoveredJournal[] = [];
  for (const writerIdHex of await listJournals(disk)) {
    if (!living.has(writerIdHex)) {
      const journal = await recoverJournal(disk, Buffer.from(writerIdHex, 'hex'));
      if (journal !== null) {
        recovered.push(journal);
      }
    }
  }
  return recovered;
}

/** `gap.declared` for each range that a recovery could not read, to be appended by the control writer. */
export function gapRecords(journal: RecoveredJournal): RecordInput[] {
  return journal.gaps.map((gap) =>
    gapDeclared({
      code: `journal_${gap.finding}`,
      first: gap.index,
      count: gap.count,
      attributes: { writer: journal.writerIdHex, file: gap.file, offset: String(gap.offset) },
    }),
  );
}

/**
 * Publishes what the bus may not have yet, in batches whose heads the control writer signs. Sending a range twice is
 * harmless: content decides. Rejects with the error of the sink, and can be called again.
 */
export async function publishRecovered(options: PublishRecoveredOptions): Promise<PublishedRecovery> {
  const { disk, clock, journal, watermark, sink, signerWriterId, key } = options;
  const { writerId, size } = journal;
  const signerKind = SIGNER_KINDS.recovery;
  const epoch = journal.epoch ?? Buffer.alloc(0);
  const builder = new BatchBuilder({ clock, writerId, epoch, key, signerKind, signerWriterId });
  const missing = Math.max(0, watermark - size);
  const from = Math.max(watermark, journal.firstIndex);
  if (from < size && journal.epoch !== null) {
    const reader = new RecordReader(disk, writerId, () => journal.files);
    let { position, range } = await reader.locate(from);
    builder.range = range;
    while (builder.range.size < size) {
      const run = await reader.read(position, options.batchBytes ?? writerLimits().batchBytes);
      const batch = builder.build(run.records, run.leafHashes, () => undefined);
      await sink.publish(batch.bytes, writerId, batch.first, batch.count);
      // If we die here the next start publishes the range again, in batches that need not begin at the same records.
      position = run.next;
    }
  }
  return { records: Math.max(0, size - from), head: builder.sign(size, journal.root), missing };
}

/**
 * Removes the files of a recovered journal once everything in it is archived. Does nothing before, and never removes
 * what is in quarantine. Resolves with whether the files are gone.
 */
export async function releaseRecovered(disk: Disk, journal: RecoveredJournal, watermark: number): Promise<boolean> {
  if (watermark < journal.size || journal.quarantined.length > 0 || journal.gaps.length > 0) {
    return false;
  }
  await removeAll(disk, [
    ...journal.files.map((file) => file.name),
    // Last, so that a crash in between leaves a journal that can still be read.
    baseName(journal.writerId),
  ]);
  return true;
}

async function recoverJournal(disk: Disk, writerId: Buffer): Promise<RecoveredJournal | null> {
  const findings: JournalFinding[] = [];
  let end: JournalEnd | null = null;
  for await (const event of readJournal(disk, writerId)) {
    if (event.type === 'finding') {
      findings.push(event);
    } else if (event.type === 'end') {
      end = event;
    }
  }
  if (end === null) {
    return null;
  }
  await removeAll(disk, [...end.unused, reserveName(writerId)]);
  if (end.size === 0 && end.suspect.length === 0) {
    // The epoch began and nobody was told: leaf 0 never became durable.
    await removeAll(disk, [...end.files.map((file) => file.name), baseName(writerId)]);
    return null;
  }
  const { files, quarantined, renamed } = await quarantine(disk, end);
  const named = findings.map((each) => ({ ...each, file: renamed.get(each.file) ?? each.file }));
  return {
    writerId,
    writerIdHex: writerId.toString('hex'),
    size: end.size,
    root: end.range?.root() ?? ZERO32,
    state: end.state,
    epoch: end.base?.epoch ?? null,
    firstIndex: end.base?.firstIndex ?? 0,
    findings: named,
    gaps: named.filter((each) => each.count > 0 && each.finding !== 'torn'),
    files,
    quarantined,
  };
}

async function quarantine(
  disk: Disk,
  end: JournalEnd,
): Promise<{ files: RecordFile[]; quarantined: string[]; renamed: Map<string, string> }> {
  const renamed = new Map<string, string>();
  for (const name of new Set(end.suspect)) {
    const target = name.endsWith(QUARANTINED) ? name : `${name}${QUARANTINED}`;
    if (target !== name) {
      await disk.rename(name, target);
      // If we die here the next recovery reads the file under its new name, in the same order.
    }
    renamed.set(name, target);
  }
  const files = end.files.map((file) => ({ ...file, name: renamed.get(file.name) ?? file.name }));
  return { files, quarantined: [...renamed.values()], renamed };
}

async function removeAll(disk: Disk, names: readonly string[]): Promise<void> {
  const present = new Set(await disk.list());
  for (const name of names) {
    if (present.has(name)) {
      await disk.remove(name);
    }
  }
}

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { readU64 } from '../../core/kernel/bytes.ts';
import {
  ARCHIVE_FOOTER_SIZE,
  ARCHIVE_INDEX_ENTRY_SIZE,
  type ArchiveEntry,
  decodeArchiveFooter,
  decodeArchiveIndex,
  parseArchiveObjectName,
} from '../../core/ledger/archive-object.ts';
import { sha256 } from '../../core/ledger/hash.ts';
import { decodeHead } from '../../core/ledger/head.ts';
import { checkClusterEvent } from './check-event.ts';
import { type Evidence, problemOf } from './evidence.ts';
import { listFiles, readWhole } from './evidence-files.ts';
import type { Place } from './findings.ts';
import { SOURCES } from './leaf-table.ts';

const OBJECT = 'archive object';
const HEADER = Buffer.from('CHO1\u0001\u0000\u0000\u0000', 'latin1');
const BATCH_HEADER_SIZE = 34;
const DIGEST_AT = 12;
const BY_DIGEST = /^(?:bundles|configs)\/([0-9a-f]{64})\./;
const OF_WRITER = /^writers\/([0-9a-f]{32})\/(epoch|head|opening)$/;

/** What an archive holds, for those who look into it again. */
export interface ArchiveView {
  readonly directory: string;
  readonly prefix: string;
  /** Objects that were read, by name. */
  readonly objects: ReadonlySet<string>;
}

/**
 * Reads an archive: objects with all their batches, then what stands beside the writers' tiles (the tiles themselves are
 * compared when the tree of their writer is known). Called again with the view of the first time, it reads what is new
 * since. Null when there is no archive.
 */
export function readArchive(
  evidence: Evidence,
  directory: string,
  prefix: string,
  known: ArchiveView | null = null,
): ArchiveView | null {
  const names = listFiles(directory);
  const objects = names.filter((name) => parseArchiveObjectName(name) !== undefined);
  for (const name of objects) {
    const bytes = known?.objects.has(name) === true ? null : readWhole(join(directory, name));
    if (bytes !== null) {
      readObject(evidence, bytes, `${prefix}${name}`);
    }
  }
  if (known === null) {
    for (const name of names) {
      readNamed(evidence, directory, prefix, name);
    }
  }
  const isArchive = names.some((name) => name.startsWith('writers/') || name.startsWith('objects/'));
  return isArchive ? { directory, prefix, objects: new Set(objects) } : null;
}

function readObject(evidence: Evidence, bytes: Buffer, file: string): void {
  evidence.checked.objects++;
  const report = (detail: string, offset: number, entry: ArchiveEntry | undefined): void => {
    const about = { writer: entry?.writerId.toString('hex') ?? null, index: entry?.first ?? null };
    const place = { kind: OBJECT, file, offset };
    evidence.findings.add('ALTERED', `archive object: ${detail}`, { ...about, place });
  };
  const { entries, problem } = entriesOf(bytes);
  const nearest = entries[0];
  if (!bytes.subarray(0, HEADER.length).equals(HEADER)) {
    report('its header', 0, nearest);
  }
  if (problem !== null) {
    report(problem.detail, problem.offset, entries.at(-1) ?? nearest);
  }
  for (const entry of entries) {
    const value = bytes.subarray(entry.objectOffset, entry.objectOffset + entry.batchBytes);
    if (entry.objectOffset >= 4 && bytes.readUInt32BE(entry.objectOffset - 4) !== entry.batchBytes) {
      report('the length before a batch', entry.objectOffset - 4, entry);
    }
    const expected = checkedEntry(entry, value, report, bytes, entries);
    const at = { source: SOURCES.archive, kind: OBJECT, file, offset: entry.objectOffset, expected };
    evidence.takeBatch(value, at);
  }
  const footerAt = bytes.length - ARCHIVE_FOOTER_SIZE;
  const digest = sha256(bytes.subarray(0, Math.max(0, footerAt)));
  const holds = digest.compare(bytes, footerAt + DIGEST_AT, footerAt + DIGEST_AT + digest.length) === 0;
  if (!holds) {
    const place = { kind: OBJECT, file, offset: footerAt + DIGEST_AT };
    const last = entries.at(-1);
    evidence.wrongDigests.push({ writer: last?.writerId.toString('hex') ?? null, index: last?.first ?? null, place });
  }
}

/** An index entry says what its batch is; so does the batch. Where they differ, the first leaf tells who is right. */
function checkedEntry(
  entry: ArchiveEntry,
  value: Buffer,
  report: (detail: string, offset: number, entry: ArchiveEntry) => void,
  bytes: Buffer,
  entries: readonly ArchiveEntry[],
): { writerId: Buffer; first: number; count: number } {
  if (value.length < BATCH_HEADER_SIZE) {
    return entry;
  }
  const own = { writerId: value.subarray(6, 22), first: readU64(value, 22), count: value.readUInt32BE(30) };
  if (own.writerId.equals(entry.writerId) && own.first === entry.first && own.count === entry.count) {
    return entry;
  }
  const footerAt = bytes.length - ARCHIVE_FOOTER_SIZE;
  const indexAt = footerAt - entries.length * ARCHIVE_INDEX_ENTRY_SIZE;
  const at = indexAt + entries.indexOf(entry) * ARCHIVE_INDEX_ENTRY_SIZE;
  report('an index entry and its batch say different ranges', at, { ...entry, ...own });
  return own;
}

interface ObjectIndex {
  readonly entries: readonly ArchiveEntry[];
  readonly problem: { readonly detail: string; readonly offset: number } | null;
}

/** The batches of an object by its index, or by the lengths before them when the index cannot be used. */
function entriesOf(bytes: Buffer): ObjectIndex {
  const footerAt = bytes.length - ARCHIVE_FOOTER_SIZE;
  const walked = walkBatches(bytes);
  if (footerAt < HEADER.length) {
    return { entries: walked, problem: { detail: 'it is cut off', offset: bytes.length } };
  }
  try {
    const { indexOffset, count } = decodeArchiveFooter(bytes.subarray(footerAt));
    if (indexOffset + count * ARCHIVE_INDEX_ENTRY_SIZE !== footerAt) {
      return { entries: walked, problem: { detail: 'its footer does not fit its size', offset: footerAt } };
    }
    const entries = decodeArchiveIndex(bytes.subarray(indexOffset, footerAt));
    let at = HEADER.length;
    for (const [i, entry] of entries.entries()) {
      const entryAt = indexOffset + i * ARCHIVE_INDEX_ENTRY_SIZE;
      if (entry.objectOffset !== at + 4 || entry.objectOffset + entry.batchBytes > indexOffset) {
        return { entries: walked, problem: { detail: 'an index entry does not point to a batch', offset: entryAt } };
      }
      at = entry.objectOffset + entry.batchBytes;
    }
    const detail = 'bytes between the batches and the index';
    return { entries, problem: at === indexOffset ? null : { detail, offset: at } };
  } catch (error) {
    return { entries: walked, problem: { detail: problemOf(error), offset: footerAt } };
  }
}

function walkBatches(bytes: Buffer): ArchiveEntry[] {
  const entries: ArchiveEntry[] = [];
  let at = HEADER.length;
  while (at + 4 + BATCH_HEADER_SIZE <= bytes.length) {
    const batchBytes = bytes.readUInt32BE(at);
    const start = at + 4;
    if (bytes.toString('latin1', start, start + 4) !== 'CHB1' || start + batchBytes > bytes.length) {
      break;
    }
    entries.push({
      writerId: bytes.subarray(start + 6, start + 22),
      first: readU64(bytes, start + 22),
      count: bytes.readUInt32BE(start + 30),
      objectOffset: start,
      batchBytes,
      busOffset: 0,
    });
    at = start + batchBytes;
  }
  return entries;
}

/** Files that are not objects and not tiles: identity of the writers, and what is named by its digest. */
function readNamed(evidence: Evidence, directory: string, prefix: string, name: string): void {
  const place: Place = { kind: 'archive file', file: `${prefix}${name}`, offset: 0 };
  const digest = BY_DIGEST.exec(name)?.[1];
  const [, id, what] = OF_WRITER.exec(name) ?? [];
  if (digest === undefined && (id === undefined || !evidence.wants(id))) {
    return;
  }
  const bytes = readWhole(join(directory, name));
  if (bytes === null) {
    return;
  }
  if (digest !== undefined) {
    if (createHash('sha256').update(bytes).digest('hex') !== digest) {
      evidence.findings.add('ALTERED', 'the file does not give the digest that it is named by', { place });
    }
  } else if (id !== undefined && what === 'head') {
    readHeadFile(evidence, bytes, id, place);
  } else if (id !== undefined && what === 'epoch') {
    evidence.takeEpoch(bytes, place, id);
  } else if (id !== undefined) {
    checkClusterEvent(evidence, bytes, place, id);
  }
}

function readHeadFile(evidence: Evidence, bytes: Buffer, id: string, place: Place): void {
  try {
    const head = decodeHead(bytes);
    if (head.writerId.toString('hex') !== id) {
      evidence.findings.add('ALTERED', 'the head is of another writer', { writer: id, place });
      return;
    }
    const writer = evidence.writer(id);
    writer.archivedHead = Math.max(writer.archivedHead, head.size);
    evidence.takeHead(bytes, place);
  } catch (error) {
    evidence.findings.add('ALTERED', `head: ${problemOf(error)}`, { writer: id, place });
  }
}

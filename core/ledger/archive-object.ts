import { assert } from '../kernel/assert.ts';
import { writeU64 } from '../kernel/bytes.ts';
import { LIMITS } from '../kernel/limits.ts';
import { ByteReader, malformed } from './byte-reader.ts';
import { HASH_SIZE, sha256 } from './hash.ts';

/*
 * Archive object: verified batches of one partition, in bus order (docs/formats.md, "Archive"):
 *
 *   "CHO1" | version u8 = 1 | zero 3 | (batch length u32 | batch) x n | index | footer
 *   index  = n x (writer id 16 | first u64 | count u32 | object offset u64 | batch length u32 | bus offset u64)
 *   footer = index offset u64 | n u32 | SHA-256 of all bytes before the footer | "CHO1"
 *
 * `object offset` is where the batch itself begins, after its length.
 */
export const ARCHIVE_FOOTER_SIZE = 8 + 4 + HASH_SIZE + 4;
export const ARCHIVE_INDEX_ENTRY_SIZE = 16 + 8 + 4 + 8 + 4 + 8;
const HEADER_SIZE = 8;
const MAGIC = 'CHO1';
const VERSION = 1;
const OFFSET_DIGITS = 16;
const OBJECT_NAME = /^objects\/(0|[1-9][0-9]*)\/([0-9]{6})\/([0-9]{16})-([0-9]{16})\.cho$/;

export interface ArchiveInput {
  readonly writerId: Buffer;
  readonly first: number;
  readonly count: number;
  readonly busOffset: number;
  readonly batch: Buffer;
}

export interface ArchiveEntry {
  readonly writerId: Buffer;
  readonly first: number;
  readonly count: number;
  /** Position of the batch in the object. */
  readonly objectOffset: number;
  readonly batchBytes: number;
  readonly busOffset: number;
}

export interface ArchiveObjectName {
  readonly partition: number;
  /** YYYYMM, UTC. */
  readonly month: number;
  readonly firstOffset: number;
  readonly lastOffset: number;
}

export function archiveObjectName(name: ArchiveObjectName): string {
  const digits = (offset: number): string => String(offset).padStart(OFFSET_DIGITS, '0');
  const month = String(name.month).padStart(6, '0');
  return `objects/${name.partition}/${month}/${digits(name.firstOffset)}-${digits(name.lastOffset)}.cho`;
}

/** Undefined when `path` (with `/`, relative to the archive) is not the name of an object. */
export function parseArchiveObjectName(path: string): ArchiveObjectName | undefined {
  const match = OBJECT_NAME.exec(path);
  if (match === null) {
    return undefined;
  }
  const [partition, month, firstOffset, lastOffset] = match.slice(1).map(Number) as [number, number, number, number];
  return { partition, month, firstOffset, lastOffset };
}

export function encodeArchiveObject(inputs: readonly ArchiveInput[]): Buffer {
  assert(inputs.length > 0, 'an archive object has a batch');
  const batchBytes = inputs.reduce((sum, input) => sum + 4 + input.batch.length, 0);
  const indexOffset = HEADER_SIZE + batchBytes;
  const footerOffset = indexOffset + inputs.length * ARCHIVE_INDEX_ENTRY_SIZE;
  const bytes = Buffer.alloc(footerOffset + ARCHIVE_FOOTER_SIZE);
  bytes.write(MAGIC, 0, 'latin1');
  bytes[4] = VERSION;
  let at = HEADER_SIZE;
  let entryAt = indexOffset;
  for (const input of inputs) {
    at = bytes.writeUInt32BE(input.batch.length, at);
    bytes.set(input.batch, at);
    writeEntry(bytes, entryAt, { ...input, objectOffset: at, batchBytes: input.batch.length });
    at += input.batch.length;
    entryAt += ARCHIVE_INDEX_ENTRY_SIZE;
  }
  writeU64(bytes, indexOffset, footerOffset);
  bytes.writeUInt32BE(inputs.length, footerOffset + 8);
  bytes.set(sha256(bytes.subarray(0, footerOffset)), footerOffset + 12);
  bytes.write(MAGIC, footerOffset + 12 + HASH_SIZE, 'latin1');
  return bytes;
}

/**
 * The entries of a whole object. Throws `evidence_malformed` when header, batches, index and footer do not agree; the
 * digest is told apart (`digestHolds`), because a reader that looks for damage wants to go on.
 */
export function decodeArchiveObject(bytes: Buffer): { entries: ArchiveEntry[]; digestHolds: boolean } {
  const header = new ByteReader(bytes.subarray(0, HEADER_SIZE), 'archive object');
  header.magic(MAGIC, VERSION);
  header.zeros(3, 'reserved bytes');
  if (bytes.length < HEADER_SIZE + ARCHIVE_FOOTER_SIZE) {
    throw malformed('archive object: footer is cut off');
  }
  const footerOffset = bytes.length - ARCHIVE_FOOTER_SIZE;
  const { indexOffset, count, digest } = decodeArchiveFooter(bytes.subarray(footerOffset));
  if (indexOffset + count * ARCHIVE_INDEX_ENTRY_SIZE !== footerOffset) {
    throw malformed('archive object: index offset');
  }
  const entries = decodeArchiveIndex(bytes.subarray(indexOffset, footerOffset));
  let at = HEADER_SIZE;
  for (const entry of entries) {
    // Only the index of an object may be trusted to find a batch, so every byte before it must be accounted for.
    if (entry.objectOffset !== at + 4 || at + 4 > indexOffset || bytes.readUInt32BE(at) !== entry.batchBytes) {
      throw malformed('archive object: index entry');
    }
    at = entry.objectOffset + entry.batchBytes;
  }
  if (at !== indexOffset) {
    throw malformed('archive object: bytes without an index entry');
  }
  return { entries, digestHolds: sha256(bytes.subarray(0, footerOffset)).equals(digest) };
}

/** The last `ARCHIVE_FOOTER_SIZE` bytes of an object. */
export function decodeArchiveFooter(bytes: Buffer): { indexOffset: number; count: number; digest: Buffer } {
  const reader = new ByteReader(bytes, 'archive footer');
  const indexOffset = reader.u64('index offset');
  const count = reader.u32('count');
  const digest = reader.bytes(HASH_SIZE, 'digest');
  if (reader.bytes(MAGIC.length, 'magic').toString('latin1') !== MAGIC) {
    throw reader.refuse('magic');
  }
  reader.end();
  if (count === 0) {
    throw reader.refuse('count');
  }
  return { indexOffset, count, digest };
}

export function decodeArchiveIndex(bytes: Buffer): ArchiveEntry[] {
  const reader = new ByteReader(bytes, 'archive index');
  const entries: ArchiveEntry[] = [];
  while (reader.remaining > 0) {
    const entry: ArchiveEntry = {
      writerId: reader.bytes(16, 'writer id'),
      first: reader.u64('first'),
      count: reader.u32('count'),
      objectOffset: reader.u64('object offset'),
      batchBytes: reader.u32('batch length'),
      busOffset: reader.u64('bus offset'),
    };
    if (entry.batchBytes > LIMITS.batchBytesMax) {
      throw reader.refuse('batch length');
    }
    entries.push(entry);
  }
  return entries;
}

function writeEntry(target: Buffer, offset: number, entry: ArchiveEntry): void {
  assert(entry.writerId.length === 16, 'a writer id is 16 bytes');
  target.set(entry.writerId, offset);
  writeU64(target, entry.first, offset + 16);
  target.writeUInt32BE(entry.count, offset + 24);
  writeU64(target, entry.objectOffset, offset + 28);
  target.writeUInt32BE(entry.batchBytes, offset + 36);
  writeU64(target, entry.busOffset, offset + 40);
}

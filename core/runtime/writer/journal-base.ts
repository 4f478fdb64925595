import { crc32 } from 'node:zlib';
import { assert } from '../../kernel/assert.ts';
import { readU64, writeU64 } from '../../kernel/bytes.ts';
import { CompactRange, compactCount } from '../../ledger/compact-range.ts';
import { HASH_SIZE } from '../../ledger/hash.ts';
import type { Disk, DiskFile } from '../disk.ts';

/*
 * Base of a journal, file `<writer id hex>.base`: where its oldest kept segment begins, so that the tree can be rebuilt
 * after older segments were freed, and the epoch certificate. Two slots of 16 KiB, written in turn and in place: freeing
 * space must not need space. The valid slot with the higher sequence counts.
 *
 *   slot = "CHJB" | version u8 = 1 | zero 3 | sequence u32 | writer id 16 | first index u64 | hash count u8
 *          | compact range hashes 32 each | epoch length u32 | epoch certificate | crc u32 over all before it
 */
const MAGIC = 'CHJB';
const VERSION = 1;
const SLOT_SIZE = 16 * 1024;
const FIXED_SIZE = 4 + 1 + 3 + 4 + 16 + 8 + 1;

export interface JournalBase {
  readonly writerId: Buffer;
  /** Records below it are archived and may be gone. */
  readonly firstIndex: number;
  /** Compact range [0, `firstIndex`). */
  readonly range: CompactRange;
  /** Encoded epoch certificate. */
  readonly epoch: Buffer;
}

export function baseName(writerId: Buffer): string {
  return `${writerId.toString('hex')}.base`;
}

/** The base of a living writer. Invariant: at every moment at least one slot on the disk is valid. */
export class JournalBaseFile {
  readonly #file: DiskFile;
  #sequence = 0;

  private constructor(file: DiskFile) {
    this.#file = file;
  }

  static async create(disk: Disk, base: JournalBase): Promise<JournalBaseFile> {
    const created = new JournalBaseFile(await disk.createZeroed(baseName(base.writerId), 2 * SLOT_SIZE));
    // If we die here the base is zeros and no segment holds a record: recovery finds nothing and removes both.
    await created.write(base);
    return created;
  }

  /** Resolves when the base is durable. The segments that it leaves behind MUST NOT be removed before. */
  async write(base: JournalBase): Promise<void> {
    const slot = encodeSlot(base, ++this.#sequence);
    const taken = await this.#file.writeDurable([slot], (this.#sequence % 2) * SLOT_SIZE);
    if (taken !== slot.length) {
      throw Object.assign(new Error('short write of a journal base'), { code: 'ENOSPC' });
    }
    // If we die here the old segments are still there: recovery starts at the base and removes them.
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** The base as it was last written; undefined when no slot is valid. */
export async function readJournalBase(disk: Disk, writerId: Buffer): Promise<JournalBase | undefined> {
  const file = await disk.open(baseName(writerId));
  const bytes = Buffer.alloc(2 * SLOT_SIZE);
  try {
    await file.read(bytes, 0);
  } finally {
    await file.close();
  }
  const slots = [bytes.subarray(0, SLOT_SIZE), bytes.subarray(SLOT_SIZE)]
    .map((slot) => decodeSlot(slot, writerId))
    .filter((slot) => slot !== undefined)
    .sort((a, b) => b.sequence - a.sequence);
  return slots[0];
}

function encodeSlot(base: JournalBase, sequence: number): Buffer {
  const { hashes } = base.range;
  const size = FIXED_SIZE + hashes.length * HASH_SIZE + 4 + base.epoch.length + 4;
  // Limit: a node certificate of more than about 14 KiB does not fit.
  assert(size <= SLOT_SIZE, 'the base of a journal fits its slot');
  assert(base.range.size === base.firstIndex && base.writerId.length === 16, 'the range ends where the base begins');
  const slot = Buffer.alloc(size);
  slot.write(MAGIC, 0, 'latin1');
  slot[4] = VERSION;
  slot.writeUInt32BE(sequence, 8);
  slot.set(base.writerId, 12);
  writeU64(slot, base.firstIndex, 28);
  let at = slot.writeUInt8(hashes.length, 36);
  for (const each of hashes) {
    slot.set(each, at);
    at += HASH_SIZE;
  }
  at = slot.writeUInt32BE(base.epoch.length, at);
  slot.set(base.epoch, at);
  at += base.epoch.length;
  slot.writeUInt32BE(crc32(slot.subarray(0, at)), at);
  return slot;
}

function decodeSlot(slot: Buffer, writerId: Buffer): (JournalBase & { sequence: number }) | undefined {
  if (slot.toString('latin1', 0, 4) !== MAGIC || slot[4] !== VERSION || !slot.subarray(12, 28).equals(writerId)) {
    return undefined;
  }
  const firstIndex = readU64(slot, 28);
  const count = slot.readUInt8(36);
  const epochAt = FIXED_SIZE + count * HASH_SIZE + 4;
  if (firstIndex < 0 || count !== compactCount(firstIndex) || epochAt + 4 > slot.length) {
    return undefined;
  }
  const end = epochAt + slot.readUInt32BE(epochAt - 4);
  if (end + 4 > slot.length || slot.readUInt32BE(end) !== crc32(slot.subarray(0, end))) {
    return undefined;
  }
  const hashes = Array.from({ length: count }, (_, i) =>
    slot.subarray(FIXED_SIZE + i * HASH_SIZE, FIXED_SIZE + (i + 1) * HASH_SIZE),
  );
  const range = CompactRange.fromHashes(firstIndex, hashes);
  return {
    sequence: slot.readUInt32BE(8),
    writerId,
    firstIndex,
    range,
    epoch: Buffer.from(slot.subarray(epochAt, end)),
  };
}

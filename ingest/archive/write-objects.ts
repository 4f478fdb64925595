import { GatewayError } from '../../core/kernel/errors.ts';
import { archiveObjectName, encodeArchiveObject } from '../../core/ledger/archive-object.ts';
import type { RecordBody } from '../../core/ledger/record.ts';
import type { BlobStore } from './blob-store.ts';

/** Records of a batch that passed every check. Views over `value`. */
export interface VerifiedRecord extends RecordBody {
  readonly leafHash: Buffer;
}

export interface VerifiedBatch {
  readonly writerId: Buffer;
  readonly first: number;
  readonly records: readonly VerifiedRecord[];
  readonly head: Buffer;
  readonly busOffset: number;
  /** The batch as it is archived. */
  readonly value: Buffer;
}

/** A durable object, with what the rows are made of while it is still in memory. */
export interface ArchivedObject {
  readonly name: string;
  readonly partition: number;
  /** YYYYMM, UTC, of the flush. */
  readonly month: number;
  readonly lastOffset: number;
  readonly batches: readonly VerifiedBatch[];
  /** Where each batch begins in the object. */
  readonly offsets: readonly number[];
  readonly bytes: number;
}

/** docs/formats.md, "Archive": header of 8 bytes, then each batch after its length. */
const LENGTH_SIZE = 4;
const FIRST_BATCH_OFFSET = 8 + LENGTH_SIZE;

/**
 * Writes one object for each partition. An object of that name that is there already must be the one of an earlier
 * attempt, byte for byte; where it is another (a regrouping around recovered writers can give the same range twice),
 * each batch gets an object of its own.
 */
export async function writeObjects(
  blobs: BlobStore,
  batches: ReadonlyMap<number, readonly VerifiedBatch[]>,
  nowMs: number,
): Promise<ArchivedObject[]> {
  const month = monthOf(nowMs);
  const objects = [...batches].map(([partition, list]) => encodeObject(partition, month, list));
  const created = await blobs.create(objects.map(({ object, bytes }) => ({ name: object.name, parts: [bytes] })));
  const result: ArchivedObject[] = [];
  for (const [i, { object, bytes }] of objects.entries()) {
    if (created[i] === true || (await blobs.read(object.name))?.equals(bytes) === true) {
      result.push(object);
    } else if (object.batches.length > 1) {
      for (const batch of object.batches) {
        result.push(...(await writeObjects(blobs, new Map([[object.partition, [batch]]]), nowMs)));
      }
    } else {
      throw new GatewayError(
        'evidence_altered',
        `archive: ${object.name} has other content (was the bus started anew?)`,
      );
    }
  }
  return result;
}

/** YYYYMM in UTC. */
export function monthOf(nowMs: number): number {
  const date = new Date(nowMs);
  return date.getUTCFullYear() * 100 + date.getUTCMonth() + 1;
}

function encodeObject(
  partition: number,
  month: number,
  batches: readonly VerifiedBatch[],
): { object: ArchivedObject; bytes: Buffer } {
  const offsets = batches.map((batch) => batch.busOffset);
  const [firstOffset, lastOffset] = [Math.min(...offsets), Math.max(...offsets)];
  const inputs = batches.map(({ writerId, first, records, busOffset, value }) => ({
    writerId,
    first,
    count: records.length,
    busOffset,
    batch: value,
  }));
  const bytes = encodeArchiveObject(inputs);
  let at = FIRST_BATCH_OFFSET;
  const offsetsInObject = batches.map(({ value }) => {
    const offset = at;
    at += value.length + LENGTH_SIZE;
    return offset;
  });
  const name = archiveObjectName({ partition, month, firstOffset, lastOffset });
  return {
    object: { name, partition, month, lastOffset, batches, offsets: offsetsInObject, bytes: bytes.length },
    bytes,
  };
}

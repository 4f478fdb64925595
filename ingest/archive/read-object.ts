import { GatewayError } from '../../core/kernel/errors.ts';
import { decodeArchiveObject, parseArchiveObjectName } from '../../core/ledger/archive-object.ts';
import { decodeBatch } from '../../core/ledger/batch.ts';
import { checkRecord } from '../consume/check-batch.ts';
import type { BlobStore } from './blob-store.ts';
import type { ArchivedObject, VerifiedBatch } from './write-objects.ts';

/**
 * An object as it was when it was written: its digest and every record's commits are checked again. Signatures and the
 * chain of batches are for `rebuild` and the verifier. Throws `evidence_altered` or `evidence_malformed` for damage, and
 * `evidence_incomplete` when it is not there.
 */
export async function readObject(blobs: BlobStore, name: string): Promise<ArchivedObject> {
  const place = parseArchiveObjectName(name);
  const bytes = await blobs.read(name);
  if (place === undefined || bytes === null) {
    throw new GatewayError('evidence_incomplete', name);
  }
  const { entries, digestHolds } = decodeArchiveObject(bytes);
  if (!digestHolds) {
    throw new GatewayError('evidence_altered', name);
  }
  const batches = entries.map((entry): VerifiedBatch => {
    const value = bytes.subarray(entry.objectOffset, entry.objectOffset + entry.batchBytes);
    const batch = decodeBatch(value);
    const records = batch.records.map((record, i) => {
      const checked = checkRecord(record, batch.writerId, batch.first + i);
      if (typeof checked === 'string') {
        throw new GatewayError('evidence_altered', `${name}: ${checked}`);
      }
      return checked;
    });
    return {
      writerId: batch.writerId,
      first: batch.first,
      records,
      head: batch.head,
      busOffset: entry.busOffset,
      value,
    };
  });
  const { partition, month, lastOffset } = place;
  const offsets = entries.map((entry) => entry.objectOffset);
  return { name, partition, month, lastOffset, batches, offsets, bytes: bytes.length };
}

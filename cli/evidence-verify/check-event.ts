import { readU64 } from '../../core/kernel/bytes.ts';
import { leafHash } from '../../core/ledger/hash.ts';
import { readRecord, verifyRecordCommits } from '../../core/ledger/verify-record.ts';
import type { Evidence } from './evidence.ts';
import type { Place } from './findings.ts';

/**
 * A record without its units that stands somewhere else than in its log: leaf 0 of a registration, a global event, the
 * `opening` of the archive. Its meta is checked now, its leaf when the tree of its writer is known.
 */
export function checkClusterEvent(evidence: Evidence, body: Buffer, place: Place, expected: string | null): void {
  const record = readRecord(body);
  if (typeof record === 'string') {
    evidence.findings.add('ALTERED', `record without units: ${record}`, { writer: expected, index: 0, place });
    return;
  }
  const { leaf } = record;
  const id = leaf.writerId.toString('hex');
  if (expected !== null && (id !== expected || leaf.index !== 0)) {
    const detail = 'the opening is of another writer or not its first record';
    evidence.findings.add('ALTERED', detail, { writer: expected, index: 0, place });
    return;
  }
  for (const { detail } of verifyRecordCommits(record, { withUnits: false })) {
    evidence.findings.add('ALTERED', detail, { writer: id, index: leaf.index, place });
  }
  if (record.body.units.length > 0) {
    evidence.findings.add('ALTERED', 'a record that has no units here', { writer: id, index: leaf.index, place });
  }
  if (evidence.wants(id) && readU64(body, 18) >= 0) {
    const hash = leafHash(record.body.leaf);
    evidence.writer(id).others.push({ index: leaf.index, hash, source: null, place });
  }
}

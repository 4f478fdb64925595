import { ZERO32 } from '../../core/kernel/bytes.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { leafHash } from '../../core/ledger/hash.ts';
import { kindName, type LeafFields } from '../../core/ledger/leaf.ts';
import { StrandCheck } from '../../core/ledger/strand-check.ts';
import { readRecord, verifyRecordCommits } from '../../core/ledger/verify-record.ts';
import { Event } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import { PayloadUnit } from '../../proto/gen/chaperone/evidence/v1/unit.ts';
import type { ArchiveReader } from '../archive-reader.ts';
import type { IndexedRecord } from './session-index.ts';

/** Opens a payload unit with the auditor's key. `UnitOpener` of the vault is one. */
export interface PayloadOpener {
  open(
    sealed: Buffer,
    context: Pick<LeafFields, 'writerId' | 'index' | 'tenantTag' | 'sessionId'> & { readonly planDigest: Buffer },
  ): Promise<Buffer>;
}

/** A record whose meta and units are those that its leaf commits to, with its payload opened. */
export interface SessionRecord {
  readonly position: string;
  readonly writer: string;
  readonly index: number;
  readonly kind: string;
  readonly timeMs: number;
  readonly event: Event;
  /** Null when the record has no payload unit. */
  readonly payload: PayloadUnit | null;
}

/** What does not hold, by the verdicts of the verifier. */
export interface SessionFinding {
  readonly verdict: 'ALTERED' | 'MISSING' | 'SHREDDED';
  readonly position: string;
  readonly detail: string;
}

export interface VerifiedSession {
  readonly records: readonly SessionRecord[];
  readonly findings: readonly SessionFinding[];
}

/**
 * Fetches the records of a session from the archive, checks each against its leaf, the leaf against the index, and each
 * strand from its beginning, and opens the payloads. A record that does not hold is a finding and is not shown.
 *
 * It shows what was recorded; that the leaves are in the witnessed log is what `chaperone evidence verify` proves.
 */
export async function readSessionRecords(
  indexed: readonly IndexedRecord[],
  archive: Pick<ArchiveReader, 'read'>,
  opener: PayloadOpener,
): Promise<VerifiedSession> {
  const records: SessionRecord[] = [];
  const findings: SessionFinding[] = [];
  const strands = new Map<string, StrandCheck>();
  // By writer and index, as a strand runs.
  for (const place of indexed) {
    const position = `${place.writer}/${place.index}`;
    const add = (verdict: SessionFinding['verdict'], detail: string): void =>
      void findings.push({ verdict, position, detail });
    const bytes = await archive.read(place.object, place.offset, place.bytes);
    const record = readRecord(bytes);
    if (typeof record === 'string') {
      add('ALTERED', `the archive has no record there: ${record}`);
      continue;
    }
    const { leaf, body } = record;
    const hash = leafHash(body.leaf);
    if (
      hash.toString('hex') !== place.leafHash ||
      leaf.index !== place.index ||
      leaf.writerId.toString('hex') !== place.writer
    ) {
      add('ALTERED', 'the leaf in the archive is not the one in the index');
      continue;
    }
    const broken = verifyRecordCommits(record);
    if (broken.length > 0) {
      add('ALTERED', broken.map(({ detail }) => detail).join('; '));
      continue;
    }
    const link = strandOf(strands, place.writer).next(leaf, hash);
    if (link !== null) {
      add(/gap|beginning|begin with/.test(link.detail) ? 'MISSING' : 'ALTERED', link.detail);
    }
    const event = Event.decode(body.meta);
    const sealed = body.units.find((unit) => unit.unitClass === 1)?.bytes ?? null;
    let payload: PayloadUnit | null = null;
    if (sealed !== null) {
      try {
        const planDigest = Buffer.from(event.planDigest ?? ZERO32);
        payload = PayloadUnit.decode(await opener.open(sealed, { ...leaf, planDigest }));
      } catch (error) {
        if (!(error instanceof GatewayError) || !error.code.startsWith('evidence_')) {
          throw error;
        }
        add(error.code === 'evidence_incomplete' ? 'SHREDDED' : 'ALTERED', error.detail);
      }
    }
    records.push({
      position,
      writer: place.writer,
      index: place.index,
      kind: kindName(leaf.kind),
      timeMs: Number(leaf.timeNs / 1_000_000n),
      event,
      payload,
    });
  }
  return { records, findings };
}

function strandOf(strands: Map<string, StrandCheck>, writer: string): StrandCheck {
  const strand = strands.get(writer) ?? new StrandCheck();
  strands.set(writer, strand);
  return strand;
}

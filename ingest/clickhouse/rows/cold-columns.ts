import { LowCardinalityColumn } from './low-cardinality-column.ts';
import { FixedColumn, StringColumn } from './native-columns.ts';
import type { Column } from './native-columns.ts';

/** Where the bytes of a record stand in an archive object. A length of 0 says that there is no such unit. */
export interface RecordPlace {
  /** Name of the object, ASCII. */
  readonly object: Buffer;
  readonly recordOffset: number;
  readonly recordBytes: number;
  readonly payloadOffset: number;
  readonly payloadBytes: number;
  readonly originalsOffset: number;
  readonly originalsBytes: number;
}

export interface ColdRecord {
  readonly leaf: Buffer;
  readonly leafHash: Buffer;
  readonly salt: Buffer;
  readonly meta: Buffer;
}

const TWO_32 = 0x1_0000_0000;

/**
 * The columns of one block of `events_cold`: every field of the leaf but the meta commit, which is SHA-256(salt || meta),
 * so the leaf can be built again from the row and compared with its hash.
 */
export class ColdColumns {
  readonly columns: Column[];
  readonly #month: () => number;
  readonly #monthColumn = new FixedColumn('month', 'UInt32', 4);
  readonly #writerId = new FixedColumn('writer_id', 'UInt128', 16);
  readonly #index = new FixedColumn('record_index', 'UInt64', 8);
  readonly #kind = new FixedColumn('kind', 'UInt8', 1);
  readonly #timeNs = new FixedColumn('time_ns', 'UInt64', 8);
  readonly #tenantTag = new FixedColumn('tenant_tag', 'FixedString(16)', 16);
  readonly #sessionId = new FixedColumn('session_id', 'UInt128', 16);
  readonly #seq = new FixedColumn('seq', 'UInt32', 4);
  readonly #previous = new FixedColumn('strand_previous', 'FixedString(32)', 32);
  readonly #bundle = new FixedColumn('bundle_digest', 'FixedString(32)', 32);
  readonly #decision = new FixedColumn('decision', 'UInt8', 1);
  readonly #obligations = new FixedColumn('obligations', 'UInt32', 4);
  readonly #approval = new FixedColumn('approval_leaf', 'FixedString(32)', 32);
  readonly #payloadCommit = new FixedColumn('payload_commit', 'FixedString(32)', 32);
  readonly #originalsCommit = new FixedColumn('originals_commit', 'FixedString(32)', 32);
  readonly #payloadKey = new FixedColumn('payload_key_id', 'FixedString(16)', 16);
  readonly #originalsKey = new FixedColumn('originals_key_id', 'FixedString(16)', 16);
  readonly #salt = new FixedColumn('salt', 'FixedString(16)', 16);
  readonly #leafHash = new FixedColumn('leaf_hash', 'FixedString(32)', 32);
  readonly #meta = new StringColumn('meta');
  readonly #object = new LowCardinalityColumn('object');
  readonly #places = (
    [
      ['record_offset', 'UInt64'],
      ['record_bytes', 'UInt32'],
      ['payload_offset', 'UInt64'],
      ['payload_bytes', 'UInt32'],
      ['originals_offset', 'UInt64'],
      ['originals_bytes', 'UInt32'],
    ] as const
  ).map(([name, type]) => new FixedColumn(name, type, type === 'UInt64' ? 8 : 4));

  constructor(month: () => number) {
    this.#month = month;
    this.columns = [
      this.#monthColumn,
      this.#writerId,
      this.#index,
      this.#kind,
      this.#timeNs,
      this.#tenantTag,
      this.#sessionId,
      this.#seq,
      this.#previous,
      this.#bundle,
      this.#decision,
      this.#obligations,
      this.#approval,
      this.#payloadCommit,
      this.#originalsCommit,
      this.#payloadKey,
      this.#originalsKey,
      this.#salt,
      this.#leafHash,
      this.#meta,
      this.#object,
      ...this.#places,
    ];
  }

  get rows(): number {
    return this.#writerId.rows;
  }

  append(record: ColdRecord, place: RecordPlace): void {
    const { leaf } = record;
    this.#monthColumn.number(this.#month());
    this.#writerId.reversed(leaf, 2);
    this.#index.reversed(leaf, 18);
    this.#kind.number(leaf[1] as number);
    this.#timeNs.reversed(leaf, 26);
    this.#tenantTag.raw(leaf, 34);
    this.#sessionId.reversed(leaf, 50);
    this.#seq.reversed(leaf, 66);
    this.#previous.raw(leaf, 70);
    this.#bundle.raw(leaf, 102);
    this.#decision.number(leaf[134] as number);
    this.#obligations.reversed(leaf, 135);
    this.#approval.raw(leaf, 139);
    this.#payloadCommit.raw(leaf, 203);
    this.#originalsCommit.raw(leaf, 235);
    this.#payloadKey.raw(leaf, 267);
    this.#originalsKey.raw(leaf, 283);
    this.#salt.raw(record.salt, 0);
    this.#leafHash.raw(record.leafHash, 0);
    this.#meta.slice(record.meta, 0, record.meta.length);
    this.#object.slice(place.object, 0, place.object.length);
    this.#place(0, place.recordOffset, place.recordBytes);
    this.#place(2, place.payloadOffset, place.payloadBytes);
    this.#place(4, place.originalsOffset, place.originalsBytes);
  }

  /** Every column has every row: there are no defaults. */
  finish(): readonly Column[] {
    return this.columns;
  }

  reset(): void {
    for (const column of this.columns) {
      column.reset();
    }
  }

  #place(at: number, offset: number, size: number): void {
    (this.#places[at] as FixedColumn).number(offset % TWO_32, Math.floor(offset / TWO_32));
    (this.#places[at + 1] as FixedColumn).number(size);
  }
}

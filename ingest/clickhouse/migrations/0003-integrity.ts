import { TABLE_SETTINGS } from './migration.ts';
import type { Migration } from './migration.ts';

/** What is not made from events: heads and checkpoints as they were published, and what ingest refused. */
export const integrity: Migration = {
  number: 3,
  name: 'integrity',
  statements: [
    `CREATE TABLE IF NOT EXISTS heads
    (
      writer_id UInt128,
      size UInt64,
      root FixedString(32),
      time DateTime64(9, 'UTC'),
      signer_kind UInt8,
      signer_writer_id UInt128,
      head String
    )
    ENGINE = ReplacingMergeTree
    ORDER BY (writer_id, size, root)
    ${TABLE_SETTINGS}`,
    `CREATE TABLE IF NOT EXISTS checkpoints
    (
      bus_offset UInt64,
      published DateTime64(3, 'UTC'),
      size UInt64,
      root FixedString(32),
      input_offset UInt64,
      witnesses UInt16,
      note String
    )
    ENGINE = ReplacingMergeTree
    ORDER BY (size, witnesses, bus_offset)
    ${TABLE_SETTINGS}`,
    `CREATE TABLE IF NOT EXISTS quarantine
    (
      id String,
      time DateTime64(3, 'UTC'),
      writer_id UInt128,
      first UInt64,
      reason LowCardinality(String)
    )
    ENGINE = ReplacingMergeTree
    ORDER BY id
    ${TABLE_SETTINGS}`,
  ],
};

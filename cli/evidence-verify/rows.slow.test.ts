import { deepEqual, equal, ok } from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { ClickHouseClient } from '@clickhouse/client';
import { connectClickHouse, DATABASE } from '../../ingest/clickhouse/connect.ts';
import { EmbeddedClickHouse } from '../../ingest/testing/embedded-clickhouse.ts';
import { EvidenceLab, type LabWriter } from './testing/evidence-lab.ts';
import type { EvidenceReport } from './verify-evidence.ts';

/** Every change that the engine can make to a row, by column; the value is SQL. */
const CHANGES: readonly (readonly [table: string, column: string, value: string])[] = [
  ['events', 'trace_id', "'other'"],
  ['events', 'connection', "'analytics'"],
  ['events', 'decision', "'deny'"],
  ['events', 'person', "'somebody else'"],
  ['events', 'status', '500'],
  ['events', 'mask_counts', '[1]'],
  ['events', 'attributes', "map('a', 'b')"],
  ['events', 'operation_index', '7'],
  ['events', 'time', 'addSeconds(time, 1)'],
  ['events_cold', 'time_ns', 'time_ns + 1'],
  ['events_cold', 'meta', "concat(meta, 'x')"],
  ['events_cold', 'salt', "unhex('00112233445566778899aabbccddeeff')"],
  ['events_cold', 'decision', '2'],
  ['events_cold', 'leaf_hash', "unhex('00000000000000000000000000000000000000000000000000000000000000aa')"],
  ['events_cold', 'record_offset', 'record_offset + 1'],
  ['events_cold', 'payload_bytes', '1'],
];

describe('rows in the real engine', () => {
  let clickhouse: EmbeddedClickHouse;
  let client: ClickHouseClient;
  let lab: EvidenceLab;
  let worker: LabWriter;

  before(async () => {
    clickhouse = await EmbeddedClickHouse.start();
    lab = await EvidenceLab.start(clickhouse.access);
    client = connectClickHouse(clickhouse.access);
    worker = await lab.open('worker', { agoMs: 60_000 });
    await lab.session(worker, 40);
    await lab.close(worker);
    await lab.settled();
  });
  after(async () => {
    await lab.stop();
    await client.close();
    await clickhouse.stop();
    await lab.remove();
  });

  async function verify(): Promise<EvidenceReport> {
    const rows = { ...clickhouse.access, database: DATABASE };
    return (await lab.verify(lab.data, { rows: 'wanted' }, { rows })).report;
  }

  const where = (index: number): string =>
    `WHERE hex(writer_id) = '${worker.id.toUpperCase().replace(/^0+/, '')}' AND record_index = ${index}`;

  async function command(query: string): Promise<void> {
    await client.command({ query, clickhouse_settings: { mutations_sync: '2' } });
  }

  test('every row of both tables is compared, and all are as recorded', async () => {
    const report = await verify();
    deepEqual(report.findings, []);
    equal(report.checked.rows, 2 * worker.writer.nextIndex);
  });

  for (const [i, [table, column, value]] of CHANGES.entries()) {
    test(`a changed ${table}.${column} is ALTERED and named`, async () => {
      const index = 3 + i;
      await command(`CREATE TABLE kept ENGINE = Memory AS SELECT * FROM ${table} ${where(index)}`);
      try {
        await command(`ALTER TABLE ${table} UPDATE ${column} = ${value} ${where(index)}`);
        const report = await verify();
        equal(report.exit, 7, JSON.stringify(report.findings));
        const [finding] = report.findings;
        equal(finding?.writer, worker.id);
        equal(finding?.index, index);
        equal(finding?.where, `row ${table} ${worker.id}@${index}`);
        ok(finding.detail.includes(column === 'time' ? 'time_ns' : column), finding.detail);
      } finally {
        await command(`ALTER TABLE ${table} DELETE ${where(index)}`);
        await command(`INSERT INTO ${table} SELECT * FROM kept`);
        await command('DROP TABLE kept');
      }
    });
  }

  test('a row that is gone is MISSING, one that is there twice or of nobody is ALTERED', async () => {
    await command(`CREATE TABLE kept ENGINE = Memory AS SELECT * FROM events ${where(9)}`);
    await command(`ALTER TABLE events DELETE ${where(9)}`);
    equal((await verify()).exit, 8);
    await command('INSERT INTO events SELECT * FROM kept');
    equal((await verify()).exit, 0);
    await command('INSERT INTO events SELECT * FROM kept SETTINGS insert_deduplicate = 0');
    const twice = await verify();
    equal(twice.exit, 7);
    ok(twice.findings.some(({ detail }) => detail === 'the record has 2 rows'));
    await command(`ALTER TABLE events DELETE ${where(9)}`);
    await command('INSERT INTO events SELECT * FROM kept');
    await command('INSERT INTO events SELECT * REPLACE (5 AS writer_id) FROM kept');
    const stranger = await verify();
    equal(stranger.exit, 7);
    ok(stranger.findings.some(({ detail }) => detail === 'a row of a record that is not in the archive'));
  });
});

import { deepEqual, equal, ok } from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { ClickHouseClient } from '@clickhouse/client';
import { SystemClock } from '../../core/kernel/clock.ts';
import { decodeBatch } from '../../core/ledger/batch.ts';
import type { SampleWriter } from '../../core/ledger/testing/sample-evidence.ts';
import { writeObjects } from '../archive/write-objects.ts';
import type { ArchivedObject } from '../archive/write-objects.ts';
import { MemoryBlobStore } from '../archive/testing/memory-blob-store.ts';
import { checkRecord } from '../consume/check-batch.ts';
import type { CheckedRecord } from '../consume/check-batch.ts';
import { EmbeddedClickHouse } from '../testing/embedded-clickhouse.ts';
import { appendExchange, openedWriter } from '../testing/sample-log.ts';
import { checkRows } from './check-rows.ts';
import { connectClickHouse, selectRows } from './connect.ts';
import { migrate } from './migrate.ts';
import { RowLoader } from './row-loader.ts';
import { repairAggregates } from './repair-aggregates.ts';
import { engineMissing } from '../testing/engine-missing.ts';

const SESSION = Buffer.alloc(16, 3);
const NOW_MS = Date.UTC(2026, 0, 15);
const clock = new SystemClock();
const hasty = Object.assign(new SystemClock(), {
  after: (delayMs: number, callback: () => void) => clock.after(Math.min(delayMs, 1), callback),
});

describe('the row loader', { skip: engineMissing() }, async () => {
  let clickhouse: EmbeddedClickHouse;
  let client: ClickHouseClient;
  const blobs = new MemoryBlobStore();
  let offset = 0;
  let seed = 100;

  before(async () => {
    clickhouse = await EmbeddedClickHouse.start();
    await migrate(clickhouse.access);
    client = connectClickHouse(clickhouse.access);
  });
  after(async () => {
    await client.close();
    await clickhouse.stop();
  });

  /** `count` objects of a new writer, each of one batch with three records more. */
  async function objectsOf(writer: SampleWriter, count: number): Promise<ArchivedObject[]> {
    const objects: ArchivedObject[] = [];
    for (let i = 0; i < count; i++) {
      appendExchange(writer, SESSION, i);
      const value = writer.batch();
      const batch = decodeBatch(value);
      const records = batch.records.map(
        (bytes, j) => checkRecord(bytes, batch.writerId, batch.first + j) as CheckedRecord,
      );
      const verified = {
        writerId: batch.writerId,
        first: batch.first,
        records,
        head: batch.head,
        busOffset: offset++,
        value,
      };
      objects.push(...(await writeObjects(blobs, new Map([[0, [verified]]]), NOW_MS)));
    }
    return objects;
  }

  function loaderWith(faulty: ClickHouseClient): RowLoader {
    const nothing = async (): Promise<void> => undefined;
    return new RowLoader({
      client: faulty,
      blobs,
      clock: hasty,
      tenants: ['default'],
      onLoaded: nothing,
      prepare: nothing,
    });
  }

  async function load(faulty: ClickHouseClient, objects: readonly ArchivedObject[], inMemory = true): Promise<void> {
    const loader = loaderWith(faulty);
    for (const object of objects) {
      loader.push({ name: object.name, partition: 0, lastOffset: object.lastOffset, object: inMemory ? object : null });
    }
    await loader.idle();
    await loader.close();
  }

  async function rowsOnce(writer: SampleWriter): Promise<void> {
    for (const table of ['events', 'events_cold']) {
      const [row] = await selectRows(
        client,
        `SELECT count() AS n, uniqExact(record_index) AS distinct FROM ${table} WHERE writer_id = {w:UInt128}`,
        { w: BigInt(`0x${writer.writerId.toString('hex')}`) },
      );
      deepEqual(row, { n: writer.size, distinct: writer.size }, table);
    }
    const check = await checkRows(client, ['default']);
    ok(check.checked >= writer.size);
    deepEqual([check.altered, check.missing], [[], []]);
    deepEqual(await repairAggregates(client, 202601), [], 'the views agree with the table');
  }

  test('an insert that fails, applied or not, leaves every row once and the views right', async () => {
    for (const fault of ['before', 'after'] as const) {
      for (let at = 1; at <= 3; at++) {
        const writer = openedWriter(seed++);
        const faulty = failing(client, fault, (call) => call === at);
        await load(faulty.client, await objectsOf(writer, 3));
        ok(faulty.failures() > 0, 'an insert failed');
        await rowsOnce(writer);
      }
    }
  });

  test('objects that overlap, come again or come in another order give every row once', async () => {
    const writer = openedWriter(seed++);
    const objects = await objectsOf(writer, 6);
    const [a, b, c, d, e, f] = objects as [
      ArchivedObject,
      ArchivedObject,
      ArchivedObject,
      ArchivedObject,
      ArchivedObject,
      ArchivedObject,
    ];
    await load(client, [b, a, a]);
    await load(client, [d, f, b]);
    await load(client, [a, b, c, d, e, f], false);
    await rowsOnce(writer);
  });

  test('a table that lost rows gets exactly those again', async () => {
    const writer = openedWriter(seed++);
    const objects = await objectsOf(writer, 4);
    await load(client, objects);
    const where = `writer_id = toUInt128('${BigInt(`0x${writer.writerId.toString('hex')}`)}') AND record_index IN (2, 3, 7)`;
    await client.command({ query: `DELETE FROM events WHERE ${where}`, clickhouse_settings: { mutations_sync: '1' } });
    await load(client, objects, false);
    await rowsOnce(writer);
  });

  test('the mark is the smaller contiguous prefix of both tables', async () => {
    const writer = openedWriter(seed++);
    const hex = writer.writerId.toString('hex');
    const objects = await objectsOf(writer, 4);
    await load(client, objects);
    const where = `writer_id = toUInt128('${BigInt(`0x${hex}`)}') AND record_index = 5`;
    const marks = loaderWith(client).marks;
    await marks.load(client);
    equal(marks.prefix(hex), writer.size);
    await client.command({
      query: `DELETE FROM events_cold WHERE ${where}`,
      clickhouse_settings: { mutations_sync: '1' },
    });
    await marks.load(client);
    equal(marks.prefix(hex), 5);
    await load(client, objects, false);
    await marks.load(client);
    equal(marks.prefix(hex), writer.size);
  });

  test('an aggregate that lost its rows is made again', async () => {
    await client.command({ query: 'TRUNCATE TABLE by_principal' });
    await client.command({ query: 'INSERT INTO exposures_hourly SELECT * FROM exposures_hourly' });
    deepEqual(await repairAggregates(client, 202601), ['exposures_hourly', 'by_principal']);
    deepEqual(await repairAggregates(client, 202601), []);
  });
});

/** The client, but the inserts that `fails` picks reject: not applied, or applied all the same. */
function failing(
  client: ClickHouseClient,
  fault: 'before' | 'after',
  fails: (insert: number) => boolean,
): { client: ClickHouseClient; failures: () => number } {
  let inserts = 0;
  let failures = 0;
  const exec: ClickHouseClient['exec'] = async (params) => {
    const bad = fails(++inserts);
    failures += Number(bad);
    if (bad && fault === 'before') {
      throw new Error('fault before the insert');
    }
    const result = await client.exec(params);
    if (bad) {
      result.stream.resume();
      throw new Error('fault after the insert');
    }
    return result;
  };
  const faulty = new Proxy(client, {
    get: (target, name) => (name === 'exec' ? exec : (Reflect.get(target, name) as () => unknown).bind(target)),
  });
  return { client: faulty, failures: () => failures };
}

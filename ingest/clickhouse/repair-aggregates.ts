import type { ClickHouseClient } from '@clickhouse/client';
import { selectRows } from './connect.ts';
import { AGGREGATES } from './migrations/0002-aggregates.ts';
import type { Aggregate } from './migrations/0002-aggregates.ts';

/**
 * Makes every table that is kept by a materialized view equal to `events` again for one month, and returns the names of
 * those that were not. An insert and the views on it are not one transaction: after a crash between them a view lacks
 * the rows, or has rows of an insert that is then repeated.
 *
 * No row of that month may be inserted meanwhile. If we die here, the partition is empty or the check finds it different:
 * the next call makes it again.
 */
export async function repairAggregates(client: ClickHouseClient, month: number): Promise<string[]> {
  const repaired: string[] = [];
  for (const aggregate of AGGREGATES) {
    if (await differs(client, aggregate, month)) {
      const { table } = aggregate;
      await client.command({ query: `ALTER TABLE ${table} DROP PARTITION ${month}` });
      await client.command({ query: `INSERT INTO ${table} SELECT * FROM (${ofMonth(aggregate, month)})` });
      repaired.push(table);
    }
  }
  return repaired;
}

async function differs(client: ClickHouseClient, aggregate: Aggregate, month: number): Promise<boolean> {
  const { table, check } = aggregate;
  const [row] = await selectRows<{ same: number }>(
    client,
    `SELECT (SELECT ${check} FROM ${table} WHERE month = {month:UInt32})
       = (SELECT ${check} FROM (${ofMonth(aggregate, month)})) AS same`,
    { month },
  );
  return row?.same !== 1;
}

/** The SELECT of the view over the events of one month only. */
function ofMonth({ select }: Aggregate, month: number): string {
  return select.replace('FROM events AS e', `FROM (SELECT * FROM events WHERE month = ${month}) AS e`);
}

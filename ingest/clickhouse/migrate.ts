import { connectClickHouse, DATABASE, selectRows } from './connect.ts';
import type { ClickHouseAccess } from './connect.ts';
import { events } from './migrations/0001-events.ts';
import { aggregates } from './migrations/0002-aggregates.ts';
import { integrity } from './migrations/0003-integrity.ts';
import { views } from './migrations/0004-views.ts';
import type { Migration } from './migrations/migration.ts';

export const MIGRATIONS: readonly Migration[] = [events, aggregates, integrity, views];

/**
 * Brings the schema up to date and returns the numbers of the steps that ran. Steps run in order, each at least once: a
 * step is recorded after its last statement, and every statement can run again.
 */
export async function migrate(access: ClickHouseAccess, migrations = MIGRATIONS): Promise<number[]> {
  const outside = connectClickHouse(access, 'default');
  try {
    await outside.command({ query: `CREATE DATABASE IF NOT EXISTS ${DATABASE}` });
  } finally {
    await outside.close();
  }
  const client = connectClickHouse(access);
  try {
    await client.command({
      query: `CREATE TABLE IF NOT EXISTS schema_steps (number UInt32, name String, applied DateTime('UTC') DEFAULT now())
              ENGINE = ReplacingMergeTree ORDER BY number SETTINGS fsync_after_insert = 1`,
    });
    const rows = await selectRows<{ number: number }>(client, 'SELECT number FROM schema_steps');
    const applied = new Set(rows.map((row) => row.number));
    const ran: number[] = [];
    for (const { number, name, statements } of migrations.filter((step) => !applied.has(step.number))) {
      for (const query of statements) {
        await client.command({ query });
      }
      // If we die here, the step runs again: every statement of it is `IF NOT EXISTS` or `OR REPLACE`.
      const values = [{ number, name }];
      await client.insert({ table: 'schema_steps', values, columns: ['number', 'name'], format: 'JSONEachRow' });
      ran.push(number);
    }
    return ran;
  } finally {
    await client.close();
  }
}

/** The schema, brought up to date once, when ClickHouse first answers. */
export class Schema {
  readonly #access: ClickHouseAccess;
  #migrated: Promise<unknown> | null = null;

  constructor(access: ClickHouseAccess) {
    this.#access = access;
  }

  /** Rejects while ClickHouse does not answer; the next call tries again. */
  async ready(): Promise<void> {
    this.#migrated ??= migrate(this.#access);
    try {
      await this.#migrated;
    } catch (error) {
      this.#migrated = null;
      throw error;
    }
  }
}

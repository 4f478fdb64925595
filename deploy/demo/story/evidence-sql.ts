import { ClickHouseLogLevel, createClient, type ClickHouseClient } from '@clickhouse/client';
import type { RunFacts } from './deployment.ts';
import { until } from './until.ts';

/** Records are published, archived and indexed within a second or two; a loaded machine may take longer. */
const ROWS_MS = 60_000;

/** ClickHouse as the auditor reaches it: the read-only user of `run.json`, ordinary SQL. */
export class EvidenceSql {
  readonly #client: ClickHouseClient;

  constructor({ url, username, password, database }: RunFacts['clickhouse']) {
    this.#client = createClient({ url, username, password, database, log: { level: ClickHouseLogLevel.OFF } });
  }

  async rows<T extends Record<string, unknown>>(query: string, params: Record<string, unknown> = {}): Promise<T[]> {
    const result = await this.#client.query({ query, query_params: params, format: 'JSONEachRow' });
    return result.json<T>();
  }

  /** Asks until `enough`; what came last when the bound has passed, so that a check can show it. */
  async rowsOnce<T extends Record<string, unknown>>(
    query: string,
    params: Record<string, unknown>,
    enough: (rows: readonly T[]) => boolean = (rows) => rows.length > 0,
  ): Promise<T[]> {
    let last: T[] = [];
    const ask = async (): Promise<T[] | null> => {
      last = await this.rows<T>(query, params);
      return enough(last) ? last : null;
    };
    return until('rows in ClickHouse', ROWS_MS, ask).catch((error: unknown) => {
      if (last.length === 0 && !(error instanceof Error && error.message.startsWith('waited'))) {
        throw error;
      }
      return last;
    });
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}

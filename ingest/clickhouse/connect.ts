import { Readable } from 'node:stream';
import { ClickHouseLogLevel, createClient } from '@clickhouse/client';
import type { ClickHouseClient } from '@clickhouse/client';

/** Where ClickHouse answers: a server, or the front of the embedded engine. */
export interface ClickHouseAccess {
  readonly url: string;
  readonly username: string;
  readonly password: string;
}

export const DATABASE = 'chaperone';
const REQUEST_TIMEOUT_MS = 60_000;

/** A client of the database `chaperone`, or of `database`. The caller closes it. */
export function connectClickHouse(access: ClickHouseAccess, database = DATABASE): ClickHouseClient {
  return createClient({
    ...access,
    database,
    request_timeout: REQUEST_TIMEOUT_MS,
    clickhouse_settings: { date_time_output_format: 'iso' },
    // The caller gets every failure as an exception; a second copy on the console would escape the log's rules.
    log: { level: ClickHouseLogLevel.OFF },
  });
}

/** Sends one body in Native. Equal tokens count once within the deduplication window of the table. */
export async function insertNative(
  client: ClickHouseClient,
  table: string,
  body: Uint8Array,
  token: string,
): Promise<void> {
  const { stream } = await client.exec({
    query: `INSERT INTO ${table} FORMAT Native`,
    values: Readable.from([body]),
    clickhouse_settings: { insert_deduplication_token: token },
  });
  stream.resume();
  await new Promise((resolve, reject) => {
    stream.once('end', resolve);
    stream.once('error', reject);
  });
}

export async function selectRows<T>(
  client: ClickHouseClient,
  query: string,
  params: Readonly<Record<string, unknown>> = {},
): Promise<T[]> {
  const result = await client.query({ query, query_params: { ...params }, format: 'JSONEachRow' });
  return result.json<T>();
}

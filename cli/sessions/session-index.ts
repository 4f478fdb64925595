import { ClickHouseLogLevel, createClient, type ClickHouseClient } from '@clickhouse/client';
import { GatewayError } from '../../core/kernel/errors.ts';
import type { RunFile } from '../run-file.ts';

/** Where one record of a session lies, as the index says; the archive proves it. */
export interface IndexedRecord {
  /** Hex. */
  readonly writer: string;
  readonly index: number;
  readonly object: string;
  readonly offset: number;
  readonly bytes: number;
  /** Hex. */
  readonly leafHash: string;
}

export interface SessionSummary {
  readonly tenant: string;
  readonly session: string;
  readonly who: string;
  readonly person: string;
  readonly through: readonly string[];
  readonly repository: string;
  readonly run: string;
  readonly commit: string;
  readonly connections: readonly string[];
  readonly started: string;
  readonly ended: string;
  readonly operations: number;
  readonly denied: number;
  readonly held: number;
  readonly rows: number;
  readonly masked: number;
  readonly withheld: number;
  readonly closed: boolean;
}

const REQUEST_TIMEOUT_MS = 30_000;
const UNKNOWN_TABLE = new Set(['60', '81']);

const HEX_ID = (column: string): string => `lower(leftPad(hex(${column}), 32, '0'))`;

const SESSIONS = `SELECT tenant, session, who, person, through_actors AS through, repository, run, commit, connections,
    toString(started) AS started, toString(ended) AS ended, toUInt32(operations) AS operations,
    toUInt32(denied) AS denied, toUInt32(held) AS held, toFloat64(rows) AS rows, toFloat64(masked) AS masked,
    toFloat64(withheld) AS withheld, closed
  FROM audit_sessions`;

const PLACES = `SELECT ${HEX_ID('writer_id')} AS writer, toFloat64(record_index) AS index, object,
    toFloat64(record_offset) AS offset, toFloat64(record_bytes) AS bytes, lower(hex(leaf_hash)) AS leafHash
  FROM events_cold`;

const RECORDS = `${PLACES}
  WHERE (writer_id, record_index) IN
    (SELECT writer_id, record_index FROM events WHERE tenant = {tenant:String} AND session_id = {session:UInt128})
  ORDER BY writer_id, record_index`;

const SESSION_OF_RECORD = `SELECT tenant, ${HEX_ID('session_id')} AS session FROM events
  WHERE writer_id = {writer:UInt128} AND record_index = {index:UInt64} AND session_id != 0 LIMIT 1`;

/** Rows of `events` are inserted after those of `events_cold`: what is here is in both. */
const WRITER_ENDS = `SELECT ${HEX_ID('writer_id')} AS writer, toFloat64(max(record_index) + 1) AS end
  FROM events GROUP BY writer_id`;

/** The index of a deployment, read with its read-only user. Every method rejects `upstream_unreachable` without it. */
export class SessionIndex {
  readonly #client: ClickHouseClient;
  readonly #url: string;

  constructor({ url, username, password, database }: RunFile['clickhouse']) {
    this.#url = url;
    this.#client = createClient({
      url,
      username,
      password,
      database,
      request_timeout: REQUEST_TIMEOUT_MS,
      log: { level: ClickHouseLogLevel.OFF },
    });
  }

  /** The newest first. */
  sessions(limit: number): Promise<SessionSummary[]> {
    return this.#rows<SessionSummary>(`${SESSIONS} ORDER BY ended DESC LIMIT {limit:UInt32}`, { limit });
  }

  /** Sessions whose id begins so; two at most, which is enough to know whether it is one. */
  sessionsByPrefix(prefix: string): Promise<SessionSummary[]> {
    return this.#rows<SessionSummary>(`${SESSIONS} WHERE startsWith(session, {prefix:String}) LIMIT 2`, { prefix });
  }

  async sessionOfRecord(writer: string, index: number): Promise<string | null> {
    const rows = await this.#rows<{ session: string }>(SESSION_OF_RECORD, { writer: decimal(writer), index });
    return rows[0]?.session ?? null;
  }

  records(tenant: string, session: string): Promise<IndexedRecord[]> {
    return this.#rows<IndexedRecord>(RECORDS, { tenant, session: decimal(session) });
  }

  /** Null when the index does not have that record. */
  async place(writer: string, index: number): Promise<IndexedRecord | null> {
    const where = 'WHERE writer_id = {writer:UInt128} AND record_index = {index:UInt64} LIMIT 1';
    const rows = await this.#rows<IndexedRecord>(`${PLACES} ${where}`, { writer: decimal(writer), index });
    return rows[0] ?? null;
  }

  /** How many records of each writer are in the index. */
  async writerEnds(): Promise<Map<string, number>> {
    const rows = await this.#rows<{ writer: string; end: number }>(WRITER_ENDS, {});
    return new Map(rows.map(({ writer, end }) => [writer, end]));
  }

  close(): Promise<void> {
    return this.#client.close();
  }

  /** No table yet means no rows yet: the schema comes with the first start of ingest. */
  async #rows<T>(query: string, params: Record<string, unknown>): Promise<T[]> {
    try {
      const result = await this.#client.query({ query, query_params: params, format: 'JSONEachRow' });
      return await result.json<T>();
    } catch (error) {
      const code = (error as { code?: unknown }).code;
      if (typeof code === 'string' && UNKNOWN_TABLE.has(code)) {
        return [];
      }
      const why = typeof code === 'string' ? ` (${code})` : '';
      throw new GatewayError('upstream_unreachable', `ClickHouse at ${this.#url} does not answer${why}`, {
        cause: error,
      });
    }
  }
}

/** 128-bit ids are numbers in ClickHouse, big-endian. */
function decimal(hex: string): string {
  return BigInt(`0x${hex}`).toString();
}

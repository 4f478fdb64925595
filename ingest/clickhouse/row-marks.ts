import type { ClickHouseClient } from '@clickhouse/client';
import { selectRows } from './connect.ts';

export type RowTable = 'events' | 'events_cold';
export const ROW_TABLES: readonly RowTable[] = ['events_cold', 'events'];

/** Records [first, end) of one writer. */
export interface RecordRange {
  readonly writerHex: string;
  readonly first: number;
  readonly end: number;
}

interface Mark {
  /** Every record below it has its row. */
  prefix: number;
  /** No record at or above it has a row. Between the two: ask. */
  end: number;
}

/**
 * How far each writer's rows reach in each table. The database is the only memory of it: rebuilt at start by `load`.
 *
 * Invariant: prefix <= end; rows are only sent for records at or above the prefix.
 */
export class RowMarks {
  readonly #marks: Record<RowTable, Map<string, Mark>> = { events: new Map(), events_cold: new Map() };

  async load(client: ClickHouseClient): Promise<void> {
    for (const table of ROW_TABLES) {
      const marks = this.#marks[table];
      marks.clear();
      const rows = await selectRows<{ writer: string; distinct: string; last: string }>(
        client,
        `SELECT lower(leftPad(hex(writer_id), 32, '0')) AS writer, toString(groupBitmap(record_index)) AS distinct,
           toString(max(record_index)) AS last
         FROM ${table} GROUP BY writer_id`,
      );
      for (const { writer, distinct, last } of rows) {
        const end = Number(last) + 1;
        const prefix = Number(distinct) === end ? end : await firstMissing(client, table, writer);
        marks.set(writer, { prefix, end });
      }
    }
  }

  /** The smaller prefix of both tables: what an auditor can ask for. */
  prefix(writerHex: string): number {
    return Math.min(...ROW_TABLES.map((table) => this.#mark(table, writerHex).prefix));
  }

  /** The indices of [first, end) whose rows must still be sent. Asks the database only where the answer is in doubt. */
  async missing(
    client: ClickHouseClient,
    table: RowTable,
    { writerHex, first, end }: RecordRange,
  ): Promise<{ readonly from: number; readonly except: ReadonlySet<number> }> {
    const mark = this.#mark(table, writerHex);
    const from = Math.max(first, mark.prefix);
    if (from >= Math.min(end, mark.end)) {
      return { from, except: new Set() };
    }
    const rows = await selectRows<{ i: string }>(
      client,
      `SELECT toString(record_index) AS i FROM ${table}
       WHERE writer_id = {writer:UInt128} AND record_index >= {from:UInt64} AND record_index < {end:UInt64}`,
      { writer: BigInt(`0x${writerHex}`), from, end },
    );
    return { from, except: new Set(rows.map((row) => Number(row.i))) };
  }

  /** Rows of [first, end) were sent and the outcome is not known. */
  doubt(table: RowTable, { writerHex, end }: RecordRange): void {
    const mark = this.#mark(table, writerHex);
    mark.end = Math.max(mark.end, end);
  }

  /** All rows of [first, end) are there. */
  stored(table: RowTable, { writerHex, first, end }: RecordRange): void {
    const mark = this.#mark(table, writerHex);
    mark.end = Math.max(mark.end, end);
    if (first <= mark.prefix) {
      mark.prefix = Math.max(mark.prefix, end);
    }
  }

  #mark(table: RowTable, writerHex: string): Mark {
    const marks = this.#marks[table];
    let mark = marks.get(writerHex);
    if (mark === undefined) {
      mark = { prefix: 0, end: 0 };
      marks.set(writerHex, mark);
    }
    return mark;
  }
}

async function firstMissing(client: ClickHouseClient, table: RowTable, writerHex: string): Promise<number> {
  const own = `(SELECT record_index FROM ${table} WHERE writer_id = {writer:UInt128})`;
  const [row] = await selectRows<{ i: string }>(
    client,
    `SELECT toString(if(0 NOT IN ${own}, 0, min(record_index) + 1)) AS i FROM ${table}
     WHERE writer_id = {writer:UInt128} AND record_index + 1 NOT IN ${own}`,
    { writer: BigInt(`0x${writerHex}`) },
  );
  return Number(row?.i ?? 0);
}

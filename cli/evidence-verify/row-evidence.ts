import { type ClickHouseClient, ClickHouseLogLevel, createClient } from '@clickhouse/client';
import { canonicalJson } from '../../core/kernel/canonical-json.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import { parseArchiveObjectName } from '../../core/ledger/archive-object.ts';
import { decodeBatch } from '../../core/ledger/batch.ts';
import { leafHash } from '../../core/ledger/hash.ts';
import { decodeLeaf, LEAF_SIZE, tenantTag } from '../../core/ledger/leaf.ts';
import { decodeRecord } from '../../core/ledger/record.ts';
import type { ArchiveView } from './archive-evidence.ts';
import { decodeEvent, type Evidence, problemOf } from './evidence.ts';
import { readPart } from './evidence-files.ts';
import { expectedRow, type RowValues, tenantFits } from './expected-row.ts';
import type { Place } from './findings.ts';
import { SOURCES } from './leaf-table.ts';
import { type EvidenceSources, fileOf } from './sources.ts';
import type { Run, WriterEvidence } from './writer-evidence.ts';

export interface RowContext {
  readonly evidence: Evidence;
  readonly archive: ArchiveView | null;
  readonly sources: EvidenceSources;
  readonly nowMs: number;
  /** What could not be checked; added to. */
  readonly unchecked: string[];
}

/** A record of the archive, where its row must say that it is. */
interface ArchivedRecord {
  readonly index: number;
  readonly bytes: Buffer;
  readonly object: string;
  readonly offset: number;
}

const PAGE_RECORDS = 4_000;
const PAGE_BYTES = 16 * 1024 * 1024;
const REQUEST_TIMEOUT_MS = 60_000;
const HEX_COLUMNS = [
  'tenant_tag',
  'strand_previous',
  'bundle_digest',
  'approval_leaf',
  'payload_commit',
  'originals_commit',
  'payload_key_id',
  'originals_key_id',
  'salt',
  'leaf_hash',
  'meta',
] as const;
const UUID = (column: string): string => `lower(leftPad(hex(${column}), 32, '0'))`;

/**
 * Compares every row of `events_cold` and `events` with the record in the archive: each column, and where the row says
 * that the record lies. Asks in pages, so memory is bounded by a page.
 */
export async function verifyRows(context: RowContext, wanted: boolean): Promise<void> {
  const access = context.sources.rows;
  if (access === null || context.archive === null) {
    const reason = access === null ? 'rows: no ClickHouse runs on this evidence' : 'rows: there is no archive';
    if (wanted) {
      throw new GatewayError('config_invalid', reason);
    }
    context.unchecked.push(reason);
    return;
  }
  const client = createClient({
    ...access,
    request_timeout: REQUEST_TIMEOUT_MS,
    clickhouse_settings: { output_format_json_quote_64bit_integers: 1 },
    log: { level: ClickHouseLogLevel.OFF },
  });
  try {
    await new RowVerifier(context, client).run();
  } catch (error) {
    if (error instanceof GatewayError || (error instanceof Error && error.name === 'InvariantError')) {
      throw error;
    }
    if (wanted) {
      throw new GatewayError('upstream_unreachable', 'ClickHouse does not answer', { cause: error });
    }
    context.unchecked.push('rows: ClickHouse does not answer');
  } finally {
    await client.close();
  }
}

class RowVerifier {
  readonly #c: RowContext;
  readonly #client: ClickHouseClient;

  constructor(context: RowContext, client: ClickHouseClient) {
    this.#c = context;
    this.#client = client;
  }

  async run(): Promise<void> {
    for (const writer of this.#c.evidence.writers.values()) {
      if (!this.#c.evidence.wants(writer.id)) {
        continue;
      }
      let page: ArchivedRecord[] = [];
      let bytes = 0;
      for (const record of this.#records(writer)) {
        page.push(record);
        bytes += record.bytes.length;
        if (page.length >= PAGE_RECORDS || bytes >= PAGE_BYTES) {
          await this.#page(writer, page);
          page = [];
          bytes = 0;
        }
      }
      await this.#page(writer, page);
    }
    await this.#strangers();
  }

  /** Every archived record once, in order of index. */
  *#records(writer: WriterEvidence): Generator<ArchivedRecord> {
    const runs = writer.runs.filter(({ source }) => source === SOURCES.archive).sort((a, b) => a.first - b.first);
    let next = 0;
    for (const run of runs) {
      for (const record of run.end > next ? this.#recordsOf(run) : []) {
        if (record.index >= next) {
          yield record;
          next = record.index + 1;
        }
      }
    }
  }

  #recordsOf(run: Run): ArchivedRecord[] {
    const bytes = readPart(fileOf(this.#c.sources, run.place.file), run.place.offset, run.bytes);
    try {
      if (bytes === null) {
        return [];
      }
      const object = run.place.file.slice(this.#c.archive?.prefix.length ?? 0);
      return decodeBatch(bytes).records.map((record, i) => ({
        index: run.first + i,
        bytes: record,
        object,
        offset: run.place.offset + record.byteOffset - bytes.byteOffset,
      }));
    } catch (error) {
      problemOf(error); // Damage of the archive is found where the archive is read.
      return [];
    }
  }

  async #page(writer: WriterEvidence, page: readonly ArchivedRecord[]): Promise<void> {
    const [first, last] = [page[0], page.at(-1)];
    if (first === undefined || last === undefined) {
      return;
    }
    const range = { w: BigInt(`0x${writer.id}`).toString(), from: first.index, last: last.index };
    const cold = byIndex(await this.#select(COLD_QUERY, range));
    const index = byIndex(await this.#select(INDEX_QUERY, range));
    for (const record of page) {
      this.#compare(writer, record, cold.get(record.index) ?? [], 'events_cold', (row) =>
        this.#coldProblems(writer, record, row),
      );
      this.#compare(writer, record, index.get(record.index) ?? [], 'events', (row) => indexProblems(record, row));
    }
  }

  #compare(
    writer: WriterEvidence,
    record: ArchivedRecord,
    rows: readonly RowValues[],
    table: string,
    problems: (row: RowValues) => string[],
  ): void {
    const place = rowPlace(table, writer.id, record.index);
    const about = { writer: writer.id, index: record.index, place };
    const [row] = rows;
    if (row === undefined) {
      const timeMs = writer.leaves.timeMsAt(record.index) ?? 0;
      const young = this.#c.nowMs - timeMs < LIMITS.pendingYoungMs;
      this.#c.evidence.findings.add(young ? 'PENDING' : 'MISSING', 'the record has no row', about);
      return;
    }
    this.#c.evidence.checked.rows++;
    if (rows.length > 1) {
      this.#c.evidence.findings.add('ALTERED', `the record has ${rows.length} rows`, about);
    }
    const columns = problems(row);
    if (columns.length > 0) {
      const detail = `row: ${columns.join(', ')} ${columns.length === 1 ? 'is' : 'are'} not as recorded`;
      this.#c.evidence.findings.add('ALTERED', detail, about);
    }
  }

  #coldProblems(writer: WriterEvidence, record: ArchivedRecord, row: RowValues): string[] {
    if (row['object'] === record.object || typeof row['object'] !== 'string') {
      return coldDifferences(record, row);
    }
    // A retry may have left the batch in two objects; the row may name either.
    const file = `${this.#c.archive?.prefix ?? ''}${row['object']}`;
    const run = writer.runs.find(
      ({ place, first, end }) => place.file === file && record.index >= first && record.index < end,
    );
    const other = run === undefined ? undefined : this.#recordsOf(run)[record.index - run.first];
    return other === undefined ? ['object'] : coldDifferences(other, row);
  }

  /** Rows of writers, or past the end of writers, of which nobody knows. What came while we read is young. */
  async #strangers(): Promise<void> {
    const youngFrom = this.#c.nowMs - LIMITS.pendingYoungMs;
    for (const table of ['events_cold', 'events'] as const) {
      const time = table === 'events' ? 'toUnixTimestamp64Milli(max(time))' : 'intDiv(max(time_ns), 1000000)';
      const rows = await this.#select(
        `SELECT ${UUID('writer_id')} AS writer, toString(max(record_index)) AS last, toString(${time}) AS ms
         FROM ${table} GROUP BY writer_id`,
        {},
      );
      for (const { writer, last, ms } of rows) {
        const id = typeof writer === 'string' ? writer : '';
        const known = this.#c.evidence.writers.get(id);
        const isKnown = known !== undefined && known.leaves.has(Number(last), SOURCES.archive);
        if (!isKnown && this.#c.evidence.wants(id) && Number(ms) < youngFrom) {
          const place = rowPlace(table, id, Number(last));
          const detail = 'a row of a record that is not in the archive';
          this.#c.evidence.findings.add('ALTERED', detail, { writer: id, index: Number(last), place });
        }
      }
    }
  }

  async #select(query: string, params: Record<string, unknown>): Promise<RowValues[]> {
    const result = await this.#client.query({ query, query_params: params, format: 'JSONEachRow' });
    return result.json<RowValues>();
  }
}

const COLD_QUERY = `SELECT record_index, month, kind, toString(time_ns) AS time_ns, ${UUID('session_id')} AS session_id,
    seq, decision, obligations, ${HEX_COLUMNS.map((column) => `lower(hex(${column})) AS ${column}`).join(', ')},
    object, record_offset, record_bytes, payload_offset, payload_bytes, originals_offset, originals_bytes
  FROM events_cold
  WHERE events_cold.writer_id = {w:UInt128} AND events_cold.record_index BETWEEN {from:UInt64} AND {last:UInt64}`;
const INDEX_QUERY = `SELECT * EXCEPT (time, session_id, writer_id), toString(toUnixTimestamp64Nano(time)) AS time_ns,
    ${UUID('session_id')} AS session_id, ${UUID('writer_id')} AS writer_id
  FROM events
  WHERE events.writer_id = {w:UInt128} AND events.record_index BETWEEN {from:UInt64} AND {last:UInt64}`;

/** Names of the columns of `events_cold` that are not those of the record. */
function coldDifferences({ bytes, object, offset }: ArchivedRecord, row: RowValues): string[] {
  const { leaf: leafBytes, salt, meta, units } = decodeRecord(bytes);
  const leaf = decodeLeaf(leafBytes);
  const unit = (unitClass: 1 | 2): [string, number] => {
    const found = units.find((each) => each.unitClass === unitClass)?.bytes;
    return found === undefined ? ['0', 0] : [`${offset + found.byteOffset - bytes.byteOffset}`, found.length];
  };
  const [payload, originals] = [unit(1), unit(2)];
  return differences(
    {
      record_index: `${leaf.index}`,
      month: parseArchiveObjectName(object)?.month ?? 0,
      kind: leaf.kind,
      time_ns: `${leaf.timeNs}`,
      tenant_tag: leaf.tenantTag.toString('hex'),
      session_id: leaf.sessionId.toString('hex'),
      seq: leaf.strandSeq,
      strand_previous: leaf.strandPrevious.toString('hex'),
      bundle_digest: leaf.bundleDigest.toString('hex'),
      decision: leaf.decision,
      obligations: leaf.obligations,
      approval_leaf: leaf.approvalLeafHash.toString('hex'),
      payload_commit: leaf.payloadCommit.toString('hex'),
      originals_commit: leaf.originalsCommit.toString('hex'),
      payload_key_id: leaf.payloadKeyId.toString('hex'),
      originals_key_id: leaf.originalsKeyId.toString('hex'),
      salt: salt.toString('hex'),
      leaf_hash: leafHash(leafBytes).toString('hex'),
      meta: meta.toString('hex'),
      object,
      record_offset: `${offset}`,
      record_bytes: bytes.length,
      payload_offset: payload[0],
      payload_bytes: payload[1],
      originals_offset: originals[0],
      originals_bytes: originals[1],
    },
    row,
  );
}

function indexProblems({ bytes, object }: ArchivedRecord, row: RowValues): string[] {
  const { meta } = decodeRecord(bytes);
  const leaf = decodeLeaf(bytes.subarray(0, LEAF_SIZE));
  const tenant = row['tenant'] ?? null;
  const month = parseArchiveObjectName(object)?.month ?? 0;
  const found = differences(expectedRow(leaf, decodeEvent(meta), tenant, month), row);
  return tenantFits(tenant, leaf.tenantTag, tenantTag) ? found : ['tenant', ...found];
}

function differences(expected: RowValues, row: RowValues): string[] {
  const names = new Set([...Object.keys(expected), ...Object.keys(row)]);
  return [...names].filter((name) => {
    const [a, b] = [expected[name] ?? null, row[name] ?? null];
    return a !== b && canonicalJson(a) !== canonicalJson(b);
  });
}

function byIndex(rows: readonly RowValues[]): Map<number, RowValues[]> {
  const found = new Map<number, RowValues[]>();
  for (const row of rows) {
    const index = Number(row['record_index']);
    const list = found.get(index);
    if (list === undefined) {
      found.set(index, [row]);
    } else {
      list.push(row);
    }
  }
  return found;
}

function rowPlace(table: string, writer: string, index: number): Place {
  return { kind: 'row', file: `${table} ${writer}`, offset: index };
}

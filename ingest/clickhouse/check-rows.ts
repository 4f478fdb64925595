import type { ClickHouseClient } from '@clickhouse/client';
import { canonicalJson } from '../../core/kernel/canonical-json.ts';
import { leafHash, sha256 } from '../../core/ledger/hash.ts';
import { decodeLeaf, encodeLeaf } from '../../core/ledger/leaf.ts';
import type { LeafFields } from '../../core/ledger/leaf.ts';
import { Event } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import { selectRows } from './connect.ts';
import { eventRow } from './rows/event-row.ts';
import type { EventRow } from './rows/event-row.ts';

/** A record whose rows do not say what its leaf says. `columns` names them; `leaf` when the cold row itself is broken. */
export interface AlteredRow {
  readonly writer: string;
  readonly index: number;
  readonly columns: readonly string[];
}

export interface RowCheck {
  readonly checked: number;
  readonly altered: readonly AlteredRow[];
  /** Records with a cold row and no index row. */
  readonly missing: readonly { readonly writer: string; readonly index: number }[];
}

interface ColdRow {
  readonly [column: string]: string | number;
}

const PAGE_ROWS = 2_000;
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
];

/**
 * Compares the index with the evidence: each cold row must give a leaf of its recorded hash, and each column of
 * `events` must be what that leaf and its meta say.
 *
 * Limit: whether the leaf hash is the one in the writer's tree is for the verifier, which has the tiles.
 */
export async function checkRows(client: ClickHouseClient, tenants: readonly string[]): Promise<RowCheck> {
  const altered: AlteredRow[] = [];
  const missing: { writer: string; index: number }[] = [];
  let checked = 0;
  const writers = await selectRows<{ w: string }>(
    client,
    `SELECT toString(writer_id) AS w FROM events_cold GROUP BY writer_id ORDER BY writer_id`,
  );
  for (const { w } of writers) {
    for (let from = 0; ;) {
      const cold = await coldPage(client, w, from);
      const last = cold.at(-1);
      if (last === undefined) {
        break;
      }
      const rows = await indexPage(client, w, from, Number(last['record_index']));
      for (const row of cold) {
        checked++;
        const writer = String(row['writer']);
        const index = Number(row['record_index']);
        const found = rows.get(index);
        if (found === undefined) {
          missing.push({ writer, index });
          continue;
        }
        const columns = differences(row, found, tenants);
        if (columns.length > 0) {
          altered.push({ writer, index, columns });
        }
      }
      from = Number(last['record_index']) + 1;
    }
  }
  return { checked, altered, missing };
}

function coldPage(client: ClickHouseClient, writer: string, from: number): Promise<ColdRow[]> {
  const hex = HEX_COLUMNS.map((column) => `hex(${column}) AS ${column}`).join(', ');
  return selectRows<ColdRow>(
    client,
    `SELECT lower(leftPad(hex(writer_id), 32, '0')) AS writer, toString(record_index) AS record_index, month, kind,
       toString(time_ns) AS time_ns, lower(leftPad(hex(session_id), 32, '0')) AS session, seq, decision, obligations, ${hex}
     FROM events_cold WHERE writer_id = {w:UInt128} AND events_cold.record_index >= {from:UInt64}
     ORDER BY events_cold.record_index LIMIT ${PAGE_ROWS}`,
    { w: writer, from },
  );
}

async function indexPage(
  client: ClickHouseClient,
  writer: string,
  from: number,
  last: number,
): Promise<Map<number, EventRow>> {
  const result = await client.query({
    query: `SELECT * EXCEPT (time, session_id, writer_id), toString(toUnixTimestamp64Nano(time)) AS time_ns,
        lower(leftPad(hex(session_id), 32, '0')) AS session_id, lower(leftPad(hex(writer_id), 32, '0')) AS writer_id
      FROM events
      WHERE events.writer_id = {w:UInt128} AND record_index BETWEEN {from:UInt64} AND {last:UInt64}`,
    query_params: { w: writer, from, last },
    format: 'JSONEachRow',
    clickhouse_settings: { output_format_json_quote_64bit_integers: 1 },
  });
  const rows = await result.json<EventRow>();
  return new Map(rows.map((row) => [Number(row['record_index']), row]));
}

function differences(cold: ColdRow, row: EventRow, tenants: readonly string[]): string[] {
  const fields = leafFields(cold);
  const leaf = encodeLeaf(fields);
  if (leafHash(leaf).toString('hex') !== text(cold, 'leaf_hash')) {
    return ['leaf'];
  }
  const expected = eventRow(decodeLeaf(leaf), decodeEvent(bytes(cold, 'meta')), tenants, Number(cold['month']));
  const names = new Set([...Object.keys(expected), ...Object.keys(row)]);
  return [...names].filter((name) => canonicalJson(expected[name] ?? null) !== canonicalJson(row[name] ?? null));
}

function leafFields(cold: ColdRow): LeafFields {
  const kind = Number(cold['kind']);
  return {
    kind: kind === 0 ? 0xff : kind,
    writerId: Buffer.from(String(cold['writer']), 'hex'),
    index: Number(cold['record_index']),
    timeNs: BigInt(String(cold['time_ns'])),
    tenantTag: bytes(cold, 'tenant_tag'),
    sessionId: Buffer.from(String(cold['session']), 'hex'),
    strandSeq: Number(cold['seq']),
    strandPrevious: bytes(cold, 'strand_previous'),
    bundleDigest: bytes(cold, 'bundle_digest'),
    decision: (Number(cold['decision']) & 3) as LeafFields['decision'],
    obligations: Number(cold['obligations']),
    approvalLeafHash: bytes(cold, 'approval_leaf'),
    metaCommit: sha256(bytes(cold, 'salt'), bytes(cold, 'meta')),
    payloadCommit: bytes(cold, 'payload_commit'),
    originalsCommit: bytes(cold, 'originals_commit'),
    payloadKeyId: bytes(cold, 'payload_key_id'),
    originalsKeyId: bytes(cold, 'originals_key_id'),
  };
}

function decodeEvent(meta: Buffer): Event | null {
  try {
    return Event.decode(meta);
  } catch {
    // The index has a row for it that says so.
    return null;
  }
}

function text(cold: ColdRow, column: string): string {
  return String(cold[column]).toLowerCase();
}

function bytes(cold: ColdRow, column: string): Buffer {
  return Buffer.from(String(cold[column]), 'hex');
}

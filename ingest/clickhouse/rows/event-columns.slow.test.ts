import { deepEqual, equal, ok } from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { ClickHouseClient } from '@clickhouse/client';
import fc from 'fast-check';
import { decodeLeaf, encodeLeaf, tenantTag } from '../../../core/ledger/leaf.ts';
import { sha256 } from '../../../core/ledger/hash.ts';
import { SeededRandom } from '../../../core/kernel/testing/seeded-random.ts';
import { Event } from '../../../proto/gen/chaperone/evidence/v1/event.ts';
import { EmbeddedClickHouse } from '../../testing/embedded-clickhouse.ts';
import { encodeEvent, eventFrom } from '../../testing/event-from.ts';
import type { Partly } from '../../testing/event-from.ts';
import { SAMPLE_SUBJECT } from '../../testing/sample-log.ts';
import { connectClickHouse, insertNative, selectRows } from '../connect.ts';
import { migrate } from '../migrate.ts';
import { eventRow } from './event-row.ts';
import type { EventRow } from './event-row.ts';
import { EventColumns } from './event-columns.ts';
import { ColdColumns } from './cold-columns.ts';
import { ByteSink } from './byte-sink.ts';
import { writeNativeBlock } from './native-columns.ts';
import { engineMissing } from '../../testing/engine-missing.ts';

const SCALE = Number(process.env['CHAPERONE_TEST_SCALE'] ?? 1);
const TENANTS = ['default'];
const MONTH = 202601;

const text = fc.oneof(fc.constantFrom('', 'GET', 'dana'), fc.string({ unit: 'grapheme', maxLength: 12 }));
const u64 = fc.oneof(fc.bigInt({ min: 0n, max: 300n }), fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }));
const bytes = fc.uint8Array({ maxLength: 40 }).map((value) => Buffer.from(value));
const list = <T>(item: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(item, { maxLength: 4 });

const eventArb: fc.Arbitrary<Event> = fc
  .record(
    {
      subject: fc.record({
        principalSub: text,
        principalIss: text,
        person: text,
        actors: list(fc.record({ iss: text, sub: text, kind: text, verified: fc.boolean() })),
        groups: list(text),
        tokenDigest: bytes,
        ci: fc.option(fc.record({ repository: text, sha: text, reviewed: fc.boolean() }), { nil: undefined }),
      }),
      connection: text,
      operation: fc.record({
        class: text,
        text,
        targetDigest: bytes,
        objects: list(fc.record({ type: text, id: text })),
        kinds: list(text),
        egressKinds: list(text),
        unresolved: fc.boolean(),
      }),
      decision: fc.record({
        effect: text,
        reasons: list(fc.record({ code: text, control: text })),
        planDigest: bytes,
        bundleRevision: u64,
        input: bytes,
      }),
      exchange: fc.record({ status: fc.nat(), rows: u64, bytes: u64, complete: fc.boolean(), abortReason: text }),
      masks: fc.record({
        counts: list(fc.record({ class: text, kind: text, action: text, column: text, count: u64 })),
        unknownPaths: list(text),
        withheld: u64,
      }),
      approvals: list(fc.record({ id: text, state: text, approver: text, shownDigest: bytes, decidedMs: u64 })),
      epoch: fc.record({ role: text, node: text, publicKey: bytes }),
      note: fc.record({
        code: text,
        text,
        first: u64,
        digest: bytes,
        attributes: fc.dictionary(fc.constantFrom('a', 'b', 'c'), text, { noNullPrototype: true }),
      }),
      operationIndex: u64,
      script: fc.record({ reviewer: text, commit: text, scriptDigest: text }),
      unit: fc.record({ firstByte: u64, byteCount: u64, part: fc.nat() }),
      planDigest: bytes,
      traceId: text,
    },
    { requiredKeys: [] },
  )
  .map((partial) => eventFrom(partial as Partly<Event>));

describe('rows of the index', { skip: engineMissing() }, async () => {
  let clickhouse: EmbeddedClickHouse;
  let client: ClickHouseClient;

  before(async () => {
    clickhouse = await EmbeddedClickHouse.start();
    deepEqual(await migrate(clickhouse.access), [1, 2, 3, 4]);
    deepEqual(await migrate(clickhouse.access), [], 'a second run finds nothing to do');
    client = connectClickHouse(clickhouse.access);
  });
  after(async () => {
    await client.close();
    await clickhouse.stop();
  });

  test('the encoders have exactly the columns of the tables, type by type', async () => {
    for (const [table, { columns }] of [
      ['events', new EventColumns(TENANTS, () => MONTH)],
      ['events_cold', new ColdColumns(() => MONTH)],
    ] as const) {
      const described = await selectRows<{ name: string; type: string }>(client, `DESCRIBE TABLE ${table}`);
      ok(described.length > 20);
      deepEqual(
        columns.map(({ name, type }) => `${name} ${type}`).sort(),
        described.map(({ name, type }) => `${name} ${type}`).sort(),
      );
    }
  });

  // Goal: the columns that are cut out of the bytes equal those of the generated codec. Method: any events, in blocks,
  // through the engine and back.
  test('any events give the rows that the generated codec gives', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(eventArb, { minLength: 1, maxLength: 20 }), fc.nat(), async (events, seed) => {
        const leaves = events.map((_, i) => leaf(new SeededRandom(seed + i), i));
        const metas = events.map((event) => Buffer.from(Event.encode(event).finish()));
        const expected = events.map((event, i) => eventRow(decodeLeaf(leaves[i] as Buffer), event, TENANTS, MONTH));
        deepEqual(await stored(client, leaves, metas), expected);
      }),
      { numRuns: 15 * SCALE },
    );
  });

  test('a meta that is no event gives a row that says so', async () => {
    const leaves = [leaf(new SeededRandom(1), 0), leaf(new SeededRandom(2), 1)];
    const metas = [Buffer.from([0x0a, 0x7f, 1]), Buffer.from('opened')];
    const expected = leaves.map((bytes) => eventRow(decodeLeaf(bytes), null, TENANTS, MONTH));
    const rows = await stored(client, leaves, metas);
    equal(JSON.stringify(rows[0]?.['attributes']), '{"malformed":""}');
    deepEqual(rows, expected);
  });

  test('unusual but legal encodings take the slow way to the same row', async () => {
    const usual = encodeEvent({ subject: SAMPLE_SUBJECT, connection: 'c' });
    const unknownGroup = Buffer.from([(99 << 3) | 3, 6, (99 << 3) | 4, 6].map((byte) => byte & 0xff));
    const twice = Buffer.concat([usual, usual]);
    const wrongWire = Buffer.concat([usual, Buffer.from([(2 << 3) | 0, 5])]);
    const metas = [usual, twice, wrongWire, Buffer.concat([usual, unknownGroup])];
    const leaves = metas.map((_, i) => leaf(new SeededRandom(i + 5), i));
    const expected = metas.map((meta, i) => {
      return eventRow(decodeLeaf(leaves[i] as Buffer), decodeOrNull(meta), TENANTS, MONTH);
    });
    equal(expected[1]?.['principal_sub'], 'dana');
    deepEqual(await stored(client, leaves, metas), expected);
  });

  test('dictionaries past 256 and 65,536 values keep every value', async () => {
    const count = 66_000;
    const metas = Array.from({ length: count }, (_, i) => encodeEvent({ connection: `c${i}` }));
    const random = new SeededRandom(3);
    const leaves = metas.map((_, i) => leaf(random, i));
    await insert(client, leaves, metas);
    const [row] = await selectRows<{ n: string; wrong: string }>(
      client,
      `SELECT toString(count()) AS n, toString(countIf(connection != 'c' || toString(record_index))) AS wrong FROM events`,
    );
    deepEqual(row, { n: String(count), wrong: '0' });
  });
});

function decodeOrNull(meta: Buffer): Event | null {
  try {
    return Event.decode(meta);
  } catch {
    return null;
  }
}

function leaf(random: SeededRandom, index: number): Buffer {
  return encodeLeaf({
    kind: [10, 13, 3, 200][index % 4] as number,
    writerId: random.bytes(16),
    index,
    timeNs: BigInt(random.below(2 ** 30)) * 1_700_000_000n,
    tenantTag: [tenantTag('default'), tenantTag('other'), Buffer.alloc(16)][index % 3] as Buffer,
    sessionId: random.bytes(16),
    strandSeq: random.below(2 ** 32),
    strandPrevious: random.bytes(32),
    bundleDigest: index % 2 === 0 ? Buffer.alloc(32) : sha256(Buffer.from('bundle')),
    decision: (index % 4) as 0 | 1 | 2 | 3,
    obligations: random.below(256),
    approvalLeafHash: Buffer.alloc(32),
    metaCommit: random.bytes(32),
    payloadCommit: Buffer.alloc(32),
    originalsCommit: Buffer.alloc(32),
    payloadKeyId: Buffer.alloc(16),
    originalsKeyId: Buffer.alloc(16),
  });
}

async function insert(client: ClickHouseClient, leaves: readonly Buffer[], metas: readonly Buffer[]): Promise<void> {
  await client.command({ query: 'TRUNCATE TABLE events' });
  const columns = new EventColumns(TENANTS, () => MONTH);
  leaves.forEach((bytes, i) => columns.append({ leaf: bytes, meta: metas[i] as Buffer }));
  const sink = new ByteSink();
  writeNativeBlock(columns.finish(), sink);
  const body = sink.bytes.subarray(0, sink.size);
  await insertNative(client, 'events', body, sha256(body, Buffer.from(String(Math.random()))).toString('hex'));
}

/** The rows as the engine gives them back, in the form of the oracle and the order of the records. */
async function stored(
  client: ClickHouseClient,
  leaves: readonly Buffer[],
  metas: readonly Buffer[],
): Promise<EventRow[]> {
  await insert(client, leaves, metas);
  const result = await client.query({
    query: `SELECT * EXCEPT (time, session_id, writer_id), toString(toUnixTimestamp64Nano(time)) AS time_ns,
        lower(leftPad(hex(session_id), 32, '0')) AS session_id, lower(leftPad(hex(writer_id), 32, '0')) AS writer_id
      FROM events ORDER BY record_index`,
    format: 'JSONEachRow',
    clickhouse_settings: { output_format_json_quote_64bit_integers: 1 },
  });
  return result.json<EventRow>();
}

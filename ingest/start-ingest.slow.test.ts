import { deepEqual, equal, ok } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { ClickHouseClient } from '@clickhouse/client';
import { SystemClock } from '../core/kernel/clock.ts';
import { MemoryBus, MemoryBusStore } from '../core/bus/memory-bus.ts';
import { TOPICS } from '../core/bus/topics.ts';
import { SAMPLE_CA_PEM } from '../core/ledger/testing/sample-node.ts';
import type { SampleWriter } from '../core/ledger/testing/sample-evidence.ts';
import { DiskBlobStore } from './adapters/disk-blob-store.ts';
import { checkRows } from './clickhouse/check-rows.ts';
import { connectClickHouse, selectRows } from './clickhouse/connect.ts';
import { rebuildIndex } from './rebuild.ts';
import { startIngest } from './start-ingest.ts';
import type { RunningIngest } from './start-ingest.ts';
import { checkArchive, watermarkOf } from './testing/archive-contents.ts';
import { EmbeddedClickHouse } from './testing/embedded-clickhouse.ts';
import { encodeEvent } from './testing/event-from.ts';
import { eventually } from './testing/eventually.ts';
import { appendExchange, openedWriter, SAMPLE_SUBJECT } from './testing/sample-log.ts';
import { engineMissing } from './testing/engine-missing.ts';

const HTTP_SECRET = 'http-secret-0123456789';
const SESSION = Buffer.alloc(16, 3);
const SESSION_HEX = SESSION.toString('hex');
const TABLES = ['events', 'events_cold', 'by_principal', 'by_object', 'approvals', 'policies'];
const clock = new SystemClock();

describe('ingest with the real engine', { skip: engineMissing() }, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'chaperone-ingest-'));
  const blobs = new DiskBlobStore(join(directory, 'archive'));
  const store = new MemoryBusStore();
  const bus = new MemoryBus(clock, store);
  const writers = [openedWriter(1), openedWriter(2), openedWriter(3, 'control')] as const;
  const [worker, other, control] = writers;
  let clickhouse: EmbeddedClickHouse;
  let client: ClickHouseClient;
  let ingest: RunningIngest;

  const start = async (): Promise<void> => {
    ingest = await startIngest({
      bus: new MemoryBus(clock, store),
      blobs,
      logBlobs: null,
      clock,
      clusterCas: [SAMPLE_CA_PEM],
      clickhouse: clickhouse.access,
      tenants: ['default'],
      httpSecret: HTTP_SECRET,
      flushMs: 2,
    });
  };
  const publish = async (writer: SampleWriter): Promise<void> => {
    await bus.publish(TOPICS.batches.name, writer.writerId, [writer.batch()], { acks: 'all' });
    await eventually(async () => (await watermarkOf(bus, writer.writerId)) === writer.size, 'archived');
  };
  const traffic = async (writer: SampleWriter, exchanges: number): Promise<void> => {
    for (let i = 0; i < exchanges; i++) {
      appendExchange(writer, SESSION, i);
    }
    await publish(writer);
  };
  const rowsReach = async (): Promise<void> => {
    const total = writers.reduce((sum, writer) => sum + writer.size, 0);
    const counts = 'SELECT (SELECT count() FROM events) AS a, (SELECT count() FROM events_cold) AS b';
    await eventually(async () => {
      const [row] = await selectRows<{ a: number; b: number }>(client, counts);
      return (row?.a ?? 0) >= total;
    }, `${total} rows`);
    await ingest.loader.idle();
    deepEqual(await selectRows(client, counts), [{ a: total, b: total }]);
    deepEqual(await checkRows(client, ['default']), { checked: total, altered: [], missing: [] });
  };

  before(async () => {
    clickhouse = await EmbeddedClickHouse.start();
    client = connectClickHouse(clickhouse.access);
    await start();
    await traffic(worker, 1);
    await traffic(other, 1);
    await traffic(control, 1);
  });
  after(async () => {
    await ingest.close();
    await client.close();
    await clickhouse.stop();
    await rm(directory, { recursive: true });
  });

  test('every record has its row in both tables, and every leaf hash follows from its row', async () => {
    await traffic(worker, 50);
    await traffic(other, 20);
    await rowsReach();
    await checkArchive(blobs, writers);
    deepEqual(await selectRows(client, 'SELECT intact, count() > 0 AS some FROM integrity_leaves GROUP BY intact'), [
      { intact: 1, some: 1 },
    ]);
    const logs = await selectRows<{ records: number; contiguous: number }>(client, 'SELECT * FROM integrity_writers');
    deepEqual(
      logs.map(({ records, contiguous }) => `${records} ${contiguous}`).sort(),
      writers.map((writer) => `${writer.size} 1`).sort(),
    );
    const heads = await selectRows<{ n: number }>(
      client,
      'SELECT max(size) AS n FROM heads GROUP BY writer_id ORDER BY n',
    );
    deepEqual(
      heads.map(({ n }) => n),
      writers.map((writer) => writer.size).sort((a, b) => a - b),
    );
  });

  test('an insert that was applied although it failed is not repeated', async () => {
    await clickhouse.kill();
    await clickhouse.restart();
    await traffic(worker, 3);
    await rowsReach();
  });

  test('without ClickHouse everything is archived and acknowledged, and the rows follow', async () => {
    await clickhouse.kill();
    await traffic(worker, 10);
    await traffic(other, 10);
    await checkArchive(blobs, writers);
    await clickhouse.restart();
    await rowsReach();
  });

  test('a restart of ingest while ClickHouse is away finds the rows in the archive', async () => {
    await clickhouse.kill();
    await traffic(worker, 5);
    await ingest.close();
    await start();
    await traffic(other, 5);
    await clickhouse.restart();
    await rowsReach();
  });

  test('kill -9 of ClickHouse in mid-traffic leaves every row once', async () => {
    for (let i = 0; i < 10; i++) {
      appendExchange(worker, SESSION, i);
      await publish(worker);
      if (i === 4) {
        await clickhouse.kill();
        await clickhouse.restart();
      }
    }
    await rowsReach();
  });

  test('the auditor gets who, what, which fields, which policy and who approved', async () => {
    const approvals = [
      {
        id: 'ap-1',
        state: 'approved',
        approver: 'erin',
        method: 'ed25519',
        reason: 'fine',
        decidedMs: 1_767_225_600_000n,
      },
    ];
    control.append({
      kind: 'approval.granted',
      sessionId: SESSION,
      meta: encodeEvent({ subject: SAMPLE_SUBJECT, approvals, operation: { text: '/export/patients.ndjson' } }),
    });
    const note = { code: 'policy.activated', text: 'start', attributes: { node: 'node-1' } };
    control.append({ kind: 'policy.activated', meta: encodeEvent({ note, decision: { bundleRevision: 12n } }) });
    control.append({ kind: 'script.reviewed', meta: encodeEvent({ script: { reviewer: 'rob', scriptDigest: 'd1' } }) });
    await publish(control);
    await rowsReach();
    const [session] = await selectRows<Record<string, unknown>>(
      client,
      'SELECT who, person, through_actors, repository, run, operations, masked > 0 AS masked FROM audit_sessions WHERE session = {s:String}',
      { s: SESSION_HEX },
    );
    const operations = writers.reduce((sum, writer) => sum + exchangesOf(writer), 0);
    deepEqual(session, {
      who: 'dana',
      person: 'Dana Ortiz',
      through_actors: ['ai_agent:coder-7'],
      repository: 'clinic/etl',
      run: '991',
      operations,
      masked: 1,
    });
    deepEqual(
      await selectRows(
        client,
        'SELECT DISTINCT who, what, decision, script_reviewed, policy_revision FROM audit_operations WHERE record_index = 1',
      ),
      [{ who: 'dana', what: '/patients/{id}?page=0', decision: 'allow', script_reviewed: true, policy_revision: 12 }],
    );
    deepEqual(
      await selectRows(
        client,
        `SELECT field, action, policy = '' AS none FROM audit_masks GROUP BY ALL ORDER BY field`,
      ),
      [
        { field: 'patients.phone', action: 'fixed', none: 0 },
        { field: 'patients.ssn', action: 'redact', none: 0 },
      ],
    );
    deepEqual(
      await selectRows(client, 'SELECT approval, state, approver, reason, requester, what FROM audit_approvals'),
      [
        {
          approval: 'ap-1',
          state: 'approved',
          approver: 'erin',
          reason: 'fine',
          requester: 'dana',
          what: '/export/patients.ndjson',
        },
      ],
    );
    deepEqual(await selectRows(client, 'SELECT record, note, attributes FROM audit_policies'), [
      { record: 'policy.activated', note: 'start', attributes: { node: 'node-1' } },
    ]);
    deepEqual(await selectRows(client, 'SELECT script, reviewer FROM audit_scripts'), [
      { script: 'd1', reviewer: 'rob' },
    ]);
    const [exposures] = await selectRows<{ n: number }>(client, 'SELECT sum(values_count) AS n FROM exposures_hourly');
    const [masked] = await selectRows<{ n: number }>(client, 'SELECT sum(values_count) AS n FROM audit_masks');
    ok((exposures?.n ?? 0) > 0);
    equal(exposures?.n, masked?.n);
    for (const view of ['audit_withheld', 'audit_egress', 'audit_exchanges']) {
      ok((await selectRows<{ n: number }>(client, `SELECT count() AS n FROM ${view}`))[0] !== undefined);
    }
  });

  test('a rebuild from the archive alone gives the same tables', async () => {
    const dump = async (): Promise<string[]> => {
      const all = [];
      for (const table of TABLES) {
        const result = await client.query({
          query: `SELECT * FROM ${table} ORDER BY ALL`,
          format: 'JSONCompactEachRow',
        });
        all.push(
          `${table} ${createHash('sha256')
            .update(await result.text())
            .digest('hex')}`,
        );
      }
      const sessions = await client.query({
        query: 'SELECT * FROM audit_sessions ORDER BY ALL',
        format: 'JSONEachRow',
      });
      return [...all, await sessions.text()];
    };
    await ingest.close();
    const original = await dump();
    const report = await rebuildIndex({
      clickhouse: clickhouse.access,
      blobs,
      clock,
      clusterCas: [SAMPLE_CA_PEM],
      tenants: ['default'],
    });
    deepEqual(report.problems, []);
    equal(report.records >= writers.reduce((sum, writer) => sum + writer.size, 0), true);
    deepEqual(await dump(), original);
    await start();
  });

  test('a byte flipped in an object, or a tile lost, is named by a rebuild', async () => {
    await ingest.close();
    const names = await blobs.list('objects/');
    const name = names[Math.floor(names.length / 2)] as string;
    const path = join(directory, 'archive', name);
    const bytes = await readFile(path);
    const flipped = Buffer.from(bytes);
    flipped[400] = (flipped[400] as number) ^ 1;
    await writeFile(path, flipped);
    const options = { clickhouse: clickhouse.access, blobs, clock, clusterCas: [SAMPLE_CA_PEM], tenants: ['default'] };
    const report = await rebuildIndex(options);
    ok(
      report.problems.some((problem) => problem.startsWith(name)),
      report.problems.join('\n'),
    );
    await writeFile(path, bytes);
    deepEqual((await rebuildIndex(options)).problems, []);
    await start();
  });

  test('an altered row is found, by SQL and by comparison with the evidence', async () => {
    await rowsReach();
    const hex = worker.writerId.toString('hex');
    const where = `writer_id = toUInt128('${BigInt(`0x${hex}`)}') AND record_index = 4`;
    const sync = { clickhouse_settings: { mutations_sync: '1' as const } };
    await client.command({ query: `ALTER TABLE events UPDATE text = 'nothing' WHERE ${where}`, ...sync });
    const changed = await checkRows(client, ['default']);
    deepEqual(changed.altered, [{ writer: hex, index: 4, columns: ['text'] }]);
    await client.command({ query: `ALTER TABLE events_cold UPDATE meta = concat(meta, 'x') WHERE ${where}`, ...sync });
    deepEqual((await checkRows(client, ['default'])).altered, [{ writer: hex, index: 4, columns: ['leaf'] }]);
    deepEqual(
      await selectRows(client, 'SELECT writer, toUInt32(record_index) AS i FROM integrity_leaves WHERE NOT intact'),
      [{ writer: hex, i: 4 }],
    );
  });

  test('objects and tiles are served to whoever has the secret', async () => {
    const url = `http://127.0.0.1:${ingest.port}`;
    const headers = { authorization: `Bearer ${HTTP_SECRET}` };
    equal((await fetch(`${url}/archive/?prefix=objects/`)).status, 401);
    const names = (await (await fetch(`${url}/archive/?prefix=objects/`, { headers })).json()) as string[];
    deepEqual(names, await blobs.list('objects/'));
    const name = names[0] as string;
    const whole = Buffer.from(await (await fetch(`${url}/archive/${name}`, { headers })).arrayBuffer());
    ok(whole.equals((await blobs.read(name)) as Buffer));
    const part = await fetch(`${url}/archive/${name}`, { headers: { ...headers, range: 'bytes=4-9' } });
    equal(part.status, 206);
    ok(Buffer.from(await part.arrayBuffer()).equals(whole.subarray(4, 10)));
    for (const bad of [
      '/archive/../secret',
      '/archive/objects/../../x',
      '/archive/.hidden',
      '/other/x',
      '/archive/none',
    ]) {
      equal((await fetch(`${url}${bad}`, { headers })).status, 404);
    }
    equal((await fetch(`${url}/archive/${name}`, { headers, method: 'DELETE' })).status, 405);
    deepEqual(await (await fetch(`${url}/quarantine`, { headers })).json(), []);
  });

  test('a refused batch is in the quarantine table', async () => {
    await bus.publish(TOPICS.batches.name, worker.writerId, [Buffer.from('rubbish')], { acks: 'all' });
    await eventually(async () => {
      const rows = await selectRows<{ reason: string }>(client, 'SELECT reason FROM quarantine');
      return rows.length === 1 && rows[0]?.reason === 'malformed';
    }, 'quarantined');
  });
});

function exchangesOf(writer: SampleWriter): number {
  return writer.records.filter((record) => record[1] === 10).length;
}

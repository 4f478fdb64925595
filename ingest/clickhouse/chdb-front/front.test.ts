import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { createClient } from '@clickhouse/client';
import type { ClickHouseClient } from '@clickhouse/client';
import { forkProcess } from '../../testing/fork-process.ts';
import type { ForkedProcess } from '../../testing/fork-process.ts';
import { engineMissing } from '../../testing/engine-missing.ts';

const WRITER = 'writer-secret-0123456789';
const READER = 'reader-secret-0123456789';
const ENTRY = new URL('./front-process.js', import.meta.url);

describe('the ClickHouse front', { skip: engineMissing() }, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'chaperone-front-'));
  let front: ForkedProcess;
  let writer: ClickHouseClient;
  let reader: ClickHouseClient;

  const start = async (): Promise<void> => {
    front = await forkProcess(ENTRY, { directory, writerSecret: WRITER, readerSecret: READER });
    const url = `http://127.0.0.1:${Number(front.ready['port'])}`;
    writer = createClient({ url, username: 'writer', password: WRITER });
    reader = createClient({ url, username: 'reader', password: READER });
  };
  const stop = async (): Promise<void> => {
    await writer.close();
    await reader.close();
  };

  before(async () => {
    await start();
    await writer.command({ query: 'CREATE DATABASE lab' });
    await writer.command({
      query: `CREATE TABLE lab.t (id UInt64, name String) ENGINE = MergeTree ORDER BY id
              SETTINGS fsync_after_insert = 1, non_replicated_deduplication_window = 100`,
    });
  });
  after(async () => {
    await stop();
    await front.close();
    await rm(directory, { recursive: true });
  });

  test('answers ping, also the one that runs a query', async () => {
    deepEqual(await reader.ping(), { success: true });
    deepEqual(await reader.ping({ select: true }), { success: true });
  });

  test('gives rows in the formats of the client', async () => {
    const query = 'SELECT number AS n, toString(number) AS s FROM numbers(2)';
    const lines = await reader.query({ query, format: 'JSONEachRow' });
    deepEqual(await lines.json(), [
      { n: 0, s: '0' },
      { n: 1, s: '1' },
    ]);
    const json = await reader.query({ query, format: 'JSON' });
    const document = await json.json();
    equal(document.rows, 2);
    const csv = await reader.query({ query, format: 'CSV' });
    equal(await csv.text(), '0,"0"\n1,"1"\n');
  });

  test('binds parameters as values, whatever they contain', async () => {
    const values = ["a'b", 'a\\b', 'tab\tnew\nline', "'; DROP TABLE lab.t; --", '{x:String}', 'ä€😀', '', '\\N', '\0'];
    for (const x of values) {
      const query = 'SELECT {x:String} AS x, {list:Array(String)} AS list, {n:UInt64} AS n';
      const result = await reader.query({ query, query_params: { x, list: [x, 'y'], n: 7 }, format: 'JSONEachRow' });
      deepEqual(await result.json(), [{ x, list: [x, 'y'], n: 7 }]);
    }
    equal(await count(reader, 'lab.t'), 0);
  });

  test('uses the settings of a request for that request alone', async () => {
    const query = "SELECT getSetting('max_threads') AS n";
    const set = await reader.query({ query, clickhouse_settings: { max_threads: 1 }, format: 'JSONEachRow' });
    deepEqual(await set.json(), [{ n: 1 }]);
    const plain = await reader.query({ query: "SELECT getSetting('max_block_size') AS n", format: 'JSONEachRow' });
    deepEqual(await plain.json(), [{ n: 65409 }]);
  });

  test('hands on the exceptions of the engine with code and type', async () => {
    await rejects(reader.query({ query: 'SELECT * FROM lab.nothing' }), { code: '60', type: 'UNKNOWN_TABLE' });
    await rejects(reader.query({ query: 'SELEKT 1' }), { code: '62', type: 'SYNTAX_ERROR' });
    await rejects(reader.query({ query: 'SELECT 1', clickhouse_settings: { no_such: 1 } }), { code: '115' });
    await rejects(reader.query({ query: 'SELECT 1', session_id: 's' }), { code: '48' });
  });

  test('inserts rows of the client, in JSON lines and inline values', async () => {
    await writer.insert({ table: 'lab.t', values: [{ id: 1, name: 'a\n\nb' }], format: 'JSONEachRow' });
    await writer.insert({ table: 'lab.t', columns: ['name', 'id'], values: [['c', 2]] });
    await writer.command({ query: "INSERT INTO lab.t VALUES (3, 'd;\n\n'), (4, 'e')" });
    await writer.command({ query: "INSERT INTO lab.t SELECT 5, 'f'" });
    const result = await reader.query({ query: 'SELECT name FROM lab.t ORDER BY id', format: 'JSONEachRow' });
    deepEqual(
      (await result.json<{ name: string }>()).map((row) => row.name),
      ['a\n\nb', 'c', 'd;\n\n', 'e', 'f'],
    );
    await writer.command({ query: 'TRUNCATE TABLE lab.t' });
  });

  test('never runs what stands behind inline data as a statement', async () => {
    const attack = "(1,'a')\n\nDROP TABLE lab.t\n";
    await rejects(writer.command({ query: `INSERT INTO lab.t VALUES ${attack}` }));
    const body = Readable.from([Buffer.from(`{"id":1,"name":"a"}\n\nDROP TABLE lab.t\n`)]);
    await rejects(exec(writer, 'INSERT INTO lab.t FORMAT JSONEachRow', body));
    await rejects(reader.query({ query: 'SELECT 1; SELECT 2' }), { code: '62' });
    await rejects(writer.command({ query: 'SELECT 1 /* ; */; DROP TABLE lab.t' }), { code: '62' });
    equal(await count(reader, 'lab.t'), 0);
  });

  test('takes an insert stream in Native, once for one deduplication token', async () => {
    const rows = Buffer.concat([native([1n, 2n]), native([3n])]);
    for (let attempt = 0; attempt < 2; attempt++) {
      await exec(
        writer,
        'INSERT INTO lab.t FORMAT Native',
        Readable.from([rows.subarray(0, 11), rows.subarray(11)]),
        'w/1',
      );
    }
    equal(await count(reader, 'lab.t'), 3);
    await exec(writer, 'INSERT INTO lab.t FORMAT Native', Readable.from([rows]), 'w/2');
    equal(await count(reader, 'lab.t'), 6);
    deepEqual(await readdir(join(directory, 'spool')), [], 'no spooled body stays behind');
    await writer.command({ query: 'TRUNCATE TABLE lab.t' });
  });

  test('refuses a truncated Native body as a whole', async () => {
    const rows = native([1n, 2n, 3n]);
    await rejects(exec(writer, 'INSERT INTO lab.t FORMAT Native', Readable.from([rows.subarray(0, rows.length - 1)])));
    equal(await count(reader, 'lab.t'), 0);
  });

  test('lets a reader neither write nor read files', async () => {
    await rejects(reader.command({ query: "INSERT INTO lab.t SELECT 1, 'x'" }), { code: '164' });
    await rejects(reader.command({ query: 'DROP TABLE lab.t' }), { code: '164' });
    await rejects(reader.query({ query: "SELECT * FROM file('/etc/passwd', 'LineAsString', 's String')" }), {
      code: '164',
    });
    await rejects(reader.query({ query: 'SELECT 1', clickhouse_settings: { readonly: '0' } }), { code: '48' });
    equal(await count(reader, 'lab.t'), 0);
  });

  test('answers nobody without the password', async () => {
    const url = `http://127.0.0.1:${Number(front.ready['port'])}`;
    for (const login of [
      { username: 'reader', password: WRITER },
      { username: 'default' },
      { username: '', password: '' },
    ]) {
      const client = createClient({ url, ...login });
      await rejects(client.query({ query: 'SELECT 1' }), (error: Error) =>
        error.message.includes('Authentication failed'),
      );
      await client.close();
    }
    const plain = await get(Number(front.ready['port']), '/?query=SELECT%201');
    equal(plain.status, 403);
    equal(plain.exceptionCode, '516');
  });

  test('a second process on the directory fails and the first goes on', async () => {
    await rejects(forkProcess(ENTRY, { directory, writerSecret: WRITER, readerSecret: READER }));
    deepEqual(await reader.ping({ select: true }), { success: true });
  });

  test('keeps every acknowledged insert through kill -9', async () => {
    let acknowledged = 0;
    const victim = front;
    const inserting = (async () => {
      for (let i = 0; ; i++) {
        await exec(writer, 'INSERT INTO lab.t FORMAT Native', Readable.from([native([BigInt(i)])]));
        acknowledged++;
        if (acknowledged === 5) {
          void victim.kill();
        }
      }
    })();
    await rejects(inserting);
    await victim.exited;
    await stop();
    await start();
    ok(acknowledged >= 5);
    const kept = await count(reader, 'lab.t');
    ok(kept >= acknowledged, `${kept} rows of ${acknowledged} acknowledged`);
  });

  test('says which secret is too short', async () => {
    await rejects(forkProcess(ENTRY, { directory, writerSecret: 'short', readerSecret: READER }), (error: Error) => {
      match(error.message, /at least 16 characters/);
      return true;
    });
  });
});

async function exec(client: ClickHouseClient, query: string, values: Readable, token?: string): Promise<void> {
  const clickhouse_settings = token === undefined ? {} : { insert_deduplication_token: token };
  const { stream } = await client.exec({ query, values, clickhouse_settings });
  stream.resume();
  await new Promise((resolve) => stream.once('close', resolve));
}

async function count(client: ClickHouseClient, table: string): Promise<number> {
  const result = await client.query({ query: `SELECT toUInt32(count()) AS n FROM ${table}`, format: 'JSONEachRow' });
  return (await result.json<{ n: number }>())[0]?.n ?? -1;
}

function get(port: number, path: string): Promise<{ status: number; exceptionCode: string }> {
  return new Promise((resolve, reject) => {
    const call = request({ host: '127.0.0.1', port, path }, (response) => {
      response.resume();
      resolve({
        status: response.statusCode ?? 0,
        exceptionCode: String(response.headers['x-clickhouse-exception-code']),
      });
    });
    call.once('error', reject);
    call.end();
  });
}

/** One Native block of (id UInt64, name String). */
function native(ids: readonly bigint[]): Buffer {
  const text = (value: string): Buffer => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);
  const numbers = Buffer.alloc(ids.length * 8);
  ids.forEach((id, i) => numbers.writeBigUInt64LE(id, i * 8));
  const names = ids.map(() => text('x'));
  const head = Buffer.from([2, ids.length]);
  return Buffer.concat([head, text('id'), text('UInt64'), numbers, text('name'), text('String'), ...names]);
}

import { createHash, randomUUID, timingSafeEqual } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { Engine, EngineError } from './engine.ts';
import type { EngineResult } from './engine.ts';
import { parseStatement, quoteIdentifier, quoteLiteral } from './statement.ts';

export interface ClickHouseFrontOptions {
  /** The directory that this process owns; data in `engine/`, insert bodies in `spool/`. */
  readonly directory: string;
  readonly port?: number;
  /** Password of user `writer`, who may do everything. At least 16 characters. */
  readonly writerSecret: string;
  /** Password of user `reader`: every statement runs with `readonly=1`, which also closes files and the network. */
  readonly readerSecret: string;
}

export interface ClickHouseFront {
  readonly port: number;
  close(): Promise<void>;
}

const QUERY_BYTES_MAX = 1024 * 1024;
const INSERT_BYTES_MAX = 256 * 1024 * 1024;
const SECRET_CHARACTERS_MIN = 16;
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const USERS = { writer: false, reader: true } as const;

/** Parameters of the HTTP interface that are not settings of the engine. */
const NOT_SETTINGS = new Set([
  'query',
  'database',
  'query_id',
  'default_format',
  'enable_http_compression',
  'wait_end_of_query',
  'http_wait_end_of_query',
  'send_progress_in_http_headers',
  'http_headers_progress_interval_ms',
  'cancel_http_readonly_queries_on_client_close',
  'http_write_exception_in_output_format',
]);
const REFUSED_PARAMETERS = ['session_id', 'role', 'compress', 'decompress', 'user', 'password', 'readonly'];

/**
 * The ClickHouse HTTP interface in front of the embedded engine: as much of it as `@clickhouse/client` uses. Loopback
 * only, and nothing but `/ping` without a password, because other users of the machine reach loopback too.
 *
 * Insert bodies never become part of a statement: inline data ends at a blank line and what follows would run as SQL.
 * They are spooled to a file and read by `INSERT … SELECT FROM file(…)`.
 *
 * Limit: sessions, roles and the native compressed body of the HTTP interface are refused.
 */
export async function startClickHouseFront(options: ClickHouseFrontOptions): Promise<ClickHouseFront> {
  for (const secret of [options.writerSecret, options.readerSecret]) {
    if (secret.length < SECRET_CHARACTERS_MIN) {
      throw new RangeError(`a secret of the ClickHouse front has at least ${SECRET_CHARACTERS_MIN} characters`);
    }
  }
  const spool = join(options.directory, 'spool');
  await rm(spool, { recursive: true, force: true });
  await mkdir(spool, { recursive: true, mode: 0o700 });
  const engine = await Engine.open(join(options.directory, 'engine'));
  const front = new Front(engine, spool, options);
  const server = createServer((request, response) => void front.handle(request, response));
  await listen(server, options.port ?? 0);
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      await new Promise((resolve) => {
        server.close(resolve);
        server.closeIdleConnections();
      });
      await engine.close();
      await rm(spool, { recursive: true, force: true });
    },
  };
}

class Front {
  readonly #engine: Engine;
  readonly #spool: string;
  readonly #passwords: Record<keyof typeof USERS, Buffer>;

  constructor(engine: Engine, spool: string, options: ClickHouseFrontOptions) {
    this.#engine = engine;
    this.#spool = spool;
    this.#passwords = { writer: digest(options.writerSecret), reader: digest(options.readerSecret) };
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const queryId = randomUUID();
    try {
      const url = new URL(request.url ?? '/', 'http://loopback');
      if (url.pathname === '/ping') {
        response.end('Ok.\n');
        return;
      }
      const readonly = this.#authenticate(request);
      if (url.pathname !== '/') {
        throw exception(73, 'There is no such resource', 'UNKNOWN_FORMAT');
      }
      const result = await this.#run(request, url.searchParams, readonly);
      answer(response, result, url.searchParams.get('query_id') ?? queryId);
    } catch (error) {
      fail(request, response, error, queryId);
    }
  }

  /** Whether the caller may only read. */
  #authenticate(request: IncomingMessage): boolean {
    const { user, password } = credentials(request);
    const known = user === 'writer' || user === 'reader' ? user : null;
    // Also hash and compare for an unknown name, so that the time tells nothing.
    const match = timingSafeEqual(digest(password), this.#passwords[known ?? 'writer']);
    if (known === null || !match) {
      throw exception(
        516,
        'Authentication failed: password is incorrect, or there is no such user',
        'AUTHENTICATION_FAILED',
      );
    }
    return USERS[known];
  }

  async #run(request: IncomingMessage, search: URLSearchParams, readonly: boolean): Promise<EngineResult> {
    const { settings, params } = splitParameters(search);
    const queryInUrl = search.get('query');
    const body = request.method === 'POST' ? bodyStream(request) : null;
    let statement = queryInUrl === null ? null : parseStatement(queryInUrl);
    if (statement?.kind === 'insert' && body !== null) {
      return this.#insert(statement.target, statement.format, statement.data, body, {
        search,
        settings,
        params,
        readonly,
      });
    }
    const text = [queryInUrl, body === null ? null : await readText(body)].filter((part) => part).join('\n');
    statement = parseStatement(text);
    if (statement.kind === 'refused') {
      throw exception(62, statement.reason, 'SYNTAX_ERROR');
    }
    if (statement.kind === 'insert') {
      return this.#insert(statement.target, statement.format, statement.data, null, {
        search,
        settings,
        params,
        readonly,
      });
    }
    if (request.method === 'GET' && statement.writes) {
      throw exception(164, 'Cannot execute query in readonly mode. GET never writes', 'READONLY');
    }
    return this.#engine.run(statement.writes ? 'write' : 'read', {
      sql: statement.sql,
      database: search.get('database') ?? 'default',
      format: search.get('default_format') ?? 'TabSeparated',
      settings,
      params,
      readonly,
    });
  }

  async #insert(
    target: string,
    format: string,
    head: string,
    body: NodeJS.ReadableStream | null,
    call: {
      readonly search: URLSearchParams;
      readonly settings: ReadonlyMap<string, string>;
      readonly params: ReadonlyMap<string, string>;
      readonly readonly: boolean;
    },
  ): Promise<EngineResult> {
    const { table, columns } = splitTarget(target);
    const database = call.search.get('database') ?? 'default';
    const file = join(this.#spool, randomUUID());
    try {
      await spoolBody(file, head, body);
      const all = await this.#engine.columns(table, database);
      const wanted = columns === null ? all : columns.map((name) => all.find((column) => column.name === name));
      if (wanted.some((column) => column === undefined)) {
        throw exception(16, 'No such column in table', 'NO_SUCH_COLUMN_IN_TABLE');
      }
      if ((await stat(file)).size === 0) {
        return { bytes: new Uint8Array(0), rowsRead: 0, bytesRead: 0, elapsedNs: 0 };
      }
      const names = wanted.map((column) => quoteIdentifier(column?.name ?? '')).join(', ');
      const structure = wanted
        .map((column) => `${quoteIdentifier(column?.name ?? '')} ${column?.type ?? ''}`)
        .join(', ');
      const source = `file(${quoteLiteral(file)}, ${quoteLiteral(format)}, ${quoteLiteral(structure)})`;
      const sql = `INSERT INTO ${table} (${names}) SELECT ${names} FROM ${source}`;
      const { settings, params, readonly } = call;
      return await this.#engine.run('write', { sql, database, format: 'TabSeparated', settings, params, readonly });
    } finally {
      await rm(file, { force: true });
    }
  }
}

function splitParameters(search: URLSearchParams): { settings: Map<string, string>; params: Map<string, string> } {
  const settings = new Map<string, string>();
  const params = new Map<string, string>();
  for (const [name, value] of search) {
    if (!NAME.test(name)) {
      throw exception(115, 'A parameter has a name that is not an identifier', 'UNKNOWN_SETTING');
    }
    if (REFUSED_PARAMETERS.includes(name)) {
      throw exception(48, `The parameter ${name} is not supported here`, 'NOT_IMPLEMENTED');
    }
    if (name.startsWith('param_')) {
      params.set(name.slice('param_'.length), value);
    } else if (!NOT_SETTINGS.has(name)) {
      settings.set(name, value);
    }
  }
  return { settings, params };
}

const INSERT_TARGET = /^((?:[A-Za-z_][\w]*|`[^`\\]+`)(?:\s*\.\s*(?:[A-Za-z_][\w]*|`[^`\\]+`))?)\s*(?:\(([^()]*)\))?$/;

/** `[db.]table [(column, …)]`; anything else is refused, so nothing of the target can become another clause. */
function splitTarget(target: string): { table: string; columns: string[] | null } {
  const match = INSERT_TARGET.exec(target);
  if (match === null) {
    throw exception(62, 'The target of an INSERT is a table and an optional list of columns', 'SYNTAX_ERROR');
  }
  const list = match[2];
  const columns = list === undefined ? null : list.split(',').map((name) => name.trim().replace(/^`(.*)`$/, '$1'));
  return { table: match[1] as string, columns };
}

function bodyStream(request: IncomingMessage): NodeJS.ReadableStream {
  const encoding = request.headers['content-encoding'] ?? 'identity';
  if (/^multipart\//i.test(request.headers['content-type'] ?? '')) {
    throw exception(48, 'A multipart body is not supported here', 'NOT_IMPLEMENTED');
  }
  if (encoding === 'identity') {
    return request;
  }
  if (encoding === 'gzip') {
    return request.pipe(createGunzip());
  }
  throw exception(48, 'The content encoding is not supported here', 'NOT_IMPLEMENTED');
}

async function readText(body: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > QUERY_BYTES_MAX) {
      throw exception(62, 'The query is too long', 'SYNTAX_ERROR');
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

async function spoolBody(file: string, head: string, body: NodeJS.ReadableStream | null): Promise<void> {
  await writeFile(file, head, { mode: 0o600 });
  if (body === null) {
    return;
  }
  let size = head.length;
  const limit = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      size += chunk.length;
      done(size > INSERT_BYTES_MAX ? exception(307, 'The insert is too large', 'TOO_MANY_BYTES') : null, chunk);
    },
  });
  await pipeline(body, limit, createWriteStream(file, { flags: 'a' }));
}

function credentials(request: IncomingMessage): { user: string; password: string } {
  const user = request.headers['x-clickhouse-user'];
  const key = request.headers['x-clickhouse-key'];
  if (typeof user === 'string' && typeof key === 'string') {
    return { user, password: key };
  }
  const basic = /^Basic ([A-Za-z0-9+/=]+)$/.exec(request.headers.authorization ?? '')?.[1];
  const pair = basic === undefined ? '' : Buffer.from(basic, 'base64').toString('utf8');
  const colon = pair.indexOf(':');
  return colon === -1 ? { user: '', password: '' } : { user: pair.slice(0, colon), password: pair.slice(colon + 1) };
}

function answer(response: ServerResponse, result: EngineResult, queryId: string): void {
  const summary = {
    read_rows: String(result.rowsRead),
    read_bytes: String(result.bytesRead),
    written_rows: result.bytes.length === 0 ? String(result.rowsRead) : '0',
    written_bytes: '0',
    result_bytes: String(result.bytes.length),
    elapsed_ns: String(result.elapsedNs),
  };
  response.writeHead(200, {
    'Content-Type': 'text/plain; charset=UTF-8',
    'Content-Length': result.bytes.length,
    'X-ClickHouse-Query-Id': queryId,
    'X-ClickHouse-Timezone': 'UTC',
    'X-ClickHouse-Summary': JSON.stringify(summary),
  });
  response.end(result.bytes);
}

function fail(request: IncomingMessage, response: ServerResponse, error: unknown, queryId: string): void {
  const failure = error instanceof EngineError ? error : exception(1002, 'The front failed', 'UNKNOWN_EXCEPTION');
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const text = Buffer.from(`${failure.message}\n`, 'utf8');
  // A body that was not read to its end would be taken for the next request.
  const close = request.readableEnded ? {} : { Connection: 'close' };
  response.writeHead(statusOf(failure.code), {
    'Content-Type': 'text/plain; charset=UTF-8',
    'Content-Length': text.length,
    'X-ClickHouse-Exception-Code': String(failure.code),
    'X-ClickHouse-Query-Id': queryId,
    ...close,
  });
  response.end(text);
}

function statusOf(code: number): number {
  switch (code) {
    case 516:
      return 403;
    case 164:
    case 497:
      return 403;
    case 60:
    case 81:
    case 46:
    case 16:
    case 47:
      return 404;
    case 62:
    case 26:
    case 27:
    case 53:
    case 73:
    case 115:
    case 456:
    case 457:
      return 400;
    case 48:
      return 501;
    case 307:
      return 413;
    case 202:
      return 503;
    default:
      return 500;
  }
}

function exception(code: number, message: string, name: string): EngineError {
  return new EngineError(code, `Code: ${code}. DB::Exception: ${message}. (${name})`);
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
}

import { resolve } from 'node:path';
import type { Session } from 'chdb';
import { quoteIdentifier, quoteLiteral } from './statement.ts';

/** An exception of the engine, in its own words: `Code: 60. DB::Exception: … (UNKNOWN_TABLE)`. */
export class EngineError extends Error {
  override readonly name = 'EngineError';
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

export interface EngineRequest {
  readonly sql: string;
  readonly database: string;
  readonly format: string;
  /** Names were checked by the front; values are quoted here. */
  readonly settings: ReadonlyMap<string, string>;
  /** Query parameters in the engine's escaped text form, as HTTP carries them. */
  readonly params: ReadonlyMap<string, string>;
  readonly readonly: boolean;
}

export interface EngineResult {
  readonly bytes: Uint8Array;
  readonly rowsRead: number;
  readonly bytesRead: number;
  readonly elapsedNs: number;
}

export interface ColumnInfo {
  readonly name: string;
  readonly type: string;
}

type Lane = 'read' | 'write';

/** Calls that may wait for a lane. Past it the front says that it is overloaded. */
const LANE_QUEUE_MAX = 64;
const RESULT_BYTES_MAX = 256 * 1024 * 1024;

/**
 * The ClickHouse engine as a library. Load it in the main thread of a process of its own: it crashed when only a worker
 * thread had loaded it, and a crash must take nothing else along.
 *
 * Invariants: one statement at a time in each of the two lanes, each statement on a connection of its own, so settings
 * and parameters never reach the next caller; the first connection stays open and keeps the engine alive.
 */
export class Engine {
  readonly #directory: string;
  readonly #Session: typeof Session;
  readonly #keeper: Session;
  readonly #tails: Record<Lane, Promise<unknown>> = { read: Promise.resolve(), write: Promise.resolve() };
  readonly #waiting: Record<Lane, number> = { read: 0, write: 0 };

  private constructor(directory: string, constructorOfSession: typeof Session) {
    this.#directory = directory;
    this.#Session = constructorOfSession;
    this.#keeper = new constructorOfSession(directory);
  }

  /** Rejects when the library does not load here or when another process owns the directory. */
  static async open(directory: string): Promise<Engine> {
    const { Session } = await import('chdb');
    const engine = new Engine(resolve(directory), Session);
    await engine.#keeper.queryAsync('SELECT 1');
    return engine;
  }

  run(lane: Lane, request: EngineRequest): Promise<EngineResult> {
    return this.#serially(lane, () => this.#execute(request));
  }

  /** Columns that an insert may name, in table order. */
  async columns(target: string, database: string): Promise<ColumnInfo[]> {
    const settings = new Map<string, string>();
    const params = new Map<string, string>();
    const sql = `DESCRIBE TABLE ${target} FORMAT JSONEachRow`;
    const result = await this.run('read', { sql, database, format: 'JSONEachRow', settings, params, readonly: true });
    const lines = Buffer.from(result.bytes).toString('utf8').split('\n').filter(Boolean);
    return lines
      .map((line) => JSON.parse(line) as { name: string; type: string; default_type: string })
      .filter((column) => column.default_type === '' || column.default_type === 'DEFAULT')
      .map(({ name, type }) => ({ name, type }));
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.#tails.read, this.#tails.write]);
    this.#keeper.close();
  }

  #serially<T>(lane: Lane, work: () => Promise<T>): Promise<T> {
    if (this.#waiting[lane] >= LANE_QUEUE_MAX) {
      return Promise.reject(tooMany());
    }
    this.#waiting[lane]++;
    const turn = this.#tails[lane].then(work).finally(() => {
      this.#waiting[lane]--;
    });
    this.#tails[lane] = turn.catch(() => undefined);
    return turn;
  }

  async #execute(request: EngineRequest): Promise<EngineResult> {
    const connection = new this.#Session(this.#directory);
    try {
      if (request.database !== '' && request.database !== 'default') {
        await connection.queryAsync(`USE ${quoteIdentifier(request.database)}`);
      }
      await connection.queryAsync(`SET ${settingsOf(request).join(', ')}`);
      const result = await connection.queryAsync(request.sql, { format: request.format });
      const elapsedNs = Math.round(result.elapsed * 1e9);
      return { bytes: result.bytes(), rowsRead: result.rowsRead, bytesRead: result.bytesRead, elapsedNs };
    } catch (error) {
      throw asEngineError(error);
    } finally {
      connection.close();
    }
  }
}

/** `readonly` comes last: after it no setting can be changed. */
function settingsOf(request: EngineRequest): string[] {
  const settings = ['async_insert=0', 'max_insert_threads=1', `max_result_bytes=${RESULT_BYTES_MAX}`];
  for (const [name, value] of request.params) {
    settings.push(`param_${name}=${quoteLiteral(value)}`);
  }
  for (const [name, value] of request.settings) {
    settings.push(`${name}=${quoteLiteral(value)}`);
  }
  if (request.readonly) {
    settings.push('readonly=1');
  }
  return settings;
}

function asEngineError(error: unknown): EngineError {
  const message = error instanceof Error ? error.message : String(error);
  const code = (error as { clickhouseCode?: number }).clickhouseCode;
  if (code === undefined) {
    return new EngineError(1002, `Code: 1002. DB::Exception: ${message} (UNKNOWN_EXCEPTION)`);
  }
  return new EngineError(code, message);
}

function tooMany(): EngineError {
  const text = 'Code: 202. DB::Exception: Too many simultaneous queries. (TOO_MANY_SIMULTANEOUS_QUERIES)';
  return new EngineError(202, text);
}

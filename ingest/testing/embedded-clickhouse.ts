import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ClickHouseAccess } from '../clickhouse/connect.ts';
import { forkProcess } from './fork-process.ts';
import type { ForkedProcess } from './fork-process.ts';

const ENTRY = new URL('../clickhouse/chdb-front/front-process.js', import.meta.url);

/** The real engine in its own process over a temporary directory, which can go down and come back on the same port. */
export class EmbeddedClickHouse {
  readonly #directory: string;
  readonly #secret: string;
  #process: ForkedProcess;
  readonly #port: number;

  private constructor(directory: string, process: ForkedProcess, secret: string) {
    this.#directory = directory;
    this.#secret = secret;
    this.#process = process;
    this.#port = Number(process.ready['port']);
  }

  static async start(): Promise<EmbeddedClickHouse> {
    const directory = await mkdtemp(join(tmpdir(), 'chaperone-clickhouse-'));
    const secret = randomBytes(16).toString('hex');
    const process = await forkProcess(ENTRY, { directory, writerSecret: secret, readerSecret: `${secret}-r` });
    return new EmbeddedClickHouse(directory, process, secret);
  }

  get access(): ClickHouseAccess {
    return { url: `http://127.0.0.1:${this.#port}`, username: 'writer', password: this.#secret };
  }

  /** kill -9. */
  async kill(): Promise<void> {
    await this.#process.kill();
  }

  /** Starts again where it was killed, on the same port and directory. */
  async restart(): Promise<void> {
    const secrets = { writerSecret: this.#secret, readerSecret: `${this.#secret}-r` };
    this.#process = await forkProcess(ENTRY, { directory: this.#directory, port: this.#port, ...secrets });
  }

  async stop(): Promise<void> {
    await this.#process.close();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

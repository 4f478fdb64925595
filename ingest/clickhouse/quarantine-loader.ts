import type { ClickHouseClient } from '@clickhouse/client';
import type { Clock, Timer } from '../../core/kernel/clock.ts';
import { refusedChannel } from '../consume/archiver.ts';
import type { Quarantine } from '../consume/quarantine.ts';
import { rowsStalledChannel } from './row-loader.ts';

export interface QuarantineLoaderOptions {
  readonly quarantine: Quarantine;
  readonly client: ClickHouseClient;
  readonly clock: Clock;
  /** Resolves when the tables are there. */
  readonly prepare: () => Promise<void>;
}

const RETRY_MS = 1_000;

/** Keeps the table `quarantine` equal to the folder. Entries are few and replace themselves, so all are sent each time. */
export class QuarantineLoader {
  readonly #options: QuarantineLoaderOptions;
  #wanted = false;
  #running: Promise<void> | null = null;
  #closed = false;
  #retry: { timer: Timer; resolve: () => void } | null = null;
  readonly #onRefused = (): void => this.#load();

  constructor(options: QuarantineLoaderOptions) {
    this.#options = options;
  }

  start(): void {
    refusedChannel.subscribe(this.#onRefused);
    this.#load();
  }

  async close(): Promise<void> {
    this.#closed = true;
    refusedChannel.unsubscribe(this.#onRefused);
    this.#retry?.timer.cancel();
    this.#retry?.resolve();
    await this.#running;
  }

  #load(): void {
    this.#wanted = true;
    this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    for (let attempt = 1; this.#wanted && !this.#closed; attempt++) {
      this.#wanted = false;
      try {
        await this.#send();
        attempt = 0;
      } catch (error) {
        this.#wanted = true;
        rowsStalledChannel.publish({ attempt, cause: error });
        await new Promise<void>((resolve) => {
          this.#retry = { resolve, timer: this.#options.clock.after(RETRY_MS, resolve) };
        });
      }
    }
    this.#running = null;
  }

  async #send(): Promise<void> {
    const { quarantine, client, prepare } = this.#options;
    await prepare();
    const entries = await quarantine.list();
    const values = entries.map(({ id, timeMs, writer, first, reason }) => {
      const writerId = writer === '' ? '0' : BigInt(`0x${writer}`).toString();
      return {
        id,
        time: new Date(timeMs).toISOString().slice(0, -1).replace('T', ' '),
        writer_id: writerId,
        first: String(first),
        reason,
      };
    });
    if (values.length > 0) {
      await client.insert({ table: 'quarantine', values, format: 'JSONEachRow' });
    }
  }
}

import type { ClickHouseClient } from '@clickhouse/client';
import type { Clock, Timer } from '../../core/kernel/clock.ts';
import type { Bus, BusMessage, Tail } from '../../core/bus/bus.ts';
import { TOPICS } from '../../core/bus/topics.ts';
import { insertNative } from './connect.ts';
import { rowsStalledChannel } from './row-loader.ts';
import { checkpointBlock } from './rows/checkpoint-block.ts';

export const CHECKPOINT_CONSUMER = 'ingest-checkpoints';
const RETRY_MS = 1_000;

/** Puts published checkpoints into ClickHouse. Rows of one offset replace each other, so repeating is harmless. */
export class CheckpointLoader {
  readonly #bus: Bus;
  readonly #client: ClickHouseClient;
  readonly #clock: Clock;
  readonly #prepare: () => Promise<void>;
  #tail: Tail | null = null;
  #closed = false;
  #retry: { timer: Timer; resolve: () => void } | null = null;

  /** `prepare` resolves when the tables are there. */
  constructor(bus: Bus, client: ClickHouseClient, clock: Clock, prepare: () => Promise<void>) {
    this.#prepare = prepare;
    this.#bus = bus;
    this.#client = client;
    this.#clock = clock;
  }

  async start(): Promise<void> {
    const { name } = TOPICS.checkpoints;
    const [offset] = await this.#bus.committed(CHECKPOINT_CONSUMER, name);
    this.#tail = this.#bus.tail(name, [{ partition: 0, offset: offset ?? 'start' }], (messages) =>
      this.#load(messages),
    );
    this.#tail.done.catch(() => undefined); // The bus is gone: the archiver, which cannot do without, reports it.
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#retry?.timer.cancel();
    this.#retry?.resolve();
    await this.#tail?.close();
  }

  async #load(messages: readonly BusMessage[]): Promise<void> {
    const block = checkpointBlock(messages);
    const last = messages.at(-1);
    if (last === undefined) {
      return;
    }
    for (let attempt = 1; !this.#closed; attempt++) {
      try {
        if (block !== null) {
          await this.#prepare();
          await insertNative(this.#client, 'checkpoints', block, `checkpoints/${messages[0]?.offset}-${last.offset}`);
        }
        // If we die here, the same rows come again and replace themselves.
        await this.#bus.commit(CHECKPOINT_CONSUMER, TOPICS.checkpoints.name, [
          { partition: 0, offset: last.offset + 1 },
        ]);
        return;
      } catch (error) {
        rowsStalledChannel.publish({ attempt, cause: error });
        await new Promise<void>((resolve) => {
          this.#retry = { resolve, timer: this.#clock.after(RETRY_MS, resolve) };
        });
      }
    }
  }
}

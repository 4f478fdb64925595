import { GatewayError } from '../../kernel/errors.ts';
import type { BusMessage, Tail, TailFrom } from '../bus.ts';
import type { FileBusLink } from './file-bus-link.ts';
import { readRecord } from './segment-format.ts';
import { BodyReader, BodyWriter, POSITION_END, POSITION_START } from './wire.ts';

/** Values below this are copied out of their chunk: a receiver that keeps a small one must not keep a megabyte. */
const COPY_BELOW_BYTES = 16 * 1024;

/**
 * The client's half of a tail.
 *
 * Invariants: at most one `onMessages` runs; `#next` of a partition is the offset after the last record that was queued,
 * so a new connection goes on exactly there; credit goes back only when a chunk was consumed.
 * Limit: a tail from `end` whose first connection is lost before the answer starts at the end as of the next connection.
 */
export class FileBusClientTail implements Tail {
  readonly done: Promise<void>;
  readonly #link: FileBusLink;
  readonly #topic: string;
  readonly #from: readonly TailFrom[] | 'start' | 'end';
  readonly #onMessages: (messages: readonly BusMessage[]) => Promise<void> | void;
  #next: Map<number, number> | null = null;
  #queue: { readonly id: number; readonly messages: BusMessage[] }[] = [];
  #id = 0;
  #running = false;
  #closing = false;
  #failure: unknown = null;
  #settle: { resolve: () => void; reject: (error: unknown) => void };

  constructor(
    link: FileBusLink,
    topic: string,
    from: readonly TailFrom[] | 'start' | 'end',
    onMessages: (messages: readonly BusMessage[]) => Promise<void> | void,
  ) {
    this.#link = link;
    this.#topic = topic;
    this.#from = from;
    this.#onMessages = onMessages;
    let settle: { resolve: () => void; reject: (error: unknown) => void } | null = null;
    this.done = new Promise((resolve, reject) => {
      settle = { resolve, reject };
    });
    this.#settle = settle as unknown as { resolve: () => void; reject: (error: unknown) => void };
    // An owner that never looks at `done` must not end the process by an unhandled rejection.
    this.done.catch(() => undefined);
  }

  /** A connection is there: ask for what comes next. */
  open(): void {
    if (this.#closing) {
      return;
    }
    const { id, opened } = this.#link.openTail([this.#request()], {
      onOpened: (answer) => this.#onOpened(answer),
      onData: (partition, records) => this.#onData(id, partition, records),
      onError: (error) => this.fail(error),
    });
    this.#id = id;
    opened.catch((error: unknown) => {
      // A lost connection is not an end: `open` is called again. Anything else is the server's last word.
      if (!(error instanceof GatewayError && error.code === 'bus_unavailable')) {
        this.fail(error);
      }
    });
  }

  lost(): void {
    this.#id = 0;
  }

  fail(error: unknown): void {
    if (!this.#closing) {
      this.#closing = true;
      this.#failure = error;
      this.#queue = [];
      this.#link.closeTail(this.#id);
      this.#finishIfIdle();
    }
  }

  async close(): Promise<void> {
    if (!this.#closing) {
      this.#closing = true;
      this.#queue = [];
      this.#link.closeTail(this.#id);
      this.#finishIfIdle();
    }
    await this.done.catch(() => undefined);
  }

  #request(): Buffer {
    const body = new BodyWriter();
    body.text(this.#topic);
    if (this.#next !== null) {
      body.u8(2);
      body.positions([...this.#next].map(([partition, offset]) => ({ partition, offset })));
    } else if (typeof this.#from === 'string') {
      body.u8(this.#from === 'start' ? 0 : 1);
      body.positions([]);
    } else {
      body.u8(2);
      body.positions(this.#from.map(({ partition, offset }) => ({ partition, offset: toWire(offset) })));
    }
    return body.take();
  }

  #onOpened(answer: Buffer): void {
    if (this.#next === null) {
      this.#next = new Map();
      for (const { partition, offset } of new BodyReader(answer).positions()) {
        this.#next.set(partition, offset);
      }
    }
  }

  #onData(id: number, partition: number, records: Buffer): void {
    if (this.#closing || id !== this.#id) {
      return;
    }
    const messages: BusMessage[] = [];
    let next = this.#next?.get(partition);
    for (let at = 0; at < records.length;) {
      const record = readRecord(records, at);
      if (record === null || next === undefined || record.offset < next) {
        this.fail(new GatewayError('bus_damaged', `${this.#topic}/${partition} near offset ${next ?? 'unknown'}`));
        return;
      }
      const { offset, timestampMs } = record;
      const small = record.value.length < COPY_BELOW_BYTES;
      const key = Buffer.from(record.key);
      const value = small ? Buffer.from(record.value) : record.value;
      messages.push({ topic: this.#topic, partition, offset, key, value, timestampMs });
      next = offset + 1;
      at += record.size;
    }
    if (next !== undefined) {
      this.#next?.set(partition, next);
    }
    this.#queue.push({ id, messages });
    if (!this.#running) {
      this.#running = true;
      this.#run().then(
        () => this.#stopped(),
        (error: unknown) => {
          this.#running = false;
          this.fail(error);
          this.#finishIfIdle();
        },
      );
    }
  }

  async #run(): Promise<void> {
    for (let chunk = this.#queue.shift(); chunk !== undefined && !this.#closing; chunk = this.#queue.shift()) {
      await this.#onMessages(chunk.messages);
      this.#link.grantCredit(chunk.id, 1);
    }
  }

  #stopped(): void {
    this.#running = false;
    this.#finishIfIdle();
  }

  #finishIfIdle(): void {
    if (!this.#closing || this.#running) {
      return;
    }
    if (this.#failure === null) {
      this.#settle.resolve();
    } else {
      this.#settle.reject(this.#failure);
    }
  }
}

function toWire(offset: number | 'start' | 'end'): number {
  return offset === 'start' ? POSITION_START : offset === 'end' ? POSITION_END : offset;
}

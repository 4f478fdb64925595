import type { Clock } from '../../kernel/clock.ts';
import { GatewayError } from '../../kernel/errors.ts';
import { LIMITS } from '../../kernel/limits.ts';
import type { Acks, Bus, BusMessage, BusPosition, Tail, TailFrom, TopicSettings } from '../bus.ts';
import { checkBusName, checkMessageSizes } from '../topic-settings.ts';
import { FileBusLink } from './file-bus-link.ts';
import { FileBusClientTail } from './file-bus-client-tail.ts';
import { BodyReader, BodyWriter, FRAME } from './wire.ts';

export interface FileBusOptions {
  readonly socketPath: string;
  readonly clock: Clock;
  /** How long requests wait for the first connection. Default `busConnectWaitMs`. */
  readonly connectWaitMs?: number;
}

/**
 * The client of the file bus process: a `Bus` over its Unix socket, reconnecting by itself.
 *
 * Before the first connection requests wait for it, `connectWaitMs` at most. After that a lost connection rejects every
 * pending request with `bus_unavailable`, and new ones at once, until it is back. Tails go on from their next offset.
 * Limit: while it reconnects nothing here keeps the process alive.
 */
export class FileBus implements Bus {
  readonly #link: FileBusLink;
  readonly #tails = new Set<FileBusClientTail>();

  constructor(options: FileBusOptions) {
    this.#link = new FileBusLink({
      socketPath: options.socketPath,
      clock: options.clock,
      connectWaitMs: options.connectWaitMs ?? LIMITS.busConnectWaitMs,
      onOpen: () => this.#eachTail((tail) => tail.open()),
      onLost: () => this.#eachTail((tail) => tail.lost()),
    });
  }

  async publish(
    topic: string,
    key: Buffer,
    values: readonly Buffer[],
    _options?: { readonly acks?: Acks },
  ): Promise<BusPosition[]> {
    checkMessageSizes(topic, key, values);
    const head = new BodyWriter();
    head.text(topic);
    head.bytes16(key);
    head.u32(values.length);
    const parts: Buffer[] = [head.take()];
    for (const value of values) {
      const length = Buffer.allocUnsafe(4);
      length.writeUInt32BE(value.length);
      parts.push(length, value);
    }
    const answer = new BodyReader(await this.#link.request(FRAME.publish, parts));
    const partition = answer.u32();
    const first = answer.u64();
    return values.map((_, i) => ({ partition, offset: first + i }));
  }

  tail(
    topic: string,
    from: readonly TailFrom[] | 'start' | 'end',
    onMessages: (messages: readonly BusMessage[]) => Promise<void> | void,
  ): Tail {
    const tail = new FileBusClientTail(this.#link, topic, from, onMessages);
    this.#tails.add(tail);
    const forget = (): void => void this.#tails.delete(tail);
    tail.done.then(forget, forget);
    if (this.#link.isOpen) {
      tail.open();
    } else if (this.#link.isClosed) {
      tail.fail(new GatewayError('bus_unavailable', 'this client is closed'));
    }
    return tail;
  }

  async endOffsets(topic: string): Promise<number[]> {
    const answer = await this.#ask(FRAME.ends, [topic]);
    return Array.from({ length: answer.count(8) }, () => answer.u64());
  }

  async committed(consumer: string, topic: string): Promise<(number | undefined)[]> {
    checkBusName(consumer);
    const answer = await this.#ask(FRAME.committed, [consumer, topic]);
    return Array.from({ length: answer.count(9) }, () => {
      const known = answer.u8() === 1;
      const offset = answer.u64();
      return known ? offset : undefined;
    });
  }

  async commit(consumer: string, topic: string, offsets: readonly BusPosition[]): Promise<void> {
    checkBusName(consumer);
    const body = new BodyWriter();
    body.text(consumer);
    body.text(topic);
    body.positions(offsets);
    await this.#link.request(FRAME.commit, [body.take()]);
  }

  async ensure(settings: TopicSettings): Promise<void> {
    checkBusName(settings.name);
    const body = new BodyWriter();
    body.settings(settings);
    await this.#link.request(FRAME.ensure, [body.take()]);
  }

  async describe(topic: string): Promise<TopicSettings | undefined> {
    const answer = await this.#ask(FRAME.describe, [topic]);
    return answer.u8() === 1 ? answer.settings() : undefined;
  }

  async health(): Promise<{ readonly ok: boolean; readonly replicated: boolean; readonly detail: string }> {
    try {
      const answer = await this.#ask(FRAME.health, []);
      return { ok: answer.u8() === 1, replicated: answer.u8() === 1, detail: answer.text() };
    } catch (error) {
      const detail = error instanceof GatewayError ? error.detail : 'the file bus does not answer';
      return { ok: false, replicated: false, detail };
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#tails].map((tail) => tail.close()));
    await this.#link.close();
  }

  async #ask(type: number, texts: readonly string[]): Promise<BodyReader> {
    const body = new BodyWriter();
    for (const text of texts) {
      body.text(text);
    }
    return new BodyReader(await this.#link.request(type, [body.take()]));
  }

  #eachTail(what: (tail: FileBusClientTail) => void): void {
    for (const tail of this.#tails) {
      what(tail);
    }
  }
}

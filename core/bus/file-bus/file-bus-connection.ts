import type { Socket } from 'node:net';
import { GatewayError } from '../../kernel/errors.ts';
import { LIMITS } from '../../kernel/limits.ts';
import type { TailFrom } from '../bus.ts';
import { partitionOf } from '../partition.ts';
import { checkMessageSizes } from '../topic-settings.ts';
import type { FileBusStore } from './file-bus-store.ts';
import { FileBusTail } from './file-bus-tail.ts';
import {
  BodyReader,
  BodyWriter,
  encodeError,
  FRAME,
  frameHeader,
  FrameReader,
  HELLO,
  POSITION_END,
  POSITION_START,
} from './wire.ts';

/** Unread answers of one client; past it we stop reading its requests. */
const UNSENT_BYTES_MAX = 8 * 1024 * 1024;
const TAILS_MAX = 1024;
const HANG_UP_MS = 1_000;

/**
 * One client of the file bus.
 *
 * Memory: at most `busPendingBytesMax` of publishes that wait for their flush, then the socket is paused until half of
 * it is done; `busTailChunksInFlightMax` chunks a tail. A paused socket delays the credits of tails, never the publishes
 * that it waits for, so a pause always ends.
 */
export class FileBusConnection {
  readonly done: Promise<void>;
  readonly #store: FileBusStore;
  readonly #socket: Socket;
  readonly #tails = new Map<number, FileBusTail>();
  #greeted = false;
  #pendingBytes = 0;
  #inFlight = 0;
  #onIdle: (() => void) | null = null;

  constructor(store: FileBusStore, socket: Socket) {
    this.#store = store;
    this.#socket = socket;
    const reader = new FrameReader((type, id, body) => this.#onFrame(type, id, body));
    socket.on('data', (chunk: Buffer) => {
      try {
        reader.push(chunk);
      } catch {
        // A peer that breaks the grammar: nothing after this point can be framed.
        socket.destroy();
      }
    });
    socket.on('drain', () => this.#resumeIfPossible());
    // Every error is followed by `close`, which ends the connection.
    socket.on('error', () => undefined);
    this.done = new Promise((resolve) => {
      socket.on('close', () => {
        const closing = [...this.#tails.values()].map((tail) => tail.close());
        this.#tails.clear();
        Promise.all(closing).then(
          () => resolve(),
          () => resolve(),
        );
      });
    });
  }

  /** Answers what is in flight, then hangs up. */
  async close(): Promise<void> {
    this.#socket.pause();
    if (this.#inFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    this.#socket.destroySoon();
    // A client that does not read must not keep us: what it did not take it finds by reading again.
    this.#socket.setTimeout(HANG_UP_MS, () => this.#socket.destroy());
    await this.done;
  }

  #onFrame(type: number, id: number, body: Buffer): void {
    if (!this.#greeted) {
      if (type !== FRAME.hello || !body.equals(HELLO)) {
        throw new GatewayError('bus_unavailable', 'a peer that speaks another protocol');
      }
      this.#greeted = true;
      this.#answer(id, Buffer.alloc(0));
      return;
    }
    if (type === FRAME.credit) {
      this.#tails.get(id)?.addCredit(new BodyReader(body).u8());
      return;
    }
    this.#inFlight += 1;
    this.#pendingBytes += body.length;
    this.#handle(type, id, new BodyReader(body))
      .then(
        (answer) => this.#answer(id, answer),
        (error: unknown) => this.#send(FRAME.error, id, [encodeError(error)]),
      )
      .finally(() => this.#settled(body.length));
    if (this.#pendingBytes > LIMITS.busPendingBytesMax / 4 || this.#socket.writableLength > UNSENT_BYTES_MAX) {
      this.#socket.pause();
    }
  }

  #settled(bytes: number): void {
    this.#inFlight -= 1;
    this.#pendingBytes -= bytes;
    this.#resumeIfPossible();
    if (this.#inFlight === 0) {
      this.#onIdle?.();
    }
  }

  #resumeIfPossible(): void {
    const room = this.#pendingBytes <= LIMITS.busPendingBytesMax / 8;
    if (room && this.#socket.writableLength <= UNSENT_BYTES_MAX && this.#onIdle === null && this.#socket.isPaused()) {
      this.#socket.resume();
    }
  }

  async #handle(type: number, id: number, body: BodyReader): Promise<Buffer> {
    switch (type) {
      case FRAME.publish:
        return this.#publish(body);
      case FRAME.tail:
        return this.#tail(id, body);
      case FRAME.untail:
        return this.#untail(body);
      case FRAME.ends:
        return numbers(this.#store.topic(last(body, body.text())).partitions.map((p) => p.end));
      case FRAME.committed:
        return this.#committed(body);
      case FRAME.commit: {
        const consumer = body.text();
        const topic = body.text();
        await this.#store.commit(consumer, topic, last(body, body.positions()));
        return Buffer.alloc(0);
      }
      case FRAME.ensure:
        await this.#store.ensure(last(body, body.settings()));
        return Buffer.alloc(0);
      case FRAME.describe:
        return this.#describe(last(body, body.text()));
      case FRAME.health:
        return this.#health();
      default:
        throw new GatewayError('bus_misconfigured', 'a request that this version does not know');
    }
  }

  async #publish(body: BodyReader): Promise<Buffer> {
    const name = body.text();
    const key = body.bytes16();
    const values = Array.from({ length: body.count(4) }, () => body.bytes(body.u32()));
    body.end();
    const { settings, partitions } = this.#store.topic(name);
    checkMessageSizes(name, key, values);
    const partition = partitionOf(key, settings.partitions);
    const log = partitions[partition];
    if (log === undefined) {
      throw new GatewayError('bus_misconfigured', `${name} has no partition ${partition}`);
    }
    const offset = await log.append(key, values);
    const out = new BodyWriter();
    out.u32(partition);
    out.u64(offset);
    return out.take();
  }

  async #tail(id: number, body: BodyReader): Promise<Buffer> {
    const name = body.text();
    const mode = body.u8();
    const listed = last(body, body.positions());
    const { partitions } = this.#store.topic(name);
    if (this.#tails.has(id) || this.#tails.size >= TAILS_MAX) {
      throw new GatewayError('bus_misconfigured', `one connection has at most ${TAILS_MAX} tails`);
    }
    const wanted: TailFrom[] =
      mode === 2
        ? listed.map(({ partition, offset }) => ({ partition, offset: positionOf(offset) }))
        : partitions.map((_, partition) => ({ partition, offset: mode === 0 ? 'start' : 'end' }));
    const tail = new FileBusTail(name, partitions, wanted, {
      data: (partition, records) => this.#sendData(id, partition, records),
      failed: (error) => {
        this.#tails.delete(id);
        this.#send(FRAME.error, id, [encodeError(error)]);
      },
    });
    this.#tails.set(id, tail);
    // The answer is queued before any data: the tail starts in a later turn.
    setImmediate(() => tail.addCredit(LIMITS.busTailChunksInFlightMax));
    const out = new BodyWriter();
    out.positions(tail.positions);
    return out.take();
  }

  async #untail(body: BodyReader): Promise<Buffer> {
    const id = last(body, body.u32());
    const tail = this.#tails.get(id);
    this.#tails.delete(id);
    await tail?.close();
    return Buffer.alloc(0);
  }

  #committed(body: BodyReader): Buffer {
    const consumer = body.text();
    const offsets = this.#store.committed(consumer, last(body, body.text()));
    const out = new BodyWriter();
    out.u32(offsets.length);
    for (const offset of offsets) {
      out.u8(offset === undefined ? 0 : 1);
      out.u64(offset ?? 0);
    }
    return out.take();
  }

  #describe(name: string): Buffer {
    const settings = this.#store.describe(name);
    const out = new BodyWriter();
    out.u8(settings === undefined ? 0 : 1);
    if (settings !== undefined) {
      out.settings(settings);
    }
    return out.take();
  }

  #health(): Buffer {
    const { failure } = this.#store;
    const out = new BodyWriter();
    out.u8(failure === null ? 1 : 0);
    out.u8(0);
    out.text(failure?.detail ?? 'file bus');
    return out.take();
  }

  #sendData(id: number, partition: number, records: Buffer): void {
    const prefix = Buffer.allocUnsafe(4);
    prefix.writeUInt32BE(partition);
    this.#send(FRAME.data, id, [prefix, records]);
  }

  #answer(id: number, body: Buffer): void {
    this.#send(FRAME.ok, id, [body]);
  }

  #send(type: number, id: number, parts: readonly Buffer[]): void {
    if (this.#socket.destroyed) {
      return;
    }
    const size = parts.reduce((sum, part) => sum + part.length, 0);
    this.#socket.cork();
    this.#socket.write(frameHeader(type, id, size));
    for (const part of parts) {
      if (part.length > 0) {
        this.#socket.write(part);
      }
    }
    this.#socket.uncork();
  }
}

function positionOf(wire: number): number | 'start' | 'end' {
  return wire === POSITION_START ? 'start' : wire === POSITION_END ? 'end' : wire;
}

/** `value`, once nothing follows it in the body. */
function last<T>(body: BodyReader, value: T): T {
  body.end();
  return value;
}

function numbers(values: readonly number[]): Buffer {
  const out = new BodyWriter();
  out.u32(values.length);
  for (const value of values) {
    out.u64(value);
  }
  return out.take();
}

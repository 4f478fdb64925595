import { readU64, writeU64 } from '../../kernel/bytes.ts';
import { type ErrorCode, GatewayError } from '../../kernel/errors.ts';
import { LIMITS } from '../../kernel/limits.ts';
import type { BusPosition, TopicSettings } from '../bus.ts';

/**
 * The protocol of the file bus, over a Unix socket of mode 0600. Integers are big-endian, `text` = length u16 || UTF-8.
 *
 *     frame    = length u32 || type u8 || id u32 || body          length = bytes after the length field
 *     hello    = "CFBP" || version u8 = 1                         -> ok; must be first
 *     publish  = topic text || key text || count u32 || (length u32 || value) x count
 *                                                                 -> ok: partition u32 || first offset u64
 *     tail     = topic text || mode u8 (0 start, 1 end, 2 list) || count u32 || (partition u32 || position u64) x count
 *                position = offset, or 2^53 - 1 for the end, 2^53 - 2 for the start
 *                -> ok: count u32 || (partition u32 || next offset u64) x count; then `data` frames with the same id
 *     credit   = chunks u8                                        no answer; the tail may send so many more data frames
 *     untail   = (empty)                                          -> ok under its own id; body: id u32 of the tail
 *     ends     = topic text                                       -> ok: count u32 || offset u64 x count
 *     committed = consumer text || topic text                     -> ok: count u32 || (known u8 || offset u64) x count
 *     commit   = consumer text || topic text || count u32 || (partition u32 || offset u64) x count        -> ok
 *     ensure   = settings                                         -> ok
 *     describe = topic text                                       -> ok: known u8 [|| settings]
 *     health   = (empty)                                          -> ok: ok u8 || replicated u8 || detail text
 *     settings = name text || partitions u32 || cleanup u8 (0 delete, 1 compact) || retention ms u64
 *                || replication factor u32 || min in sync u32
 *     error    = code u8 || detail text                           answers any request, and ends a tail
 *     data     = partition u32 || record*                         records as in `segment-format.ts`
 *
 * A frame that breaks the grammar ends the connection. Answers may come in any order.
 */
export const FRAME = {
  hello: 1,
  publish: 2,
  tail: 3,
  credit: 4,
  untail: 5,
  ends: 6,
  committed: 7,
  commit: 8,
  ensure: 9,
  describe: 10,
  health: 11,
  ok: 64,
  error: 65,
  data: 66,
} as const;

export const HELLO = Buffer.from('CFBP\x01', 'latin1');
export const FRAME_HEADER_SIZE = 9;
/** Room for a publish of the largest size with its lengths, topic and key. */
export const FRAME_BYTES_MAX = LIMITS.busPublishBytesMax + 4 * LIMITS.busPublishValuesMax + 4096;
export const POSITION_END = Number.MAX_SAFE_INTEGER;
export const POSITION_START = Number.MAX_SAFE_INTEGER - 1;

const ERROR_CODE_BYTES = { bus_unavailable: 1, bus_misconfigured: 2, bus_damaged: 3 } as const;

export type FrameSink = (type: number, id: number, body: Buffer) => void;

/** Header of a frame whose body of `bodySize` bytes follows. */
export function frameHeader(type: number, id: number, bodySize: number): Buffer {
  const header = Buffer.allocUnsafe(FRAME_HEADER_SIZE);
  header.writeUInt32BE(FRAME_HEADER_SIZE - 4 + bodySize, 0);
  header.writeUInt8(type, 4);
  header.writeUInt32BE(id, 5);
  return header;
}

export function encodeError(error: unknown): Buffer {
  const known = error instanceof GatewayError && error.code in ERROR_CODE_BYTES;
  const code: ErrorCode = known ? error.code : 'bus_unavailable';
  const detail = known ? error.detail : 'the bus process failed';
  const out = new BodyWriter();
  out.u8(ERROR_CODE_BYTES[code as keyof typeof ERROR_CODE_BYTES]);
  out.text(detail);
  return out.take();
}

export function decodeError(body: Buffer): GatewayError {
  const reader = new BodyReader(body);
  const byte = reader.u8();
  const detail = reader.text();
  const entry = Object.entries(ERROR_CODE_BYTES).find(([, value]) => value === byte);
  return new GatewayError((entry?.[0] ?? 'bus_unavailable') as ErrorCode, detail);
}

/**
 * Cuts a byte stream into frames. A large body is gathered into one buffer of its announced size; bodies that lie whole in
 * one chunk are views over it.
 *
 * Memory: one frame of at most `FRAME_BYTES_MAX`. Throws `bus_unavailable` on a length out of bounds.
 */
export class FrameReader {
  readonly #sink: FrameSink;
  readonly #header = Buffer.allocUnsafe(FRAME_HEADER_SIZE);
  #headerSize = 0;
  #body: Buffer | null = null;
  #bodySize = 0;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#body !== null) {
        at += this.#fillBody(chunk, at);
        continue;
      }
      at += this.#fillHeader(chunk, at);
      if (this.#headerSize === FRAME_HEADER_SIZE) {
        const size = bodySizeOf(this.#header);
        if (chunk.length - at >= size) {
          this.#emit(chunk.subarray(at, at + size));
          at += size;
        } else {
          this.#body = Buffer.allocUnsafe(size);
        }
      }
    }
  }

  #fillHeader(chunk: Buffer, at: number): number {
    const taken = chunk.copy(this.#header, this.#headerSize, at, at + FRAME_HEADER_SIZE - this.#headerSize);
    this.#headerSize += taken;
    return taken;
  }

  #fillBody(chunk: Buffer, at: number): number {
    const body = this.#body as Buffer;
    const taken = chunk.copy(body, this.#bodySize, at);
    this.#bodySize += taken;
    if (this.#bodySize === body.length) {
      this.#body = null;
      this.#bodySize = 0;
      this.#emit(body);
    }
    return taken;
  }

  #emit(body: Buffer): void {
    this.#headerSize = 0;
    this.#sink(this.#header.readUInt8(4), this.#header.readUInt32BE(5), body);
  }
}

function bodySizeOf(header: Buffer): number {
  const length = header.readUInt32BE(0);
  if (length < FRAME_HEADER_SIZE - 4 || length > FRAME_BYTES_MAX) {
    throw new GatewayError('bus_unavailable', 'a frame with an impossible length');
  }
  return length - (FRAME_HEADER_SIZE - 4);
}

/** Builds the body of a frame. */
export class BodyWriter {
  readonly #parts: Buffer[] = [];

  u8(value: number): void {
    this.#parts.push(Buffer.from([value]));
  }

  u32(value: number): void {
    const out = Buffer.allocUnsafe(4);
    out.writeUInt32BE(value);
    this.#parts.push(out);
  }

  u64(value: number): void {
    const out = Buffer.allocUnsafe(8);
    writeU64(out, value, 0);
    this.#parts.push(out);
  }

  text(value: string): void {
    this.bytes16(Buffer.from(value));
  }

  bytes16(value: Buffer): void {
    const out = Buffer.allocUnsafe(2);
    out.writeUInt16BE(value.length);
    this.#parts.push(out, value);
  }

  positions(positions: readonly BusPosition[]): void {
    this.u32(positions.length);
    for (const { partition, offset } of positions) {
      this.u32(partition);
      this.u64(offset);
    }
  }

  settings(settings: TopicSettings): void {
    this.text(settings.name);
    this.u32(settings.partitions);
    this.u8(settings.cleanup === 'compact' ? 1 : 0);
    this.u64(settings.retentionMs);
    this.u32(settings.replicationFactor);
    this.u32(settings.minInSyncReplicas);
  }

  take(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

/** Reads the body of a frame; throws `bus_unavailable` when it is shorter than its grammar says. */
export class BodyReader {
  readonly #source: Buffer;
  #at = 0;

  constructor(source: Buffer) {
    this.#source = source;
  }

  u8(): number {
    return this.#source.readUInt8(this.#skip(1));
  }

  u32(): number {
    return this.#source.readUInt32BE(this.#skip(4));
  }

  u64(): number {
    const value = readU64(this.#source, this.#skip(8));
    if (value < 0) {
      throw new GatewayError('bus_unavailable', 'a frame with an impossible number');
    }
    return value;
  }

  text(): string {
    return this.bytes16().toString();
  }

  bytes16(): Buffer {
    return this.bytes(this.#source.readUInt16BE(this.#skip(2)));
  }

  bytes(size: number): Buffer {
    const start = this.#skip(size);
    return this.#source.subarray(start, start + size);
  }

  /** A count of items that take at least `itemBytes` each, so that a lie cannot make us allocate. */
  count(itemBytes: number): number {
    const count = this.u32();
    if (count * itemBytes > this.#source.length - this.#at) {
      throw new GatewayError('bus_unavailable', 'a frame that ends early');
    }
    return count;
  }

  positions(): BusPosition[] {
    return Array.from({ length: this.count(12) }, () => ({ partition: this.u32(), offset: this.u64() }));
  }

  settings(): TopicSettings {
    return {
      name: this.text(),
      partitions: this.u32(),
      cleanup: this.u8() === 1 ? 'compact' : 'delete',
      retentionMs: this.u64(),
      replicationFactor: this.u32(),
      minInSyncReplicas: this.u32(),
    };
  }

  end(): void {
    if (this.#at !== this.#source.length) {
      throw new GatewayError('bus_unavailable', 'a frame with bytes after its end');
    }
  }

  #skip(size: number): number {
    const at = this.#at;
    if (this.#source.length - at < size) {
      throw new GatewayError('bus_unavailable', 'a frame that ends early');
    }
    this.#at += size;
    return at;
  }
}

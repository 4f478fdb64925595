import { readU64 } from '../kernel/bytes.ts';
import { GatewayError } from '../kernel/errors.ts';

/** The error of every decoder here. `what` names a field or a rule, never content. */
export function malformed(what: string): GatewayError {
  return new GatewayError('evidence_malformed', what);
}

/**
 * Reads fields in order and refuses whatever is not exactly there: short input, values over their limit, bytes left over.
 *
 * Results are views over the source, not copies. Invariant: 0 <= `#offset` <= source.length.
 */
export class ByteReader {
  readonly #source: Buffer;
  readonly #format: string;
  #offset = 0;

  /** `format` names the format in errors. */
  constructor(source: Buffer, format: string) {
    this.#source = source;
    this.#format = format;
  }

  get offset(): number {
    return this.#offset;
  }

  get remaining(): number {
    return this.#source.length - this.#offset;
  }

  u8(field: string): number {
    return this.#source.readUInt8(this.#take(1, field));
  }

  u16(field: string): number {
    return this.#source.readUInt16BE(this.#take(2, field));
  }

  u32(field: string): number {
    return this.#source.readUInt32BE(this.#take(4, field));
  }

  u64(field: string): number {
    const value = readU64(this.#source, this.#take(8, field));
    if (value < 0) {
      throw this.refuse(field);
    }
    return value;
  }

  big64(field: string): bigint {
    return this.#source.readBigUInt64BE(this.#take(8, field));
  }

  bytes(size: number, field: string): Buffer {
    const start = this.#take(size, field);
    return this.#source.subarray(start, start + size);
  }

  /** ASCII magic and, when given, the version byte after it. */
  magic(magic: string, version: number): void {
    if (this.bytes(magic.length, 'magic').toString('latin1') !== magic) {
      throw this.refuse('magic');
    }
    if (this.u8('version') !== version) {
      throw this.refuse('version');
    }
  }

  zeros(size: number, field: string): void {
    if (this.bytes(size, field).some((byte) => byte !== 0)) {
      throw this.refuse(field);
    }
  }

  /** A value that must be one of `allowed`. */
  oneOf<T extends number>(value: number, allowed: readonly T[], field: string): T {
    const found = allowed.find((each) => each === value);
    if (found === undefined) {
      throw this.refuse(field);
    }
    return found;
  }

  end(): void {
    if (this.#offset !== this.#source.length) {
      throw this.refuse('trailing bytes');
    }
  }

  refuse(field: string): GatewayError {
    return malformed(`${this.#format}: ${field}`);
  }

  #take(size: number, field: string): number {
    const start = this.#offset;
    if (size > this.#source.length - start) {
      throw this.refuse(`${field} is cut off`);
    }
    this.#offset = start + size;
    return start;
  }
}

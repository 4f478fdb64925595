import { assert } from './assert.ts';

export const ZERO16: Buffer = Buffer.alloc(16);
export const ZERO32: Buffer = Buffer.alloc(32);

const TWO_32 = 0x1_0000_0000;

/** Writes a non-negative safe integer as u64 big-endian. Two 32-bit stores: no BigInt on hot paths. */
export function writeU64(target: Buffer, value: number, offset: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, 'u64 value must be a non-negative safe integer');
  target.writeUInt32BE(Math.floor(value / TWO_32), offset);
  target.writeUInt32BE(value % TWO_32, offset + 4);
}

/** Reads a u64 big-endian; -1 when it does not fit a safe integer, which no honest writer produces. */
export function readU64(source: Buffer, offset: number): number {
  const high = source.readUInt32BE(offset);
  if (high > 0x1f_ffff) {
    return -1;
  }
  return high * TWO_32 + source.readUInt32BE(offset + 4);
}

/** Bytes as a `Buffer` over the same memory: no copy. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

import { isUtf8 } from 'node:buffer';

/** A longer run in a text can hide anything (a picture, a document): it is taken out whole. */
export const BASE64_TOKEN_MAX = 4096;
/** The shortest text that can hold an identifier. */
const TEXT_MIN = 8;
const NOT_BASE64 = 0xff;

/** 6-bit values of both alphabets (RFC 4648 sections 4 and 5). */
const VALUES: Uint8Array = buildValues();

/** Looks at decoded text in `bytes` [start, end). Returns the kind found, or -1. */
export type TextProbe = (bytes: Uint8Array, start: number, end: number) => number;

/**
 * Decodes the token at each alignment that it can have and lets `probe` look at every stretch of text in the result.
 * Only a token with a joint (`/ + - _`) can carry base64 that begins in its middle.
 */
export function probeBase64(source: Uint8Array, start: number, end: number, scratch: Buffer, probe: TextProbe): number {
  const last = hasJoint(source, start, end) ? 3 : 0;
  for (let shift = 0; shift <= last; shift++) {
    const size = decode(source, start + shift, end, scratch);
    const kind = probeTexts(scratch, size, probe);
    if (kind >= 0) {
      return kind;
    }
  }
  return -1;
}

function hasJoint(source: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    const value = VALUES[source[i] as number] as number;
    if (value === 62 || value === 63) {
      return true;
    }
  }
  return false;
}

function decode(source: Uint8Array, start: number, end: number, target: Buffer): number {
  let size = 0;
  let bits = 0;
  let count = 0;
  for (let i = start; i < end; i++) {
    bits = ((bits << 6) | (VALUES[source[i] as number] as number)) & 0xff_ffff;
    count++;
    if (count === 4) {
      target[size] = bits >> 16;
      target[size + 1] = (bits >> 8) & 0xff;
      target[size + 2] = bits & 0xff;
      size += 3;
      count = 0;
    }
  }
  if (count >= 2) {
    bits <<= 6 * (4 - count);
    target[size++] = (bits >> 16) & 0xff;
    if (count === 3) {
      target[size++] = (bits >> 8) & 0xff;
    }
  }
  return size;
}

/** Text in any script is looked at whole; in binary, each printable stretch is. */
function probeTexts(bytes: Buffer, size: number, probe: TextProbe): number {
  let start = 0;
  let printable = 0;
  let longest = 0;
  for (let i = 0; i < size; i++) {
    printable = isPrintable(bytes[i] as number) ? printable + 1 : 0;
    longest = Math.max(longest, printable);
  }
  if (longest < TEXT_MIN) {
    return size >= TEXT_MIN && isUtf8(bytes.subarray(0, size)) ? probe(bytes, 0, size) : -1;
  }
  if (longest < size && isUtf8(bytes.subarray(0, size))) {
    return probe(bytes, 0, size);
  }
  for (let i = 0; i <= size; i++) {
    if (i < size && isPrintable(bytes[i] as number)) {
      continue;
    }
    if (i - start >= TEXT_MIN) {
      const kind = probe(bytes, start, i);
      if (kind >= 0) {
        return kind;
      }
    }
    start = i + 1;
  }
  return -1;
}

function isPrintable(byte: number): boolean {
  return (byte >= 0x20 && byte < 0x7f) || byte === 0x09 || byte === 0x0a || byte === 0x0d;
}

function buildValues(): Uint8Array {
  const table = new Uint8Array(256).fill(NOT_BASE64);
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
  Buffer.from(alphabet).forEach((byte, value) => {
    table[byte] = value;
  });
  for (const [character, value] of [
    ['+', 62],
    ['-', 62],
    ['/', 63],
    ['_', 63],
  ] as const) {
    table[character.charCodeAt(0)] = value;
  }
  return table;
}

import { DROPPED, foldCodePoint } from './code-points.ts';
import { CHAR_CLASS, DIGIT, LETTER, hexValue } from './char-class.ts';
import { entityAt } from './html-entities.ts';

/*
 * One layer of decoding. The result is ASCII only (see code-points.ts) and never longer than the source. Where a byte
 * came from is known by marks: a mark (decoded, source) says that from `decoded` on, bytes stand for themselves from
 * `source` on, up to the next mark. Each encoded unit has one mark at itself and one behind it, so a finding [s, e)
 * covers the source bytes [sourceOf(s), sourceOf(e)): the whole encoded run. What vanished belongs to the byte before.
 */

/** `\n \" \/ \\ \uXXXX \xXX`. */
export const DECODE_ESCAPES = 1;
/** `%2D`, also of UTF-8 sequences. */
export const DECODE_PERCENT = 2;
/** `&#45; &#x2d; &commat;`. */
export const DECODE_ENTITIES = 4;
/** `+` between word characters is a space (application/x-www-form-urlencoded). */
export const DECODE_PLUS = 8;
/** `""` is `"` (RFC 4180). */
export const DECODE_CSV_QUOTES = 16;

export const DECODE_NESTED: number = DECODE_ESCAPES | DECODE_PERCENT | DECODE_ENTITIES;

/** A decoded text with its marks, in order: decoded position, source position. */
export interface DecodedText {
  bytes: Uint8Array;
  size: number;
  marks: Int32Array;
  /** Numbers in `marks`, two for each mark. */
  marksSize: number;
}

const BACKSLASH = 0x5c;
const PERCENT = 0x25;
const AMPERSAND = 0x26;
const PLUS = 0x2b;
const QUOTE = 0x22;
const REPLACEMENT = 0xfffd;

/** For each set of modes, the bytes that are looked at; all others stand for themselves. */
const SPECIAL: readonly Uint8Array[] = Array.from({ length: 32 }, (_, modes) => buildSpecial(modes));

/** What `unitAt` found: its code point and where the next one begins. Shared scratch of a synchronous loop. */
let unitCodePoint = 0;
let unitNext = 0;

export function newDecodedText(size: number): DecodedText {
  return { bytes: new Uint8Array(size), size: 0, marks: new Int32Array(64), marksSize: 0 };
}

/** Decodes [start, end) of `source` into `target`, which must have room for `end - start` bytes. */
export function decodeLayer(source: Uint8Array, start: number, end: number, modes: number, target: DecodedText): void {
  const bytes = target.bytes;
  const special = SPECIAL[modes] as Uint8Array;
  let size = 0;
  let position = start;
  target.marksSize = 0;
  mark(target, 0, start);
  for (;;) {
    while (position < end && special[source[position] as number] === 0) {
      bytes[size++] = source[position++] as number;
    }
    if (position >= end) {
      break;
    }
    const byte = source[position] as number;
    unitAt(source, start, position, end, byte, modes);
    const folded = foldCodePoint(unitCodePoint);
    if (folded === DROPPED) {
      mark(target, size, unitNext);
    } else {
      bytes[size] = folded;
      mark(target, size, position);
      mark(target, ++size, unitNext);
    }
    position = unitNext;
  }
  target.size = size;
}

/** Where in the source the decoded byte `at` came from; for `size`, the end of the source. */
export function sourceOf(text: DecodedText, at: number): number {
  const marks = text.marks;
  let low = 0;
  let high = text.marksSize >> 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((marks[middle * 2] as number) <= at) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return (marks[low * 2 + 1] as number) + at - (marks[low * 2] as number);
}

function mark(text: DecodedText, decoded: number, source: number): void {
  const last = text.marksSize - 2;
  if (last >= 0 && text.marks[last] === decoded) {
    text.marks[last + 1] = source; // Nothing stands between the two: the later one holds.
    return;
  }
  if (text.marksSize + 2 > text.marks.length) {
    const marks = new Int32Array(text.marks.length * 2);
    marks.set(text.marks);
    text.marks = marks;
  }
  text.marks[text.marksSize] = decoded;
  text.marks[text.marksSize + 1] = source;
  text.marksSize += 2;
}

/** Length of the UTF-8 sequence at `at`, 1 when it is none. Sets `unitCodePoint`. */
function utf8At(source: Uint8Array, at: number, end: number): number {
  const lead = source[at] as number;
  const size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 0;
  if (size === 0 || at + size > end) {
    unitCodePoint = REPLACEMENT;
    return 1;
  }
  let codePoint = lead & (0x7f >> size);
  for (let i = 1; i < size; i++) {
    codePoint = (codePoint << 6) | ((source[at + i] as number) & 0x3f);
  }
  unitCodePoint = codePoint > 0x10ffff ? REPLACEMENT : codePoint;
  return size;
}

function unitAt(source: Uint8Array, start: number, at: number, end: number, byte: number, modes: number): void {
  unitCodePoint = byte;
  unitNext = at + 1;
  if (byte >= 0x80) {
    unitNext = at + utf8At(source, at, end);
  } else if (byte === BACKSLASH && (modes & DECODE_ESCAPES) !== 0) {
    escapeAt(source, at, end);
  } else if (byte === PERCENT && (modes & DECODE_PERCENT) !== 0) {
    percentAt(source, at, end);
  } else if (byte === AMPERSAND && (modes & DECODE_ENTITIES) !== 0) {
    const entity = entityAt(source, at, end);
    if (entity.next > 0) {
      unitCodePoint = entity.codePoint;
      unitNext = entity.next;
    }
  } else if (byte === QUOTE && (modes & DECODE_CSV_QUOTES) !== 0 && at + 1 < end && source[at + 1] === QUOTE) {
    unitNext = at + 2;
  } else if (byte === PLUS && (modes & DECODE_PLUS) !== 0 && isWordAt(source, at - 1, start, end)) {
    unitCodePoint = isWordAt(source, at + 1, start, end) ? 0x20 : PLUS;
  }
}

function isWordAt(source: Uint8Array, at: number, start: number, end: number): boolean {
  return at >= start && at < end && ((CHAR_CLASS[source[at] as number] as number) & (LETTER | DIGIT)) !== 0;
}

function hexAt(source: Uint8Array, at: number, digits: number, end: number): number {
  if (at + digits > end) {
    return -1;
  }
  let value = 0;
  for (let i = 0; i < digits; i++) {
    const digit = hexValue(source[at + i]);
    if (digit < 0) {
      return -1;
    }
    value = value * 16 + digit;
  }
  return value;
}

function escapeAt(source: Uint8Array, at: number, end: number): void {
  const letter = at + 1 < end ? (source[at + 1] as number) : 0;
  if (letter === 0x75 || letter === 0x78) {
    const digits = letter === 0x75 ? 4 : 2;
    const value = hexAt(source, at + 2, digits, end);
    if (value < 0) {
      return;
    }
    unitCodePoint = value;
    unitNext = at + 2 + digits;
    if (value >= 0xd800 && value <= 0xdbff && source[unitNext] === BACKSLASH && unitNext + 6 <= end) {
      const low = source[unitNext + 1] === 0x75 ? hexAt(source, unitNext + 2, 4, end) : -1;
      if (low >= 0xdc00 && low <= 0xdfff) {
        unitCodePoint = 0x1_0000 + ((value - 0xd800) << 10) + (low - 0xdc00);
        unitNext += 6;
      }
    }
    return;
  }
  const plain = plainEscape(letter);
  if (plain !== 0) {
    unitCodePoint = plain;
    unitNext = at + 2;
  }
}

function plainEscape(letter: number): number {
  switch (letter) {
    case 0x6e: // \n
      return 0x0a;
    case 0x72: // \r
      return 0x0d;
    case 0x74: // \t
    case 0x62: // \b
    case 0x66: // \f
      return 0x09;
    case QUOTE:
    case BACKSLASH:
    case 0x2f:
    case 0x27:
      return letter;
    default:
      return 0;
  }
}

/** `%XX`; the bytes of one UTF-8 sequence are taken together. */
function percentAt(source: Uint8Array, at: number, end: number): void {
  const first = hexAt(source, at + 1, 2, end);
  if (first < 0) {
    return;
  }
  unitCodePoint = first;
  unitNext = at + 3;
  const size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 1;
  if (size === 1) {
    unitCodePoint = first < 0x80 ? first : REPLACEMENT;
    return;
  }
  let codePoint = first & (0x7f >> size);
  for (let i = 1; i < size; i++) {
    const next = source[at + i * 3] === PERCENT ? hexAt(source, at + i * 3 + 1, 2, end) : -1;
    if (next < 0x80 || next > 0xbf) {
      unitCodePoint = REPLACEMENT;
      return;
    }
    codePoint = (codePoint << 6) | (next & 0x3f);
  }
  unitCodePoint = codePoint > 0x10ffff ? REPLACEMENT : codePoint;
  unitNext = at + size * 3;
}

function buildSpecial(modes: number): Uint8Array {
  const table = new Uint8Array(256).fill(1, 0x80);
  table.fill(1, 0, 0x20);
  table.fill(0, 0x09, 0x0b);
  table[0x0d] = 0;
  table[0x7f] = 1;
  for (const [mode, byte] of [
    [DECODE_ESCAPES, BACKSLASH],
    [DECODE_PERCENT, PERCENT],
    [DECODE_ENTITIES, AMPERSAND],
    [DECODE_PLUS, PLUS],
    [DECODE_CSV_QUOTES, QUOTE],
  ] as const) {
    table[byte] = (modes & mode) !== 0 ? 1 : 0;
  }
  return table;
}

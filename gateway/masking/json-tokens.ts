import { hexValue, isDigit } from './scanner/char-class.ts';

/** `escapeSize`: the escape goes on behind the window. */
export const JSON_MORE = 0;
/** `escapeSize`: no JSON escape, or half of a surrogate pair. */
export const JSON_REFUSED = -1;

/** Bytes of a number; nothing that anyone computes with is longer. */
export const ATOM_BYTES_MAX = 1024;

const BACKSLASH = 0x5c;

/** 1 for bytes that stand for themselves inside a string. UTF-8 was checked before. */
const PLAIN: Uint8Array = buildPlain();
/** 1 for bytes of numbers and literals. */
const ATOM: Uint8Array = buildAtom();

/** First byte in [start, end) that does not stand for itself in a string: a quote, a backslash, a control. */
export function plainEnd(window: Uint8Array, start: number, end: number): number {
  const plain = PLAIN;
  let position = start;
  while (position < end && plain[window[position] as number] === 1) {
    position++;
  }
  return position;
}

export function atomEnd(window: Uint8Array, start: number, end: number): number {
  const atom = ATOM;
  let position = start;
  while (position < end && atom[window[position] as number] === 1) {
    position++;
  }
  return position;
}

/** Bytes of the escape at `at`: 2, 6, or 12 for a surrogate pair. */
export function escapeSize(window: Uint8Array, at: number, end: number): number {
  if (at + 1 >= end) {
    return JSON_MORE;
  }
  switch (window[at + 1]) {
    case 0x22:
    case BACKSLASH:
    case 0x2f:
    case 0x62:
    case 0x66:
    case 0x6e:
    case 0x72:
    case 0x74:
      return 2;
    case 0x75:
      return unicodeEscapeSize(window, at, end);
    default:
      return JSON_REFUSED;
  }
}

function unicodeEscapeSize(window: Uint8Array, at: number, end: number): number {
  if (at + 6 > end) {
    return JSON_MORE;
  }
  const unit = hex4(window, at + 2);
  if (unit < 0 || (unit >= 0xdc00 && unit <= 0xdfff)) {
    return JSON_REFUSED;
  }
  if (unit < 0xd800 || unit > 0xdfff) {
    return 6;
  }
  if (at + 12 > end) {
    return at + 6 < end && window[at + 6] !== BACKSLASH ? JSON_REFUSED : JSON_MORE;
  }
  const low = window[at + 6] === BACKSLASH && window[at + 7] === 0x75 ? hex4(window, at + 8) : -1;
  return low >= 0xdc00 && low <= 0xdfff ? 12 : JSON_REFUSED;
}

/** Value of four hex digits, -1 when they are none. */
function hex4(window: Uint8Array, at: number): number {
  let value = 0;
  for (let i = 0; i < 4; i++) {
    const digit = hexValue(window[at + i]);
    if (digit < 0) {
      return -1;
    }
    value = value * 16 + digit;
  }
  return value;
}

/** Undoes the escapes of a valid string content; writes UTF-8 and returns its size. `target` has room for the source. */
export function unescapeString(window: Uint8Array, start: number, end: number, target: Uint8Array): number {
  let size = 0;
  let position = start;
  while (position < end) {
    const byte = window[position] as number;
    if (byte !== BACKSLASH) {
      target[size++] = byte;
      position++;
      continue;
    }
    const letter = window[position + 1] as number;
    if (letter !== 0x75) {
      target[size++] = plainEscape(letter);
      position += 2;
      continue;
    }
    let codePoint = hex4(window, position + 2);
    position += 6;
    if (codePoint >= 0xd800 && codePoint <= 0xdbff) {
      codePoint = 0x1_0000 + ((codePoint - 0xd800) << 10) + (hex4(window, position + 2) - 0xdc00);
      position += 6;
    }
    size = writeUtf8(codePoint, target, size);
  }
  return size;
}

function plainEscape(letter: number): number {
  switch (letter) {
    case 0x62:
      return 0x08;
    case 0x66:
      return 0x0c;
    case 0x6e:
      return 0x0a;
    case 0x72:
      return 0x0d;
    case 0x74:
      return 0x09;
    default:
      return letter;
  }
}

function writeUtf8(codePoint: number, target: Uint8Array, at: number): number {
  let size = at;
  if (codePoint < 0x80) {
    target[size++] = codePoint;
  } else if (codePoint < 0x800) {
    target[size++] = 0xc0 | (codePoint >> 6);
    target[size++] = 0x80 | (codePoint & 0x3f);
  } else if (codePoint < 0x1_0000) {
    target[size++] = 0xe0 | (codePoint >> 12);
    target[size++] = 0x80 | ((codePoint >> 6) & 0x3f);
    target[size++] = 0x80 | (codePoint & 0x3f);
  } else {
    target[size++] = 0xf0 | (codePoint >> 18);
    target[size++] = 0x80 | ((codePoint >> 12) & 0x3f);
    target[size++] = 0x80 | ((codePoint >> 6) & 0x3f);
    target[size++] = 0x80 | (codePoint & 0x3f);
  }
  return size;
}

/** Characters of valid UTF-8. */
export function countCharacters(bytes: Uint8Array, start: number, end: number): number {
  let count = 0;
  for (let i = start; i < end; i++) {
    count += ((bytes[i] as number) & 0xc0) === 0x80 ? 0 : 1;
  }
  return count;
}

/** A whole number or literal (RFC 8259 sections 3 and 6), nothing before or after it. */
export function isAtom(window: Uint8Array, start: number, end: number): boolean {
  const first = window[start] as number;
  if (first === 0x2d || isDigit(first)) {
    return isNumber(window, start, end);
  }
  return (
    isWord(window, start, end, 'null') || isWord(window, start, end, 'true') || isWord(window, start, end, 'false')
  );
}

function isWord(window: Uint8Array, start: number, end: number, word: string): boolean {
  if (end - start !== word.length) {
    return false;
  }
  for (let i = 0; i < word.length; i++) {
    if (window[start + i] !== word.charCodeAt(i)) {
      return false;
    }
  }
  return true;
}

/** `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?` */
function isNumber(window: Uint8Array, start: number, end: number): boolean {
  let position = window[start] === 0x2d ? start + 1 : start;
  if (position < end && window[position] === 0x30) {
    position++;
  } else {
    const digits = digitsEnd(window, position, end);
    if (digits === position) {
      return false;
    }
    position = digits;
  }
  if (position < end && window[position] === 0x2e) {
    const digits = digitsEnd(window, position + 1, end);
    if (digits === position + 1) {
      return false;
    }
    position = digits;
  }
  if (position < end && ((window[position] as number) | 0x20) === 0x65) {
    position++;
    if (position < end && (window[position] === 0x2b || window[position] === 0x2d)) {
      position++;
    }
    const digits = digitsEnd(window, position, end);
    if (digits === position) {
      return false;
    }
    position = digits;
  }
  return position === end;
}

function digitsEnd(window: Uint8Array, start: number, end: number): number {
  let position = start;
  while (position < end && isDigit(window[position])) {
    position++;
  }
  return position;
}

function buildPlain(): Uint8Array {
  const table = new Uint8Array(256).fill(1, 0x20);
  table[0x22] = 0;
  table[BACKSLASH] = 0;
  return table;
}

function buildAtom(): Uint8Array {
  const table = new Uint8Array(256);
  for (const byte of Buffer.from('0123456789+-.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ')) {
    table[byte] = 1;
  }
  return table;
}

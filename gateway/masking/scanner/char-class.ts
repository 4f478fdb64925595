/** Bit classes of the 256 byte values. One load answers each question that the byte loops ask. */
export const DIGIT = 1;
export const LETTER = 2;
/** May stand in the local part of an e-mail address (the practical set, not all of RFC 5322). */
export const LOCAL = 4;
/** May stand in a domain name. */
export const DOMAIN = 8;
/** Base64 and base64url. */
export const BASE64 = 16;
/** May stand between the groups of a number: space - . / ( ). */
export const SEPARATOR = 32;
export const UPPER = 64;
export const HEX = 128;

export const CHAR_CLASS: Uint8Array = buildClasses();

/** What the main loop of the scanner does at this byte. 0 is the common case: go on. */
export const TRIGGER_NONE = 0;
export const TRIGGER_DIGIT = 1;
export const TRIGGER_AT = 2;
export const TRIGGER_UPPER = 3;
export const TRIGGER_ENCODED = 4;
export const TRIGGER_SLOW = 5;

export const TRIGGER: Uint8Array = buildTriggers();

export function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

export function isLetter(byte: number | undefined): boolean {
  return byte !== undefined && ((CHAR_CLASS[byte] as number) & LETTER) !== 0;
}

/** Value of a hex digit, -1 when it is none. */
export function hexValue(byte: number | undefined): number {
  if (byte === undefined) {
    return -1;
  }
  if (byte >= 0x30 && byte <= 0x39) {
    return byte - 0x30;
  }
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

function buildClasses(): Uint8Array {
  const table = new Uint8Array(256);
  const mark = (characters: string, bits: number): void => {
    for (const byte of Buffer.from(characters, 'latin1')) {
      table[byte] = (table[byte] as number) | bits;
    }
  };
  const lower = 'abcdefghijklmnopqrstuvwxyz';
  const upper = lower.toUpperCase();
  mark('0123456789', DIGIT | LOCAL | DOMAIN | BASE64 | HEX);
  mark(lower + upper, LETTER | LOCAL | DOMAIN | BASE64);
  mark(upper, UPPER);
  mark('abcdefABCDEF', HEX);
  mark("._%+-'&~!#$*^", LOCAL);
  mark('.-', DOMAIN);
  mark('+/-_', BASE64);
  mark(' -./()', SEPARATOR);
  return table;
}

function buildTriggers(): Uint8Array {
  const table = new Uint8Array(256);
  for (let byte = 0; byte < 256; byte++) {
    const bits = CHAR_CLASS[byte] as number;
    if ((bits & DIGIT) !== 0) {
      table[byte] = TRIGGER_DIGIT;
    } else if ((bits & UPPER) !== 0) {
      table[byte] = TRIGGER_UPPER;
    } else if (byte >= 0x80 || byte === 0x7f || (byte < 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d)) {
      table[byte] = TRIGGER_SLOW;
    }
  }
  table[0x40] = TRIGGER_AT;
  for (const byte of [0x25, 0x26, 0x5c]) {
    table[byte] = TRIGGER_ENCODED;
  }
  return table;
}

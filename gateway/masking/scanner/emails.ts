import { CHAR_CLASS, DOMAIN, LOCAL, isDigit, isLetter } from './char-class.ts';
import type { Findings } from './findings.ts';
import { KIND_EMAIL } from './scan-kinds.ts';

const AT = 0x40;
const DOT = 0x2e;
const DASH = 0x2d;
const QUOTE = 0x22;
const QUOTED_MAX = 66;

/**
 * Adds the e-mail address around the `@` at `at` and returns its end, or 0. The local part is taken back to the first
 * byte that cannot belong to it, but never below `lowest` (the end of the run before), so that `@@@@…` stays linear.
 */
export function matchEmail(bytes: Uint8Array, lowest: number, at: number, end: number, findings: Findings): number {
  const domainEnd = endOfDomain(bytes, at + 1, end);
  if (domainEnd === 0) {
    return 0;
  }
  let start = at;
  while (start > lowest && ((CHAR_CLASS[bytes[start - 1] as number] as number) & LOCAL) !== 0) {
    start--;
  }
  while (start < at && !isWordByte(bytes[start] as number)) {
    start++; // Leading punctuation is the sentence's, not the address's.
  }
  if (start === at) {
    start = quotedStart(bytes, lowest, at);
  }
  if (start === at) {
    return 0;
  }
  findings.add(start, domainEnd, KIND_EMAIL);
  return domainEnd;
}

function isWordByte(byte: number): boolean {
  return isLetter(byte) || isDigit(byte) || byte === 0x5f || byte === 0x2b || byte === 0x25;
}

/** `"john doe"@example.com`: start of the quoted local part, or `at`. */
function quotedStart(bytes: Uint8Array, lowest: number, at: number): number {
  if (at - 1 <= lowest || bytes[at - 1] !== QUOTE) {
    return at;
  }
  const floor = Math.max(lowest, at - QUOTED_MAX);
  for (let i = at - 2; i >= floor; i--) {
    if (bytes[i] === QUOTE) {
      return i;
    }
    if (bytes[i] === AT || bytes[i] === 0x0a) {
      break;
    }
  }
  return at;
}

/** End of a domain with at least one dot and a last label that begins with a letter, or of `[1.2.3.4]`; else 0. */
function endOfDomain(bytes: Uint8Array, start: number, end: number): number {
  if (start < end && bytes[start] === 0x5b) {
    let i = start + 1;
    while (i < end && i - start < 48 && (isDigit(bytes[i]) || bytes[i] === DOT)) {
      i++;
    }
    return i < end && i - start > 7 && bytes[i] === 0x5d ? i + 1 : 0;
  }
  let position = start;
  while (position < end && ((CHAR_CLASS[bytes[position] as number] as number) & DOMAIN) !== 0) {
    position++;
  }
  while (position > start && (bytes[position - 1] === DOT || bytes[position - 1] === DASH)) {
    position--;
  }
  let lastDot = position - 1;
  while (lastDot > start && bytes[lastDot] !== DOT) {
    lastDot--;
  }
  if (lastDot <= start || position - lastDot < 3 || !isLetter(bytes[lastDot + 1])) {
    return 0;
  }
  return position;
}

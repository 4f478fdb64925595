import { CHAR_CLASS, DIGIT, LETTER, SEPARATOR, isDigit, isLetter } from './char-class.ts';
import { matchDate } from './dates.ts';
import type { Findings } from './findings.ts';
import { LABEL_CARD, LABEL_DATE, LABEL_MRN, LABEL_PHONE, LABEL_SSN, labelBefore } from './labels.ts';
import { GROUP_END, GROUP_SEPARATOR, GROUP_START, groupSize, readGroups, resumeAfter } from './number-groups.ts';
import { KIND_BLOB, KIND_CARD, KIND_DATE, KIND_MRN, KIND_PHONE, KIND_SSN } from './scan-kinds.ts';

/*
 * Everything that begins with a digit. The main loop calls `matchNumber` at the first digit of a run; groups of digits
 * with short separators between them are read once, and the lengths of the groups say which shapes are possible:
 *
 *   3-2-4          SSN (any area: 000, 666 and 9xx too)     4-2-2, 1..2-1..2-2|4   date
 *   [1-]3-3-4      NANP phone                               4-4-4-4, 4-6-5, 4-6-4  card
 *   +…             international phone, 8 to 15 digits      one bare run           what its label says
 *
 * A validator (Luhn, the NANP digits) only makes a weak shape acceptable. It never rejects a strong one.
 */

/** A run of more digits than any shape has room for is taken out whole. */
const RUN_MAX = 320;
const MRN_TOKEN_MAX = 40;

const SPACE = 0x20;
const DASH = 0x2d;
const DOT = 0x2e;
const SLASH = 0x2f;
const PLUS = 0x2b;
const PAREN = 0x28;

/**
 * Looks at the number that begins at `at` (the byte before is no digit), adds what it is, and returns where to go on:
 * always beyond the first group, so a text of nothing but digits costs linear time.
 */
export function matchNumber(
  bytes: Uint8Array,
  floor: number,
  at: number,
  end: number,
  context: number,
  findings: Findings,
): number {
  const before = at > floor ? (bytes[at - 1] as number) : SPACE;
  const count = readGroups(bytes, at, end, before === PLUS);
  const first = groupSize(0);
  const firstEnd = GROUP_END[0] as number;
  if (first > RUN_MAX) {
    findings.add(at, firstEnd, KIND_BLOB);
    return firstEnd;
  }
  let stop = 0;
  if (first <= 4) {
    stop = matchGrouped(bytes, floor, at, end, before, count, context, findings);
  } else if (before === PLUS) {
    stop = matchInternational(at - 1, count, findings);
  }
  return stop > 0 ? stop : matchLabelled(bytes, floor, at, end, first, context, findings);
}

function matchGrouped(
  bytes: Uint8Array,
  floor: number,
  at: number,
  end: number,
  before: number,
  count: number,
  context: number,
  findings: Findings,
): number {
  const first = groupSize(0);
  let stop = 0;
  if (first === 3) {
    stop = matchSsn(at, count, findings);
  }
  if (stop === 0 && (first === 3 || first === 1)) {
    stop = matchNanp(bytes, floor, at, end, before, count, context, findings);
  }
  // An international number that leaves groups behind may be the beginning of something longer: look on.
  const international = stop === 0 && before === PLUS ? matchInternational(at - 1, count, findings) : 0;
  if (international > (GROUP_END[0] as number)) {
    return international;
  }
  if (stop === 0 && first !== 3) {
    stop = matchDate(bytes, floor, at, end, count, findings);
  }
  if (stop === 0 && first === 4) {
    stop = matchCardGroups(bytes, at, count, context, findings);
    if (stop === 0 && isBlankedSsn(bytes, floor, at)) {
      findings.add(at - 7, GROUP_END[0] as number, KIND_SSN);
      stop = GROUP_END[0] as number;
    }
  }
  return stop === 0 ? international : stop;
}

function matchSsn(at: number, count: number, findings: Findings): number {
  if (count < 3 || groupSize(1) !== 2 || groupSize(2) !== 4 || !isPlain(0) || !isPlain(1)) {
    return 0;
  }
  findings.add(at, GROUP_END[2] as number, KIND_SSN);
  return resumeAfter(3, count, GROUP_END[2] as number);
}

function isPlain(index: number): boolean {
  const separator = GROUP_SEPARATOR[index];
  return separator === DASH || separator === SPACE || separator === DOT || separator === SLASH;
}

/** `XXX-XX-1234`: the last four digits of an SSN are not Safe Harbor. */
function isBlankedSsn(bytes: Uint8Array, floor: number, at: number): boolean {
  if (at - 7 < floor || bytes[at - 1] !== DASH || bytes[at - 4] !== DASH) {
    return false;
  }
  for (const offset of [2, 3, 5, 6, 7]) {
    const byte = bytes[at - offset] as number;
    if ((byte | 0x20) !== 0x78 && byte !== 0x2a && byte !== 0x23) {
      return false;
    }
  }
  return true;
}

function matchNanp(
  bytes: Uint8Array,
  floor: number,
  at: number,
  end: number,
  before: number,
  count: number,
  context: number,
  findings: Findings,
): number {
  const k = groupSize(0) === 1 ? 1 : 0;
  if ((k === 1 && bytes[at] !== 0x31) || groupSize(k) !== 3) {
    return 0;
  }
  if (count < k + 3 || groupSize(k + 1) !== 3 || groupSize(k + 2) !== 4) {
    return matchLocalPhone(bytes, floor, at, count, context, findings);
  }
  const marked = k === 1 || before === PLUS || before === PAREN;
  if (!marked && GROUP_SEPARATOR[k] === SPACE && GROUP_SEPARATOR[k + 1] === SPACE) {
    // Three numbers in a row are not yet a phone number: here the digits must be possible ones.
    const area = bytes[GROUP_START[k] as number] as number;
    const exchange = bytes[GROUP_START[k + 1] as number] as number;
    if ((area < 0x32 || exchange < 0x32) && (contextOf(bytes, floor, at, context) & LABEL_PHONE) === 0) {
      return 0;
    }
  }
  let start = before === PLUS || before === PAREN ? at - 1 : at;
  start = withCountryCode(bytes, floor, start);
  const stop = withExtension(bytes, GROUP_END[k + 2] as number, end);
  findings.add(start, stop, KIND_PHONE);
  return resumeAfter(k + 3, count, stop);
}

/** `(555)…` after `+1` or `1` without a digit group in between: the parenthesis ended the group before. */
function withCountryCode(bytes: Uint8Array, floor: number, start: number): number {
  return start > floor && bytes[start - 1] === PLUS ? start - 1 : start;
}

function matchLocalPhone(
  bytes: Uint8Array,
  floor: number,
  at: number,
  count: number,
  context: number,
  findings: Findings,
): number {
  if (groupSize(0) !== 3 || count < 2 || groupSize(1) !== 4) {
    return 0;
  }
  if ((contextOf(bytes, floor, at, context) & LABEL_PHONE) === 0) {
    return 0;
  }
  findings.add(at, GROUP_END[1] as number, KIND_PHONE);
  return resumeAfter(2, count, GROUP_END[1] as number);
}

/** `x123`, `ext. 123` after a phone number belong to it. */
function withExtension(bytes: Uint8Array, stop: number, end: number): number {
  let position = stop;
  while (position < end && position - stop < 2 && (bytes[position] === SPACE || bytes[position] === 0x2c)) {
    position++;
  }
  const start = position;
  while (position < end && position - start < 9 && isLetter(bytes[position])) {
    position++;
  }
  const size = position - start;
  const isX = size === 1 && ((bytes[start] as number) | 0x20) === 0x78;
  const isExt =
    size >= 3 && ((bytes[start] as number) | 0x20) === 0x65 && ((bytes[start + 1] as number) | 0x20) === 0x78;
  if (!isX && !isExt) {
    return stop;
  }
  while (position < end && position - start < 12 && (bytes[position] === DOT || bytes[position] === SPACE)) {
    position++;
  }
  const digits = position;
  while (position < end && position - digits < 6 && isDigit(bytes[position])) {
    position++;
  }
  // Digits that go on, also as groups, are a number of their own.
  const next = position < end && isSeparator(bytes[position] as number) ? position + 1 : position;
  const goesOn = next < end && isDigit(bytes[next]);
  return position === digits || goesOn ? stop : position;
}

function isSeparator(byte: number): boolean {
  return ((CHAR_CLASS[byte] as number) & SEPARATOR) !== 0;
}

function matchInternational(start: number, count: number, findings: Findings): number {
  let total = 0;
  let taken = 0;
  while (taken < count) {
    const size = groupSize(taken);
    if (total + size > 15 || (total >= 11 && taken > 0 && GROUP_SEPARATOR[taken - 1] === SPACE)) {
      break;
    }
    total += size;
    taken++;
  }
  if (total < 8) {
    return 0;
  }
  const stop = GROUP_END[taken - 1] as number;
  findings.add(start, stop, KIND_PHONE);
  return resumeAfter(taken, count, stop);
}

function matchCardGroups(bytes: Uint8Array, at: number, count: number, context: number, findings: Findings): number {
  let groups = 0;
  if (count >= 4 && groupSize(1) === 4 && groupSize(2) === 4 && groupSize(3) >= 1 && groupSize(3) <= 4) {
    groups = count >= 5 && groupSize(3) === 4 && groupSize(4) <= 3 ? 5 : 4;
  } else if (count >= 3 && groupSize(1) === 6 && (groupSize(2) === 5 || groupSize(2) === 4)) {
    groups = 3;
  }
  if (groups === 0) {
    return 0;
  }
  const stop = GROUP_END[groups - 1] as number;
  const weak = GROUP_SEPARATOR[0] !== DASH || (groups === 4 && groupSize(3) !== 4);
  if (weak && !isIssuer(bytes, at) && !passesLuhn(bytes, at, stop) && (context & LABEL_CARD) === 0) {
    return 0;
  }
  findings.add(at, stop, KIND_CARD);
  return resumeAfter(groups, count, stop);
}

/** One bare run of digits is what its label, its column or (for cards) its digits say it is. */
function matchLabelled(
  bytes: Uint8Array,
  floor: number,
  at: number,
  end: number,
  size: number,
  context: number,
  findings: Findings,
): number {
  const stop = GROUP_END[0] as number;
  if (size < 3) {
    return stop;
  }
  if (size >= 13 && size <= 19 && isIssuer(bytes, at) && (size === 15 || size === 16 || passesLuhn(bytes, at, stop))) {
    findings.add(at, stop, KIND_CARD);
    return stop;
  }
  const label = contextOf(bytes, floor, at, context);
  if (label === 0) {
    return stop;
  }
  if ((label & LABEL_SSN) !== 0 && (size === 9 || size === 4)) {
    findings.add(at, stop, KIND_SSN);
  } else if ((label & LABEL_PHONE) !== 0 && size >= 7 && size <= 15) {
    findings.add(at, stop, KIND_PHONE);
  } else if ((label & LABEL_DATE) !== 0 && size === 8) {
    findings.add(at, stop, KIND_DATE);
  } else if ((label & LABEL_CARD) !== 0 && size >= 12 && size <= 19) {
    findings.add(at, stop, KIND_CARD);
  } else if ((label & LABEL_MRN) !== 0) {
    return matchRecordNumber(bytes, floor, at, end, findings);
  }
  return stop;
}

/** The whole token is the number: `MRN-7095748`, `MRN: A-1234567`. */
function matchRecordNumber(bytes: Uint8Array, floor: number, at: number, end: number, findings: Findings): number {
  let start = at;
  while (start > floor && at - start < MRN_TOKEN_MAX && isTokenByte(bytes[start - 1] as number)) {
    start--;
  }
  let stop = GROUP_END[0] as number;
  while (stop < end && stop - at < MRN_TOKEN_MAX && isTokenByte(bytes[stop] as number)) {
    stop++;
  }
  while (start < at && bytes[start] === DASH) {
    start++;
  }
  while (bytes[stop - 1] === DASH) {
    stop--;
  }
  findings.add(start, stop, KIND_MRN);
  return stop;
}

function isTokenByte(byte: number): boolean {
  return byte === DASH || ((CHAR_CLASS[byte] as number) & (LETTER | DIGIT)) !== 0;
}

function contextOf(bytes: Uint8Array, floor: number, at: number, context: number): number {
  return context | labelBefore(bytes, floor, at);
}

/** First digit 3 to 6, or 2221 to 2720: what card networks use. */
function isIssuer(bytes: Uint8Array, at: number): boolean {
  const first = bytes[at] as number;
  const second = bytes[at + 1] as number;
  return (first >= 0x33 && first <= 0x36) || (first === 0x32 && second >= 0x32 && second <= 0x37);
}

function passesLuhn(bytes: Uint8Array, start: number, end: number): boolean {
  let sum = 0;
  let isDouble = false;
  for (let i = end - 1; i >= start; i--) {
    if (!isDigit(bytes[i])) {
      continue;
    }
    let digit = (bytes[i] as number) - 0x30;
    if (isDouble) {
      digit = digit > 4 ? digit * 2 - 9 : digit * 2;
    }
    sum += digit;
    isDouble = !isDouble;
  }
  return sum % 10 === 0;
}

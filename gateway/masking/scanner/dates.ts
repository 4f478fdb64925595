import { CHAR_CLASS, LETTER, isDigit, isLetter } from './char-class.ts';
import type { Findings } from './findings.ts';
import { GROUP_END, GROUP_SEPARATOR, GROUP_START, groupSize, resumeAfter } from './number-groups.ts';
import { KIND_DATE } from './scan-kinds.ts';

/*
 * Dates that begin with a digit, or with a month name in front of one: ISO 8601 with an optional time, US and European
 * orders with two- or four-digit years, `March 3, 1985`, `3rd of March 1985`, `03-Mar-1985`, `March 1985`.
 * A bare year is not a date: Safe Harbor lets it stand.
 */

const YEAR_MIN = 1800;
const YEAR_MAX = 2199;
const MONTH_LETTERS_MAX = 9;
const SPACE = 0x20;
const DASH = 0x2d;
const DOT = 0x2e;
const COLON = 0x3a;
const COMMA = 0x2c;

const MONTHS = [
  ...['january', 'february', 'march', 'april', 'may', 'june', 'july', 'august', 'september', 'october', 'november'],
  ...['december', 'jan', 'feb', 'mar', 'apr', 'jun', 'jul', 'aug', 'sep', 'sept', 'oct', 'nov', 'dec'],
].map((name) => Uint8Array.from(Buffer.from(name)));

/** Adds the date that begins at `at` and returns where it ends, or 0. The groups of the number were read before. */
export function matchDate(
  bytes: Uint8Array,
  floor: number,
  at: number,
  end: number,
  count: number,
  findings: Findings,
): number {
  const size = groupSize(0);
  const numeric = size === 4 ? isoEnd(bytes, end, count) : slashedEnd(bytes, count);
  if (numeric > 0) {
    findings.add(at, numeric, KIND_DATE);
    return resumeAfter(3, count, numeric);
  }
  const before = monthBefore(bytes, floor, at);
  if (before >= 0) {
    const stop = afterMonthName(bytes, before, at, end, size);
    if (stop > 0) {
      findings.add(before, stop, KIND_DATE);
    }
    return stop;
  }
  if (size <= 2 && inRange(bytes, at, GROUP_END[0] as number, 1, 31)) {
    const stop = beforeMonthName(bytes, GROUP_END[0] as number, end);
    if (stop > 0) {
      findings.add(at, stop, KIND_DATE);
    }
    return stop;
  }
  return 0;
}

/** Value of the digits in [start, end), at most 9 of them. */
export function numberOf(bytes: Uint8Array, start: number, end: number): number {
  let value = 0;
  for (let i = start; i < end; i++) {
    value = value * 10 + (bytes[i] as number) - 0x30;
  }
  return value;
}

function inRange(bytes: Uint8Array, start: number, end: number, low: number, high: number): boolean {
  const value = numberOf(bytes, start, end);
  return value >= low && value <= high;
}

function groupIn(bytes: Uint8Array, index: number, low: number, high: number): boolean {
  return inRange(bytes, GROUP_START[index] as number, GROUP_END[index] as number, low, high);
}

/** The two separators are the same single byte, one of - / and a full stop. */
function isDateSeparated(): boolean {
  const separator = GROUP_SEPARATOR[0];
  return (
    separator === GROUP_SEPARATOR[1] &&
    (separator === DASH || separator === 0x2f || separator === DOT) &&
    (GROUP_START[1] as number) - (GROUP_END[0] as number) === 1 &&
    (GROUP_START[2] as number) - (GROUP_END[1] as number) === 1
  );
}

function isoEnd(bytes: Uint8Array, end: number, count: number): number {
  if (count < 3 || groupSize(1) > 2 || groupSize(2) > 2 || !isDateSeparated()) {
    return 0;
  }
  if (!groupIn(bytes, 0, YEAR_MIN, YEAR_MAX) || !groupIn(bytes, 1, 1, 12) || !groupIn(bytes, 2, 1, 31)) {
    return 0;
  }
  return withTime(bytes, GROUP_END[2] as number, end);
}

function slashedEnd(bytes: Uint8Array, count: number): number {
  if (count < 3 || groupSize(0) > 2 || groupSize(1) > 2 || !isDateSeparated()) {
    return 0;
  }
  const yearSize = groupSize(2);
  if (yearSize === 2 ? GROUP_SEPARATOR[0] === DOT : yearSize !== 4 || !groupIn(bytes, 2, YEAR_MIN, YEAR_MAX)) {
    return 0;
  }
  if (yearSize === 2 && count > 3 && GROUP_SEPARATOR[2] === GROUP_SEPARATOR[0]) {
    return 0; // 1/2/22/5 is a path or a list.
  }
  const monthFirst = groupIn(bytes, 0, 1, 12) && groupIn(bytes, 1, 1, 31);
  const dayFirst = groupIn(bytes, 0, 1, 31) && groupIn(bytes, 1, 1, 12);
  return monthFirst || dayFirst ? (GROUP_END[2] as number) : 0;
}

/** `T10:30:00.000Z`, ` 10:30`, `+02:00` after an ISO date. */
function withTime(bytes: Uint8Array, dateEnd: number, end: number): number {
  const mark = bytes[dateEnd] as number;
  if (dateEnd + 6 > end || ((mark | 0x20) !== 0x74 && mark !== SPACE) || !isClock(bytes, dateEnd + 1)) {
    return dateEnd;
  }
  let position = dateEnd + 6;
  if (
    position + 3 <= end &&
    bytes[position] === COLON &&
    isDigit(bytes[position + 1]) &&
    isDigit(bytes[position + 2])
  ) {
    position += 3;
    if (position + 1 < end && bytes[position] === DOT && isDigit(bytes[position + 1])) {
      position++;
      while (position < end && position - dateEnd < 32 && isDigit(bytes[position])) {
        position++;
      }
    }
  }
  if (position < end && bytes[position] === 0x5a) {
    return position + 1;
  }
  const sign = bytes[position];
  if (position + 6 <= end && (sign === 0x2b || sign === DASH) && isClock(bytes, position + 1)) {
    return position + 6;
  }
  return position;
}

function isClock(bytes: Uint8Array, at: number): boolean {
  return (
    isDigit(bytes[at]) &&
    isDigit(bytes[at + 1]) &&
    bytes[at + 2] === COLON &&
    isDigit(bytes[at + 3]) &&
    isDigit(bytes[at + 4])
  );
}

/** Start of a month name that stands right before `at`, or -1. */
function monthBefore(bytes: Uint8Array, floor: number, at: number): number {
  let position = at;
  while (position > floor && at - position < 2 && isNameGap(bytes[position - 1] as number)) {
    position--;
  }
  if (position === at || !isLetter(bytes[position - 1])) {
    return -1;
  }
  const wordEnd = position;
  while (position > floor && wordEnd - position <= MONTH_LETTERS_MAX && isLetter(bytes[position - 1])) {
    position--;
  }
  return isMonth(bytes, position, wordEnd) ? position : -1;
}

/** `March` [3[rd][,] ]1985, or `March 3`. `at` is the first digit. Returns the end, 0 when it is no date. */
function afterMonthName(bytes: Uint8Array, month: number, at: number, end: number, size: number): number {
  const stop = GROUP_END[0] as number;
  if (size === 4) {
    return inRange(bytes, at, stop, YEAR_MIN, YEAR_MAX) ? stop : 0;
  }
  if (size > 2 || !inRange(bytes, at, stop, 1, 31)) {
    return 0;
  }
  let position = afterOrdinal(bytes, stop, end);
  const dayEnd = position;
  while (position < end && position - dayEnd < 2 && isNameGap(bytes[position] as number)) {
    position++;
  }
  if (position > dayEnd && isYear(bytes, position, end)) {
    return position + 4;
  }
  // Without a year, `may 5` in a sentence is no date; `May 5` is.
  return (bytes[month] as number) < 0x61 ? dayEnd : 0;
}

/** `3 March 1985`, `3rd of March`, `03-Mar-1985`: `position` is where the digits end. */
function beforeMonthName(bytes: Uint8Array, digitsEnd: number, end: number): number {
  let position = afterOrdinal(bytes, digitsEnd, end);
  const gap = position;
  while (position < end && position - gap < 2 && isNameGap(bytes[position] as number)) {
    position++;
  }
  if (position === gap) {
    return 0;
  }
  if (
    position + 3 <= end &&
    bytes[position] === 0x6f &&
    bytes[position + 1] === 0x66 &&
    bytes[position + 2] === SPACE
  ) {
    position += 3;
  }
  const start = position;
  while (position < end && position - start <= MONTH_LETTERS_MAX && isLetter(bytes[position])) {
    position++;
  }
  if (!isMonth(bytes, start, position)) {
    return 0;
  }
  const nameEnd = position;
  while (position < end && position - nameEnd < 2 && isNameGap(bytes[position] as number)) {
    position++;
  }
  if (position > nameEnd && isYear(bytes, position, end)) {
    return position + 4;
  }
  return (bytes[start] as number) < 0x61 ? nameEnd : 0;
}

function isNameGap(byte: number): boolean {
  return byte === SPACE || byte === DASH || byte === DOT || byte === COMMA;
}

function isYear(bytes: Uint8Array, at: number, end: number): boolean {
  return (
    at + 4 <= end &&
    isDigit(bytes[at]) &&
    isDigit(bytes[at + 1]) &&
    isDigit(bytes[at + 2]) &&
    isDigit(bytes[at + 3]) &&
    !(at + 4 < end && isDigit(bytes[at + 4])) &&
    inRange(bytes, at, at + 4, YEAR_MIN, YEAR_MAX)
  );
}

/** Skips st, nd, rd, th. */
function afterOrdinal(bytes: Uint8Array, at: number, end: number): number {
  if (at + 2 > end || (at + 2 < end && isLetter(bytes[at + 2]))) {
    return at;
  }
  const pair = (((bytes[at] as number) | 0x20) << 8) | ((bytes[at + 1] as number) | 0x20);
  return pair === 0x7374 || pair === 0x6e64 || pair === 0x7264 || pair === 0x7468 ? at + 2 : at;
}

function isMonth(bytes: Uint8Array, start: number, end: number): boolean {
  const size = end - start;
  if (size < 3 || size > MONTH_LETTERS_MAX || ((CHAR_CLASS[bytes[start] as number] as number) & LETTER) === 0) {
    return false;
  }
  for (const name of MONTHS) {
    if (name.length !== size || name[0] !== ((bytes[start] as number) | 0x20)) {
      continue;
    }
    let i = 1;
    while (i < size && ((bytes[start + i] as number) | 0x20) === name[i]) {
      i++;
    }
    if (i === size) {
      return true;
    }
  }
  return false;
}

import type { PlanOperator, PlanRule } from './compiled-plan.ts';
import { countCharacters } from './json-tokens.ts';
import { isDigit } from './scanner/char-class.ts';

/**
 * Areas of 20,000 people or fewer: their first three digits become 000. Union of the lists of the 2000 and 2010 census
 * in use; version 1.
 */
const RESTRICTED_ZIP3: ReadonlySet<number> = new Set([
  36, 59, 63, 102, 203, 205, 369, 556, 692, 790, 821, 823, 830, 831, 878, 879, 884, 890, 893,
]);
const NAME_BUCKET = 8;
const FILL = 0x2a;
const FILL_SIZES = 256;
const AGE_MAX = 89;

export const REDACTED: Buffer = Buffer.from('[REDACTED]');
export const WITHHELD: Buffer = Buffer.from('[WITHHELD]');
const NOTHING: Buffer = Buffer.alloc(0);
const AGE_90: Buffer = Buffer.from('90+');
const ZIP_000: Buffer = Buffer.from('000');

/** Reused for every answer. */
const ZIP3: Buffer = Buffer.alloc(3);
const YEAR: Buffer = Buffer.alloc(4);

/** The value stands as it is. */
export const KEEP = 1;
/** The typed null of the medium. */
export const NULL = 2;
/** `result.text` stands instead. */
export const TEXT = 3;

/** Text of the last `TEXT` answer. Valid until the next call. */
export const result: { text: Buffer } = { text: NOTHING };

const fillBySize: (Buffer | undefined)[] = [];

/**
 * Applies an operator to the characters of a value: `bytes` [start, end), decoded. Answers
 * KEEP, NULL or TEXT.
 */
export function operateOnText(
  rule: Pick<PlanRule, 'operator' | 'isBucketed'>,
  bytes: Uint8Array,
  start: number,
  end: number,
  oldYearMax: number,
): number {
  switch (rule.operator) {
    case 'pass':
      return KEEP;
    case 'null':
    case 'drop':
      return NULL;
    case 'fixed':
      return asText(fillFor(rule.isBucketed, countCharacters(bytes, start, end)));
    case 'zip3':
      return asText(zip3Of(bytes, start, end));
    case 'year':
      return asText(yearOf(bytes, start, end, oldYearMax));
    case 'age90':
      return ageOf(bytes, start, end);
    default:
      return asText(REDACTED);
  }
}

/** A number has no room for text: it stands, or it becomes the typed null. */
export function operateOnNumber(
  operator: PlanOperator,
  bytes: Uint8Array,
  start: number,
  end: number,
  oldYearMax: number,
): number {
  if (operator === 'age90' && isInteger(bytes, start, end, 3) && numberAt(bytes, start, end) <= AGE_MAX) {
    return KEEP;
  }
  if (operator === 'year' && end - start === 4 && isInteger(bytes, start, end, 4)) {
    const year = numberAt(bytes, start, end);
    return year >= 1800 && year <= 2199 && year > oldYearMax ? KEEP : NULL;
  }
  return operator === 'pass' ? KEEP : NULL;
}

/** `size` fill characters. Short ones are shared: never write to them. */
export function fillOf(size: number): Buffer {
  return size < FILL_SIZES ? (fillBySize[size] ??= Buffer.alloc(size, FILL)) : Buffer.alloc(size, FILL);
}

function fillFor(isBucketed: boolean, characters: number): Buffer {
  return fillOf(isBucketed ? Math.ceil(characters / NAME_BUCKET) * NAME_BUCKET : characters);
}

function asText(text: Buffer): number {
  result.text = text;
  return TEXT;
}

/** Copies as many digits as `target` has: a view would keep the whole window alive. */
function digitsOf(bytes: Uint8Array, start: number, target: Buffer): Buffer {
  for (let i = 0; i < target.length; i++) {
    target[i] = bytes[start + i] as number;
  }
  return target;
}

/** `02139` and `02139-1234` -> `021`; anything else is redacted. */
function zip3Of(bytes: Uint8Array, start: number, end: number): Buffer {
  const size = end - start;
  const isZip = size === 5 || (size === 10 && bytes[start + 5] === 0x2d && isInteger(bytes, start + 6, end, 4));
  if (!isZip || !isInteger(bytes, start, start + 5, 5)) {
    return REDACTED;
  }
  if (RESTRICTED_ZIP3.has(numberAt(bytes, start, start + 3))) {
    return ZIP_000;
  }
  return digitsOf(bytes, start, ZIP3);
}

/** The year of an ISO 8601 date or date-time (also of `YYYY` and `YYYY-MM`), unless it tells an age over 89. */
export function yearOf(bytes: Uint8Array, start: number, end: number, oldYearMax: number): Buffer {
  if (!isIsoDate(bytes, start, end)) {
    return REDACTED;
  }
  const year = numberAt(bytes, start, start + 4);
  return year <= oldYearMax ? REDACTED : digitsOf(bytes, start, YEAR);
}

function isIsoDate(bytes: Uint8Array, start: number, end: number): boolean {
  const size = end - start;
  if (size < 4 || !isInteger(bytes, start, start + 4, 4)) {
    return false;
  }
  const year = numberAt(bytes, start, start + 4);
  if (year < 1800 || year > 2199) {
    return false;
  }
  if (size === 4) {
    return true;
  }
  if (!isPart(bytes, start + 4, end, 12)) {
    return false;
  }
  if (size === 7) {
    return true;
  }
  if (!isPart(bytes, start + 7, end, 31)) {
    return false;
  }
  const mark = bytes[start + 10];
  return size === 10 || (size <= 40 && (mark === 0x54 || mark === 0x74 || mark === 0x20));
}

/** `-NN` with 1 <= NN <= high at `at`. */
function isPart(bytes: Uint8Array, at: number, end: number, high: number): boolean {
  if (at + 3 > end || bytes[at] !== 0x2d || !isInteger(bytes, at + 1, at + 3, 2)) {
    return false;
  }
  const value = numberAt(bytes, at + 1, at + 3);
  return value >= 1 && value <= high;
}

function ageOf(bytes: Uint8Array, start: number, end: number): number {
  if (!isInteger(bytes, start, end, 3)) {
    return asText(REDACTED);
  }
  return numberAt(bytes, start, end) <= AGE_MAX ? KEEP : asText(AGE_90);
}

function isInteger(bytes: Uint8Array, start: number, end: number, digitsMax: number): boolean {
  if (end <= start || end - start > digitsMax) {
    return false;
  }
  for (let i = start; i < end; i++) {
    if (!isDigit(bytes[i])) {
      return false;
    }
  }
  return true;
}

function numberAt(bytes: Uint8Array, start: number, end: number): number {
  let value = 0;
  for (let i = start; i < end; i++) {
    value = value * 10 + (bytes[i] as number) - 0x30;
  }
  return value;
}

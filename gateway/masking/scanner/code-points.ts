/*
 * What a character outside ASCII stands for when the scanner looks for shapes: digits of every script are digits,
 * compatibility forms are their plain forms (NFKC), dashes are dashes, letters are letters, and what cannot be seen
 * (format characters, combining marks, controls) is not there at all.
 *
 * Limit: letters that merely look like digits (Cyrillic O for 0) stay letters.
 */

/** The character vanishes. */
export const DROPPED = 0xff;

const NEUTRAL = 0x7c; // `|` takes part in no shape.
const LETTER_BYTE = 0x61;
const CACHE_SIZE = 0x2_0000;
const NOT_CACHED = 0;

/** First two planes, filled on first use: 128 KiB a thread. */
const cache = new Uint8Array(CACHE_SIZE);

const CONFUSABLE: ReadonlyMap<number, number> = new Map([
  ...([0x2212, 0x2043, 0x02d7, 0x2796, 0x30fc, 0x2500] as const).map((c) => [c, 0x2d] as const),
  ...([0x3002, 0xff61, 0xb7, 0x2022, 0x2219, 0x22c5, 0x0701, 0x0702] as const).map((c) => [c, 0x2e] as const),
  ...([0x2044, 0x2215, 0x29f8] as const).map((c) => [c, 0x2f] as const),
]);
// A soft hyphen is invisible; it must not hide a shape by standing between digits.
const INVISIBLE = /^[\p{Cf}\p{Mn}\p{Me}\p{Cc}\p{Default_Ignorable_Code_Point}]$/u;

/** The ASCII byte that stands for a code point in the scanner, or `DROPPED`. */
export function foldCodePoint(codePoint: number): number {
  if (codePoint < 0x80) {
    return isControl(codePoint) ? DROPPED : codePoint;
  }
  if (codePoint >= CACHE_SIZE) {
    return compute(codePoint);
  }
  const cached = cache[codePoint] as number;
  if (cached !== NOT_CACHED) {
    return cached;
  }
  const folded = compute(codePoint);
  cache[codePoint] = folded;
  return folded;
}

function isControl(byte: number): boolean {
  return byte === 0x7f || (byte < 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d);
}

function compute(codePoint: number): number {
  if (codePoint >= 0xd800 && codePoint <= 0xdfff) {
    return NEUTRAL;
  }
  const text = String.fromCodePoint(codePoint);
  if (INVISIBLE.test(text)) {
    return DROPPED;
  }
  const confusable = CONFUSABLE.get(codePoint);
  if (confusable !== undefined) {
    return confusable;
  }
  const plain = text.normalize('NFKC').codePointAt(0) ?? codePoint;
  if (plain < 0x80) {
    return isControl(plain) ? DROPPED : plain;
  }
  if (/^\p{Nd}$/u.test(text)) {
    return 0x30 + decimalValue(codePoint);
  }
  if (/^\p{Pd}$/u.test(text)) {
    return 0x2d;
  }
  if (/^\p{Zs}$/u.test(text)) {
    return 0x20;
  }
  return /^\p{L}$/u.test(text) ? LETTER_BYTE : NEUTRAL;
}

/** Decimal digits come in runs of ten code points that begin with zero; runs may touch, so count from the run's start. */
function decimalValue(codePoint: number): number {
  let start = codePoint;
  while (/^\p{Nd}$/u.test(String.fromCodePoint(start - 1))) {
    start--;
  }
  return (codePoint - start) % 10;
}

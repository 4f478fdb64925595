import { BASE64, CHAR_CLASS, TRIGGER, TRIGGER_AT, TRIGGER_DIGIT, TRIGGER_ENCODED, TRIGGER_NONE } from './char-class.ts';
import { TRIGGER_SLOW, hexValue, isDigit, isLetter } from './char-class.ts';
import { matchEmail } from './emails.ts';
import type { Findings } from './findings.ts';
import { matchNumber } from './numbers.ts';

/** The text has escapes, percent codes or entities: it must be decoded and scanned again. Bits. */
export const SAW_ENCODED = 1;
/** The text has a byte outside printable ASCII: positions up to it were scanned, nothing behind it. */
export const SAW_SLOW = 2;

/** Called for each long token with a capital inside: it may be base64. Returns the kind found in it, or -1. */
export type TokenProbe = (bytes: Uint8Array, start: number, end: number) => number;

/**
 * The seam behind which a SIMD engine takes over: finds the plain shapes in [start, end) of ASCII text.
 *
 * MUST add findings as positions in `bytes`, each at most as wide as its shape (a run that is longer than any shape is
 * one finding, however long), none beginning before `start`. MAY look back to `floor` for labels, MUST NOT read
 * outside [floor, end). MUST be linear in `end - floor`. Returns SAW_* bits.
 */
export interface Scanner {
  scan(
    bytes: Uint8Array,
    floor: number,
    start: number,
    end: number,
    context: number,
    findings: Findings,
    probe: TokenProbe | null,
  ): number;
}

const TOKEN_MIN = 12;

/** The byte loop in plain TypeScript: one table load a byte until something begins. */
export const scalarScanner: Scanner = {
  scan(bytes, floor, start, end, context, findings, probe) {
    // A local is a register; an imported binding is loaded again for each byte.
    const triggers = TRIGGER;
    let saw = 0;
    let position = skipSplitRun(bytes, floor, start, end);
    /** No local part reaches back over an address that was taken. */
    let lowest = start;
    /** Tokens are looked at once, however many capitals they have. */
    let probedTo = start;
    for (;;) {
      while (position < end && triggers[bytes[position] as number] === TRIGGER_NONE) {
        position++;
      }
      if (position >= end) {
        return saw;
      }
      const trigger = triggers[bytes[position] as number];
      if (trigger === TRIGGER_DIGIT) {
        position = matchNumber(bytes, floor, position, end, context, findings);
      } else if (trigger === TRIGGER_AT) {
        // A number may begin inside the domain (`a@b.de01/02/2003`), so the scan goes on right behind the `@`.
        position++;
        lowest = Math.max(position, matchEmail(bytes, lowest, position - 1, end, findings));
      } else if (trigger === TRIGGER_ENCODED) {
        saw |= isEncoded(bytes, position, end) ? SAW_ENCODED : 0;
        position++;
      } else if (trigger === TRIGGER_SLOW) {
        return saw | SAW_SLOW;
      } else {
        if (probe !== null && position >= probedTo && position > start && isTokenByte(bytes[position - 1] as number)) {
          probedTo = probeToken(bytes, start, position, end, findings, probe);
        }
        position++;
      }
    }
  },
};

/** When a block begins inside a run of digits, the run was judged in the block before. */
function skipSplitRun(bytes: Uint8Array, floor: number, start: number, end: number): number {
  let position = start;
  if (start > floor && isDigit(bytes[start - 1])) {
    while (position < end && isDigit(bytes[position])) {
      position++;
    }
  }
  return position;
}

function isTokenByte(byte: number): boolean {
  return ((CHAR_CLASS[byte] as number) & BASE64) !== 0;
}

/** `%2D`, `&#…`, `&name;` and `\u…` are encodings; a lone `%`, `&` or `\` is not. */
function isEncoded(bytes: Uint8Array, at: number, end: number): boolean {
  const byte = bytes[at];
  if (byte === 0x25) {
    return at + 2 < end && hexValue(bytes[at + 1]) >= 0 && hexValue(bytes[at + 2]) >= 0;
  }
  if (byte === 0x26) {
    return at + 1 < end && (bytes[at + 1] === 0x23 || isLetter(bytes[at + 1]));
  }
  return at + 1 < end;
}

/** Finds the token around `at` and lets the probe look into it; returns the token's end. */
function probeToken(
  bytes: Uint8Array,
  start: number,
  at: number,
  end: number,
  findings: Findings,
  probe: TokenProbe,
): number {
  let tokenStart = at;
  while (tokenStart > start && isTokenByte(bytes[tokenStart - 1] as number)) {
    tokenStart--;
  }
  let tokenEnd = at;
  while (tokenEnd < end && isTokenByte(bytes[tokenEnd] as number)) {
    tokenEnd++;
  }
  if (tokenEnd - tokenStart >= TOKEN_MIN) {
    const kind = probe(bytes, tokenStart, tokenEnd);
    if (kind >= 0) {
      let stop = tokenEnd;
      while (stop < end && stop - tokenEnd < 2 && bytes[stop] === 0x3d) {
        stop++;
      }
      findings.add(tokenStart, stop, kind);
    }
  }
  return tokenEnd;
}

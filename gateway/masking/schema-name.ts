import { CHAR_CLASS, DIGIT, LETTER } from './scanner/char-class.ts';
import { Findings } from './scanner/findings.ts';
import { CELL_PLAIN, scanCell } from './scanner/scan-cell.ts';
import { ALL_KINDS } from './scanner/scan-kinds.ts';

const NAME_BYTES_MAX = 64;
/** A schema may have `address2` and `icd10`; five digits in a row are somebody's number. */
const DIGITS_MAX = 4;

const findings = new Findings();

/**
 * Whether a name that nobody declared looks like part of a schema rather than like data (maps keyed by an identifier
 * are common). Only such names leave: letters, digits, `_ - . $ @ :`, at most 64 bytes, no long number, nothing that
 * the scanner knows.
 *
 * Limit: a single word that is a person's name looks like a schema name.
 */
export function isSchemaName(bytes: Uint8Array, start: number, end: number): boolean {
  if (end === start || end - start > NAME_BYTES_MAX) {
    return false;
  }
  let digits = 0;
  let letters = 0;
  for (let i = start; i < end; i++) {
    const byte = bytes[i] as number;
    const bits = CHAR_CLASS[byte] as number;
    if ((bits & (LETTER | DIGIT)) === 0 && !isJoint(byte)) {
      return false;
    }
    digits = (bits & DIGIT) !== 0 ? digits + 1 : 0;
    letters += (bits & LETTER) !== 0 ? 1 : 0;
    if (digits > DIGITS_MAX) {
      return false;
    }
  }
  if (letters === 0) {
    return false;
  }
  scanCell(bytes, start, start, end, CELL_PLAIN, 0, ALL_KINDS, findings);
  return findings.count === 0;
}

function isJoint(byte: number): boolean {
  return byte === 0x5f || byte === 0x2d || byte === 0x2e || byte === 0x24 || byte === 0x40 || byte === 0x3a;
}

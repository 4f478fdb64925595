import { CHAR_CLASS, LETTER } from './char-class.ts';

/** What a label in front of a value says about it. Bits. */
export const LABEL_SSN = 1;
export const LABEL_PHONE = 2;
export const LABEL_DATE = 4;
export const LABEL_CARD = 8;
export const LABEL_MRN = 16;

const WORDS: readonly (readonly [word: string, bits: number])[] = [
  ['ssn', LABEL_SSN],
  ['ssns', LABEL_SSN],
  ['itin', LABEL_SSN],
  ['socialsecurity', LABEL_SSN],
  ['social', LABEL_SSN],
  ['phone', LABEL_PHONE],
  ['phones', LABEL_PHONE],
  ['telephone', LABEL_PHONE],
  ['tel', LABEL_PHONE],
  ['cell', LABEL_PHONE],
  ['mobile', LABEL_PHONE],
  ['fax', LABEL_PHONE],
  ['pager', LABEL_PHONE],
  ['dob', LABEL_DATE],
  ['birth', LABEL_DATE],
  ['birthdate', LABEL_DATE],
  ['born', LABEL_DATE],
  ['date', LABEL_DATE],
  ['admitted', LABEL_DATE],
  ['discharged', LABEL_DATE],
  ['card', LABEL_CARD],
  ['visa', LABEL_CARD],
  ['mastercard', LABEL_CARD],
  ['amex', LABEL_CARD],
  ['pan', LABEL_CARD],
  ['mrn', LABEL_MRN],
  ['mrns', LABEL_MRN],
  ['medicalrecord', LABEL_MRN],
  ['record', LABEL_MRN],
  ['chart', LABEL_MRN],
  ['patientid', LABEL_MRN],
];
/** Words that say that the number is something else: the search ends at them. */
const STOPPERS = [
  ...['account', 'invoice', 'order', 'case', 'docket', 'bar', 'license', 'licence', 'passport', 'zip', 'npi', 'ticket'],
  ...['build', 'version', 'port', 'page', 'line', 'size', 'bytes', 'count', 'total', 'amount', 'price', 'room', 'ms'],
];
/** Must match as whole words; the others match as the end of a longer one (`patientSsn`, `homephone`). */
const WHOLE_ONLY = new Set(['record', 'tel', 'cell', 'pan', 'chart', 'date', 'born', 'birth', 'social']);

const LOOK_BEHIND = 40;
const GAP_MAX = 8;
const WORD_MAX = 20;
const WORDS_MAX = 4;

interface ReversedWord {
  readonly bytes: Uint8Array;
  readonly bits: number;
  readonly whole: boolean;
}

/** By last letter (0 = a): the words reversed, longest first. Bits -1 mark a stopper. */
const BY_LAST_LETTER: readonly (readonly ReversedWord[])[] = buildIndex();

/** Bits of the label that stands before `at`, looking back over a few words of one sentence, never below `floor`. */
export function labelBefore(bytes: Uint8Array, floor: number, at: number): number {
  const lowest = Math.max(floor, at - LOOK_BEHIND);
  let position = at;
  for (let words = 0; words < WORDS_MAX; words++) {
    const gapFloor = Math.max(lowest, position - GAP_MAX);
    while (position > gapFloor && ((CHAR_CLASS[bytes[position - 1] as number] as number) & LETTER) === 0) {
      if (endsSentence(bytes, position - 1, words)) {
        return 0;
      }
      position--;
    }
    const wordEnd = position;
    const wordFloor = Math.max(lowest, position - WORD_MAX);
    while (position > wordFloor && ((CHAR_CLASS[bytes[position - 1] as number] as number) & LETTER) !== 0) {
      position--;
    }
    if (position === wordEnd) {
      return 0;
    }
    const bits = wordBits(bytes, position, wordEnd);
    if (bits !== 0) {
      return Math.max(0, bits);
    }
  }
  return 0;
}

/** Bits of a member or column name, wherever the label stands in it: `ssn_hash_input`, `dateOfBirth`, `Phone (home)`. */
export function labelOfName(name: string): number {
  const words = name
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .split(/[^a-z]+/);
  const joined = words.join('');
  let bits = 0;
  for (const [word, wordBit] of WORDS) {
    const whole = WHOLE_ONLY.has(word);
    if (words.some((w) => (whole ? w === word : w.endsWith(word))) || (!whole && joined.endsWith(word))) {
      bits |= wordBit;
    }
  }
  return bits;
}

/** A label may stand on the line above its value, but what stands before another word must be on the same line. */
function endsSentence(bytes: Uint8Array, at: number, words: number): boolean {
  const byte = bytes[at] as number;
  return byte === 0x3b || (words > 0 && (byte === 0x0a || (byte === 0x2e && bytes[at + 1] === 0x20)));
}

/** Bits of one word; 0 for a word that says nothing, -1 for one that ends the search. */
function wordBits(bytes: Uint8Array, start: number, end: number): number {
  const candidates = BY_LAST_LETTER[((bytes[end - 1] as number) | 0x20) - 0x61];
  if (candidates === undefined) {
    return 0;
  }
  for (const { bytes: word, bits, whole } of candidates) {
    if (word.length > end - start || (whole && word.length !== end - start)) {
      continue;
    }
    let i = 0;
    while (i < word.length && ((bytes[end - 1 - i] as number) | 0x20) === word[i]) {
      i++;
    }
    if (i === word.length) {
      return bits;
    }
  }
  return 0;
}

function buildIndex(): ReversedWord[][] {
  const index: ReversedWord[][] = Array.from({ length: 26 }, () => []);
  const add = (word: string, bits: number, whole: boolean): void => {
    const bytes = Uint8Array.from(Buffer.from(word)).reverse();
    index[(bytes[0] as number) - 0x61]?.push({ bytes, bits, whole });
  };
  for (const [word, bits] of WORDS) {
    add(word, bits, WHOLE_ONLY.has(word));
  }
  for (const word of STOPPERS) {
    add(word, -1, true);
  }
  for (const list of index) {
    list.sort((a, b) => b.bytes.length - a.bytes.length);
  }
  return index;
}

import { hexValue, isDigit } from './char-class.ts';

/** What stands at an `&`. `next` is 0 when it is no entity that matters. Valid until the next call. */
export interface Entity {
  codePoint: number;
  next: number;
}

const NAME_MAX = 8;
const DIGITS_MAX = 8;
const SEMICOLON = 0x3b;

/** Only names that can hide a shape: punctuation, spaces and what cannot be seen. */
const NAMED: readonly (readonly [name: Uint8Array, codePoint: number])[] = (
  [
    ['amp', 0x26],
    ['lt', 0x3c],
    ['gt', 0x3e],
    ['quot', 0x22],
    ['apos', 0x27],
    ['nbsp', 0x20],
    ['ensp', 0x20],
    ['emsp', 0x20],
    ['thinsp', 0x20],
    ['shy', 0x200b],
    ['zwj', 0x200d],
    ['zwnj', 0x200c],
    ['commat', 0x40],
    ['period', 0x2e],
    ['hyphen', 0x2d],
    ['dash', 0x2d],
    ['ndash', 0x2d],
    ['mdash', 0x2d],
    ['minus', 0x2d],
    ['sol', 0x2f],
    ['plus', 0x2b],
    ['num', 0x23],
    ['lowbar', 0x5f],
    ['percnt', 0x25],
    ['bsol', 0x5c],
    ['colon', 0x3a],
    ['lpar', 0x28],
    ['rpar', 0x29],
    ['Tab', 0x09],
    ['NewLine', 0x0a],
  ] as const
).map(([name, codePoint]) => [Uint8Array.from(Buffer.from(name)), codePoint]);

const result: Entity = { codePoint: 0, next: 0 };

export function entityAt(source: Uint8Array, at: number, end: number): Entity {
  result.next = 0;
  if (at + 1 < end && source[at + 1] === 0x23) {
    numericAt(source, at, end);
    return result;
  }
  for (const [name, codePoint] of NAMED) {
    if (at + 1 + name.length < end && name.length <= NAME_MAX && startsWith(source, at + 1, name)) {
      if (source[at + 1 + name.length] === SEMICOLON) {
        result.codePoint = codePoint;
        result.next = at + name.length + 2;
        break;
      }
    }
  }
  return result;
}

function startsWith(source: Uint8Array, at: number, name: Uint8Array): boolean {
  for (let i = 0; i < name.length; i++) {
    if (source[at + i] !== name[i]) {
      return false;
    }
  }
  return true;
}

/** `&#49;` and `&#x31;`; browsers accept both without the semicolon. */
function numericAt(source: Uint8Array, at: number, end: number): void {
  const isHex = at + 2 < end && ((source[at + 2] as number) | 0x20) === 0x78;
  let position = at + (isHex ? 3 : 2);
  const start = position;
  let value = 0;
  while (position < end && position - start < DIGITS_MAX) {
    const byte = source[position] as number;
    const digit = isHex ? hexValue(byte) : isDigit(byte) ? byte - 0x30 : -1;
    if (digit < 0) {
      break;
    }
    value = value * (isHex ? 16 : 10) + digit;
    position++;
  }
  if (position === start) {
    return;
  }
  result.codePoint = value > 0x10ffff ? 0xfffd : value;
  result.next = position < end && source[position] === SEMICOLON ? position + 1 : position;
}

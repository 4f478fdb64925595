import { CHAR_CLASS, DIGIT, SEPARATOR, isDigit } from './char-class.ts';

const GROUPS_MAX = 8;
const GAP_MAX = 3;
const SPACE = 0x20;
/** A longer run is no group of anything: nothing behind it is read. */
const GROUP_SIZE_MAX = 19;

/** The groups of the number that is being looked at. Shared scratch: matching is synchronous and does not nest. */
export const GROUP_START: Int32Array = new Int32Array(GROUPS_MAX);
export const GROUP_END: Int32Array = new Int32Array(GROUPS_MAX);
/** The separator that follows group i: its first byte that is not a space, else a space. */
export const GROUP_SEPARATOR: Uint8Array = new Uint8Array(GROUPS_MAX);

/** The list was cut short because no shape begins with its first two groups. */
let isCut = false;

/**
 * Reads up to eight groups from `at`; returns how many. A group ends the list when no digit follows within 3 bytes.
 * Unless `isOpen` (after a `+` any groups may follow), only two are read when no shape begins with them: a text of
 * short numbers would otherwise be read eight times.
 */
export function readGroups(bytes: Uint8Array, at: number, end: number, isOpen: boolean): number {
  const classes = CHAR_CLASS;
  isCut = false;
  let count = 0;
  let position = at;
  for (;;) {
    const start = position;
    while (position < end && ((classes[bytes[position] as number] as number) & DIGIT) !== 0) {
      position++;
    }
    GROUP_START[count] = start;
    GROUP_END[count] = position;
    count++;
    if (count === GROUPS_MAX || position - start > GROUP_SIZE_MAX) {
      return count;
    }
    if (count === 2 && !isOpen && !mayGoOn()) {
      isCut = true;
      return count;
    }
    let gap = position;
    let separator = 0;
    while (gap < end && gap - position < GAP_MAX && ((classes[bytes[gap] as number] as number) & SEPARATOR) !== 0) {
      if (separator === 0 || separator === SPACE) {
        separator = bytes[gap] as number;
      }
      gap++;
    }
    if (gap === position || gap >= end || !isDigit(bytes[gap])) {
      return count;
    }
    GROUP_SEPARATOR[count - 1] = separator;
    position = gap;
  }
}

/** Whether a shape of three groups or more begins with the first two. */
function mayGoOn(): boolean {
  const second = groupSize(1);
  const isDate = second <= 2 && GROUP_SEPARATOR[0] !== SPACE;
  switch (groupSize(0)) {
    case 1:
      return isDate || second === 3;
    case 2:
      return isDate;
    case 3:
      return second === 2 || second === 3;
    case 4:
      return isDate || second === 4 || second === 6;
    default:
      return false;
  }
}

export function groupSize(index: number): number {
  return (GROUP_END[index] as number) - (GROUP_START[index] as number);
}

/**
 * Where the scan goes on after a shape that took the first `taken` of `count` groups and ended at `stop`. When more
 * groups follow, another shape may begin inside this one, so only the first group is left behind: overlapping finds
 * are joined later.
 */
export function resumeAfter(taken: number, count: number, stop: number): number {
  return taken < count || count === GROUPS_MAX || isCut ? (GROUP_END[0] as number) : stop;
}

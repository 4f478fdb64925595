import { assert } from '../../../core/kernel/assert.ts';
import { LIMITS } from '../../../core/kernel/limits.ts';
import { CHAR_CLASS, LOCAL } from './char-class.ts';
import { BASE64_TOKEN_MAX } from './base64.ts';
import type { Findings } from './findings.ts';
import { CELL_JSON, scanCell } from './scan-cell.ts';

/*
 * Cells that are longer than what is held are scanned block by block. A block always has exactly the same bytes, however
 * the stream was cut, so the result does not depend on the chunks. Its last bytes are looked at again with the next
 * block: every shape that begins before the cut is seen whole.
 */

/** Bytes of a block before its carry. */
export const BLOCK_BYTES: number = LIMITS.scanCellBytesMax;
/** Bytes before a block that may label what is in it. */
export const LOOK_BEHIND_BYTES = 64;
/** An encoded shape is wider than a plain one: percent codes and escapes by up to 6, base64 tokens up to their limit. */
const CARRY_BYTES: number = Math.max(LIMITS.carryBytes * 8, BASE64_TOKEN_MAX + LIMITS.carryBytes);

/** What was decided: everything before `cut`. `isOpen`: the last finding goes on behind the block. Reused. */
export interface BlockCut {
  cut: number;
  isOpen: boolean;
}

const result: BlockCut = { cut: 0, isOpen: false };

/**
 * Scans [start, end), which is a whole block, or (`isFinal`) the last one. Findings are those that are decided.
 * The result is valid until the next call.
 */
export function scanBlock(
  bytes: Uint8Array,
  floor: number,
  start: number,
  end: number,
  isFinal: boolean,
  cell: number,
  context: number,
  kinds: number,
  findings: Findings,
): BlockCut {
  scanCell(bytes, floor, start, end, cell, context, kinds, findings);
  result.isOpen = false;
  result.cut = end;
  if (isFinal) {
    return result;
  }
  assert(end - start > CARRY_BYTES, 'a block is larger than its carry');
  let cut = wholeUnit(bytes, start, end - CARRY_BYTES, cell);
  for (let i = 0; i < findings.count; i++) {
    if (findings.startAt(i) >= cut) {
      findings.truncate(i);
      break;
    }
    if (findings.endAt(i) > cut) {
      cut = findings.endAt(i);
      result.isOpen = cut === end;
    }
  }
  result.cut = cut;
  return result;
}

/** Where an open finding ends: at the first byte that cannot belong to it. `end` when it goes on. */
export function endOfOpenRun(bytes: Uint8Array, start: number, end: number): number {
  let position = start;
  while (position < end && ((CHAR_CLASS[bytes[position] as number] as number) & LOCAL) !== 0) {
    position++;
  }
  return position;
}

/** Moves a cut back so that it splits neither a UTF-8 sequence nor an escape. */
function wholeUnit(bytes: Uint8Array, start: number, at: number, cell: number): number {
  let cut = at;
  while (cut > start && ((bytes[cut] as number) & 0xc0) === 0x80) {
    cut--;
  }
  if ((cell & CELL_JSON) === 0) {
    return cut;
  }
  for (let back = 1; back <= 5 && cut - back >= start; back++) {
    if (bytes[cut - back] !== 0x5c) {
      continue;
    }
    let first = cut - back;
    while (first > start && bytes[first - 1] === 0x5c) {
      first--;
    }
    const isEscape = (cut - back - first) % 2 === 0;
    const size = bytes[cut - back + 1] === 0x75 ? 6 : 2;
    return isEscape && size > back ? cut - back : cut;
  }
  return cut;
}

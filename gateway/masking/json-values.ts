import type { CompiledPlan, PlanRule } from './compiled-plan.ts';
import { CELL_JSON, CELL_PLAIN, scanCell } from './scanner/scan-cell.ts';
import { unescapeString } from './json-tokens.ts';
import { KEEP, NULL, REDACTED, operateOnNumber, operateOnText, result } from './operators.ts';
import { Findings } from './scanner/findings.ts';
import { isDigit } from './scanner/char-class.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const QUOTED_SIZES = 256;

export const JSON_NULL: Buffer = Buffer.from('null');
export const JSON_WITHHELD: Buffer = Buffer.from('"[WITHHELD]"');
const JSON_REDACTED: Buffer = Buffer.from(`"${REDACTED.toString()}"`);

/** Scratch of a synchronous call; it grows to the largest value that may be held. */
let decoded = Buffer.alloc(4096);
const quotedBySize: (Buffer | undefined)[] = [];
const findings = new Findings();

/** Decoded bytes of a string content. Valid until the next call. */
export function decodeContent(window: Uint8Array, start: number, end: number): Buffer {
  if (decoded.length < end - start) {
    decoded = Buffer.alloc((end - start) * 2);
  }
  return decoded.subarray(0, unescapeString(window, start, end, decoded));
}

/**
 * What stands for the whole JSON value `window` [start, end) under a rule that masks it, or null when the value stands.
 * The result is valid until the next call.
 */
export function maskedJson(
  plan: CompiledPlan,
  rule: PlanRule,
  window: Uint8Array,
  start: number,
  end: number,
): Uint8Array | null {
  const first = window[start] as number;
  if (first === QUOTE) {
    return maskedString(plan, rule, window, start + 1, end - 1);
  }
  if (first === 0x6e) {
    return null; // null says only that there is no value.
  }
  if (first === 0x7b || first === 0x5b) {
    return rule.operator === 'null' ? JSON_NULL : JSON_REDACTED;
  }
  if (isDigit(first) || first === 0x2d) {
    return operateOnNumber(rule.operator, window, start, end, plan.oldYearMax) === KEEP ? null : JSON_NULL;
  }
  return JSON_NULL;
}

function maskedString(
  plan: CompiledPlan,
  rule: PlanRule,
  window: Uint8Array,
  start: number,
  end: number,
): Uint8Array | null {
  if (rule.operator === 'redact') {
    return JSON_REDACTED;
  }
  let answer: number;
  if (hasEscapes(window, start, end)) {
    const content = decodeContent(window, start, end);
    answer = operateOnText(rule, content, 0, content.length, plan.oldYearMax);
  } else {
    answer = operateOnText(rule, window, start, end, plan.oldYearMax);
  }
  if (answer === KEEP) {
    return null;
  }
  return answer === NULL ? JSON_NULL : quoted(result.text);
}

function hasEscapes(window: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    if (window[i] === BACKSLASH) {
      return true;
    }
  }
  return false;
}

/** Kind of what the scanner finds in a number, or -1. A number cannot be masked in part. */
export function findsInAtom(
  plan: CompiledPlan,
  window: Uint8Array,
  start: number,
  end: number,
  context: number,
): number {
  if (!isDigit(window[start]) && window[start] !== 0x2d) {
    return -1;
  }
  scanCell(window, start, start, end, CELL_PLAIN, context, plan.scanKinds, findings);
  return findings.count > 0 ? findings.kindAt(0) : -1;
}

/** Kind of what a member name holds, or -1. Names of requests can be data. */
export function findsInName(
  plan: CompiledPlan,
  window: Uint8Array,
  start: number,
  end: number,
  isEscaped: boolean,
): number {
  scanCell(window, start, start, end, isEscaped ? CELL_JSON : CELL_PLAIN, 0, plan.scanKinds, findings);
  return findings.count > 0 ? findings.kindAt(0) : -1;
}

/** `"text"`, in memory that is reused for texts of the same size: a view for each value would cost more than the value. */
function quoted(text: Uint8Array): Buffer {
  const size = text.length + 2;
  const target = size < QUOTED_SIZES ? (quotedBySize[size] ??= Buffer.alloc(size)) : Buffer.alloc(size);
  target[0] = QUOTE;
  for (let i = 0; i < text.length; i++) {
    target[i + 1] = text[i] as number;
  }
  target[size - 1] = QUOTE;
  return target;
}

import type { JsonValue } from '../../core/kernel/canonical-json.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const COLON = 0x3a;

/**
 * Parses JSON text and refuses what two parsers could read differently: an object with one member name twice (RFC 8259
 * section 4 leaves its meaning open; RFC 7519 section 4 lets us reject). `undefined` = refused.
 */
export function parseStrictJson(text: string): JsonValue | undefined {
  let value: JsonValue;
  try {
    value = JSON.parse(text) as JsonValue;
  } catch {
    return undefined; // Not JSON at all: the same refusal, and the parser's message would quote the input.
  }
  return hasDuplicateMember(text) ? undefined : value;
}

/** `text` is known to be valid JSON, so the scan only has to find strings in member position. */
function hasDuplicateMember(text: string): boolean {
  const open: (Set<string> | null)[] = [];
  let stringStart = -1;
  let stringEnd = -1;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case QUOTE:
        stringStart = i;
        i = endOfString(text, i);
        stringEnd = i + 1;
        break;
      case COLON: {
        const name = JSON.parse(text.slice(stringStart, stringEnd)) as string;
        const names = open.at(-1);
        if (names === null || names === undefined || names.has(name)) {
          return true;
        }
        names.add(name);
        break;
      }
      case OPEN_OBJECT:
        open.push(new Set());
        break;
      case OPEN_ARRAY:
        open.push(null);
        break;
      case CLOSE_OBJECT:
      case CLOSE_ARRAY:
        open.pop();
        break;
      default:
        break;
    }
  }
  return false;
}

function endOfString(text: string, start: number): number {
  let i = start + 1;
  while (text.charCodeAt(i) !== QUOTE) {
    i += text.charCodeAt(i) === BACKSLASH ? 2 : 1;
  }
  return i;
}

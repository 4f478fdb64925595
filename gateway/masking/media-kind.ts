import type { MediaKind } from '../contract/shape.ts';

const KINDS: ReadonlyMap<string, MediaKind> = new Map([
  ['application/json', 'json'],
  ['text/json', 'json'],
  ['application/x-ndjson', 'ndjson'],
  ['application/ndjson', 'ndjson'],
  ['application/jsonl', 'ndjson'],
  ['application/x-jsonlines', 'ndjson'],
  ['application/jsonlines', 'ndjson'],
  ['text/csv', 'csv'],
  ['text/plain', 'text'],
]);
const CHARSETS: ReadonlySet<string> = new Set(['utf-8', 'utf8', 'us-ascii', 'ascii']);

/**
 * The medium of a Content-Type, or null when the gateway cannot read it: an unknown type, a charset that is not UTF-8,
 * CSV without a header row. Null means deny.
 */
export function mediaKindOf(contentType: string): MediaKind | null {
  const [type = '', ...parameters] = contentType.toLowerCase().split(';');
  const name = type.trim();
  for (const parameter of parameters) {
    const [key = '', value = ''] = parameter.split('=', 2).map((part) => part.trim().replace(/^"(.*)"$/, '$1'));
    if ((key === 'charset' && !CHARSETS.has(value)) || (key === 'header' && value === 'absent')) {
      return null;
    }
  }
  if (/^application\/[a-z0-9.!#$&^_-]+\+json$/.test(name)) {
    return 'json';
  }
  return KINDS.get(name) ?? null;
}

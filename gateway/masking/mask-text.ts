import type { OriginalSpan } from '../contract/mask.ts';
import { Findings } from './scanner/findings.ts';
import { CELL_FORM, scanCell } from './scanner/scan-cell.ts';
import { ALL_KINDS, kindName } from './scanner/scan-kinds.ts';

export interface MaskedText {
  readonly masked: string;
  /** Offsets count in the UTF-8 bytes of `masked`. */
  readonly originals: readonly OriginalSpan[];
}

const findings = new Findings();

/** One string of a request (path, query, header value) for the record: what the scanner finds becomes `[KIND]`. */
export function maskText(value: string): MaskedText {
  const bytes = Buffer.from(value);
  scanCell(bytes, 0, 0, bytes.length, CELL_FORM, 0, ALL_KINDS, findings);
  if (findings.count === 0) {
    return { masked: value, originals: [] };
  }
  const parts: Buffer[] = [];
  const originals: OriginalSpan[] = [];
  let position = 0;
  let offset = 0;
  for (let i = 0; i < findings.count; i++) {
    const start = findings.startAt(i);
    const end = findings.endAt(i);
    const kind = kindName(findings.kindAt(i));
    const replacement = Buffer.from(`[${kind.toUpperCase()}]`);
    parts.push(bytes.subarray(position, start), replacement);
    offset += start - position;
    const original = Buffer.from(bytes.subarray(start, end));
    originals.push({ offset, size: replacement.length, value: original, class: 'request', kind, path: '' });
    offset += replacement.length;
    position = end;
  }
  parts.push(bytes.subarray(position));
  return { masked: Buffer.concat(parts).toString(), originals };
}

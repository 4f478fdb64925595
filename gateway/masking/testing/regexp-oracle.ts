import type { ScanKind } from '../scanner/scan-kinds.ts';

/**
 * The strong shapes again, as regular expressions: slow, obvious, and written without looking at the byte loops. Every
 * match of these must be inside something that the scanner found.
 */
const GAP = '(?:[ .\\-/()]{1,3})';

export const STRONG_SHAPES: readonly (readonly [ScanKind, RegExp])[] = [
  ['ssn', /(?<!\d)\d{3}[ .\-/]\d{2}[ .\-/]\d{4}(?!\d)/g],
  ['phone', /(?<!\d)\(\d{3}\) ?\d{3}[-. ]\d{4}(?!\d)/g],
  ['phone', /(?<!\d)\d{3}[-./]\d{3}[-./]\d{4}(?!\d)/g],
  ['phone', new RegExp(`(?<!\\d)\\+\\d{8,15}(?!\\d|${GAP}\\d)`, 'g')],
  [
    'email',
    /(?<![A-Za-z0-9._%+@-])[A-Za-z0-9_+][A-Za-z0-9._%+-]{0,30}@[A-Za-z0-9-]{1,20}\.[A-Za-z]{2,6}(?![A-Za-z0-9.-])/g,
  ],
  ['date', /(?<!\d)(?:18|19|20|21)\d\d([-/.])(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])(?!\d)/g],
  ['date', /(?<!\d)(?:0[1-9]|1[0-2])([-/.])(?:0[1-9]|[12]\d|3[01])\1(?:18|19|20|21)\d\d(?!\d)/g],
  ['card', /(?<!\d)\d{4}-\d{4}-\d{4}-\d{4}(?!\d)/g],
  ['card', /(?<!\d)[3-6]\d{15}(?!\d)/g],
];

export interface OracleMatch {
  readonly kind: ScanKind;
  readonly start: number;
  readonly end: number;
}

export function oracleMatches(text: string): OracleMatch[] {
  const matches: OracleMatch[] = [];
  for (const [kind, pattern] of STRONG_SHAPES) {
    // A lookahead wrapper would be needed to see overlapping matches; stepping by one character is plainer.
    for (let from = 0; from < text.length;) {
      pattern.lastIndex = from;
      const match = pattern.exec(text);
      if (match === null) {
        break;
      }
      matches.push({ kind, start: match.index, end: match.index + match[0].length });
      from = match.index + 1;
    }
  }
  return matches;
}

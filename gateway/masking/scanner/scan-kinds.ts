/** What the scanner can find. The index is the number that the byte loops carry; the order is frozen by plan digests. */
export const SCAN_KINDS = ['ssn', 'phone', 'email', 'date', 'card', 'mrn', 'blob'] as const;
export type ScanKind = (typeof SCAN_KINDS)[number];

/** Changes whenever a shape, a label or a decoder changes: the digest of each mask plan covers it. */
export const SCANNER_VERSION = 'scalar/1';

export const KIND_SSN = 0;
export const KIND_PHONE = 1;
export const KIND_EMAIL = 2;
export const KIND_DATE = 3;
export const KIND_CARD = 4;
export const KIND_MRN = 5;
/** A run that is longer than any shape: it can hide anything, so it is taken out whole. */
export const KIND_BLOB = 6;

/** One bit for each kind. */
export const ALL_KINDS: number = (1 << SCAN_KINDS.length) - 1;

/** Bits of the named kinds. Names that the scanner does not know (`name`, `address`) give no bit. */
export function kindBits(names: Iterable<string>): number {
  let bits = 0;
  for (const name of names) {
    const index = (SCAN_KINDS as readonly string[]).indexOf(name);
    if (index >= 0) {
      bits |= 1 << index;
    }
  }
  return bits;
}

export function kindName(kind: number): ScanKind {
  return SCAN_KINDS[kind] ?? 'blob';
}

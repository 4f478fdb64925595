/** A compiled plan. What is inside belongs to gateway/masking; others carry it and record its digest. */
export interface MaskPlan {
  readonly digest: Buffer;
  readonly profile: string;
  readonly shapeId: string;
}

/** One value that was taken out. Offsets count in the masked output of the whole stream, from its first byte. */
export interface OriginalSpan {
  readonly offset: number;
  /** Size of the replacement in the masked output, bytes. */
  readonly size: number;
  readonly value: Buffer;
  readonly class: string;
  readonly kind: string;
  readonly path: string;
}

export interface MaskCountEntry {
  readonly class: string;
  readonly kind: string;
  readonly action: string;
  readonly column: string;
  readonly count: number;
}

export interface MaskStats {
  readonly rows: number;
  readonly counts: readonly MaskCountEntry[];
  readonly unknownPaths: readonly string[];
  readonly withheld: number;
}

/**
 * What one push gave: masked bytes that are final (they never change by later input), with their originals. Both belong
 * to the caller: they are never views of the pushed chunk, which its owner reuses.
 */
export interface MaskedChunk {
  readonly bytes: Buffer;
  readonly originals: readonly OriginalSpan[];
}

/**
 * Masks one body as it streams. For any chunking the concatenated output is the same. State is bounded (03 section 4).
 * A failure is final: `push` then throws GatewayError (`masking_failed`, `held_bytes_exceeded`) and what was not yet
 * returned must never be released. Messages carry no payload.
 */
export interface BodyMasker {
  push(chunk: Buffer): MaskedChunk;
  /** The rest. The body is complete only after this returned. */
  finish(): MaskedChunk;
  stats(): MaskStats;
}

/** A finding of the egress scan: which kind, where. Never the value. */
export interface ScanFinding {
  readonly kind: string;
  readonly offset: number;
  readonly size: number;
}

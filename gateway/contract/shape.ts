/**
 * What the catalogue knows of one result or request body. Paths: members joined by `.`, array elements as `[]`
 * (`items[].ssn`, `[].name.family`); NDJSON and CSV rows start at the row (`ssn`). A path that is not in `fields` is
 * unknown and withheld (promise P3).
 */
export interface FieldRule {
  readonly class: string;
  /** Run the scanner over the value even when the class itself is not masked (free text). */
  readonly scan: boolean;
}

export type MediaKind = 'json' | 'ndjson' | 'csv' | 'text';

export interface ResultShape {
  readonly id: string;
  readonly media: readonly MediaKind[];
  readonly fields: ReadonlyMap<string, FieldRule>;
  /** Rule for a `text` body as a whole. */
  readonly text: FieldRule | null;
  /** SHA-256 of the canonical JSON of this shape. */
  readonly digest: Buffer;
}

export interface ClassInfo {
  readonly name: string;
  readonly phi: boolean;
  /** 45 CFR 164.514(b)(2)(i) letter A-R, empty when not an identifier. */
  readonly hipaa: string;
  /** Scanner kind that stands for this class (`ssn`, `phone`, …), empty when none. */
  readonly kind: string;
}

/** One route of an HTTP connection, as the catalogue resolved it for a request. */
export interface ResolvedRoute {
  readonly id: string;
  readonly template: string;
  readonly class: 'read' | 'write';
  readonly verb: string;
  readonly objects: readonly { readonly type: string; readonly id: string; readonly labels: readonly string[] }[];
  readonly safe: boolean;
  readonly rowsBand: string;
  /** Class of each path and query parameter that the request has; unknown query names are listed apart. */
  readonly parameterClasses: readonly string[];
  readonly unknownParameters: readonly string[];
  readonly response: ResultShape | null;
  readonly request: ResultShape | null;
}

/** The catalogue of a bundle, resolved. Implemented in gateway/catalogue. */
export interface Catalogue {
  readonly digest: Buffer;
  readonly classes: ReadonlyMap<string, ClassInfo>;
  /** Undefined when no route of the connection has this method and path. */
  resolveHttp(connection: string, method: string, path: string, query: string): ResolvedRoute | undefined;
}

/** `masks.json` of a bundle: which operator stands for which strength, by class, in one named profile. */
export type MaskOperatorName = 'pass' | 'redact' | 'null' | 'fixed' | 'zip3' | 'year' | 'drop';
export interface MaskProfile {
  readonly name: 'safe-harbor' | 'limited-data-set' | 'expert';
  /** class or kind -> strength -> operator. What is absent falls back to `redact` (or `null`/`drop` for those). */
  readonly operators: Readonly<Record<string, Readonly<Partial<Record<string, MaskOperatorName>>>>>;
}

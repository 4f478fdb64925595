/** What is asked, in the terms of the policy. No literal, no row value and no raw path is in here. */
export type OperationClass = 'read' | 'write' | 'ddl' | 'admin' | 'session';

/** Kind of a request body that cannot be read as what it says it is. */
export const UNREADABLE_KIND = 'unreadable';
/** Kind of a request body with members that the catalogue does not know. */
export const UNKNOWN_KIND = 'unknown';

export interface OperationObject {
  readonly type: string;
  /** Name of a resource kind, never a key that could be PHI. */
  readonly id: string;
  readonly labels: readonly string[];
}

export interface Operation {
  readonly class: OperationClass;
  readonly verb: string;
  /** Route template or statement without literals. */
  readonly text: string;
  /** Stable name of the shape of this operation. */
  readonly fingerprint: string;
  readonly objects: readonly OperationObject[];
  /** Classes that the operation touches at all, that its result contains, and that its filters use. Sorted. */
  readonly classes: readonly string[];
  readonly outputsClasses: readonly string[];
  readonly filtersClasses: readonly string[];
  /** Identifier kinds found in the request. Sorted. */
  readonly kinds: readonly string[];
  readonly egress: { readonly kinds: readonly string[]; readonly destination: string };
  readonly unresolved: boolean;
  /** True for a route or statement that cannot change the upstream (00 section 6 step 5). */
  readonly safe: boolean;
  readonly facts: {
    readonly hasWhere: boolean;
    readonly hasLimit: boolean;
    readonly multi: boolean;
    readonly functionCalls: readonly string[];
    readonly lineage: 'exact' | 'over';
    /** `none | small | large | bulk`, from the catalogue or the request. */
    readonly rowsBand: string;
  };
}

export interface ConnectionInfo {
  readonly name: string;
  readonly kind: 'http' | 'postgres' | 's3' | 'mcp';
  readonly env: string;
  readonly database: string;
  readonly labels: Readonly<Record<string, string>>;
}

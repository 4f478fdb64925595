/** Who asks: the verified identity behind a request. Claims that the client makes of itself are not in here. */
export interface Principal {
  readonly iss: string;
  readonly sub: string;
  readonly kind: 'user' | 'service';
}

export interface Actor {
  readonly iss: string;
  readonly sub: string;
  readonly kind: 'ai_agent' | 'service';
  readonly verified: boolean;
}

/** The CI run of the token: who built what where. `actor` of the CI system is not an approver. */
export interface CiRun {
  readonly repoId: string;
  readonly repository: string;
  readonly ref: string;
  readonly sha: string;
  readonly workflow: string;
  readonly runId: string;
  readonly environment: string;
  /** Hex SHA-256 of the generated script that this run executes, empty when the token names none. */
  readonly scriptDigest: string;
}

export interface Subject {
  /** Outermost human or service of the chain (RFC 8693 `act`). */
  readonly principal: Principal;
  readonly actors: readonly Actor[];
  readonly ci: CiRun | null;
  /** Key of the people map, null when the principal is not in it. */
  readonly person: string | null;
  /** Persons of everyone in the chain, the principal's included: none of them can approve. */
  readonly chainPersons: readonly string[];
  readonly groups: readonly string[];
  readonly purpose: string;
  readonly env: string;
  readonly auth: { readonly method: 'jwt'; readonly issuer: string; readonly mfa: boolean; readonly issuedMs: number };
  readonly expiresMs: number;
  /** Run id, else token family (jti, else the token digest in hex). */
  readonly runOrFamily: string;
  /** SHA-256 of the presented token, 32 bytes. */
  readonly tokenDigest: Buffer;
  /** `header.claims` of the token: kept sealed, without a usable signature. */
  readonly tokenClaims: string;
}

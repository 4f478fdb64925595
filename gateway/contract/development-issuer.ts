import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  sign,
} from 'node:crypto';
import { GatewayError } from '../../core/kernel/errors.ts';

/** The run that a development token speaks of. Claim names are those of GitHub Actions. */
export interface DevelopmentRun {
  readonly repositoryId: string;
  readonly repository: string;
  readonly ref: string;
  readonly sha: string;
  readonly workflowRef: string;
  readonly runId: string;
  readonly environment?: string;
  readonly scriptDigest?: string;
  /** Account that started the run: it joins the chain, so it can approve nothing of this run. */
  readonly actor?: string;
}

export interface DevelopmentTokenRequest {
  readonly audience: string;
  /** The human at the root of the chain, or the service when `principalKind` says so. */
  readonly sub: string;
  readonly principalKind?: 'user' | 'service';
  /** In order of delegation: the last one presents the token. */
  readonly actors?: readonly { readonly sub: string; readonly kind: 'ai_agent' | 'service'; readonly iss?: string }[];
  readonly run?: DevelopmentRun;
  readonly purpose?: string;
  readonly env?: string;
  readonly jti?: string;
  readonly nowMs: number;
  readonly ttlMs: number;
}

interface Delegation {
  readonly sub: string;
  readonly kind: string;
  readonly iss: string | undefined;
  readonly act: Delegation | undefined;
}

/**
 * Signs the tokens of the demo and of tests (EdDSA). It is no identity provider: whoever holds the key file is anyone.
 * The caller MUST refuse to use it outside `env: demo`; the key file says INSECURE in its name.
 */
export class DevelopmentIssuer {
  readonly iss: string;
  readonly kid: string;
  readonly #key: KeyObject;

  constructor(iss: string, kid: string, key: KeyObject) {
    if (key.type !== 'private' || key.asymmetricKeyType !== 'ed25519') {
      throw new GatewayError('config_invalid', 'the key of the development issuer must be an Ed25519 private key');
    }
    this.iss = iss;
    this.kid = kid;
    this.#key = key;
  }

  /** From the text of a key file: a private Ed25519 JWK with `kid` and the extra member `iss`. */
  static fromJwk(text: string): DevelopmentIssuer {
    let jwk: JsonWebKey & { iss?: unknown; kid?: unknown };
    let key: KeyObject;
    try {
      jwk = JSON.parse(text) as typeof jwk;
      key = createPrivateKey({ key: jwk, format: 'jwk' });
    } catch {
      // Without the cause: the parser's message quotes what it read, and that is a private key.
      throw new GatewayError('config_invalid', 'the key file of the development issuer is not a private JWK');
    }
    if (typeof jwk.iss !== 'string' || typeof jwk.kid !== 'string') {
      throw new GatewayError('config_invalid', 'the key file of the development issuer lacks iss or kid');
    }
    return new DevelopmentIssuer(jwk.iss, jwk.kid, key);
  }

  static generate(iss: string, kid: string): DevelopmentIssuer {
    return new DevelopmentIssuer(iss, kid, generateKeyPairSync('ed25519').privateKey);
  }

  /** The text of a key file for `fromJwk`. */
  privateJwk(): string {
    return `${JSON.stringify({ iss: this.iss, kid: this.kid, alg: 'EdDSA', use: 'sig', ...this.#key.export({ format: 'jwk' }) }, null, 2)}\n`;
  }

  /** The key set that the gateway is configured with. */
  publicJwks(): string {
    const jwk = createPublicKey(this.#key).export({ format: 'jwk' });
    return `${JSON.stringify({ keys: [{ kid: this.kid, alg: 'EdDSA', use: 'sig', ...jwk }] }, null, 2)}\n`;
  }

  issue(request: DevelopmentTokenRequest): string {
    let act: Delegation | undefined;
    for (const actor of request.actors ?? []) {
      act = { sub: actor.sub, kind: actor.kind, iss: actor.iss, act };
    }
    const issuedS = Math.floor(request.nowMs / 1000);
    return this.signClaims({
      iss: this.iss,
      sub: request.sub,
      aud: request.audience,
      iat: issuedS,
      nbf: issuedS,
      exp: issuedS + Math.floor(request.ttlMs / 1000),
      jti: request.jti,
      principal_kind: request.principalKind ?? 'user',
      purpose: request.purpose,
      env: request.env,
      act,
      ...runClaims(request.run),
    });
  }

  /** Signs whatever is given: for tests of what a verifier must refuse. */
  signClaims(claims: Readonly<Record<string, unknown>>, header: Readonly<Record<string, unknown>> = {}): string {
    const head = segment({ alg: 'EdDSA', kid: this.kid, typ: 'JWT', ...header });
    const signedText = `${head}.${segment(claims)}`;
    return `${signedText}.${sign(null, Buffer.from(signedText), this.#key).toString('base64url')}`;
  }
}

function runClaims(run: DevelopmentRun | undefined): Readonly<Record<string, unknown>> {
  return run === undefined
    ? {}
    : {
        repository_id: run.repositoryId,
        repository: run.repository,
        ref: run.ref,
        sha: run.sha,
        workflow_ref: run.workflowRef,
        run_id: run.runId,
        environment: run.environment,
        script_digest: run.scriptDigest,
        actor: run.actor,
      };
}

function segment(value: Readonly<Record<string, unknown>>): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

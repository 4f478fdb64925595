import { canonicalJson, type JsonValue } from '../../core/kernel/canonical-json.ts';
import { opDigest } from '../../core/ledger/statement.ts';
import type { Operation } from '../contract/operation.ts';
import type { Subject } from '../contract/subject.ts';

export interface OperationDigestInput {
  readonly subject: Subject;
  readonly connection: string;
  /** SHA-256 of the connection's configuration: another upstream is another operation. */
  readonly connectionDigest: Buffer;
  readonly operation: Operation;
  readonly catalogueDigest: Buffer;
  /** `httpExactParts` and its like: method, target, content-type, body. */
  readonly exact: readonly Buffer[];
}

/**
 * What an approval binds (06). Not in it: jti, times and session, so an honest retry with a fresh token of the same run
 * finds its grant; and bands, which change with the clock.
 */
export function operationDigest(approvalsKey: Buffer, input: OperationDigestInput): Buffer {
  return opDigest(approvalsKey, {
    subject: canonicalJson(boundSubject(input.subject)),
    connection: input.connection,
    connectionDigest: input.connectionDigest,
    operation: canonicalJson(boundOperation(input.operation)),
    catalogueDigest: input.catalogueDigest,
    exact: input.exact,
  });
}

function boundSubject(subject: Subject): JsonValue {
  return {
    principal: { ...subject.principal },
    actors: subject.actors.map((actor) => ({ ...actor })),
    ci: subject.ci === null ? null : { ...subject.ci },
    person: subject.person,
    chainPersons: [...subject.chainPersons],
    groups: [...subject.groups],
    purpose: subject.purpose,
    env: subject.env,
    auth: { method: subject.auth.method, issuer: subject.auth.issuer, mfa: subject.auth.mfa },
  };
}

function boundOperation(operation: Operation): JsonValue {
  const { rowsBand: _rowsBand, ...facts } = operation.facts;
  return { ...operation, facts } as unknown as JsonValue;
}

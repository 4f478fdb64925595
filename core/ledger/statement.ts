import { createHmac } from 'node:crypto';
import { assert } from '../kernel/assert.ts';
import { writeU64 } from '../kernel/bytes.ts';
import { malformed } from './byte-reader.ts';
import { HASH_SIZE, sha256 } from './hash.ts';

/*
 * What is approved, what was shown, and what an approver signs (docs/formats.md, "opDigest and the approval statement"):
 *
 *   opDigest    = HMAC-SHA-256(cluster approvals key, (length u32 | part) ...)
 *   parts       = "chaperone/op/v1", subject, connection name, connection config digest, operation, catalogue digest,
 *                 then the exact parts of the lane
 *   shownDigest = SHA-256("chaperone/shown/v1\n" | opDigest | SHA-256(shown) | preview hash)
 *   statement   = "chaperone/approval/v1\n" | length u16 | approval id | decision u8 (1 approve, 2 deny) | shownDigest
 *                 | decided ms u64 | length u16 | person | length u16 | reason
 */
const OP_DOMAIN = Buffer.from('chaperone/op/v1', 'ascii');
const SHOWN_DOMAIN = Buffer.from('chaperone/shown/v1\n', 'ascii');
const APPROVAL_DOMAIN = Buffer.from('chaperone/approval/v1\n', 'ascii');
const TEXT_BYTES_MAX = 0xffff;

export interface OpDigestInput {
  /** Canonical JSON without jti, times and session. */
  readonly subject: string;
  readonly connection: string;
  readonly connectionDigest: Buffer;
  /** Canonical JSON. */
  readonly operation: string;
  readonly catalogueDigest: Buffer;
  /** The lane's own parts, e.g. `httpExactParts`. */
  readonly exact: readonly Buffer[];
}

export interface ApprovalStatementInput {
  readonly approvalId: string;
  readonly decision: 1 | 2;
  readonly shownDigest: Buffer;
  readonly decidedMs: number;
  readonly person: string;
  readonly reason: string;
}

export function opDigest(approvalsKey: Buffer, input: OpDigestInput): Buffer {
  const parts = [
    OP_DOMAIN,
    Buffer.from(input.subject, 'utf8'),
    Buffer.from(input.connection, 'utf8'),
    input.connectionDigest,
    Buffer.from(input.operation, 'utf8'),
    input.catalogueDigest,
    ...input.exact,
  ];
  const state = createHmac('sha256', approvalsKey);
  const length = Buffer.alloc(4);
  for (const part of parts) {
    length.writeUInt32BE(part.length);
    state.update(length).update(part); // Lengths first: no two lists of parts give the same bytes.
  }
  return state.digest();
}

/** The exact parts of an HTTP operation. `contentType` is empty when the request has none. */
export function httpExactParts(request: {
  readonly method: string;
  /** Path and query as sent. */
  readonly target: string;
  readonly contentType: string;
  /** SHA-256 of the body, of nothing when there is none. */
  readonly bodyDigest: Buffer;
}): Buffer[] {
  assert(request.bodyDigest.length === HASH_SIZE, 'a digest is 32 bytes');
  return [
    Buffer.from(request.method, 'latin1'),
    Buffer.from(request.target, 'latin1'),
    Buffer.from(request.contentType, 'latin1'),
    request.bodyDigest,
  ];
}

/** `shown` is canonical JSON; `previewHash` covers a 32-byte random salt inside the preview. */
export function shownDigest(operationDigest: Buffer, shown: string, previewHash: Buffer): Buffer {
  assert(operationDigest.length === HASH_SIZE && previewHash.length === HASH_SIZE, 'a digest is 32 bytes');
  return sha256(SHOWN_DOMAIN, operationDigest, sha256(Buffer.from(shown, 'utf8')), previewHash);
}

/** The bytes that an approver signs. Throws `evidence_malformed` for a text over 64 KiB. */
export function approvalStatement(input: ApprovalStatementInput): Buffer {
  assert(input.shownDigest.length === HASH_SIZE, 'a digest is 32 bytes');
  const decision = Buffer.alloc(1 + HASH_SIZE + 8);
  decision[0] = input.decision;
  decision.set(input.shownDigest, 1);
  writeU64(decision, input.decidedMs, 1 + HASH_SIZE);
  return Buffer.concat([
    APPROVAL_DOMAIN,
    shortText(input.approvalId, 'approval id'),
    decision,
    shortText(input.person, 'person'),
    shortText(input.reason, 'reason'),
  ]);
}

function shortText(text: string, field: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.length > TEXT_BYTES_MAX) {
    throw malformed(`approval statement: ${field} is too long`);
  }
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

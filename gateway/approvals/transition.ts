import { hash } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson, type JsonValue } from '../../core/kernel/canonical-json.ts';
import { LIMITS } from '../../core/kernel/limits.ts';

/*
 * A value of state.approvals.v1 is one transition: canonical JSON (RFC 8785) in UTF-8, at most 960 KiB. A value that is
 * not byte for byte the canonical form of what it parses to is malformed and changes nothing. The key is the approval id
 * (`script` for reviews). All transitions have
 *
 *   v        1
 *   type     asked | decided | claim | expired | cancelled | script_reviewed
 *   id       approval id, or the script's digest
 *   node     the node that appended it, and that records it when it won
 *   nonce    16 random bytes, hex: a node recognises its own append by it, also when the bus stored it twice
 *   atMs     clock of that node
 *
 * Digests and keys are lower-case hex, sealed bytes base64. `shown` is itself canonical JSON text, because its bytes are
 * hashed into `shownDigest`. The approval id is "ap-" and the first 16 bytes, hex, of
 * SHA-256("chaperone/approval-id/v1\n" || opDigest hex || "/" || generation): two nodes that ask for one operation at the
 * same time give their asks the same id, and the first offset wins.
 */
const hex32 = z.string().regex(/^[0-9a-f]{64}$/);
const nonce = z.string().regex(/^[0-9a-f]{32}$/);
const text = z.string().max(4096);
const texts = z.array(text).max(1024);
const base64 = z.string().regex(/^[A-Za-z0-9+/]*={0,2}$/);
const timeMs = z.int().min(0);

const common = { v: z.literal(1), id: text.min(1), node: text.min(1), nonce, atMs: timeMs };

const askedSchema = z.strictObject({
  ...common,
  type: z.literal('asked'),
  opDigest: hex32,
  generation: z.int().min(0),
  expiresMs: timeMs,
  uses: z.int().min(1),
  requester: z.strictObject({
    principal: text,
    person: text.nullable(),
    chainPersons: texts.min(1),
    agent: text,
    run: text,
    commit: text,
    repository: text,
    scriptDigest: text,
  }),
  sessionId: text,
  summary: text,
  reasons: texts,
  shown: z.string().max(LIMITS.approvalShownBytesMax),
  shownDigest: hex32,
  previewHash: hex32,
  quorum: z.int().min(1).max(LIMITS.approvalQuorumMax),
  /** One decision must come from each set. `persons` are those who were eligible at asking, without the chain. */
  sets: z.array(z.strictObject({ code: text, approvers: texts, persons: texts })).min(1),
  keys: z.array(z.strictObject({ person: text, keyId: text, ed25519: hex32 })),
  previews: z.array(z.strictObject({ person: text, keyId: text, enc: base64, ciphertext: base64 })),
});

const decidedSchema = z.strictObject({
  ...common,
  type: z.literal('decided'),
  decision: z.enum(['approve', 'deny']),
  person: text,
  keyId: text,
  reason: z.string().max(LIMITS.approvalReasonBytesMax),
  decidedMs: timeMs,
  signature: base64,
});

const claimSchema = z.strictObject({ ...common, type: z.literal('claim'), use: z.int().min(0), opDigest: hex32 });
const expiredSchema = z.strictObject({ ...common, type: z.literal('expired') });
const cancelledSchema = z.strictObject({ ...common, type: z.literal('cancelled'), reason: text });
const scriptReviewedSchema = z.strictObject({
  ...common,
  type: z.literal('script_reviewed'),
  ed25519: hex32,
  envelope: base64,
});

const transitionSchema = z.discriminatedUnion('type', [
  askedSchema,
  decidedSchema,
  claimSchema,
  expiredSchema,
  cancelledSchema,
  scriptReviewedSchema,
]);

export type Asked = z.infer<typeof askedSchema>;
export type Decided = z.infer<typeof decidedSchema>;
export type Claim = z.infer<typeof claimSchema>;
export type Expired = z.infer<typeof expiredSchema>;
export type Cancelled = z.infer<typeof cancelledSchema>;
export type ScriptReviewed = z.infer<typeof scriptReviewedSchema>;
export type Transition = z.infer<typeof transitionSchema>;

export function encodeTransition(transition: Transition): Buffer {
  return Buffer.from(canonicalJson(transition as JsonValue), 'utf8');
}

/** `undefined` for anything that is not exactly one transition of version 1: a reader passes over it. */
export function decodeTransition(bytes: Buffer): Transition | undefined {
  if (bytes.length > LIMITS.approvalTransitionBytesMax) {
    return undefined;
  }
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined; // Not JSON: the same answer as for any other malformed value.
  }
  const parsed = transitionSchema.safeParse(value);
  // Equal bytes: no duplicate member, no second spelling, no invalid UTF-8 can hide in it.
  return parsed.success && encodeTransition(parsed.data).equals(bytes) ? parsed.data : undefined;
}

export function approvalId(opDigest: string, generation: number): string {
  return `ap-${hash('sha256', `chaperone/approval-id/v1\n${opDigest}/${generation}`, 'hex').slice(0, 32)}`;
}

import { z } from 'zod';
import { canonicalJson, type JsonValue } from '../../core/kernel/canonical-json.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import type { ConnectionInfo, Operation } from '../contract/operation.ts';
import { MASK_STRENGTHS, type MaskStrength, type Verdict } from '../contract/verdict.ts';
import type { Shown } from './desk-port.ts';

const text = z.string().max(4096);
const texts = z.array(text).max(1024);

export const shownSchema: z.ZodType<Shown> = z.strictObject({
  v: z.literal(1),
  connection: text,
  env: text,
  operation: z.strictObject({
    class: text,
    verb: text,
    text: z.string().max(LIMITS.approvalShownBytesMax),
    fingerprint: text,
    objects: texts,
    classes: texts,
    rowsBand: text,
  }),
  approvals: z
    .array(
      z.strictObject({
        code: text,
        approvers: texts,
        quorum: z.int().min(1).max(LIMITS.approvalQuorumMax),
        ttlS: z.int().min(1),
        scope: z.enum(['statement', 'fingerprint', 'session']),
        justify: z.boolean(),
      }),
    )
    .max(64),
  masks: z.record(text, z.enum(MASK_STRENGTHS)),
  limits: z.record(text, z.number()),
  egress: z.strictObject({ denyKinds: texts, action: z.enum(['block', 'mask']) }),
  obligations: texts,
  evidence: z.enum(['local', 'replicated']),
});

/** What an approver is shown of an operation and its verdict, without literals. */
export function shownOf(connection: ConnectionInfo, operation: Operation, verdict: Verdict): Shown {
  return {
    v: 1,
    connection: connection.name,
    env: connection.env,
    operation: {
      class: operation.class,
      verb: operation.verb,
      text: operation.text,
      fingerprint: operation.fingerprint,
      objects: operation.objects.map((object) => `${object.type}:${object.id}`),
      classes: [...operation.classes],
      rowsBand: operation.facts.rowsBand,
    },
    approvals: verdict.approvals.map((approval) => ({ ...approval, approvers: [...approval.approvers] })),
    masks: { ...verdict.masks },
    limits: Object.fromEntries(Object.entries(verdict.limits).filter(([, limit]) => limit !== undefined)) as Record<
      string,
      number
    >,
    egress: { denyKinds: [...verdict.egress.denyKinds], action: verdict.egress.action },
    obligations: [...verdict.obligations],
    evidence: verdict.evidence,
  };
}

export function shownText(shown: Shown): string {
  return canonicalJson(shown as unknown as JsonValue);
}

/**
 * Whether a grant for `shown` lets through what the verdict of now says: it needs no approval that was not given, and
 * nothing is looser than what the approver saw. What is absent counts for the worse: a class without a mask entry was
 * shown as redacted (that is what an unlisted PHI class gets) but may now pass in clear.
 */
export function grantCovers(shown: Shown, current: Shown): boolean {
  return (
    shown.connection === current.connection &&
    current.approvals.every((needed) => isApproved(shown, needed)) &&
    masksAreAsStrong(shown.masks, current.masks) &&
    Object.entries(shown.limits).every(([name, limit]) => (current.limits[name] ?? Infinity) <= limit) &&
    shown.egress.denyKinds.every((kind) => current.egress.denyKinds.includes(kind)) &&
    (shown.egress.action === 'mask' || current.egress.action === 'block') &&
    shown.obligations.every((obligation) => current.obligations.includes(obligation)) &&
    (shown.evidence === 'local' || current.evidence === 'replicated')
  );
}

/** Same code, same set of approvers, no larger quorum, no narrower scope: else it is another approval. */
function isApproved(shown: Shown, needed: Shown['approvals'][number]): boolean {
  // The quorum of an ask is the largest of its approvals, and every set had its decision.
  const quorum = Math.max(0, ...shown.approvals.map((approval) => approval.quorum));
  return shown.approvals.some(
    (given) =>
      given.code === needed.code &&
      given.scope === needed.scope &&
      quorum >= needed.quorum &&
      (given.justify || !needed.justify) &&
      sameSet(given.approvers, needed.approvers),
  );
}

function masksAreAsStrong(
  shown: Readonly<Record<string, MaskStrength>>,
  current: Readonly<Record<string, MaskStrength>>,
): boolean {
  return [...Object.keys(shown), ...Object.keys(current)].every(
    (name) => strength(current, name, 'none') >= strength(shown, name, 'redact'),
  );
}

function strength(masks: Readonly<Record<string, MaskStrength>>, name: string, otherwise: MaskStrength): number {
  return MASK_STRENGTHS.indexOf(Object.hasOwn(masks, name) ? (masks[name] ?? otherwise) : otherwise);
}

function sameSet(a: readonly string[], b: readonly string[]): boolean {
  return a.every((item) => b.includes(item)) && b.every((item) => a.includes(item));
}

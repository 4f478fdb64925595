import { z } from 'zod';
import type { JsonValue } from '../core/kernel/canonical-json.ts';
import { GatewayError } from '../core/kernel/errors.ts';
import type { ApprovalView } from '../proto/gen/chaperone/control/v1/approval.ts';
import { bytesText, countText, durationText, labelled, printable } from './print.ts';

const texts = z.array(z.string());

/** What the approval names as shown. Strict: nobody may sign for something that this version cannot show. */
const shownSchema = z.strictObject({
  v: z.literal(1),
  connection: z.string(),
  env: z.string(),
  operation: z.strictObject({
    class: z.string(),
    verb: z.string(),
    text: z.string(),
    fingerprint: z.string(),
    objects: texts,
    classes: texts,
    rowsBand: z.string(),
  }),
  approvals: z.array(
    z.strictObject({
      code: z.string(),
      approvers: texts,
      quorum: z.number(),
      ttlS: z.number(),
      scope: z.string(),
      justify: z.boolean(),
    }),
  ),
  masks: z.record(z.string(), z.string()),
  limits: z.record(z.string(), z.number()),
  egress: z.strictObject({ denyKinds: texts, action: z.string() }),
  obligations: texts,
  evidence: z.string(),
});
export type ShownView = z.infer<typeof shownSchema>;

/** Throws `approval_signature`: what cannot be read cannot be shown, and so not be signed. */
export function parseShown(shown: Uint8Array): ShownView {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(shown).toString('utf8'));
  } catch {
    throw new GatewayError('approval_signature', 'what the approval shows is not JSON');
  }
  const parsed = shownSchema.safeParse(value);
  if (!parsed.success) {
    throw new GatewayError('approval_signature', 'the approval shows something that this version does not know');
  }
  return parsed.data;
}

export interface CardInput {
  readonly view: ApprovalView;
  readonly shown: ShownView;
  /** Opened with the approver's key, null when nobody opened it. */
  readonly preview: Readonly<Record<string, JsonValue>> | null;
  readonly nowMs: number;
  /** Other asks of the same requester. */
  readonly earlier: readonly ApprovalView[];
}

/** The approver's card (06, "Approver card"): the plain effect first, then exactly what runs, who is behind it, and why. */
export function approvalCard({ view, shown, preview, nowMs, earlier }: CardInput): string[] {
  const left = Number(view.expiresMs) - nowMs;
  const expiry = view.state === 'pending' ? `, ${left > 0 ? `expires in ${durationText(left)}` : 'over its time'}` : '';
  return [
    `Approval ${view.id}   ${view.state}${expiry}`,
    '',
    ...labelled('EFFECT', effectText(shown)),
    ...labelled('SEEN', maskText(shown)),
    '',
    ...labelled('RUNS', preview === null ? closedPreview(shown) : previewText(preview)),
    '',
    ...labelled('WHO', whoText(view)),
    ...labelled('WHY', printable(view.reasons.join('\n') || 'the policy gives no reason')),
    ...labelled('NEEDS', needsText(view, shown)),
    ...labelled('DECISIONS', decisionsText(view)),
    ...labelled('BEFORE', historyText(earlier)),
    ...labelled('SHOWN', Buffer.from(view.shownDigest).toString('hex')),
  ];
}

function effectText({ operation, connection, env, limits }: ShownView): string {
  const objects = operation.objects.map((object) => object.replace(/^[a-z]+:/, '')).join(', ') || 'something unnamed';
  const amount = operation.rowsBand === 'none' ? '' : `${operation.rowsBand} rows of `;
  const bounds = [
    ...(limits['rows'] === undefined ? [] : [`${countText(limits['rows'])} rows`]),
    ...(limits['bytes'] === undefined ? [] : [bytesText(limits['bytes'])]),
  ];
  const where = `${connection}${env === '' ? '' : ` (${env})`}`;
  const bound = bounds.length === 0 ? '' : `; at most ${bounds.join(' and ')}`;
  return printable(`${operation.verb}: ${amount}${objects} on ${where}${bound}`);
}

/**
 * What the agent would see of the classes that this operation touches, the clear ones first; then in a word what applies
 * to the rest. A class that the verdict does not name is redacted by the gateway.
 */
function maskText({ masks, operation }: ShownView): string {
  const strengthOf = (name: string): string => masks[name] ?? 'redact';
  const touched = groupBy(operation.classes, strengthOf);
  const others = groupBy(
    Object.keys(masks).filter((name) => !operation.classes.includes(name)),
    strengthOf,
  );
  const lines = [...touched].map(([strength, names]) => `${STRENGTH_TEXT[strength] ?? strength}: ${names.join(', ')}`);
  const rest = [...others].map(([strength, names]) =>
    strength === 'none' ? `in clear ${names.join(', ')}` : `${names.length} ${STRENGTH_TEXT[strength] ?? strength}`,
  );
  return printable(
    [...lines, `should others appear: ${[...rest, 'what is not listed redacted'].join('; ')}`].join('\n'),
  );
}

/** In the order in which an approver wants to know. */
const STRENGTHS = ['none', 'partial', 'pseudonym', 'token', 'redact', 'null', 'drop'];
const STRENGTH_TEXT: Readonly<Record<string, string>> = {
  none: 'IN CLEAR',
  partial: 'partly',
  pseudonym: 'as pseudonyms',
  token: 'as tokens',
  redact: 'redacted',
  null: 'nulled',
  drop: 'dropped',
};

function groupBy(names: readonly string[], strengthOf: (name: string) => string): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const name of names) {
    const strength = strengthOf(name);
    groups.set(strength, [...(groups.get(strength) ?? []), name]);
  }
  return new Map([...groups].sort(([a], [b]) => STRENGTHS.indexOf(a) - STRENGTHS.indexOf(b)));
}

function closedPreview({ operation }: ShownView): string {
  return `${printable(operation.text)}\n(with its literals only for an approver: --person <you> --key <file>)`;
}

function previewText(preview: Readonly<Record<string, JsonValue>>): string {
  const { method, target, content_type: type, body, body_bytes: size, body_cut: cut, ...rest } = preview;
  const lines = [`${valueText(method)} ${valueText(target)}`];
  if (typeof size === 'number' && size > 0) {
    lines.push(`${valueText(type)}, ${bytesText(size)}${cut === true ? ' (only the beginning is shown)' : ''}`);
    lines.push(valueText(body));
  }
  for (const [name, value] of Object.entries(rest)) {
    lines.push(`${name}: ${valueText(value)}`);
  }
  return printable(lines.join('\n'));
}

function valueText(value: JsonValue | undefined): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? null);
}

function whoText({ requester, agent, run, commit, sessionId }: ApprovalView): string {
  const chain = [
    requester,
    agent,
    run === '' ? '' : `run ${run}`,
    commit === '' ? '' : `commit ${commit.slice(0, 12)}`,
  ].filter((part) => part !== '');
  return printable(`${chain.join(' > ')}\nsession ${sessionId}`);
}

function needsText({ quorum, approvers, code }: ApprovalView, shown: ShownView): string {
  const justify = shown.approvals.some((approval) => approval.justify) ? '; a reason is required' : '';
  return printable(`${quorum} of ${approvers.join(', ') || 'nobody'} (${code})${justify}`);
}

function decisionsText({ decisions }: ApprovalView): string {
  const lines = decisions.map(
    ({ person, decision, reason }) => `${person}: ${decision}${reason === '' ? '' : `: ${reason}`}`,
  );
  return lines.length === 0 ? 'none yet' : printable(lines.join('\n'));
}

function historyText(earlier: readonly ApprovalView[]): string {
  if (earlier.length === 0) {
    return 'no other ask of this requester';
  }
  const states = new Map<string, number>();
  for (const { state } of earlier) {
    states.set(state, (states.get(state) ?? 0) + 1);
  }
  const parts = [...states].map(([state, count]) => `${count} ${state}`);
  return `other asks of this requester: ${parts.join(', ')}`;
}

import type { JsonValue } from '../../../core/kernel/canonical-json.ts';
import { ZERO16 } from '../../../core/kernel/bytes.ts';
import { kindName, tenantTag } from '../../../core/ledger/leaf.ts';
import type { LeafFields } from '../../../core/ledger/leaf.ts';
import type { Event } from '../../../proto/gen/chaperone/evidence/v1/event.ts';

/** A row of `events` as JSONEachRow has it: wide integers as text, so that nothing is rounded. */
export type EventRow = Record<string, JsonValue>;

const DECISION_NAMES = ['none', 'allow', 'deny', 'approve'] as const;

/**
 * The row that a record must have, by the generated codec and without any cleverness. The oracle of `EventColumns`, and
 * what `checkRows` compares the index with. `event` is null when the meta is not an `Event`.
 */
export function eventRow(leaf: LeafFields, event: Event | null, tenants: readonly string[], month: number): EventRow {
  const tag = leaf.tenantTag.toString('hex');
  const named = leaf.tenantTag.equals(ZERO16) ? '' : tag;
  return {
    month,
    tenant: tenants.find((name) => tenantTag(name).toString('hex') === tag) ?? named,
    session_id: hex(leaf.sessionId),
    writer_id: hex(leaf.writerId),
    seq: leaf.strandSeq,
    record_index: String(leaf.index),
    time_ns: String(leaf.timeNs < 1n << 63n ? leaf.timeNs : (1n << 63n) - 1n),
    kind: kindName(leaf.kind),
    decision: DECISION_NAMES[leaf.decision],
    obligations: leaf.obligations,
    bundle_digest: leaf.bundleDigest.every((byte) => byte === 0) ? '' : hex(leaf.bundleDigest),
    ...subjectColumns(event),
    ...operationColumns(event),
    ...decisionColumns(event),
    ...exchangeColumns(event),
    ...maskColumns(event),
    ...approvalColumns(event),
    ...otherColumns(event),
  };
}

function subjectColumns(event: Event | null): EventRow {
  const subject = event?.subject;
  const ci = subject?.ci;
  return {
    principal_iss: subject?.principalIss ?? '',
    principal_sub: subject?.principalSub ?? '',
    principal_kind: subject?.principalKind ?? '',
    person: subject?.person ?? '',
    auth_method: subject?.authMethod ?? '',
    purpose: subject?.purpose ?? '',
    env: subject?.env ?? '',
    token_digest: hex(subject?.tokenDigest),
    groups: subject?.groups ?? [],
    actors: (subject?.actors ?? []).map((actor) => `${actor.kind}:${actor.sub}`),
    ci_repository: ci?.repository ?? '',
    ci_ref: ci?.ref ?? '',
    ci_sha: ci?.sha ?? '',
    ci_workflow: ci?.workflow ?? '',
    ci_run_id: ci?.runId ?? '',
    ci_environment: ci?.environment ?? '',
    ci_reviewed: ci?.reviewed ?? false,
    ci_script_digest: ci?.scriptDigest ?? '',
  };
}

function operationColumns(event: Event | null): EventRow {
  const operation = event?.operation;
  return {
    connection: event?.connection ?? '',
    op_class: operation?.class ?? '',
    verb: operation?.verb ?? '',
    text: operation?.text ?? '',
    target_digest: hex(operation?.targetDigest),
    fingerprint: operation?.fingerprint ?? '',
    destination: operation?.destination ?? '',
    unresolved: operation?.unresolved ?? false,
    classes: operation?.classes ?? [],
    kinds: operation?.kinds ?? [],
    egress_kinds: operation?.egressKinds ?? [],
    objects: (operation?.objects ?? []).map((object) => `${object.type}:${object.id}`),
  };
}

function decisionColumns(event: Event | null): EventRow {
  const decision = event?.decision;
  return {
    effect: decision?.effect ?? '',
    code: decision?.code ?? '',
    input_digest: hex(decision?.inputDigest),
    catalogue_digest: hex(decision?.catalogueDigest),
    engine_digest: hex(decision?.engineDigest),
    config_digest: hex(event?.configDigest),
    plan_digest: hex(event?.planDigest ?? decision?.planDigest),
    cached: decision?.cached ?? false,
    durability: decision?.evidence ?? '',
    bundle_revision: String(decision?.bundleRevision ?? 0),
    reasons: (decision?.reasons ?? []).map((reason) => reason.code),
    controls: (decision?.reasons ?? []).map((reason) => reason.control),
  };
}

function exchangeColumns(event: Event | null): EventRow {
  const exchange = event?.exchange;
  return {
    status: (exchange?.status ?? 0) & 0xffff,
    rows: String(exchange?.rows ?? 0),
    bytes: String(exchange?.bytes ?? 0),
    request_bytes: String(exchange?.requestBytes ?? 0),
    media_type: exchange?.mediaType ?? '',
    upstream_status: (exchange?.upstreamStatus ?? 0) & 0xffff,
    upstream_us: String(exchange?.upstreamUs ?? 0),
    total_us: String(exchange?.totalUs ?? 0),
    abort_reason: exchange?.abortReason ?? '',
    delivered_bytes: String(exchange?.deliveredBytes ?? 0),
    complete: exchange?.complete ?? false,
  };
}

function maskColumns(event: Event | null): EventRow {
  const counts = event?.masks?.counts ?? [];
  return {
    mask_profile: event?.masks?.profile ?? '',
    withheld: String(event?.masks?.withheld ?? 0),
    unknown_paths: event?.masks?.unknownPaths ?? [],
    mask_classes: counts.map((count) => count.class),
    mask_kinds: counts.map((count) => count.kind),
    mask_actions: counts.map((count) => count.action),
    mask_columns: counts.map((count) => count.column),
    mask_counts: counts.map((count) => String(count.count)),
  };
}

function approvalColumns(event: Event | null): EventRow {
  const approvals = event?.approvals ?? [];
  return {
    approval_ids: approvals.map((approval) => approval.id),
    approval_states: approvals.map((approval) => approval.state),
    approval_approvers: approvals.map((approval) => approval.approver),
    approval_methods: approvals.map((approval) => approval.method),
    approval_reasons: approvals.map((approval) => approval.reason),
    approval_shown: approvals.map((approval) => hex(approval.shownDigest)),
    approval_decided_ms: approvals.map((approval) => String(approval.decidedMs)),
  };
}

function otherColumns(event: Event | null): EventRow {
  const attributes = event === null ? { malformed: '' } : (event.note?.attributes ?? {});
  return {
    epoch_role: event?.epoch?.role ?? '',
    epoch_node: event?.epoch?.node ?? '',
    note_code: event?.note?.code ?? '',
    note_text: event?.note?.text ?? '',
    note_first: String(event?.note?.first ?? 0),
    note_count: String(event?.note?.count ?? 0),
    note_digest: hex(event?.note?.digest),
    trace_id: event?.traceId ?? '',
    review_script_digest: event?.script?.scriptDigest ?? '',
    reviewer: event?.script?.reviewer ?? '',
    review_commit: event?.script?.commit ?? '',
    unit_first_byte: String(event?.unit?.firstByte ?? 0),
    unit_bytes: String(event?.unit?.byteCount ?? 0),
    unit_part: event?.unit?.part ?? 0,
    operation_index: event?.operationIndex === undefined ? null : String(event.operationIndex),
    attributes,
  };
}

function hex(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? '' : Buffer.from(bytes).toString('hex');
}

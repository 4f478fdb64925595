import { ZERO16, ZERO32 } from '../../core/kernel/bytes.ts';
import type { JsonValue } from '../../core/kernel/canonical-json.ts';
import { kindName, type LeafFields } from '../../core/ledger/leaf.ts';
import type { Event } from '../../proto/gen/chaperone/evidence/v1/event.ts';

/** Columns as JSONEachRow has them: 64-bit integers and wider as text. */
export type RowValues = Readonly<Record<string, JsonValue>>;

const DECISIONS = ['none', 'allow', 'deny', 'approve'] as const;
const TIME_MAX_NS = (1n << 63n) - 1n;

/**
 * What the index must say of a record, derived from its leaf and its meta a second time: the code that writes the rows is
 * not asked. `tenant` is what the row has and was compared with the tag of the leaf already. `event` null: the meta is no
 * Event, and the row says so.
 */
export function expectedRow(leaf: LeafFields, event: Event | null, tenant: JsonValue, month: number): RowValues {
  return {
    month,
    tenant,
    session_id: hex(leaf.sessionId),
    writer_id: hex(leaf.writerId),
    seq: leaf.strandSeq,
    record_index: `${leaf.index}`,
    time_ns: `${leaf.timeNs > TIME_MAX_NS ? TIME_MAX_NS : leaf.timeNs}`,
    kind: kindName(leaf.kind),
    decision: DECISIONS[leaf.decision],
    obligations: leaf.obligations,
    bundle_digest: leaf.bundleDigest.equals(ZERO32) ? '' : hex(leaf.bundleDigest),
    ...who(event),
    ...what(event),
    ...why(event),
    ...how(event),
    ...masked(event),
    ...approved(event),
    ...about(event),
  };
}

/** Whether the name in the row may stand for the tag of the leaf: its own name, or the tag itself when it has none. */
export function tenantFits(name: JsonValue, tag: Buffer, tagOf: (name: string) => Buffer): boolean {
  if (typeof name !== 'string') {
    return false;
  }
  if (tag.equals(ZERO16)) {
    return name === '';
  }
  return name === hex(tag) || tagOf(name).equals(tag);
}

function who(event: Event | null): RowValues {
  const { subject } = event ?? {};
  const { ci } = subject ?? {};
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
    actors: (subject?.actors ?? []).map(({ kind, sub }) => `${kind}:${sub}`),
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

function what(event: Event | null): RowValues {
  const { operation } = event ?? {};
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
    objects: (operation?.objects ?? []).map(({ type, id }) => `${type}:${id}`),
  };
}

function why(event: Event | null): RowValues {
  const { decision } = event ?? {};
  const reasons = decision?.reasons ?? [];
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
    bundle_revision: `${decision?.bundleRevision ?? 0n}`,
    reasons: reasons.map(({ code }) => code),
    controls: reasons.map(({ control }) => control),
  };
}

function how(event: Event | null): RowValues {
  const { exchange, unit } = event ?? {};
  return {
    status: (exchange?.status ?? 0) % 0x1_0000,
    rows: `${exchange?.rows ?? 0n}`,
    bytes: `${exchange?.bytes ?? 0n}`,
    request_bytes: `${exchange?.requestBytes ?? 0n}`,
    media_type: exchange?.mediaType ?? '',
    upstream_status: (exchange?.upstreamStatus ?? 0) % 0x1_0000,
    upstream_us: `${exchange?.upstreamUs ?? 0n}`,
    total_us: `${exchange?.totalUs ?? 0n}`,
    abort_reason: exchange?.abortReason ?? '',
    delivered_bytes: `${exchange?.deliveredBytes ?? 0n}`,
    complete: exchange?.complete ?? false,
    unit_first_byte: `${unit?.firstByte ?? 0n}`,
    unit_bytes: `${unit?.byteCount ?? 0n}`,
    unit_part: unit?.part ?? 0,
  };
}

function masked(event: Event | null): RowValues {
  const { masks } = event ?? {};
  const counts = masks?.counts ?? [];
  return {
    mask_profile: masks?.profile ?? '',
    withheld: `${masks?.withheld ?? 0n}`,
    unknown_paths: masks?.unknownPaths ?? [],
    mask_classes: counts.map((count) => count.class),
    mask_kinds: counts.map(({ kind }) => kind),
    mask_actions: counts.map(({ action }) => action),
    mask_columns: counts.map(({ column }) => column),
    mask_counts: counts.map(({ count }) => `${count}`),
  };
}

function approved(event: Event | null): RowValues {
  const approvals = event?.approvals ?? [];
  return {
    approval_ids: approvals.map(({ id }) => id),
    approval_states: approvals.map(({ state }) => state),
    approval_approvers: approvals.map(({ approver }) => approver),
    approval_methods: approvals.map(({ method }) => method),
    approval_reasons: approvals.map(({ reason }) => reason),
    approval_shown: approvals.map(({ shownDigest }) => hex(shownDigest)),
    approval_decided_ms: approvals.map(({ decidedMs }) => `${decidedMs}`),
  };
}

function about(event: Event | null): RowValues {
  const { note, script, epoch } = event ?? {};
  return {
    epoch_role: epoch?.role ?? '',
    epoch_node: epoch?.node ?? '',
    note_code: note?.code ?? '',
    note_text: note?.text ?? '',
    note_first: `${note?.first ?? 0n}`,
    note_count: `${note?.count ?? 0n}`,
    note_digest: hex(note?.digest),
    trace_id: event?.traceId ?? '',
    review_script_digest: script?.scriptDigest ?? '',
    reviewer: script?.reviewer ?? '',
    review_commit: script?.commit ?? '',
    operation_index: event?.operationIndex === undefined ? null : `${event.operationIndex}`,
    attributes: event === null ? { malformed: '' } : { ...note?.attributes },
  };
}

function hex(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? '' : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

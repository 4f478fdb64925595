import type { Migration } from './migration.ts';

const hexId = (column: string): string => `lower(leftPad(hex(${column}), 32, '0'))`;
const bytesOf = (column: string, size: number): string => `unhex(leftPad(hex(${column}), ${size * 2}, '0'))`;

/** The bytes of leaf `ev1`, whose fixed strings go in as they are: `toString` would cut zeros at their end. Made from a row of `events_cold` (docs/formats.md). */
const LEAF = `concat(char(1), char(kind), ${bytesOf('writer_id', 16)}, ${bytesOf('record_index', 8)},
  ${bytesOf('time_ns', 8)}, tenant_tag, ${bytesOf('session_id', 16)}, ${bytesOf('seq', 4)},
  strand_previous, bundle_digest, char(decision), ${bytesOf('obligations', 4)},
  approval_leaf, SHA256(concat(salt, meta)), payload_commit, originals_commit,
  payload_key_id, originals_key_id)`;

/** The auditor's questions (00-overview section 1) as views. Ids are lower-case hex, times UTC. */
export const views: Migration = {
  number: 4,
  name: 'views',
  statements: [
    `CREATE OR REPLACE VIEW integrity_leaves AS
    SELECT ${hexId('writer_id')} AS writer, record_index, month, object,
      SHA256(concat(char(0), ${LEAF})) = leaf_hash AS intact
    FROM events_cold`,
    `CREATE OR REPLACE VIEW integrity_writers AS
    SELECT ${hexId('writer_id')} AS writer, count() AS records, uniqExact(record_index) AS distinct_records,
      min(record_index) AS first_index, max(record_index) AS last_index,
      distinct_records = last_index + 1 AND records = distinct_records AS contiguous
    FROM events_cold
    GROUP BY writer_id`,
    `CREATE OR REPLACE VIEW audit_sessions AS
    SELECT tenant, ${hexId('session_id')} AS session,
      max(s.principal_sub) AS who, max(s.person) AS person, max(s.principal_kind) AS principal_kind,
      groupUniqArrayArray(s.actors) AS through_actors,
      max(s.ci_repository) AS repository, max(s.ci_run_id) AS run, max(s.ci_sha) AS commit,
      groupUniqArrayArray(s.connections) AS connections,
      min(s.started) AS started, max(s.ended) AS ended,
      sum(s.operations) AS operations, sum(s.denied) AS denied, sum(s.held) AS held,
      sum(s.rows) AS rows, sum(s.bytes) AS bytes, sum(s.masked) AS masked, sum(s.withheld) AS withheld,
      sum(s.records) AS records, length(groupUniqArrayArray(s.writers)) AS strands,
      sum(s.opened) = sum(s.closed) AS closed
    FROM sessions AS s
    GROUP BY tenant, session_id`,
    `CREATE OR REPLACE VIEW audit_operations AS
    SELECT tenant, ${hexId('session_id')} AS session, ${hexId('writer_id')} AS writer, record_index, time,
      principal_sub AS who, person, actors AS through_actors, ci_repository AS repository, ci_run_id AS run,
      ci_sha AS commit, ci_reviewed AS script_reviewed, ci_script_digest AS script, token_digest AS token,
      connection, op_class, verb, text AS what, objects, classes, kinds, egress_kinds, destination,
      decision, code, reasons, controls, bundle_digest AS policy, bundle_revision AS policy_revision,
      catalogue_digest AS catalogue, durability
    FROM events
    WHERE kind = 'operation'`,
    `CREATE OR REPLACE VIEW audit_masks AS
    SELECT e.tenant AS tenant, ${hexId('e.session_id')} AS session, ${hexId('e.writer_id')} AS writer,
      e.record_index AS record_index, e.time AS time, e.kind AS record, e.principal_sub AS who,
      e.connection AS connection, field, class, mask_kind AS kind, action, n AS values_count,
      e.mask_profile AS profile, e.bundle_digest AS policy, e.bundle_revision AS policy_revision
    FROM events AS e
    ARRAY JOIN e.mask_columns AS field, e.mask_classes AS class, e.mask_kinds AS mask_kind, e.mask_actions AS action,
      e.mask_counts AS n`,
    `CREATE OR REPLACE VIEW audit_withheld AS
    SELECT tenant, ${hexId('session_id')} AS session, ${hexId('writer_id')} AS writer, record_index, time,
      principal_sub AS who, connection, text AS what, field, withheld
    FROM events
    ARRAY JOIN unknown_paths AS field`,
    `CREATE OR REPLACE VIEW audit_approvals AS
    SELECT tenant, approval_id AS approval, time, kind AS record, state, approver, method, reason, shown_digest AS shown,
      fromUnixTimestamp64Milli(toInt64(least(decided_ms, 4102444800000)), 'UTC') AS decided,
      requester, text AS what, ${hexId('session_id')} AS session, ${hexId('writer_id')} AS writer, record_index
    FROM approvals`,
    `CREATE OR REPLACE VIEW audit_policies AS
    SELECT tenant, time, kind AS record, bundle_digest AS policy, bundle_revision AS policy_revision,
      catalogue_digest AS catalogue, config_digest AS config, note_text AS note, attributes,
      ${hexId('writer_id')} AS writer, record_index
    FROM policies`,
    `CREATE OR REPLACE VIEW audit_egress AS
    SELECT tenant, ${hexId('session_id')} AS session, ${hexId('writer_id')} AS writer, record_index, time,
      principal_sub AS who, connection, destination, egress_kinds, decision, code, text AS what
    FROM events
    WHERE kind = 'operation' AND (notEmpty(egress_kinds) OR code = 'egress_denied')`,
    `CREATE OR REPLACE VIEW audit_scripts AS
    SELECT tenant, time, review_script_digest AS script, reviewer, review_commit AS commit,
      ${hexId('writer_id')} AS writer, record_index
    FROM events
    WHERE kind = 'script.reviewed'`,
    `CREATE OR REPLACE VIEW audit_exchanges AS
    SELECT tenant, ${hexId('session_id')} AS session, ${hexId('writer_id')} AS writer, record_index, time, kind AS record,
      operation_index, status, rows, bytes, delivered_bytes, media_type, upstream_status, upstream_us, total_us,
      abort_reason, complete
    FROM events
    WHERE kind IN ('response.part', 'response', 'delivery')`,
  ],
};

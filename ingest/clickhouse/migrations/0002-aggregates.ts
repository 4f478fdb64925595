import { TABLE_SETTINGS } from './migration.ts';
import type { Migration } from './migration.ts';

/** A table that a materialized view keeps, and the SELECT that also makes it again for one month. */
export interface Aggregate {
  readonly table: string;
  readonly columns: string;
  readonly engine: string;
  /** Rows of it for the rows of `events`; `events` is the source also when it is made again. */
  readonly select: string;
  /** A number that must be equal over the table and over the same SELECT. */
  readonly check: string;
}

export const AGGREGATES: readonly Aggregate[] = [
  {
    table: 'sessions',
    columns: `month UInt32,
      tenant LowCardinality(String),
      session_id UInt128,
      principal_iss SimpleAggregateFunction(max, String),
      principal_sub SimpleAggregateFunction(max, String),
      principal_kind SimpleAggregateFunction(max, String),
      person SimpleAggregateFunction(max, String),
      actors SimpleAggregateFunction(groupUniqArrayArray, Array(String)),
      ci_repository SimpleAggregateFunction(max, String),
      ci_sha SimpleAggregateFunction(max, String),
      ci_run_id SimpleAggregateFunction(max, String),
      connections SimpleAggregateFunction(groupUniqArrayArray, Array(String)),
      bundles SimpleAggregateFunction(groupUniqArrayArray, Array(String)),
      writers SimpleAggregateFunction(groupUniqArrayArray, Array(UInt128)),
      started SimpleAggregateFunction(min, DateTime64(9, 'UTC')),
      ended SimpleAggregateFunction(max, DateTime64(9, 'UTC')),
      records SimpleAggregateFunction(sum, UInt64),
      operations SimpleAggregateFunction(sum, UInt64),
      denied SimpleAggregateFunction(sum, UInt64),
      held SimpleAggregateFunction(sum, UInt64),
      rows SimpleAggregateFunction(sum, UInt64),
      bytes SimpleAggregateFunction(sum, UInt64),
      masked SimpleAggregateFunction(sum, UInt64),
      withheld SimpleAggregateFunction(sum, UInt64),
      opened SimpleAggregateFunction(sum, UInt64),
      closed SimpleAggregateFunction(sum, UInt64)`,
    engine: 'AggregatingMergeTree PARTITION BY month ORDER BY (tenant, session_id)',
    select: `SELECT month, tenant, session_id,
      max(toString(e.principal_iss)) AS principal_iss,
      max(toString(e.principal_sub)) AS principal_sub,
      max(toString(e.principal_kind)) AS principal_kind,
      max(toString(e.person)) AS person,
      groupUniqArrayArray(arrayMap(a -> toString(a), e.actors)) AS actors,
      max(toString(e.ci_repository)) AS ci_repository,
      max(toString(e.ci_sha)) AS ci_sha,
      max(toString(e.ci_run_id)) AS ci_run_id,
      groupUniqArrayIf(toString(e.connection), e.connection != '') AS connections,
      groupUniqArrayIf(toString(e.bundle_digest), e.bundle_digest != '') AS bundles,
      groupUniqArray(e.writer_id) AS writers,
      min(e.time) AS started,
      max(e.time) AS ended,
      count() AS records,
      countIf(e.kind = 'operation') AS operations,
      countIf(e.kind = 'operation' AND e.decision = 'deny') AS denied,
      countIf(e.kind = 'operation' AND e.decision = 'approve') AS held,
      sumIf(e.rows, e.kind = 'response') AS rows,
      sumIf(e.bytes, e.kind = 'response') AS bytes,
      sumIf(arraySum(e.mask_counts), e.kind IN ('operation', 'response')) AS masked,
      sumIf(e.withheld, e.kind IN ('operation', 'response')) AS withheld,
      countIf(e.kind = 'session.open') AS opened,
      countIf(e.kind = 'session.close') AS closed
    FROM events AS e
    WHERE e.session_id != 0
    GROUP BY month, tenant, session_id`,
    check: 'sum(records)',
  },
  {
    table: 'exposures_hourly',
    columns: `month UInt32,
      tenant LowCardinality(String),
      hour DateTime('UTC'),
      principal_sub LowCardinality(String),
      connection LowCardinality(String),
      class LowCardinality(String),
      kind LowCardinality(String),
      action LowCardinality(String),
      path LowCardinality(String),
      values_count UInt64`,
    engine:
      'SummingMergeTree(values_count) PARTITION BY month ' +
      'ORDER BY (tenant, hour, principal_sub, connection, class, kind, action, path)',
    select: `SELECT month, tenant, toStartOfHour(toDateTime(e.time, 'UTC')) AS hour, e.principal_sub AS principal_sub,
      e.connection AS connection, class, mask_kind AS kind, action, path, sum(n) AS values_count
    FROM events AS e
    ARRAY JOIN e.mask_classes AS class, e.mask_kinds AS mask_kind, e.mask_actions AS action, e.mask_columns AS path,
      e.mask_counts AS n
    WHERE e.kind IN ('operation', 'response')
    GROUP BY month, tenant, hour, principal_sub, connection, class, mask_kind, action, path`,
    check: 'sum(values_count)',
  },
  {
    table: 'by_principal',
    columns: `month UInt32,
      tenant LowCardinality(String),
      principal_sub LowCardinality(String),
      time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
      session_id UInt128 CODEC(ZSTD(1)),
      writer_id UInt128 CODEC(ZSTD(1)),
      record_index UInt64 CODEC(ZSTD(1)),
      connection LowCardinality(String),
      verb LowCardinality(String),
      decision LowCardinality(String)`,
    engine: 'MergeTree PARTITION BY month ORDER BY (tenant, principal_sub, time)',
    select: `SELECT month, tenant, principal_sub, time, session_id, writer_id, record_index, connection, verb, decision
    FROM events AS e
    WHERE e.kind = 'operation'`,
    check: 'count()',
  },
  {
    table: 'by_object',
    columns: `month UInt32,
      tenant LowCardinality(String),
      object LowCardinality(String),
      time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
      session_id UInt128 CODEC(ZSTD(1)),
      writer_id UInt128 CODEC(ZSTD(1)),
      record_index UInt64 CODEC(ZSTD(1)),
      principal_sub LowCardinality(String),
      verb LowCardinality(String),
      decision LowCardinality(String)`,
    engine: 'MergeTree PARTITION BY month ORDER BY (tenant, object, time)',
    select: `SELECT month, tenant, object, time, session_id, writer_id, record_index, principal_sub, verb, decision
    FROM events AS e
    ARRAY JOIN e.objects AS object
    WHERE e.kind = 'operation'`,
    check: 'count()',
  },
  {
    table: 'approvals',
    columns: `month UInt32,
      tenant LowCardinality(String),
      approval_id String,
      time DateTime64(9, 'UTC'),
      kind LowCardinality(String),
      state LowCardinality(String),
      approver LowCardinality(String),
      method LowCardinality(String),
      reason String,
      shown_digest String,
      decided_ms UInt64,
      session_id UInt128,
      writer_id UInt128,
      record_index UInt64,
      requester LowCardinality(String),
      text String`,
    engine: 'MergeTree PARTITION BY month ORDER BY (tenant, approval_id, time)',
    select: `SELECT month, tenant, approval_id, time, kind, state, approver, method, reason, shown_digest, decided_ms,
      session_id, writer_id, record_index, principal_sub AS requester, text
    FROM events AS e
    ARRAY JOIN e.approval_ids AS approval_id, e.approval_states AS state, e.approval_approvers AS approver,
      e.approval_methods AS method, e.approval_reasons AS reason, e.approval_shown AS shown_digest,
      e.approval_decided_ms AS decided_ms
    WHERE startsWith(e.kind, 'approval.')`,
    check: 'count()',
  },
  {
    table: 'policies',
    columns: `month UInt32,
      tenant LowCardinality(String),
      time DateTime64(9, 'UTC'),
      kind LowCardinality(String),
      bundle_digest LowCardinality(String),
      bundle_revision UInt64,
      catalogue_digest LowCardinality(String),
      config_digest LowCardinality(String),
      note_text String,
      attributes Map(LowCardinality(String), String),
      writer_id UInt128,
      record_index UInt64`,
    engine: 'MergeTree PARTITION BY month ORDER BY (tenant, time)',
    select: `SELECT month, tenant, time, kind, bundle_digest, bundle_revision, catalogue_digest, config_digest, note_text,
      attributes, writer_id, record_index
    FROM events AS e
    WHERE e.kind IN ('policy.activated', 'config.activated')`,
    check: 'count()',
  },
];

export const aggregates: Migration = {
  number: 2,
  name: 'aggregates',
  statements: AGGREGATES.flatMap(({ table, columns, engine, select }) => [
    `CREATE TABLE IF NOT EXISTS ${table} (${columns}) ENGINE = ${engine} ${TABLE_SETTINGS}`,
    `CREATE MATERIALIZED VIEW IF NOT EXISTS ${table}_mv TO ${table} AS ${select}`,
  ]),
};

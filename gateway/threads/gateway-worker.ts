import { GatewayError } from '../../core/kernel/errors.ts';
import type { Clock, Timer } from '../../core/kernel/clock.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import { DataKeyPool } from '../../core/runtime/envelope/key-pool.ts';
import { UnitSealer } from '../../core/runtime/envelope/unit-sealer.ts';
import type { MetricPage } from '../../core/runtime/metrics/metric-page.ts';
import type { Disk } from '../../core/runtime/disk.ts';
import { JournalWriter } from '../../core/runtime/writer/journal-writer.ts';
import { ERROR_CODES, type ErrorCode } from '../../core/kernel/errors.ts';
import { JwksFile } from '../adapters/jwks/jwks-file.ts';
import { listenNodeHttp, NODE_HTTP_SHARES_PORT } from '../adapters/node-http/node-http-listener.ts';
import { createHttpUpstream } from '../adapters/upstream-http/http-upstream-client.ts';
import { loadUws } from '../adapters/uws/load-uws.ts';
import { createUwsListen } from '../adapters/uws/uws-listener.ts';
import { ReviewedScripts } from '../approvals/reviewed-scripts.ts';
import type { ScriptReview } from '../approvals/desk-port.ts';
import { BundleCatalogue } from '../catalogue/bundle-catalogue.ts';
import { PeopleMap } from '../contract/people-map.ts';
import type { Subject } from '../contract/subject.ts';
import { IdentityVerifier } from '../identity/identity-verifier.ts';
import { SessionIds } from '../identity/session-id.ts';
import { HttpConnections, type HttpConnection } from '../lanes/http/http-connections.ts';
import { HttpLane } from '../lanes/http/http-lane.ts';
import type { HttpListener, ListenHttp } from '../lanes/http/http-listener.ts';
import { PolicyEngine } from '../policy/policy-engine.ts';
import { Recorder } from '../recorder/recorder.ts';
import { RefusalLog } from '../recorder/refusal-log.ts';
import { Authoriser } from '../session/authorise.ts';
import { EvidenceQuota } from '../session/evidence-quota.ts';
import { HeldBytes } from '../session/held-bytes.ts';
import { PlanCache } from '../session/plan-cache.ts';
import { SessionService } from '../session/session-service.ts';
import { SessionTable } from '../session/session-table.ts';
import type { WorkerHost, WorkerPlan } from './worker-plan.ts';

const HOUSEKEEPING_MS = 1_000;

export interface GatewayWorkerOptions {
  readonly plan: WorkerPlan;
  readonly host: WorkerHost;
  /** Where the journal lies: a directory of its own file system, or a fault disk. */
  readonly disk: Disk;
  readonly clock: Clock;
  readonly metrics: MetricPage;
  /** Something that an operator should see. Fixed words only. */
  readonly warn: (event: string, detail: string) => void;
}

interface Rooms {
  readonly writer: JournalWriter;
  readonly pools: readonly DataKeyPool[];
  readonly recorder: Recorder;
  readonly refusals: RefusalLog;
  readonly sessions: SessionTable;
  readonly held: HeldBytes;
  readonly reviewed: ReviewedScripts;
  readonly keySets: readonly JwksFile[];
  readonly connections: readonly HttpConnection[];
  readonly lane: HttpLane;
}

/**
 * One worker: the whole data path of its connections. Composition only; what things do is in their rooms.
 *
 * Order of life: `open` (journal, keys, policy; nothing listens), `listen`, `drain`. A failure after `open` that breaks an
 * invariant ends the process: no thread is replaced in place.
 */
export class GatewayWorker {
  readonly #o: GatewayWorkerOptions;
  readonly #rooms: Rooms;
  readonly #state: { draining: boolean };
  #listener: HttpListener | null = null;
  #housekeeping: Timer | null = null;

  private constructor(options: GatewayWorkerOptions, rooms: Rooms, state: { draining: boolean }) {
    this.#o = options;
    this.#rooms = rooms;
    this.#state = state;
    this.#keepHouse();
  }

  static async open(options: GatewayWorkerOptions): Promise<GatewayWorker> {
    const { plan, host, clock } = options;
    const writer = await openWriter(options);
    const store = {
      putKeys: (wrapped: readonly Buffer[]) => host.putKeys(wrapped),
      wrappingKeys: () => host.wrappingKeys(),
    };
    const pool = (keyClass: 1 | 2): DataKeyPool =>
      new DataKeyPool({ store, clock, keyClass, tenant: plan.tenant, writerId: writer.writerId });
    const pools = [pool(1), pool(2)] as const;
    await Promise.all(pools.map((one) => one.start()));
    const state = { draining: false };
    const rooms = await composeRooms(options, writer, pools, state);
    return new GatewayWorker(options, rooms, state);
  }

  get writer(): JournalWriter {
    return this.#rooms.writer;
  }

  /** `port` 0 takes a free one; the workers of a node are then given the port of the first. */
  async listen(port: number): Promise<{ port: number; adapter: string; shares: boolean }> {
    const { listen, workers, index } = this.#o.plan;
    const { create, adapter } = chooseListener(listen.adapter, this.#o.warn);
    const shares = adapter === 'uws' || NODE_HTTP_SHARES_PORT;
    this.#listener = await create(
      {
        host: listen.host,
        // One port for all workers where the front can share it; else port + worker index (00 section 4).
        port: shares || port === 0 ? port : port + index,
        headerBytesMax: LIMITS.httpHeaderBytesMax,
        headersMax: LIMITS.httpHeadersMax,
        idleTimeoutMs: LIMITS.httpIdleTimeoutMs,
        sharedPort: shares && workers > 1,
      },
      this.#rooms.lane,
    );
    return { port: this.#listener.port, adapter, shares };
  }

  archived(index: number): void {
    this.#rooms.writer.archived(index);
  }

  nack(first: number): void {
    this.#rooms.writer.nack(first);
  }

  reviewed(review: ScriptReview): void {
    this.#rooms.reviewed.add(review);
  }

  /** Finishes what is open, closes every strand and ends the epoch. */
  async drain(inFlightMs: number): Promise<{ clean: boolean }> {
    // New operations are refused with `draining`: what still arrives on open connections goes to another node.
    this.#state.draining = true;
    this.#listener?.stopAccepting();
    await Promise.race([
      this.#rooms.lane.whenIdle(),
      new Promise<void>((resolve) => this.#o.clock.after(inFlightMs, resolve)),
    ]);
    await this.#listener?.close();
    this.#housekeeping?.cancel();
    this.#rooms.refusals.flush();
    if (this.#rooms.writer.failure === null) {
      this.#rooms.sessions.closeAll('drain');
    }
    for (const pool of this.#rooms.pools) {
      pool.close();
    }
    for (const keys of this.#rooms.keySets) {
      keys.close();
    }
    await Promise.all(this.#rooms.connections.map((connection) => connection.upstream.close()));
    const { clean } = await this.#rooms.writer.close();
    return { clean };
  }

  #keepHouse(): void {
    this.#housekeeping = this.#o.clock.after(HOUSEKEEPING_MS, () => {
      const { writer, sessions, held } = this.#rooms;
      if (writer.failure === null) {
        sessions.closeIdle();
      }
      const { metrics } = this.#o;
      const status = writer.status;
      metrics.set('chaperone_durable_records', status.durable);
      metrics.set('chaperone_records_total', status.appended);
      metrics.set('chaperone_published_records', status.publisher.published);
      metrics.set('chaperone_unpublished_events', status.durable - status.publisher.published);
      metrics.set('chaperone_unpublished_age_seconds', status.publisher.unpublishedMs / 1000);
      metrics.set('chaperone_held_bytes', held.total);
      metrics.set('chaperone_open_sessions', sessions.size);
      metrics.set('chaperone_open_connections', this.#listener?.openConnections ?? 0);
      metrics.set('chaperone_recorder_failed', writer.failure === null ? 0 : 1);
      this.#keepHouse();
    });
  }
}

function openWriter(options: GatewayWorkerOptions): Promise<JournalWriter> {
  const { plan, host, disk, clock, warn } = options;
  return JournalWriter.open({
    disk,
    clock,
    role: 'worker',
    limits: { writerQueueBytesMax: plan.limits.writerQueueBytesMax },
    epoch: {
      node: plan.node,
      configDigest: Buffer.from(plan.configDigest, 'hex'),
      binaryDigest: Buffer.from(plan.binaryDigest, 'hex'),
      bundleDigest: Buffer.from(plan.bundle.engine.digest),
    },
    certify: (publicKey, writerId, role, createdNs) => host.certify({ publicKey, writerId, role, createdNs }),
    batches: { publish: (batch, writerId, first, count) => host.publishBatch(batch, writerId, first, count) },
    heads: { publish: (head, writerId) => host.publishHead(head, writerId) },
    onFailure: (failure) => warn('the recorder takes no records', failure.code),
    onRecovered: () => warn('the recorder takes records again', ''),
  });
}

async function composeRooms(
  options: GatewayWorkerOptions,
  writer: JournalWriter,
  pools: readonly [DataKeyPool, DataKeyPool],
  state: { draining: boolean },
): Promise<Rooms> {
  const { plan, host, clock, metrics } = options;
  const { limits } = plan;
  const people = PeopleMap.parse(JSON.parse(plan.bundle.peopleJson));
  const catalogue = BundleCatalogue.parse(plan.bundle.catalogueJson);
  const { profile } = plan.bundle;
  const engine = PolicyEngine.create({
    bundle: plan.bundle.engine,
    catalogue,
    clock,
    cacheEntriesMax: limits.decisionCacheEntries,
  });
  const reviewed = new ReviewedScripts(people);
  for (const review of plan.reviews) {
    reviewed.add(review);
  }
  const isReviewed = (subject: Subject): boolean =>
    subject.ci !== null &&
    reviewed.isReviewed({
      scriptDigest: subject.ci.scriptDigest,
      repository: subject.ci.repository,
      sha: subject.ci.sha,
      chainPersons: subject.chainPersons,
      nowMs: clock.nowMs(),
    });
  const quota = new EvidenceQuota(clock, limits.principalEvidenceBytesPerMinute / plan.workers);
  const recorder = new Recorder({
    writer,
    sealers: (sessionId) => ({
      payload: new UnitSealer(pools[0], sessionId),
      originals: new UnitSealer(pools[1], sessionId),
    }),
    clock,
    charge: (subject, bytes) => quota.charge(subject, bytes),
    tenant: plan.tenant,
    configDigest: Buffer.from(plan.configDigest, 'hex'),
    bundleDigest: engine.bundleDigest,
  });
  const sessionIds = new SessionIds(plan.secrets.sessionKey, plan.tenant);
  const sessions = new SessionTable({
    recorder,
    clock,
    sessionId: (subject, connection, nowMs) => sessionIds.idOf(subject, connection, nowMs),
    isReviewed,
    idleMs: limits.sessionIdleMs,
  });
  const refusals = new RefusalLog(recorder, clock);
  const held = new HeldBytes(limits.heldBytesPerWorkerMax);
  const authoriser = new Authoriser({
    recorder,
    policy: engine,
    plans: new PlanCache(catalogue, profile, clock),
    desk: {
      ask: (request) => host.ask(request),
      wait: (id, holdMs) => host.wait(id, holdMs),
      claim: (request) => host.claim(request),
    },
    clock,
    isReviewed,
    quotaWaitMs: (subject) => quota.waitMs(subject),
    approvalsKey: plan.secrets.approvalsKey,
    holdMs: plan.holdMs,
    replicatedAvailable: () => plan.replicatedAvailable,
    onDecision: (evaluationMs) => metrics.observe('chaperone_policy_eval_seconds', evaluationMs / 1000),
  });
  const keySets: JwksFile[] = [];
  for (const issuer of plan.identity.issuers) {
    keySets.push(await JwksFile.open({ path: issuer.jwksFile, clock }));
  }
  const identity = new IdentityVerifier({
    audience: plan.identity.audience,
    issuers: plan.identity.issuers.map((issuer, i) => ({
      iss: issuer.iss,
      keys: keySets[i] as JwksFile,
      mapping: issuer.mapping,
    })),
    people,
    clock,
    cacheEntries: limits.tokenCacheEntries,
  });
  const connections = plan.connections.map((connection): HttpConnection => ({
    info: connection.info,
    digest: Buffer.from(connection.digest, 'hex'),
    host: connection.host,
    pathPrefix: connection.pathPrefix,
    upstream: createHttpUpstream({
      host: connection.upstreamHost,
      port: connection.upstreamPort,
      clock,
      connectionsMax: limits.upstreamConnectionsMax,
      connectTimeoutMs: limits.upstreamConnectTimeoutMs,
      responseTimeoutMs: limits.upstreamResponseTimeoutMs,
    }),
    upstreamHost: `${connection.upstreamHost}:${connection.upstreamPort}`,
    credential: connection.credential,
  }));
  const lane = new HttpLane({
    connections: new HttpConnections(connections),
    identity,
    catalogue,
    profile,
    sessions: new SessionService({ recorder, refusals, sessions, authoriser, held, clock }),
    clock,
    targetKey: plan.secrets.targetKey,
    events: laneEvents(metrics),
    unavailable: () => unavailable(plan, writer, state),
  });
  return { writer, pools, recorder, refusals, sessions, held, reviewed, keySets, connections, lane };
}

/** Why nothing is taken now. A recorder that takes no record and a backlog over its bound both stop the data path. */
function unavailable(plan: WorkerPlan, writer: JournalWriter, state: { draining: boolean }): GatewayError | null {
  if (state.draining) {
    return new GatewayError('draining');
  }
  if (writer.failure !== null) {
    return writer.failure;
  }
  if (writer.status.publisher.unpublishedMs > plan.unpublishedMaxMs) {
    return new GatewayError('evidence_backlog');
  }
  return null;
}

function laneEvents(metrics: MetricPage): ConstructorParameters<typeof HttpLane>[0]['events'] {
  return {
    finished: (outcome, code, durationMs, maskedByAction) => {
      metrics.increment('chaperone_requests_total', outcome);
      if (code in ERROR_CODES) {
        metrics.increment('chaperone_refusals_total', ERROR_CODES[code as ErrorCode].reason);
      }
      metrics.observe('chaperone_request_duration_seconds', durationMs / 1000);
      for (const [action, count] of maskedByAction) {
        metrics.addMasked(action, count);
      }
    },
    wireRefused: () => metrics.increment('chaperone_wire_refused_total', 'http'),
  };
}

function chooseListener(
  wanted: 'auto' | 'uws' | 'node',
  warn: (event: string, detail: string) => void,
): { create: ListenHttp; adapter: 'uws' | 'node' } {
  if (wanted !== 'node') {
    const loaded = loadUws();
    if (loaded.kind === 'loaded') {
      return { create: createUwsListen(loaded.uws), adapter: 'uws' };
    }
    if (wanted === 'uws') {
      throw new GatewayError('config_invalid', `listen.http.adapter is uws, but ${loaded.why}`);
    }
    warn('uWebSockets.js is not available, node:http serves instead', loaded.why);
  }
  return { create: listenNodeHttp, adapter: 'node' };
}

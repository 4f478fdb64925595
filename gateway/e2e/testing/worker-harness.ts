import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Clock, SystemClock } from '../../../core/kernel/clock.ts';
import { GatewayError } from '../../../core/kernel/errors.ts';
import { LIMITS } from '../../../core/kernel/limits.ts';
import { signEpoch } from '../../../core/ledger/epoch.ts';
import { monthOf } from '../../../core/runtime/envelope/month.ts';
import { unwrapDataKey } from '../../../core/runtime/envelope/wrap-key.ts';
import { MemoryKeyStore } from '../../../core/runtime/envelope/testing/memory-key-store.ts';
import { openUnit, decodeUnitHeader } from '../../../core/ledger/sealed-unit.ts';
import { decodeLeaf, kindName, tenantTag, type LeafFields } from '../../../core/ledger/leaf.ts';
import { decodeRecord, type RecordBody } from '../../../core/ledger/record.ts';
import type { Disk } from '../../../core/runtime/disk.ts';
import { MetricPage, metricMemoryBytes } from '../../../core/runtime/metrics/metric-page.ts';
import { MetricRenderer } from '../../../core/runtime/metrics/render-metrics.ts';
import { NodeDisk } from '../../../core/runtime/node-disk.ts';
import { readJournal } from '../../../core/runtime/writer/journal-reader.ts';
import { Event } from '../../../proto/gen/chaperone/evidence/v1/event.ts';
import { OriginalsUnit, PayloadUnit } from '../../../proto/gen/chaperone/evidence/v1/unit.ts';
import type { AskStatus, ClaimGrant } from '../../approvals/desk-port.ts';
import { DevelopmentIssuer, type DevelopmentRun } from '../../contract/development-issuer.ts';
import { GITHUB_ACTIONS_MAPPING } from '../../identity/claim-mapping.ts';
import { defaultBundle } from '../../policy/testing/default-bundle.ts';
import { GatewayWorker } from '../../threads/gateway-worker.ts';
import type { WorkerHost, WorkerPlan } from '../../threads/worker-plan.ts';

// The native parser reads this once, when it is loaded; in a node the launcher sets it.
process.env['UWS_HTTP_MAX_HEADERS_SIZE'] ??= String(LIMITS.httpHeaderBytesMax + 8 * 1024);

export const DEMO_ISSUER = 'https://issuer.demo.chaperone.invalid';
const AUDIENCE = 'chaperone';
export const DEMO_RUN: DevelopmentRun = {
  repositoryId: '4242',
  repository: 'acme/etl',
  ref: 'refs/heads/main',
  sha: 'c0ffee'.padEnd(40, '0'),
  workflowRef: 'acme/etl/.github/workflows/etl.yml@refs/heads/main',
  runId: '900',
  environment: 'staging',
  scriptDigest: 'ab'.repeat(32),
};

export interface HarnessOptions {
  readonly upstreams: Readonly<Record<'clinic' | 'analytics', number>>;
  readonly adapter?: 'uws' | 'node';
  readonly holdMs?: number;
  readonly desk?: Pick<WorkerHost, 'ask' | 'wait' | 'claim'>;
  readonly serviceToken?: string;
  /** Default: a directory of the file system. */
  readonly disk?: Disk;
  /** Default: the system's. */
  readonly clock?: Clock;
  readonly unpublishedMaxMs?: number;
  readonly limits?: Partial<WorkerPlan['limits']>;
}

/** What a test may switch off under a running worker. */
export interface HarnessSwitches {
  /** Every batch and head is refused. */
  busDown: boolean;
}

/** A token of the demo's person with an agent as actor, in a CI run. */
export function demoToken(
  issuer: DevelopmentIssuer,
  overrides: Partial<Parameters<DevelopmentIssuer['issue']>[0]> = {},
): string {
  return issuer.issue({
    audience: AUDIENCE,
    sub: 'dana@demo.invalid',
    actors: [{ sub: 'agent-7', kind: 'ai_agent' }],
    run: DEMO_RUN,
    purpose: 'analytics',
    env: 'staging',
    nowMs: Date.now(),
    ttlMs: 600_000,
    ...overrides,
  });
}

/** What a record says, opened: for assertions. */
export interface OpenedRecord {
  readonly index: number;
  readonly kind: string;
  readonly leaf: LeafFields;
  readonly event: Event;
  readonly payload: PayloadUnit | null;
  readonly originals: OriginalsUnit | null;
}

/**
 * One real worker in this process: real journal on disk, real bundle, real masking, real sockets. The main thread is
 * played by an in-process host that keeps published batches in memory.
 */
export class WorkerHarness {
  readonly worker: GatewayWorker;
  readonly port: number;
  readonly adapter: string;
  readonly batches: readonly Buffer[];
  readonly warnings: readonly string[];
  readonly keyStore: MemoryKeyStore;
  readonly directory: string;
  readonly metrics: MetricPage;
  readonly issuer: DevelopmentIssuer;
  readonly switches: HarnessSwitches;
  readonly clock: Clock;
  readonly #nodeKey: KeyObject;
  readonly #disk: Disk;
  /** A record never changes: each is opened once. */
  readonly #opened = new Map<number, OpenedRecord>();
  readonly #dataKeys = new Map<string, Buffer>();
  #drained = false;

  private constructor(parts: {
    worker: GatewayWorker;
    port: number;
    adapter: string;
    keyStore: MemoryKeyStore;
    directory: string;
    metrics: MetricPage;
    issuer: DevelopmentIssuer;
    nodeKey: KeyObject;
    batches: Buffer[];
    warnings: string[];
    disk: Disk;
    switches: HarnessSwitches;
    clock: Clock;
  }) {
    this.switches = parts.switches;
    this.clock = parts.clock;
    this.batches = parts.batches;
    this.warnings = parts.warnings;
    this.worker = parts.worker;
    this.port = parts.port;
    this.adapter = parts.adapter;
    this.keyStore = parts.keyStore;
    this.directory = parts.directory;
    this.metrics = parts.metrics;
    this.issuer = parts.issuer;
    this.#nodeKey = parts.nodeKey;
    this.#disk = parts.disk;
  }

  static async start(options: HarnessOptions): Promise<WorkerHarness> {
    const directory = await mkdtemp(join(tmpdir(), 'chaperone-worker-'));
    const clock = options.clock ?? new SystemClock();
    const switches: HarnessSwitches = { busDown: false };
    const issuer = DevelopmentIssuer.generate(DEMO_ISSUER, 'test-key');
    writeFileSync(join(directory, 'jwks.json'), issuer.publicJwks());
    const keyStore = new MemoryKeyStore(() => monthOf(clock.nowMs()));
    const nodeKey = generateKeyPairSync('ed25519').privateKey;
    const memory = new SharedArrayBuffer(metricMemoryBytes(1));
    const metrics = new MetricPage(memory, 0);
    const batches: Buffer[] = [];
    const warnings: string[] = [];
    const plan = await workerPlan(options, directory, memory, keyStore);
    const host = workerHost(options, keyStore, nodeKey, batches, switches);
    const disk = options.disk ?? (await NodeDisk.open(plan.journalDirectory));
    const worker = await GatewayWorker.open({
      disk,
      plan,
      host,
      clock,
      metrics,
      warn: (event, detail) => warnings.push(`${event}: ${detail}`),
    });
    const { port, adapter } = await worker.listen(0);
    return new WorkerHarness({
      worker,
      port,
      adapter,
      keyStore,
      directory,
      metrics,
      issuer,
      nodeKey,
      batches,
      warnings,
      disk,
      switches,
      clock,
    });
  }

  get nodePublicKey(): KeyObject {
    return createPublicKey(this.#nodeKey);
  }

  /** A token of the demo's person with an agent as actor, in a CI run. */
  token(overrides: Partial<Parameters<DevelopmentIssuer['issue']>[0]> = {}): string {
    return demoToken(this.issuer, { nowMs: this.clock.nowMs(), ...overrides });
  }

  fetch(path: string, init: RequestInit & { token?: string | null } = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    if (init.token !== null) {
      headers.set('authorization', `Bearer ${init.token ?? this.token()}`);
    }
    return fetch(`http://127.0.0.1:${this.port}${path}`, { ...init, headers });
  }

  /** Every record of the journal as it lies on the disk, with its units opened. */
  async records(): Promise<OpenedRecord[]> {
    const disk = this.#disk;
    const out: OpenedRecord[] = [];
    for await (const event of readJournal(disk, this.worker.writer.writerId)) {
      if (event.type === 'record') {
        const opened = this.#opened.get(event.index) ?? (await this.#open(event.index, decodeRecord(event.body)));
        this.#opened.set(event.index, opened);
        out.push(opened);
      }
    }
    return out;
  }

  /** Every file of the journal as bytes. Only over the file system. */
  async journalFiles(): Promise<Buffer[]> {
    const folder = join(this.directory, 'journal');
    return Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name))));
  }

  /** What Prometheus would read. */
  metricsText(): Promise<string> {
    return new MetricRenderer([this.metrics], {}).render();
  }

  /** Ends the worker in order; its journal can still be read. */
  async drain(): Promise<void> {
    if (!this.#drained) {
      this.#drained = true;
      await this.worker.drain(1_000);
    }
  }

  async close(): Promise<void> {
    await this.drain();
    await rm(this.directory, { recursive: true, force: true });
  }

  async #open(index: number, record: RecordBody): Promise<OpenedRecord> {
    const leaf = decodeLeaf(record.leaf);
    const event = Event.decode(record.meta);
    const plain = async (unitClass: 1 | 2): Promise<Buffer | null> => {
      const unit = record.units.find((one) => one.unitClass === unitClass);
      if (unit === undefined) {
        return null;
      }
      const { keyId } = decodeUnitHeader(unit.bytes);
      const wrapped = this.keyStore.stored.get(keyId.toString('hex'));
      if (wrapped === undefined) {
        throw new Error('a unit was sealed under a key that the store does not have');
      }
      const pair = this.keyStore.pair('default', unitClass, monthOf(this.clock.nowMs()));
      const known = this.#dataKeys.get(keyId.toString('hex'));
      const key = known ?? (await unwrapDataKey(wrapped, pair.privateKey)).key;
      this.#dataKeys.set(keyId.toString('hex'), key);
      const { writerId, sessionId } = leaf;
      const planDigest = Buffer.from(event.planDigest ?? Buffer.alloc(32));
      return openUnit(unit.bytes, {
        key,
        writerId,
        index,
        tenantTag: tenantTag('default'),
        sessionId,
        planDigest,
      });
    };
    const payload = await plain(1);
    const originals = await plain(2);
    return {
      index,
      kind: kindName(leaf.kind),
      leaf,
      event,
      payload: payload === null ? null : PayloadUnit.decode(payload),
      originals: originals === null ? null : OriginalsUnit.decode(originals),
    };
  }
}

export async function workerPlan(
  options: HarnessOptions,
  directory: string,
  metrics: SharedArrayBuffer,
  keyStore: MemoryKeyStore,
): Promise<WorkerPlan> {
  const { loaded, engine } = defaultBundle();
  const credential = { name: 'authorization', value: `Bearer ${options.serviceToken ?? 'service'}` };
  const connection = (name: 'clinic' | 'analytics'): WorkerPlan['connections'][number] => ({
    info: { name, kind: 'http', env: 'staging', database: '', labels: {} },
    digest: '00'.repeat(32),
    host: null,
    pathPrefix: `/${name}`,
    upstreamHost: '127.0.0.1',
    upstreamPort: options.upstreams[name],
    credential,
  });
  return {
    index: 0,
    workers: 1,
    node: 'test-node',
    tenant: 'default',
    journalDirectory: join(directory, 'journal'),
    configDigest: '11'.repeat(32),
    binaryDigest: '22'.repeat(32),
    metrics,
    listen: { host: '127.0.0.1', port: 0, adapter: options.adapter ?? 'node' },
    connections: [connection('clinic'), connection('analytics')],
    identity: {
      audience: AUDIENCE,
      issuers: [{ iss: DEMO_ISSUER, jwksFile: join(directory, 'jwks.json'), mapping: GITHUB_ACTIONS_MAPPING }],
    },
    bundle: { engine, profile: loaded.masks, catalogueJson: loaded.catalogueJson, peopleJson: loaded.peopleJson },
    secrets: await keyStore.clusterSecrets(),
    wrappingKeys: [],
    holdMs: options.holdMs ?? 100,
    unpublishedMaxMs: options.unpublishedMaxMs ?? 60_000,
    replicatedAvailable: true,
    limits: { ...LIMITS, ...options.limits },
    reviews: [],
  };
}

function workerHost(
  options: HarnessOptions,
  keyStore: MemoryKeyStore,
  nodeKey: KeyObject,
  batches: Buffer[],
  switches: HarnessSwitches,
): WorkerHost {
  const refuse = (): Promise<AskStatus> => Promise.reject(new Error('this test has no desk'));
  return {
    certify: (request) =>
      Promise.resolve(signEpoch({ ...request, role: request.role as 1, nodeCertificate: Buffer.alloc(0) }, nodeKey)),
    publishBatch: (batch) => {
      if (switches.busDown) {
        return Promise.reject(new GatewayError('bus_unavailable'));
      }
      batches.push(Buffer.from(batch));
      return Promise.resolve();
    },
    publishHead: () => (switches.busDown ? Promise.reject(new GatewayError('bus_unavailable')) : Promise.resolve()),
    putKeys: (wrapped) => keyStore.putKeys(wrapped),
    wrappingKeys: () => keyStore.wrappingKeys('default'),
    ask: options.desk?.ask ?? refuse,
    wait: options.desk?.wait ?? refuse,
    claim: options.desk?.claim ?? ((): Promise<ClaimGrant | null> => Promise.resolve(null)),
  };
}

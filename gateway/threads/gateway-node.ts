import { createServer, type AddressInfo } from 'node:net';
import type { Bus, BusMessage, Tail } from '../../core/bus/bus.ts';
import { TOPICS } from '../../core/bus/topics.ts';
import { defined } from '../../core/kernel/assert.ts';
import type { Clock } from '../../core/kernel/clock.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import { ACK_TYPES, decodeAck } from '../../core/ledger/ack.ts';
import { CLUSTER_LEAF_TYPES, encodeEpochEntry, encodeHeadsValue } from '../../core/ledger/cluster-leaf.ts';
import type { VerifierKey } from '../../core/ledger/verifier-key.ts';
import type { KeyStore } from '../../core/runtime/key-store.ts';
import type { Log } from '../../core/runtime/log/log.ts';
import { MetricPage, metricMemoryBytes } from '../../core/runtime/metrics/metric-page.ts';
import type { TlsIdentity } from '../../core/runtime/mtls/tls-files.ts';
import { NodeDisk } from '../../core/runtime/node-disk.ts';
import { JournalWriter } from '../../core/runtime/writer/journal-writer.ts';
import {
  gapRecords,
  publishRecovered,
  recoverJournals,
  releaseRecovered,
  type RecoveredJournal,
} from '../../core/runtime/writer/recovery.ts';
import type { WorkerStatus } from '../../proto/gen/chaperone/control/v1/node.ts';
import { ApprovalDesk } from '../approvals/approval-desk.ts';
import { PeopleMap } from '../contract/people-map.ts';
import { batchSink, headSink } from './bus-sinks.ts';
import { ControlRecorder } from './control-recorder.ts';
import { HeartbeatMonitor } from './heartbeat.ts';
import { recordBody } from './journal-record.ts';
import { CheckpointFollower } from './registration.ts';
import type { WorkerPlan } from './worker-plan.ts';
import { certifier, openWorkers, type WorkerThread } from './worker-threads.ts';

type SharedPlan = Omit<WorkerPlan, 'index' | 'metrics' | 'reviews'>;

export interface GatewayNodeOptions {
  /** What every worker gets. */
  readonly plan: SharedPlan;
  /** Compiled `gateway/worker.js`. */
  readonly workerModule: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly bus: Bus;
  readonly keyStore: KeyStore;
  readonly tls: TlsIdentity;
  readonly cluster: string;
  readonly logKey: VerifierKey;
  readonly witnessKeys: readonly VerifierKey[];
  readonly approvalTtlMs: number;
  readonly approvalsStaleMaxMs: number;
  readonly registrationRequired: boolean;
  readonly relaxingSwitches: readonly string[];
  /** A worker died or hangs: the process must end, the launcher starts it again. */
  readonly onFatal: (reason: string) => void;
}

export interface NodeParts extends GatewayNodeOptions {
  /** The newest head of each writer, encoded. */
  readonly heads: Map<string, Buffer>;
  /** Resolves when the openings of this node's writers are on the bus: their heads may follow. */
  readonly announced: Promise<void>;
}

/** The longest that a timer can wait: 24 days. */
const FOREVER_MS = 2 ** 31 - 1;

/** Exit of the registration wait: serve anyway, but say so. */
export type Registration = 'registered' | 'unregistered';

/**
 * The main thread of a node: recovery, control writer, workers, publisher, desk. Nothing of the data path runs here.
 *
 * Order of `start` (01 section 1, Registration): recover journals, open the control writer and the workers' writers,
 * publish all openings together, wait for the cluster log, record the activations, and only then listen.
 */
export class GatewayNode {
  readonly desk: ApprovalDesk;
  readonly control: JournalWriter;
  readonly checkpoints: CheckpointFollower;
  readonly metricPages: readonly MetricPage[];
  readonly #o: NodeParts;
  readonly #workers: WorkerThread[];
  readonly #recovered: RecoveredJournal[];
  readonly #acks: Tail;
  readonly #heartbeat: HeartbeatMonitor;
  readonly #late = new Set<number>();
  /** Archive watermark by writer, of all writers that ever were on the topic. */
  readonly #watermarks = new Map<string, number>();
  #acksOffset = 0;
  #acksWaiter: { readonly offset: number; readonly resolve: () => void } | null = null;
  #disk: NodeDisk | null = null;
  #registration: Registration = 'unregistered';
  #draining = false;
  #ports: { readonly port: number; readonly adapter: string } = { port: 0, adapter: '' };

  private constructor(
    options: NodeParts,
    parts: {
      control: JournalWriter;
      workers: WorkerThread[];
      recovered: RecoveredJournal[];
      desk: ApprovalDesk;
      checkpoints: CheckpointFollower;
      pages: MetricPage[];
    },
  ) {
    this.#o = options;
    this.control = parts.control;
    this.desk = parts.desk;
    this.checkpoints = parts.checkpoints;
    this.metricPages = parts.pages;
    this.#workers = parts.workers;
    this.#recovered = parts.recovered;
    this.#acks = options.bus.tail(TOPICS.acks.name, 'start', (messages) => this.#onAcks(messages));
    this.#acks.done.catch(() => options.onFatal('the tail of the acks topic ended'));
    const beats = parts.workers.map(
      ({ index }) =>
        () =>
          parts.pages[index + 1]?.read('chaperone_heartbeat') ?? 0,
    );
    this.#heartbeat = new HeartbeatMonitor(options.clock, beats, (worker, verdict) => {
      if (verdict === 'dead') {
        options.onFatal(`worker ${worker} has not answered for ${LIMITS.heartbeatDeadMs} ms`);
      } else if (verdict === 'late') {
        this.#late.add(worker);
      } else {
        this.#late.delete(worker);
      }
    });
  }

  static async start(given: GatewayNodeOptions): Promise<GatewayNode> {
    let announce: () => void = () => undefined;
    const announced = new Promise<void>((resolve) => {
      announce = resolve;
    });
    const options = { ...given, heads: new Map<string, Buffer>(), announced };
    const { bus, clock, log, plan } = options;
    for (const topic of [TOPICS.batches, TOPICS.heads, TOPICS.acks, TOPICS.checkpoints, TOPICS.approvals]) {
      await bus.ensure(topic);
    }
    const disk = await NodeDisk.open(plan.journalDirectory);
    const recovered = await recoverJournals(disk);
    for (const journal of recovered) {
      log.info('journal found', { writer: journal.writerIdHex, count: journal.size, reason: journal.state });
    }
    const control = await openControlWriter(options, disk, recovered);
    // If we die here the next start finds this control writer's journal as well, with the list in its leaf 0.
    const pages = makePages(plan.workers);
    const people = PeopleMap.parse(JSON.parse(plan.bundle.peopleJson));
    const recorder = new ControlRecorder({
      writer: control,
      tenant: plan.tenant,
      configDigest: Buffer.from(plan.configDigest, 'hex'),
      bundleDigest: Buffer.from(plan.bundle.engine.digest),
    });
    const desk = new ApprovalDesk({
      node: plan.node,
      bus,
      clock,
      recorder,
      people,
      ttlMs: options.approvalTtlMs,
      staleMaxMs: options.approvalsStaleMaxMs,
    });
    await desk.start();
    const workers = await openWorkers(options, pages.memory, desk);
    const checkpoints = new CheckpointFollower(bus, clock, options.logKey, options.witnessKeys, () =>
      log.error('a checkpoint is not signed by the log'),
    );
    const node = new GatewayNode(options, { control, workers, recovered, desk, checkpoints, pages: pages.pages });
    await node.#register(announce);
    await node.#activate(recorder, disk);
    await node.#publishRecovered(disk);
    // Readiness waits until the end offset that was seen at the start is applied: an old grant is not asked for again.
    await desk.log.caughtUp;
    await node.#listen();
    node.#heartbeat.start();
    return node;
  }

  get ports(): { readonly port: number; readonly adapter: string } {
    return this.#ports;
  }

  get registration(): Registration {
    return this.#registration;
  }

  get writers(): readonly string[] {
    return [this.control.writerIdHex, ...this.#workers.map((worker) => worker.writerId)];
  }

  get heads(): Map<string, Buffer> {
    return this.#o.heads;
  }

  workerStatus(): WorkerStatus[] {
    return this.#workers.map(({ index, writerId }) => {
      const page = this.metricPages[index + 1];
      return {
        index,
        writer: writerId,
        records: BigInt(page?.read('chaperone_records_total') ?? 0),
        durable: BigInt(page?.read('chaperone_durable_records') ?? 0),
        published: BigInt(page?.read('chaperone_published_records') ?? 0),
      };
    });
  }

  /** Reasons why a balancer should not send traffic here, in fixed words. */
  notReady(): string[] {
    const reasons: string[] = [];
    if (this.#draining) {
      reasons.push('draining');
    }
    for (const worker of this.#late) {
      reasons.push(`worker ${worker} is late`);
    }
    if (this.control.failure !== null) {
      reasons.push(`recorder: control writer: ${this.control.failure.code}`);
    }
    for (const { index } of this.#workers) {
      const page = this.metricPages[index + 1];
      if (page?.read('chaperone_recorder_failed') === 1) {
        reasons.push(`recorder: worker ${index}`);
      }
      if ((page?.read('chaperone_unpublished_age_seconds') ?? 0) * 1000 > this.#o.plan.unpublishedMaxMs) {
        reasons.push(`evidence backlog: worker ${index}`);
      }
    }
    const refused = this.control.status.publisher.failure;
    if (refused !== null) {
      reasons.push(`publisher: ${refused.code}`);
    }
    return reasons;
  }

  /** Not ready at once; the rest after `waitMs`, so that the balancer has seen it. Requests in flight get `inFlightMs`. */
  async drain(waitMs: number, inFlightMs: number): Promise<void> {
    if (this.#draining) {
      return;
    }
    this.#draining = true;
    const { clock, log } = this.#o;
    log.info('draining');
    await new Promise<void>((resolve) => void clock.after(waitMs, resolve));
    this.#heartbeat.stop();
    await Promise.all(
      this.#workers.map(async (worker) => {
        const { clean } = await worker.rpc.call<{ clean: boolean }>('drain', { inFlightMs });
        worker.ended = true;
        log.info('worker drained', { worker: worker.index, reason: clean ? 'clean' : 'not clean' });
      }),
    );
    await this.desk.close();
    await this.checkpoints.close();
    await this.#acks.close();
    const { clean } = await this.control.close();
    log.info('drained', { reason: clean ? 'clean' : 'not clean' });
  }

  async #register(announce: () => void): Promise<void> {
    const { bus, log, registrationRequired } = this.#o;
    const openings = [this.control.opening, ...this.#workers.map((worker) => worker.opening)];
    const values = openings.map((body) => encodeHeadsValue({ type: CLUSTER_LEAF_TYPES.epoch, body }));
    const positions = await bus.publish(TOPICS.heads.name, Buffer.from(this.#o.plan.node), values, { acks: 'all' });
    announce();
    // If we die here the writers are announced and never used: they stay open-ended at size 1 until they are recovered.
    const last = Math.max(...positions.map((position) => position.offset));
    const included = await this.checkpoints.whenIncluded(last, LIMITS.unregisteredWaitMs);
    if (included) {
      this.#registration = 'registered';
      log.info('writers are registered in the cluster log', { count: openings.length });
      return;
    }
    if (registrationRequired) {
      throw new GatewayError(
        'evidence_incomplete',
        'no checkpoint covers the writers of this node, and registration.require is on',
      );
    }
    log.error('no checkpoint yet: serving UNREGISTERED until the sequencer includes the writers', {
      code: 'unregistered',
    });
    void this.checkpoints.whenIncluded(last, FOREVER_MS).then((late) => {
      this.#registration = late ? 'registered' : this.#registration;
    });
  }

  /** What the dead writers of this disk left: gaps are declared, tails published under the control writer's signature. */
  async #publishRecovered(disk: NodeDisk): Promise<void> {
    const { bus, clock, log } = this.#o;
    const sink = batchSink(bus);
    const heads = headSink(bus, this.heads, this.#o.announced);
    this.#disk = disk;
    await this.#acksCaughtUp();
    for (const journal of this.#recovered) {
      for (const gap of gapRecords(journal)) {
        this.control.append(gap);
      }
      const watermark = this.#watermarks.get(journal.writerIdHex) ?? 0;
      const { records, head, missing } = await publishRecovered({
        disk,
        clock,
        journal,
        watermark,
        sink,
        signerWriterId: this.control.writerId,
        key: this.control.signingKey,
      });
      await this.#publishOpening(disk, journal);
      await heads.publish(head, journal.writerId);
      log.info('journal recovered', {
        writer: journal.writerIdHex,
        count: records,
        reason: missing > 0 ? `cut by ${missing}` : journal.state,
      });
      await releaseRecovered(disk, journal, watermark);
    }
  }

  /** A node that died before it announced its writers: the cluster log gets to know them now. Telling it twice is harmless. */
  async #publishOpening(disk: NodeDisk, journal: RecoveredJournal): Promise<void> {
    if (journal.epoch === null || journal.firstIndex > 0) {
      return; // What is archived was published after its opening.
    }
    const record = await recordBody(disk, journal.writerId, 0);
    if (record !== null) {
      const body = encodeEpochEntry({ epoch: journal.epoch, record });
      await this.#o.bus.publish(
        TOPICS.heads.name,
        journal.writerId,
        [encodeHeadsValue({ type: CLUSTER_LEAF_TYPES.epoch, body })],
        { acks: 'all' },
      );
    }
  }

  /** Waits until the acks that were on the topic at the start are applied. */
  async #acksCaughtUp(): Promise<void> {
    const [end = 0] = await this.#o.bus.endOffsets(TOPICS.acks.name);
    if (this.#acksOffset < end) {
      await new Promise<void>((resolve) => {
        this.#acksWaiter = { offset: end, resolve };
      });
    }
  }

  /** Activations need one order in the whole cluster: each is a record here and a leaf of the cluster log. */
  async #activate(recorder: ControlRecorder, disk: NodeDisk): Promise<void> {
    const { plan, relaxingSwitches, bus } = this.#o;
    const engine = plan.bundle.engine;
    const relaxing = Object.fromEntries(relaxingSwitches.map((name) => [`relaxing:${name}`, 'on']));
    const receipts = [
      await recorder.note('config.activated', 'config.activated', Buffer.from(plan.configDigest, 'hex'), relaxing),
      await recorder.note('policy.activated', 'policy.activated', Buffer.from(engine.digest), {
        revision: String(engine.revision),
      }),
    ];
    for (const { index } of receipts) {
      const body = defined(await recordBody(disk, this.control.writerId, index), 'the record was just made durable');
      // If we die here the record stands in the writer log, and the next start activates anew.
      const value = encodeHeadsValue({ type: CLUSTER_LEAF_TYPES.event, body });
      await bus.publish(TOPICS.heads.name, this.control.writerId, [value], { acks: 'all' });
    }
  }

  async #listen(): Promise<void> {
    const { host, port: configured } = this.#o.plan.listen;
    // Listeners can share a port only when they are told its number.
    let wanted = configured === 0 && this.#workers.length > 1 ? await freePort(host) : configured;
    for (const worker of this.#workers) {
      const { port, adapter, shares } = await worker.rpc.call<{ port: number; adapter: string; shares: boolean }>(
        'listen',
        { port: wanted },
      );
      if (worker.index === 0) {
        this.#ports = { port, adapter };
        wanted = shares ? port : wanted;
      }
    }
  }

  #onAcks(messages: readonly BusMessage[]): void {
    for (const { value, offset } of messages) {
      const ack = decodeAck(value);
      const writer = ack.writerId.toString('hex');
      if (ack.type === ACK_TYPES.watermark) {
        this.#watermarks.set(writer, Math.max(ack.index, this.#watermarks.get(writer) ?? 0));
        this.#onWatermark(writer, ack.index);
      } else {
        this.#onNack(writer, ack.index);
      }
      this.#acksOffset = offset + 1;
    }
    if (this.#acksWaiter !== null && this.#acksOffset >= this.#acksWaiter.offset) {
      this.#acksWaiter.resolve();
      this.#acksWaiter = null;
    }
  }

  #onWatermark(writer: string, index: number): void {
    const worker = this.#workers.find((one) => one.writerId === writer);
    if (writer === this.control.writerIdHex) {
      this.control.archived(index);
    } else if (worker !== undefined && !worker.ended) {
      worker.rpc.notify('archived', { index });
    }
    const journal = this.#recovered.find((one) => one.writerIdHex === writer);
    if (journal !== undefined && this.#disk !== null) {
      // If we die here the files stay until the next start, which reads the same watermark again.
      releaseRecovered(this.#disk, journal, index).catch(() =>
        this.#o.log.warn('files of a recovered journal could not be removed', { writer }),
      );
    }
  }

  #onNack(writer: string, first: number): void {
    this.#o.log.error('ingest refused a batch', { writer, index: first });
    const worker = this.#workers.find((one) => one.writerId === writer);
    if (writer === this.control.writerIdHex) {
      this.control.nack(first);
    } else if (worker !== undefined && !worker.ended) {
      worker.rpc.notify('nack', { first });
    }
  }
}

function openControlWriter(options: NodeParts, disk: NodeDisk, recovered: RecoveredJournal[]): Promise<JournalWriter> {
  const { plan, clock, bus, log } = options;
  return JournalWriter.open({
    disk,
    clock,
    role: 'control',
    epoch: {
      node: plan.node,
      configDigest: Buffer.from(plan.configDigest, 'hex'),
      binaryDigest: Buffer.from(plan.binaryDigest, 'hex'),
      bundleDigest: Buffer.from(plan.bundle.engine.digest),
      journals: recovered,
    },
    certify: certifier(options),
    batches: batchSink(bus),
    heads: headSink(bus, options.heads, options.announced),
    onFailure: (failure) => log.error('the control writer takes no records', { code: failure.code }),
  });
}

function makePages(workers: number): { memory: SharedArrayBuffer; pages: MetricPage[] } {
  const memory = new SharedArrayBuffer(metricMemoryBytes(workers + 1));
  return { memory, pages: Array.from({ length: workers + 1 }, (_, i) => new MetricPage(memory, i)) };
}

/** Limit: somebody else may take it before it is listened on; the start then fails and says so. */
function freePort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, host, () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

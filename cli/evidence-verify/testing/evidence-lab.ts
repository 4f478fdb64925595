import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileBus } from '../../../core/bus/file-bus/file-bus.ts';
import { type RunningFileBus, startFileBus } from '../../../core/bus/file-bus/file-bus-process.ts';
import { TOPICS } from '../../../core/bus/topics.ts';
import { type Clock, SystemClock, type Timer } from '../../../core/kernel/clock.ts';
import { ZERO16, ZERO32 } from '../../../core/kernel/bytes.ts';
import { SeededRandom } from '../../../core/kernel/testing/seeded-random.ts';
import { openCheckpoint } from '../../../core/ledger/checkpoint.ts';
import { CLUSTER_LEAF_TYPES, encodeHeadsValue } from '../../../core/ledger/cluster-leaf.ts';
import { publicKeyRaw } from '../../../core/ledger/ed25519.ts';
import { signEpoch, type WriterRole } from '../../../core/ledger/epoch.ts';
import { KINDS, tenantTag } from '../../../core/ledger/leaf.ts';
import { SAMPLE_CA_PEM, SAMPLE_NODE_CERTIFICATE, SAMPLE_NODE_SEED } from '../../../core/ledger/testing/sample-node.ts';
import { sealUnit, unitNonce } from '../../../core/ledger/sealed-unit.ts';
import { encodeVerifierKey, SIGNATURE_TYPES, verifierKey } from '../../../core/ledger/verifier-key.ts';
import { NodeDisk } from '../../../core/runtime/node-disk.ts';
import type { RecordInput } from '../../../core/runtime/writer/evidence-writer.ts';
import { JournalWriter } from '../../../core/runtime/writer/journal-writer.ts';
import {
  gapRecords,
  publishRecovered,
  recoverJournals,
  type RecoveredJournal,
} from '../../../core/runtime/writer/recovery.ts';
import { batchSink, headSink } from '../../../gateway/threads/bus-sinks.ts';
import { DiskBlobStore } from '../../../ingest/adapters/disk-blob-store.ts';
import type { ClickHouseAccess } from '../../../ingest/clickhouse/connect.ts';
import { Archiver } from '../../../ingest/consume/archiver.ts';
import { Quarantine } from '../../../ingest/consume/quarantine.ts';
import { Cosigners } from '../../../ingest/sequence/cosigners.ts';
import { Sequencer } from '../../../ingest/sequence/sequencer.ts';
import { type RunningIngest, startIngest } from '../../../ingest/start-ingest.ts';
import { encodeEvent } from '../../../ingest/testing/event-from.ts';
import { eventually } from '../../../ingest/testing/eventually.ts';
import { Witness } from '../../../ingest/witness/witness.ts';
import { writeRunFile } from '../../run-file.ts';
import type { EvidenceSources } from '../sources.ts';
import { type VerifyOptions, type Verified, verifyEvidence } from '../verify-evidence.ts';

const ORIGIN = 'clinic.example/evidence';
const LOG_KEY = Buffer.alloc(32, 41);
const WITNESS_KEY = Buffer.alloc(32, 42);
export const LAB_LOG_KEY = verifierKey(ORIGIN, SIGNATURE_TYPES.ed25519, publicKeyRaw(LOG_KEY));
export const LAB_WITNESS_KEY = verifierKey('witness.example/1', SIGNATURE_TYPES.cosignature, publicKeyRaw(WITNESS_KEY));
const LIMITS = {
  segmentBytes: 24 * 1024,
  reserveSegmentBytes: 8 * 1024,
  groupCommitBytesMax: 4 * 1024,
  batchBytes: 6 * 1024,
  batchMs: 2,
  headMs: 5,
};

/** The system's clock, some time ago. */
class ShiftedClock implements Clock {
  readonly #clock = new SystemClock();
  readonly #shiftMs: number;

  constructor(shiftMs: number) {
    this.#shiftMs = shiftMs;
  }

  nowMs(): number {
    return this.#clock.nowMs() + this.#shiftMs;
  }

  nowNs(): bigint {
    return this.#clock.nowNs() + BigInt(this.#shiftMs) * 1_000_000n;
  }

  monotonicMs(): number {
    return this.#clock.monotonicMs();
  }

  after(delayMs: number, callback: () => void): Timer {
    return this.#clock.after(delayMs, callback);
  }
}

/** A writer of the lab, which can be made to die: from then on nothing of it reaches the bus. */
export interface LabWriter {
  readonly writer: JournalWriter;
  readonly id: string;
  /** What reaches the bus: nothing while it is `false`. */
  publishes: boolean;
}

/**
 * Real evidence on a disk: journal writers, a file bus, an archiver, a sequencer and a witness in this process, on
 * small files. No gateway: the records are made here.
 */
export class EvidenceLab {
  readonly directory: string;
  readonly data: string;
  readonly #bus: FileBus;
  readonly #busProcess: RunningFileBus;
  readonly #archiver: Archiver;
  /** With ClickHouse: the whole role, whose archiver it is. */
  readonly #ingest: RunningIngest | null;
  readonly #sequencer: Sequencer;
  readonly #random = new SeededRandom(7);
  readonly #writers: LabWriter[] = [];

  private constructor(parts: {
    directory: string;
    bus: FileBus;
    busProcess: RunningFileBus;
    archiver: Archiver;
    ingest: RunningIngest | null;
    sequencer: Sequencer;
  }) {
    this.directory = parts.directory;
    this.data = join(parts.directory, 'data');
    this.#bus = parts.bus;
    this.#busProcess = parts.busProcess;
    this.#archiver = parts.archiver;
    this.#ingest = parts.ingest;
    this.#sequencer = parts.sequencer;
  }

  static async start(clickhouse: ClickHouseAccess | null = null): Promise<EvidenceLab> {
    const directory = await mkdtemp(join(tmpdir(), 'chaperone-evidence-'));
    const data = join(directory, 'data');
    const clock = new SystemClock();
    mkdirSync(join(data, 'tls'), { recursive: true });
    mkdirSync(join(data, 'bus'), { recursive: true });
    writeFileSync(join(data, 'tls', 'ca.pem'), SAMPLE_CA_PEM);
    const socketPath = join(directory, 'bus.sock');
    const busProcess = await startFileBus({ directory: join(data, 'bus'), socketPath, segmentBytes: 64 * 1024 });
    const bus = new FileBus({ socketPath, clock });
    for (const topic of [TOPICS.batches, TOPICS.heads, TOPICS.acks, TOPICS.checkpoints]) {
      await bus.ensure(topic);
    }
    const witness = new Witness({
      cosigner: { name: LAB_WITNESS_KEY.name, key: WITNESS_KEY },
      logs: [LAB_LOG_KEY],
      blobs: new DiskBlobStore(join(data, 'witness')),
      clock,
    });
    const cosigners = new Cosigners(LAB_LOG_KEY, [
      { key: LAB_WITNESS_KEY, addCheckpoint: (body) => witness.addCheckpoint(body) },
    ]);
    const sequencer = await Sequencer.start({
      bus,
      blobs: new DiskBlobStore(join(data, 'sequencer', 'log')),
      clock,
      signer: { name: ORIGIN, key: LOG_KEY },
      clusterCas: [SAMPLE_CA_PEM],
      cosigners,
      checkpointMs: 4,
      witnessMs: 4,
    });
    const blobs = new DiskBlobStore(join(data, 'archive'));
    const common = { bus, blobs, clock, clusterCas: [SAMPLE_CA_PEM], flushMs: 4 };
    const ingest =
      clickhouse === null
        ? null
        : await startIngest({
            ...common,
            logBlobs: null,
            clickhouse,
            tenants: ['default'],
            httpSecret: 'x'.repeat(20),
          });
    const archiver =
      ingest?.archiver ??
      new Archiver({ ...common, quarantine: new Quarantine(blobs, clock), onArchived: () => undefined });
    if (ingest === null) {
      await archiver.start();
    }
    return new EvidenceLab({ directory, bus, busProcess, archiver, ingest, sequencer });
  }

  /** A writer of `node-1`, registered unless `announce` is false. */
  async open(
    role: WriterRole = 'worker',
    options: { journals?: readonly RecoveredJournal[]; announce?: boolean; agoMs?: number } = {},
  ): Promise<LabWriter> {
    const lab: { publishes: boolean } = { publishes: true };
    const sink = batchSink(this.#bus);
    const heads = headSink(this.#bus, new Map());
    const dead = (): Promise<never> => Promise.reject(new Error('the process is gone'));
    const writer = await JournalWriter.open({
      disk: await NodeDisk.open(join(this.data, 'journal')),
      clock: new ShiftedClock(-(options.agoMs ?? 0)),
      role,
      epoch: {
        node: 'node-1',
        configDigest: ZERO32,
        binaryDigest: ZERO32,
        bundleDigest: ZERO32,
        journals: options.journals ?? [],
      },
      certify: (publicKey, writerId, roleNumber, createdNs) =>
        signEpoch(
          { publicKey, writerId, role: roleNumber, createdNs, nodeCertificate: SAMPLE_NODE_CERTIFICATE },
          SAMPLE_NODE_SEED,
        ),
      batches: { publish: (...args) => (lab.publishes ? sink.publish(...args) : dead()) },
      heads: { publish: (...args) => (lab.publishes ? heads.publish(...args) : dead()) },
      limits: LIMITS,
    });
    if (options.announce !== false) {
      const value = encodeHeadsValue({ type: CLUSTER_LEAF_TYPES.epoch, body: writer.opening });
      await this.#bus.publish(TOPICS.heads.name, Buffer.from('node-1'), [value], { acks: 'all' });
    }
    const made: LabWriter = Object.assign(lab, { writer, id: writer.writerIdHex });
    this.#writers.push(made);
    return made;
  }

  /** A session of `exchanges` operations with their responses, and waits until they are durable. */
  async session(lab: LabWriter, exchanges: number, closes = true): Promise<string> {
    const sessionId = this.#random.bytes(16);
    let previous = ZERO32;
    const kinds = ['session.open', ...Array.from({ length: exchanges }, () => ['operation', 'response']).flat()];
    for (const [seq, kind] of [...kinds, ...(closes ? ['session.close'] : [])].entries()) {
      const record: RecordInput = {
        kind: KINDS[kind as keyof typeof KINDS],
        sessionId,
        strandSeq: seq,
        strandPrevious: previous,
        tenantTag: tenantTag('default'),
        bundleDigest: ZERO32,
        decision: kind === 'operation' ? 1 : 0,
        obligations: 0,
        approvalLeafHash: ZERO32,
        meta: encodeEvent({ connection: 'clinic', traceId: this.#random.bytes(40).toString('hex') }),
        units: kind === 'response' ? this.#units(lab.writer.writerId) : [],
      };
      previous = Buffer.from(lab.writer.append(record).leafHash);
    }
    await this.durable(lab);
    return sessionId.toString('hex');
  }

  /** Sealed under keys that nobody has: the verifier cannot open units, only bind them. */
  #units(writerId: Buffer): RecordInput['units'] {
    return ([1, 2] as const).map((unitClass) => {
      const keyId = this.#random.bytes(16);
      const bytes = sealUnit({
        key: this.#random.bytes(32),
        unitClass,
        direction: 3,
        final: true,
        keyId,
        nonce: unitNonce(this.#random.bytes(8), 0),
        plaintext: this.#random.bytes(120),
        writerId,
        index: 0,
        tenantTag: ZERO16,
        sessionId: ZERO16,
        planDigest: ZERO32,
      });
      return { unitClass, keyId, bytes };
    });
  }

  durable({ writer }: LabWriter): Promise<void> {
    return new Promise((resolve, reject) => {
      writer.whenDurable(writer.nextIndex - 1, (failure) => (failure === null ? resolve() : reject(failure)));
    });
  }

  /** kill -9, as far as files and bus can tell. */
  kill(lab: LabWriter): void {
    lab.publishes = false;
  }

  /** What the next start does: recovers every journal that is not of a living writer, and opens a control writer. */
  async recover(living: readonly LabWriter[] = []): Promise<LabWriter> {
    const disk = await NodeDisk.open(join(this.data, 'journal'));
    const journals = await recoverJournals(disk, new Set(living.map(({ id }) => id)));
    const control = await this.open('control', { journals });
    for (const journal of journals) {
      gapRecords(journal).forEach((gap) => control.writer.append(gap));
      const { head } = await publishRecovered({
        disk,
        clock: new SystemClock(),
        journal,
        watermark: 0,
        sink: batchSink(this.#bus),
        signerWriterId: control.writer.writerId,
        key: control.writer.signingKey,
      });
      await headSink(this.#bus, new Map()).publish(head, journal.writerId);
    }
    await this.durable(control);
    return control;
  }

  /** Waits until all that living writers recorded is archived and under a cosigned checkpoint. */
  async settled(): Promise<void> {
    const file = join(this.data, 'sequencer', 'log', 'checkpoint.cosigned');
    await eventually(async () => {
      for (const { writer, id, publishes } of this.#writers) {
        if (publishes && this.#archiver.archivedSize(id) < writer.nextIndex) {
          return false;
        }
      }
      if ((this.#ingest?.loader.backlog ?? 0) > 0) {
        return false;
      }
      const { report } = await this.verify(this.data);
      const dead = (id: string): boolean => this.#writers.some((one) => one.id === id && !one.publishes);
      const seen = report.writers.every(({ writer, size, witnessed }) => dead(writer) || size === witnessed);
      return seen && openCheckpoint(readFileSync(file), LAB_LOG_KEY, [LAB_WITNESS_KEY]).cosignatures.length > 0;
    }, 'everything is archived and witnessed');
  }

  /** Ends every writer that lives in order. */
  async close(lab: LabWriter): Promise<void> {
    await lab.writer.close();
  }

  /** A copy of the data directory, as `cp -r` makes it. */
  copy(name: string): string {
    const target = join(this.directory, name);
    cpSync(this.data, target, { recursive: true });
    return target;
  }

  async stop(): Promise<void> {
    await this.#sequencer.close();
    await (this.#ingest ?? this.#archiver).close();
    await this.#bus.close();
    await this.#busProcess.close();
  }

  async remove(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }

  /** Verifies a data directory: cold unless `sources` says otherwise. */
  verify(
    data: string,
    options: Partial<VerifyOptions> = {},
    sources: Partial<EvidenceSources> = {},
  ): Promise<Verified> {
    return verifyEvidence(
      { ...labSources(data), ...sources },
      { clock: new SystemClock(), strict: false, writer: null, range: null, session: null, rows: 'off', ...options },
    );
  }

  writeRunFile(data: string, pid: number): void {
    writeRunFile({
      version: 1,
      pid,
      startedMs: 0,
      stoppedMs: null,
      cluster: 'clinic.example',
      node: 'node-1',
      configPath: '',
      dataDir: data,
      ports: {},
      pids: { gateway: pid },
      http: '',
      admin: '',
      control: '',
      vault: '',
      archive: { url: '', token: '' },
      clickhouse: { url: '', username: '', password: '', database: '' },
      logKey: encodeVerifierKey(LAB_LOG_KEY),
      witnessKeys: [encodeVerifierKey(LAB_WITNESS_KEY)],
      caPath: join(data, 'tls', 'ca.pem'),
    });
  }
}

export function labSources(data: string): EvidenceSources {
  const folder = (path: string): { directory: string; prefix: string } => ({
    directory: join(data, path),
    prefix: `${path}/`,
  });
  return {
    root: data,
    journals: folder('journal'),
    archive: folder('archive'),
    bus: folder('bus'),
    clusterLog: folder('sequencer/log'),
    clusterCas: [SAMPLE_CA_PEM],
    keys: { log: LAB_LOG_KEY, witnesses: [LAB_WITNESS_KEY] },
    rows: null,
    live: false,
    livingNode: null,
    keysFromEvidence: false,
  };
}

import { channel } from 'node:diagnostics_channel';
import type { Clock, Timer } from '../../core/kernel/clock.ts';
import { assert } from '../../core/kernel/assert.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import type { Bus, BusMessage, Tail } from '../../core/bus/bus.ts';
import { TOPICS } from '../../core/bus/topics.ts';
import {
  CHECKPOINT_VALUE_TYPES,
  decodeCheckpoint,
  encodeCheckpoint,
  encodeCheckpointValue,
  inputOffsetExtension,
} from '../../core/ledger/checkpoint.ts';
import { parseNote, signNote } from '../../core/ledger/note.ts';
import type { NoteSigner } from '../../core/ledger/note.ts';
import type { BlobStore } from '../archive/blob-store.ts';
import { Admission } from './admission.ts';
import type { AdmissionState } from './admission.ts';
import { ClusterLog, FencedError } from './cluster-log.ts';
import type { Cosigners } from './cosigners.ts';

export interface SequencerOptions {
  readonly bus: Bus;
  readonly blobs: BlobStore;
  readonly clock: Clock;
  /** Name = origin of the log, `<cluster-domain>/evidence`. */
  readonly signer: NoteSigner;
  readonly clusterCas: readonly (string | Buffer)[];
  readonly cosigners: Cosigners;
  readonly checkpointMs?: number;
  readonly witnessMs?: number;
}

/** Messages `{ cause }`: a step failed and is tried again. */
export const sequencerStalledChannel = channel('chaperone:ingest:sequencer.stalled');

/** Leaves after which the state of the writers is stored, so that a start reads at most this many. */
const SNAPSHOT_LEAVES = 1_024;
const STEP_LEAVES_MAX = 4_096;
/** The low six bytes of the input offset of a cluster leaf. */
const OFFSET_AT = 4;
const OFFSET_SIZE = 6;

/**
 * The one writer of the cluster log: reads `evidence.heads.v1` in offset order, appends leaves once a second, signs, and
 * publishes. What was signed is always what the lock says, so a successor signs the same tree.
 *
 * Invariants: a checkpoint is signed only after its tiles are durable and while the lock is ours; `#offset` is the next
 * offset to be read; leaves wait in `#waiting` in offset order.
 */
export class Sequencer {
  readonly #options: SequencerOptions;
  readonly #log: ClusterLog;
  readonly #admission: Admission;
  readonly #waiting: Buffer[] = [];
  #offset: number;
  #snapshotSize: number;
  #signed: string | null = null;
  #cosigned: string | null = null;
  /** Root of the newest published checkpoint, hex. The empty tree has none. */
  #published: string;
  #tail: Tail | null = null;
  #steps: Promise<void> = Promise.resolve();
  readonly #timers = new Set<Timer>();
  #closed = false;
  #room: () => void = () => undefined;
  readonly #failure: Promise<never>;
  #fail: (error: unknown) => void = () => undefined;

  private constructor(options: SequencerOptions, log: ClusterLog, admission: Admission, snapshotSize: number) {
    this.#options = options;
    this.#log = log;
    this.#admission = admission;
    this.#snapshotSize = snapshotSize;
    this.#offset = log.lock.inputOffset;
    this.#published = log.lock.size === 0 ? log.lock.root : '';
    this.#failure = new Promise((_, reject) => {
      this.#fail = reject;
    });
    this.#failure.catch(() => undefined); // `done` shows it to whoever asks.
  }

  /** Finishes what the lock says and goes on from there. */
  static async start(options: SequencerOptions): Promise<Sequencer> {
    const log = await ClusterLog.open(options.blobs);
    const snapshot = await newestSnapshot(options.blobs, log.lock.size);
    const admission = new Admission(options.clusterCas, snapshot.state);
    for await (const leaf of log.leaves(snapshot.size)) {
      replay(admission, leaf);
    }
    const sequencer = new Sequencer(options, log, admission, snapshot.size);
    await sequencer.#begin();
    return sequencer;
  }

  get size(): number {
    return this.#log.lock.size;
  }

  /** Rejects when this sequencer must not go on: fenced by another, or the log contradicts itself. */
  get done(): Promise<void> {
    assert(this.#tail !== null, 'the sequencer was started');
    return Promise.race([this.#tail.done, this.#failure]);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#room();
    this.#timers.forEach((timer) => timer.cancel());
    await this.#tail?.close();
    await this.#steps.catch(() => undefined);
  }

  async #begin(): Promise<void> {
    const { bus, clock, checkpointMs, witnessMs } = this.#options;
    await this.#step();
    const from = [{ partition: 0, offset: this.#offset }];
    this.#tail = bus.tail(TOPICS.heads.name, from, (messages) => this.#admit(messages));
    this.#every(clock, checkpointMs ?? LIMITS.checkpointMs, () => this.#step());
    this.#every(clock, witnessMs ?? LIMITS.witnessMs, () => this.#cosign());
  }

  async #admit(messages: readonly BusMessage[]): Promise<void> {
    for (const { value, offset } of messages) {
      const leaf = this.#admission.leafOf(value, offset);
      if (leaf !== null) {
        this.#waiting.push(leaf);
      }
      this.#offset = offset + 1;
    }
    while (this.#waiting.length > STEP_LEAVES_MAX && !this.#closed) {
      await new Promise<void>((resolve) => {
        this.#room = resolve;
      });
    }
  }

  /** One checkpoint, if something changed. */
  async #step(): Promise<void> {
    const leaves = this.#waiting.slice(0, STEP_LEAVES_MAX);
    if (this.#log.finished && leaves.length > 0) {
      const rest = this.#waiting[leaves.length];
      await this.#log.commit(leaves, rest === undefined ? this.#offset : rest.readUIntBE(OFFSET_AT, OFFSET_SIZE));
      // They are in the log now, whatever becomes of the rest of this step.
      this.#waiting.splice(0, leaves.length);
      this.#room();
    }
    await this.#log.finish();
    if (this.#published !== this.#log.lock.root) {
      await this.#publishCheckpoint();
    }
    if (this.size - this.#snapshotSize >= SNAPSHOT_LEAVES && this.#waiting.length === 0) {
      await this.#storeSnapshot();
    }
  }

  async #publishCheckpoint(): Promise<void> {
    const { signer, bus, blobs } = this.#options;
    const { size, root, inputOffset } = this.#log.lock;
    // A pause may have let a successor go on: it signs the newer tree, and this one stays silent.
    if (!(await this.#log.holdsLock())) {
      throw new FencedError('another sequencer holds the log');
    }
    const extensions = [inputOffsetExtension(inputOffset)];
    const text = encodeCheckpoint({ origin: signer.name, size, root: Buffer.from(root, 'hex'), extensions });
    const note = signNote(text, [signer]);
    await blobs.replace('checkpoint', Buffer.from(note, 'utf8'));
    // If we die here, the successor signs and publishes the same checkpoint.
    const value = encodeCheckpointValue({ type: CHECKPOINT_VALUE_TYPES.signed, note });
    await bus.publish(TOPICS.checkpoints.name, Buffer.from(signer.name, 'utf8'), [value], { acks: 'all' });
    this.#signed = note;
    this.#published = root;
  }

  /** Has the newest checkpoint cosigned and publishes it, once. */
  async #cosign(): Promise<void> {
    const { cosigners, bus, blobs, signer } = this.#options;
    const note = this.#signed;
    if (note === null || note === this.#cosigned) {
      return;
    }
    const cosigned = await cosigners.cosign(note, decodeCheckpoint(parseNote(note).text).size, this.#log.tree);
    if (cosigned === null) {
      return;
    }
    await blobs.replace('checkpoint.cosigned', Buffer.from(cosigned, 'utf8'));
    const value = encodeCheckpointValue({ type: CHECKPOINT_VALUE_TYPES.cosigned, note: cosigned });
    await bus.publish(TOPICS.checkpoints.name, Buffer.from(signer.name, 'utf8'), [value], { acks: 'all' });
    this.#cosigned = note;
  }

  async #storeSnapshot(): Promise<void> {
    const { blobs } = this.#options;
    const bytes = Buffer.from(JSON.stringify(this.#admission.state));
    await blobs.create([{ name: snapshotName(this.size), parts: [bytes] }]);
    // If we die here, an older snapshot stays behind as well; the newest is used.
    await blobs.remove(snapshotName(this.#snapshotSize));
    this.#snapshotSize = this.size;
  }

  /** Runs `work` in a chain with all other work, again and again; failures of the store or the bus are tried again. */
  #every(clock: Clock, periodMs: number, work: () => Promise<void>): void {
    const timer = clock.after(periodMs, () => {
      this.#timers.delete(timer);
      this.#steps = this.#steps.then(async () => {
        try {
          if (!this.#closed) {
            await work();
          }
        } catch (error) {
          if (error instanceof FencedError) {
            this.#fail(error);
            this.#closed = true;
          }
          sequencerStalledChannel.publish({ cause: error });
        }
        if (!this.#closed) {
          this.#every(clock, periodMs, work);
        }
      });
    });
    this.#timers.add(timer);
  }
}

/** What the leaf did to the state when it was admitted. A refused value changed nothing. */
function replay(admission: Admission, leaf: Buffer): void {
  const type = leaf[1] as number;
  if (type === 1 || type === 2 || type === 3) {
    admission.leafOf(Buffer.concat([Buffer.of(type), leaf.subarray(10)]), 0);
  }
}

async function newestSnapshot(blobs: BlobStore, sizeMax: number): Promise<{ size: number; state: AdmissionState }> {
  const sizes = (await blobs.list('writers-state/')).map((name) => Number(name.split('/')[1]));
  const size = Math.max(0, ...sizes.filter((each) => each <= sizeMax));
  const bytes = size === 0 ? null : await blobs.read(snapshotName(size));
  return bytes === null
    ? { size: 0, state: {} }
    : { size, state: JSON.parse(bytes.toString('utf8')) as AdmissionState };
}

function snapshotName(size: number): string {
  return `writers-state/${String(size).padStart(16, '0')}`;
}

import type { Clock } from '../../core/kernel/clock.ts';
import type { BusMessage } from '../../core/bus/bus.ts';
import { sha256 } from '../../core/ledger/hash.ts';
import type { BlobStore } from '../archive/blob-store.ts';
import type { RefusalReason } from './check-batch.ts';

/** What stands beside a refused batch, as `quarantine/<id>.json`. */
export interface QuarantineEntry {
  /** SHA-256 of the refused bytes: the same batch, sent again, is the same entry. */
  readonly id: string;
  readonly timeMs: number;
  /** Hex; empty when the bytes are no batch. */
  readonly writer: string;
  readonly first: number;
  readonly reason: RefusalReason;
  readonly partition: number;
  readonly busOffset: number;
}

const PREFIX = 'quarantine/';

/** Keeps what was refused, whole: it may be the only trace of an attack, or of a disk that fails. */
export class Quarantine {
  readonly #blobs: BlobStore;
  readonly #clock: Clock;

  constructor(blobs: BlobStore, clock: Clock) {
    this.#blobs = blobs;
    this.#clock = clock;
  }

  /** Stores the batch and why; returns its id. */
  async put(message: BusMessage, writerId: Buffer | null, first: number, reason: RefusalReason): Promise<string> {
    const id = sha256(message.value).toString('hex');
    const entry: QuarantineEntry = {
      id,
      timeMs: this.#clock.nowMs(),
      writer: writerId?.toString('hex') ?? '',
      first,
      reason,
      partition: message.partition,
      busOffset: message.offset,
    };
    await this.#blobs.create([
      { name: `${PREFIX}${id}.batch`, parts: [message.value] },
      { name: `${PREFIX}${id}.json`, parts: [Buffer.from(JSON.stringify(entry))] },
    ]);
    // If we die here, the message comes again and is the same entry.
    return id;
  }

  async list(): Promise<QuarantineEntry[]> {
    const names = (await this.#blobs.list(PREFIX)).filter((name) => name.endsWith('.json'));
    const entries = await Promise.all(names.map((name) => this.#blobs.read(name)));
    return entries.flatMap((bytes) => (bytes === null ? [] : [JSON.parse(bytes.toString('utf8')) as QuarantineEntry]));
  }
}

import { createHash, randomUUID } from 'node:crypto';
import { channel } from 'node:diagnostics_channel';
import type { ClickHouseClient } from '@clickhouse/client';
import { assert } from '../../core/kernel/assert.ts';
import type { Clock } from '../../core/kernel/clock.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import type { BlobStore } from '../archive/blob-store.ts';
import { readObject } from '../archive/read-object.ts';
import type { ArchivedObject, VerifiedBatch, VerifiedRecord } from '../archive/write-objects.ts';
import { insertNative } from './connect.ts';
import { headBlock } from './rows/head-block.ts';
import { ColdColumns } from './rows/cold-columns.ts';
import { EventColumns } from './rows/event-columns.ts';
import { ByteSink } from './rows/byte-sink.ts';
import { writeNativeBlock } from './rows/native-columns.ts';
import type { Column } from './rows/native-columns.ts';
import { repairAggregates } from './repair-aggregates.ts';
import { ROW_TABLES, RowMarks } from './row-marks.ts';
import type { RecordRange, RowTable } from './row-marks.ts';

export interface RowLoaderOptions {
  readonly client: ClickHouseClient;
  readonly blobs: BlobStore;
  readonly clock: Clock;
  /** Names of the tenants whose tags are known. */
  readonly tenants: readonly string[];
  /** Called after all rows of an object are there, in order for each partition. */
  readonly onLoaded: (object: ObjectRef) => Promise<void>;
  /** Resolves when the tables are there. */
  readonly prepare: () => Promise<void>;
}

/** An object whose rows are wanted; `object` while it is still in memory. */
export interface ObjectRef {
  readonly name: string;
  readonly partition: number;
  readonly lastOffset: number;
  readonly object: ArchivedObject | null;
}

/** Messages `{ attempt, cause }`: ClickHouse does not take rows; they are sent again. */
export const rowsStalledChannel = channel('chaperone:ingest:rows.stalled');
/** Messages `{ name, cause }`: an object cannot be read and is left out of the index. An alarm: it is the log. */
export const objectDamagedChannel = channel('chaperone:ingest:object.damaged');

/** Objects that wait in memory while ClickHouse is slow or down; past it they are read from the archive again. */
const QUEUE_BYTES_MAX = 96 * 1024 * 1024;
/** One insert takes this much of the queue at most: inserts have a fixed cost, so a backlog goes in large pieces. */
const GROUP_BYTES_MAX = 48 * 1024 * 1024;
const GROUP_OBJECTS_MAX = 256;
const RETRY_MS = 250;
const RETRY_MAX_MS = 10_000;

/**
 * Puts the rows of archived objects into ClickHouse, one object at a time: `events_cold` first, `events` second, so an
 * index row always has its cold row. Nothing waits for it; when ClickHouse is away the queue is names in the archive.
 *
 * Invariants: an object leaves the queue only when all its rows are in both tables; no row is sent twice, because after
 * every doubt the database is asked first.
 */
export class RowLoader {
  readonly marks = new RowMarks();
  readonly #options: RowLoaderOptions;
  readonly #queue: ObjectRef[] = [];
  #queuedBytes = 0;
  #month = 0;
  readonly #events: EventColumns;
  readonly #cold: ColdColumns;
  readonly #sink = new ByteSink(1024 * 1024);
  #loaded = false;
  /** The views may lack rows of the month of the next object: after a start, and after each failure. */
  #suspect = true;
  #closed = false;
  #running: Promise<void> | null = null;
  #wake: () => void = () => undefined;

  constructor(options: RowLoaderOptions) {
    this.#options = options;
    this.#events = new EventColumns(options.tenants, () => this.#month);
    this.#cold = new ColdColumns(() => this.#month);
  }

  /** Objects that wait. */
  get backlog(): number {
    return this.#queue.length;
  }

  push(ref: ObjectRef): void {
    const bytes = ref.object?.bytes ?? 0;
    const keep = this.#queuedBytes + bytes <= QUEUE_BYTES_MAX;
    this.#queue.push(keep ? ref : { ...ref, object: null });
    this.#queuedBytes += keep ? bytes : 0;
    this.#running ??= this.#run();
  }

  /** Resolves when the queue is empty; never, while ClickHouse is away. */
  async idle(): Promise<void> {
    while (this.#running !== null) {
      await this.#running;
    }
  }

  /** Stops after the insert that is under way. What waits is found in the archive at the next start. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0 && !this.#closed) {
      const group = await this.#nextGroup();
      await this.#untilDone(() => this.#load(group.objects));
      await this.#untilDone(async () => {
        for (const ref of newestOfPartitions(group.refs)) {
          await this.#options.onLoaded(ref);
        }
      });
      if (!this.#closed) {
        // If we die before this, the objects are loaded again and every row is found there.
        this.#queue.splice(0, group.refs.length);
        this.#queuedBytes -= group.refs.reduce((sum, ref) => sum + (ref.object?.bytes ?? 0), 0);
      }
    }
    this.#running = null;
  }

  /** What is loaded by one insert: the head of the queue, as far as it has one month and a bounded size. */
  async #nextGroup(): Promise<{ refs: ObjectRef[]; objects: ArchivedObject[] }> {
    const refs: ObjectRef[] = [];
    const objects: ArchivedObject[] = [];
    let bytes = 0;
    for (const ref of this.#queue.slice(0, GROUP_OBJECTS_MAX)) {
      let object = ref.object;
      await this.#untilDone(async () => {
        object ??= await this.#read(ref.name);
      });
      const month = objects[0]?.month ?? object?.month;
      if (refs.length > 0 && (object?.month !== month || bytes + (object?.bytes ?? 0) > GROUP_BYTES_MAX)) {
        break;
      }
      refs.push(ref);
      if (object !== null) {
        objects.push(object);
        bytes += object.bytes;
      }
    }
    return { refs, objects };
  }

  async #load(objects: readonly ArchivedObject[]): Promise<void> {
    const month = objects[0]?.month;
    if (month === undefined) {
      return; // Damaged objects only: they were reported.
    }
    const { client, prepare } = this.#options;
    if (!this.#loaded) {
      await prepare();
      await this.marks.load(client);
      this.#loaded = true;
    }
    for (const table of ROW_TABLES) {
      await this.#loadTable(table, month, objects);
      // If we die here, the other table lacks these rows: the marks are the database's, and the objects are loaded again.
    }
    if (this.#suspect) {
      // The insert that failed, or that the process before died in, may have reached the table and not its views.
      await repairAggregates(client, month);
      this.#suspect = false;
    }
    const batches = objects.flatMap((object) => object.batches);
    await insertNative(client, 'heads', headBlock(batches), `heads/${randomUUID()}`);
  }

  async #loadTable(table: RowTable, month: number, objects: readonly ArchivedObject[]): Promise<void> {
    const columns = table === 'events' ? this.#events : this.#cold;
    const ranges = objects.flatMap((object) => object.batches.map(rangeOf));
    this.#month = month;
    for (let attempt = 0; ; attempt++) {
      columns.reset();
      const sent = await this.#appendMissing(table, objects, ranges);
      if (columns.rows === 0) {
        break;
      }
      await this.#insert(table, columns.finish(), ranges, attempt === 0 ? sent : `${sent}/${randomUUID()}`);
      if (!this.#suspect) {
        break;
      }
      // After a doubt what the insert did is looked at: the token of rows that were lost since is still known to the
      // table, which then takes an insert with it for a repetition and drops it.
    }
    for (const range of ranges) {
      this.marks.stored(table, range);
    }
  }

  /** Adds the rows that the table lacks, and gives a token for exactly these. */
  async #appendMissing(
    table: RowTable,
    objects: readonly ArchivedObject[],
    ranges: readonly RecordRange[],
  ): Promise<string> {
    const digest = createHash('sha256');
    let at = 0;
    for (const object of objects) {
      for (const [i, batch] of object.batches.entries()) {
        const range = ranges[at] as RecordRange;
        const { from, except } = await this.marks.missing(this.#options.client, table, range);
        const overlaps = overlapping(ranges.slice(0, at), range);
        const skips: number[] = [];
        for (const [j, record] of batch.records.entries()) {
          const index = range.first + j;
          const covered = overlaps.some(({ first, end }) => index >= first && index < end);
          if (index < from || except.has(index) || covered) {
            skips.push(index);
          } else {
            this.#appendRow(table, object, i, record);
          }
        }
        // Writer, first index and root of the batch, and what of it is left out: equal rows, equal token.
        digest.update(`${range.writerHex}/${range.first}/${batch.head.toString('hex', 29, 61)}/${skips.join()};`);
        at++;
      }
    }
    return digest.digest('hex');
  }

  #appendRow(table: RowTable, object: ArchivedObject, batchAt: number, record: VerifiedRecord): void {
    if (table === 'events') {
      this.#events.append(record);
      return;
    }
    const batch = object.batches[batchAt] as VerifiedBatch;
    const base = (object.offsets[batchAt] as number) - batch.value.byteOffset;
    const unitOf = (unitClass: 1 | 2): Buffer | undefined =>
      record.units.find((unit) => unit.unitClass === unitClass)?.bytes;
    const [payload, originals] = [unitOf(1), unitOf(2)];
    const last = record.units.at(-1)?.bytes;
    // Views of one batch: their place in the batch is their place in memory.
    const endAt = last === undefined ? record.meta.byteOffset + record.meta.length + 1 : last.byteOffset + last.length;
    this.#cold.append(record, {
      object: Buffer.from(object.name, 'ascii'),
      recordOffset: base + record.leaf.byteOffset,
      recordBytes: endAt - record.leaf.byteOffset,
      payloadOffset: payload === undefined ? 0 : base + payload.byteOffset,
      payloadBytes: payload?.length ?? 0,
      originalsOffset: originals === undefined ? 0 : base + originals.byteOffset,
      originalsBytes: originals?.length ?? 0,
    });
  }

  async #insert(
    table: RowTable,
    columns: readonly Column[],
    ranges: readonly RecordRange[],
    token: string,
  ): Promise<void> {
    this.#sink.size = 0;
    writeNativeBlock(columns, this.#sink);
    for (const range of ranges) {
      // Until the insert returns its outcome is in doubt; a repetition asks the database first.
      this.marks.doubt(table, range);
    }
    await insertNative(this.#options.client, table, this.#sink.bytes.subarray(0, this.#sink.size), `${table}/${token}`);
  }

  async #read(name: string): Promise<ArchivedObject | null> {
    try {
      return await readObject(this.#options.blobs, name);
    } catch (error) {
      if (!(error instanceof GatewayError)) {
        throw error;
      }
      objectDamagedChannel.publish({ name, cause: error });
      return null;
    }
  }

  async #untilDone(step: () => Promise<void>): Promise<void> {
    for (let attempt = 1; !this.#closed; attempt++) {
      try {
        await step();
        return;
      } catch (error) {
        rowsStalledChannel.publish({ attempt, cause: error });
        // ClickHouse may have been restored from a copy meanwhile: what it has is asked again.
        this.#loaded = false;
        this.#suspect = true;
        const delayMs = Math.min(RETRY_MS * 2 ** (attempt - 1), RETRY_MAX_MS);
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
          this.#options.clock.after(delayMs, resolve);
        });
      }
    }
  }
}

function rangeOf({ writerId, first, records }: VerifiedBatch): RecordRange {
  assert(records.length > 0, 'a batch has records');
  return { writerHex: writerId.toString('hex'), first, end: first + records.length };
}

/** Ranges before this one that have some of its records already: objects may overlap. */
function overlapping(before: readonly RecordRange[], own: RecordRange): RecordRange[] {
  return before.filter((r) => r.writerHex === own.writerHex && r.end > own.first && r.first < own.end);
}

/** Offsets are committed by partition, so the last object of each is enough. */
function newestOfPartitions(refs: readonly ObjectRef[]): ObjectRef[] {
  const newest = new Map<number, ObjectRef>();
  for (const ref of refs) {
    const known = newest.get(ref.partition);
    newest.set(ref.partition, known === undefined || known.lastOffset < ref.lastOffset ? ref : known);
  }
  return [...newest.values()];
}

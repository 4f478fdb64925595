import type { Clock } from '../core/kernel/clock.ts';
import { GatewayError } from '../core/kernel/errors.ts';
import { decodeBatch } from '../core/ledger/batch.ts';
import { CompactRange } from '../core/ledger/compact-range.ts';
import { verifyEpochChain } from '../core/ledger/epoch.ts';
import type { BlobStore } from './archive/blob-store.ts';
import { readObject } from './archive/read-object.ts';
import type { ArchivedObject, VerifiedBatch } from './archive/write-objects.ts';
import { connectClickHouse, DATABASE } from './clickhouse/connect.ts';
import type { ClickHouseAccess } from './clickhouse/connect.ts';
import { migrate } from './clickhouse/migrate.ts';
import { RowLoader } from './clickhouse/row-loader.ts';
import { checkBatch } from './consume/check-batch.ts';
import { WriterLog } from './consume/writer-log.ts';

export interface RebuildOptions {
  readonly clickhouse: ClickHouseAccess;
  readonly blobs: BlobStore;
  readonly clock: Clock;
  readonly clusterCas: readonly (string | Buffer)[];
  readonly tenants: readonly string[];
}

export interface RebuildReport {
  readonly objects: number;
  readonly records: number;
  /** Names and reasons of what the archive should have and does not, or has and cannot be true. Empty when all is well. */
  readonly problems: readonly string[];
}

/** Objects between two waits for ClickHouse. */
const BACKLOG_MAX = 64;

/**
 * Makes the database again from the archive alone. Everything is verified on the way: object digests, record commits,
 * head signatures up to the cluster CA, each batch's root against the writer's tiles, and that every record has its row.
 *
 * The tables `checkpoints` and `quarantine` fill from the bus and the quarantine folder when ingest runs again.
 * Stop ingest before. If we die here, run it again: it begins with an empty database.
 */
export async function rebuildIndex(options: RebuildOptions): Promise<RebuildReport> {
  const { blobs, clock, tenants } = options;
  const outside = connectClickHouse(options.clickhouse, 'default');
  await outside.command({ query: `DROP DATABASE IF EXISTS ${DATABASE} SYNC` });
  await outside.close();
  await migrate(options.clickhouse);
  const client = connectClickHouse(options.clickhouse);
  const problems: string[] = [];
  const writers = new Writers(blobs, options.clusterCas, problems);
  let records = 0;
  const onLoaded = async (): Promise<void> => undefined;
  const loader = new RowLoader({ client, blobs, clock, tenants, onLoaded, prepare: onLoaded });
  const names = await blobs.list('objects/');
  try {
    for (const name of names) {
      const object = await readOrNull(blobs, name, problems);
      if (object !== null) {
        records += object.batches.reduce((sum, batch) => sum + batch.records.length, 0);
        await writers.check(object);
        loader.push({ name, partition: object.partition, lastOffset: object.lastOffset, object });
        if (loader.backlog >= BACKLOG_MAX) {
          await loader.idle();
        }
      }
    }
    await loader.idle();
    await writers.finish((writerHex) => loader.marks.prefix(writerHex));
  } finally {
    await loader.close();
    await client.close();
  }
  return { objects: names.length, records, problems };
}

class Writers {
  readonly #blobs: BlobStore;
  readonly #clusterCas: readonly (string | Buffer)[];
  readonly #problems: string[];
  readonly #logs = new Map<string, WriterLog | null>();

  constructor(blobs: BlobStore, clusterCas: readonly (string | Buffer)[], problems: string[]) {
    this.#blobs = blobs;
    this.#clusterCas = clusterCas;
    this.#problems = problems;
  }

  async check(object: ArchivedObject): Promise<void> {
    for (const batch of object.batches) {
      const problem = await this.#problemOf(batch);
      if (problem !== null) {
        this.#problems.push(`${object.name}: batch at ${batch.first} of ${batch.writerId.toString('hex')}: ${problem}`);
      }
    }
  }

  /** Every writer of the archive must have rows up to its head. */
  async finish(rowsOf: (writerHex: string) => number): Promise<void> {
    const heads = (await this.#blobs.list('writers/')).filter((name) => name.endsWith('/head'));
    for (const name of heads) {
      const writerHex = name.split('/')[1] ?? '';
      const log = await this.#log(writerHex);
      if (log !== null && rowsOf(writerHex) !== log.size) {
        this.#problems.push(`writer ${writerHex}: records ${rowsOf(writerHex)} to ${log.size - 1} are missing`);
      }
    }
  }

  async #problemOf(verified: VerifiedBatch): Promise<string | null> {
    const batch = decodeBatch(verified.value);
    const log = await this.#log(batch.writerId.toString('hex'));
    const end = batch.first + batch.count;
    if (log === null || end > log.size) {
      // An object can be ahead of its writer's head only by a death between the two, and then the batch came again.
      return log === null ? 'writer unknown' : null;
    }
    const signerHex = verified.head.toString('hex', 70, 86);
    const signer = await this.#log(signerHex);
    const range = CompactRange.fromHashes(batch.first, batch.compact);
    const check = checkBatch(batch, range, () => signer?.identity.publicKey ?? null);
    if (check.outcome !== 'accepted') {
      return check.outcome === 'refused' ? check.reason : 'root';
    }
    return (await log.rootAt(end)).equals(batch.rootAfter) ? null : 'tiles';
  }

  async #log(writerHex: string): Promise<WriterLog | null> {
    const known = this.#logs.get(writerHex);
    if (known !== undefined) {
      return known;
    }
    let log: WriterLog | null = null;
    try {
      log = await WriterLog.load(this.#blobs, writerHex);
      const problem = log === null ? null : verifyEpochChain(log.identity.epoch, this.#clusterCas);
      if (problem !== null) {
        this.#problems.push(`writer ${writerHex}: ${problem}`);
      }
    } catch (error) {
      this.#problems.push(`writer ${writerHex}: ${reasonOf(error)}`);
    }
    this.#logs.set(writerHex, log);
    return log;
  }
}

async function readOrNull(blobs: BlobStore, name: string, problems: string[]): Promise<ArchivedObject | null> {
  try {
    return await readObject(blobs, name);
  } catch (error) {
    problems.push(`${name}: ${reasonOf(error)}`);
    return null;
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof GatewayError) {
    return error.message;
  }
  throw error;
}

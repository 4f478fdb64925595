import type { Clock } from '../core/kernel/clock.ts';
import type { Bus } from '../core/bus/bus.ts';
import { TOPICS } from '../core/bus/topics.ts';
import { parseArchiveObjectName } from '../core/ledger/archive-object.ts';
import type { BlobStore } from './archive/blob-store.ts';
import { CheckpointLoader } from './clickhouse/checkpoint-loader.ts';
import { checkRows } from './clickhouse/check-rows.ts';
import { connectClickHouse } from './clickhouse/connect.ts';
import type { ClickHouseAccess } from './clickhouse/connect.ts';
import { Schema } from './clickhouse/migrate.ts';
import { QuarantineLoader } from './clickhouse/quarantine-loader.ts';
import { RowLoader } from './clickhouse/row-loader.ts';
import type { ObjectRef } from './clickhouse/row-loader.ts';
import { Archiver } from './consume/archiver.ts';
import { Quarantine } from './consume/quarantine.ts';
import { startBlobServer } from './serve/blob-server.ts';

export interface IngestOptions {
  readonly bus: Bus;
  readonly blobs: BlobStore;
  /** The cluster log's store, served beside the archive; null when it is elsewhere. */
  readonly logBlobs: BlobStore | null;
  readonly clock: Clock;
  /** PEM or DER; more than one while a CA is rotated. */
  readonly clusterCas: readonly (string | Buffer)[];
  readonly clickhouse: ClickHouseAccess;
  readonly tenants: readonly string[];
  /** Bearer token of the read-only server, at least 16 characters. */
  readonly httpSecret: string;
  readonly httpPort?: number;
  readonly flushMs?: number;
  readonly flushBytes?: number;
}

export interface RunningIngest {
  /** `/archive/…`, `/log/…`, `/quarantine`, `/status`, `/rows/check`. */
  readonly port: number;
  readonly archiver: Archiver;
  readonly loader: RowLoader;
  /** Rejects when ingest cannot go on and must be looked at. */
  readonly done: Promise<void>;
  /** Archives what was consumed, then stops. Rows that wait are found in the archive at the next start. */
  close(): Promise<void>;
}

export const ROWS_CONSUMER = 'ingest-rows';

/**
 * The role `ingest`. The archive does not wait for ClickHouse: without it, ingest starts, archives and acknowledges, and
 * rows follow when it is back.
 */
export async function startIngest(options: IngestOptions): Promise<RunningIngest> {
  const { bus, blobs, clock, clusterCas, tenants } = options;
  for (const topic of [TOPICS.batches, TOPICS.acks, TOPICS.checkpoints]) {
    await bus.ensure(topic);
  }
  const client = connectClickHouse(options.clickhouse);
  const quarantine = new Quarantine(blobs, clock);
  const onLoaded = async ({ partition, lastOffset }: ObjectRef): Promise<void> => {
    await bus.commit(ROWS_CONSUMER, TOPICS.batches.name, [{ partition, offset: lastOffset + 1 }]);
  };
  const schema = new Schema(options.clickhouse);
  const loader = new RowLoader({ client, blobs, clock, tenants, onLoaded, prepare: () => schema.ready() });
  const archiver = new Archiver({
    bus,
    blobs,
    clock,
    clusterCas,
    quarantine,
    onArchived: (object) => loader.push({ ...object, object }),
    ...(options.flushMs === undefined ? {} : { flushMs: options.flushMs }),
    ...(options.flushBytes === undefined ? {} : { flushBytes: options.flushBytes }),
  });
  // Objects whose rows may be missing come before what is archived from now on.
  for (const ref of await unloadedObjects(bus, blobs)) {
    loader.push(ref);
  }
  const refusals = new QuarantineLoader({ quarantine, client, clock, prepare: () => schema.ready() });
  refusals.start();
  const checkpoints = new CheckpointLoader(bus, client, clock, () => schema.ready());
  const server = await startBlobServer({
    mounts: { archive: blobs, ...(options.logBlobs === null ? {} : { log: options.logBlobs }) },
    secret: options.httpSecret,
    resources: {
      '/quarantine': () => quarantine.list(),
      '/status': async () => ({ backlog: loader.backlog }),
      '/rows/check': () => checkRows(client, tenants),
    },
    ...(options.httpPort === undefined ? {} : { port: options.httpPort }),
  });
  await archiver.start();
  await checkpoints.start();
  return {
    port: server.port,
    archiver,
    loader,
    done: archiver.done,
    async close() {
      await archiver.close();
      await checkpoints.close();
      await loader.close();
      await refusals.close();
      await server.close();
      await client.close();
    },
  };
}

/** Objects from the committed offset of the rows on, oldest first in each partition. */
async function unloadedObjects(bus: Bus, blobs: BlobStore): Promise<ObjectRef[]> {
  const committed = await bus.committed(ROWS_CONSUMER, TOPICS.batches.name);
  const refs: ObjectRef[] = [];
  for (const name of await blobs.list('objects/')) {
    const place = parseArchiveObjectName(name);
    if (place !== undefined && place.lastOffset >= (committed[place.partition] ?? 0)) {
      refs.push({ name, partition: place.partition, lastOffset: place.lastOffset, object: null });
    }
  }
  return refs;
}

import { SystemClock } from '../core/kernel/clock.ts';
import { FileBus } from '../core/bus/file-bus/file-bus.ts';
import { runProcess } from '../core/runtime/launcher/run-process.ts';
import { DiskBlobStore } from './adapters/disk-blob-store.ts';
import type { ClickHouseAccess } from './clickhouse/connect.ts';
import { startIngest } from './start-ingest.ts';
import type { RunningIngest } from './start-ingest.ts';

/** What a launcher gives to the process `ingest`. */
export interface IngestProcessOptions {
  readonly busSocketPath: string;
  readonly archiveDirectory: string;
  /** Where the sequencer keeps the cluster log, to serve it beside the archive; null when it is elsewhere. */
  readonly logDirectory: string | null;
  /** PEM. */
  readonly clusterCas: readonly string[];
  readonly clickhouse: ClickHouseAccess;
  readonly tenants: readonly string[];
  readonly httpSecret: string;
  readonly httpPort?: number;
  readonly flushMs?: number;
  readonly flushBytes?: number;
}

async function start(options: IngestProcessOptions): Promise<RunningIngest> {
  const clock = new SystemClock();
  const bus = new FileBus({ socketPath: options.busSocketPath, clock });
  const { logDirectory } = options;
  const ingest = await startIngest({
    ...options,
    bus,
    clock,
    blobs: new DiskBlobStore(options.archiveDirectory),
    logBlobs: logDirectory === null ? null : new DiskBlobStore(logDirectory),
  });
  endOn(ingest.done);
  return {
    ...ingest,
    async close() {
      await ingest.close();
      await bus.close();
    },
  };
}

/** A role that cannot go on ends its process: the launcher starts it again, and it begins from what is durable. */
function endOn(done: Promise<void>): void {
  done.catch((error: unknown) => {
    process.stderr.write(`ingest stopped: ${error instanceof Error ? error.message : 'unknown failure'}\n`);
    process.exit(1);
  });
}

runProcess(start, (ingest) => ({ port: ingest.port }));

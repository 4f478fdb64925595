import { SystemClock } from '../core/kernel/clock.ts';
import { runProcess } from '../core/runtime/launcher/run-process.ts';
import { DiskBlobStore } from './adapters/disk-blob-store.ts';
import type { ClickHouseAccess } from './clickhouse/connect.ts';
import { rebuildIndex } from './rebuild.ts';
import type { RebuildReport } from './rebuild.ts';

/** What `ingest rebuild` gives to its process. Ingest itself must not run meanwhile. */
export interface RebuildProcessOptions {
  readonly archiveDirectory: string;
  /** PEM. */
  readonly clusterCas: readonly string[];
  readonly clickhouse: ClickHouseAccess;
  readonly tenants: readonly string[];
}

async function start(options: RebuildProcessOptions): Promise<{ report: RebuildReport; close(): Promise<void> }> {
  const report = await rebuildIndex({
    ...options,
    clock: new SystemClock(),
    blobs: new DiskBlobStore(options.archiveDirectory),
  });
  return { report, close: () => Promise.resolve() };
}

// It is ready when it is done; the report is what it is ready with.
runProcess(start, ({ report }) => ({ ...report }));

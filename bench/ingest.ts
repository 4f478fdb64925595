import { createHash } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '../core/kernel/clock.ts';
import { FileBus } from '../core/bus/file-bus/file-bus.ts';
import { TOPICS } from '../core/bus/topics.ts';
import { SAMPLE_CA_PEM } from '../core/ledger/testing/sample-node.ts';
import { DiskBlobStore } from '../ingest/adapters/disk-blob-store.ts';
import type { ClickHouseAccess } from '../ingest/clickhouse/connect.ts';
import { startIngest } from '../ingest/start-ingest.ts';
import { forkProcess } from '../ingest/testing/fork-process.ts';
import { eventually } from '../ingest/testing/eventually.ts';
import { gateOf, interleave, resultOf, withBenchDirectory } from './harness.ts';
import type { Bench, BenchContext, BenchOutput } from './harness.ts';
import { makeBenchLog } from './ingest/ingest-log.ts';
import type { BenchLog } from './ingest/ingest-log.ts';

const OPERATIONS = 50_000;
const OPERATIONS_SMOKE = 100;
const RECORDS_PER_SECOND_MIN = 50_000;
const PUBLISH_BATCHES = 16;
/** Shorter than deployed: the last flush of a round would otherwise be a second of waiting. It only adds work. */
const FLUSH_MS = 100;
const SECRET = 'bench-secret-0123456789';

/** The three processes of the embedded deployment; ingest itself runs here, so that it can be profiled. */
interface Deployment {
  readonly bus: FileBus;
  readonly directory: string;
  readonly clickhouse: ClickHouseAccess;
}

/**
 * From batches on the file bus to rows: decoded, verified, archived, inserted. Operation, response and delivery for each
 * operation, with a 2 KB and a 0.5 KB sealed unit. The bus and the engine are processes of their own, as deployed.
 *
 * The reference is SHA-256 over the same bytes in the same run: what no verifier can do without.
 */
export const bench: Bench = {
  name: 'ingest',
  run: (context) =>
    withBenchDirectory(context, (directory) => withDeployment(directory, (lab) => measure(context, lab))),
};

async function measure(context: BenchContext, lab: Deployment): Promise<BenchOutput> {
  const operations = context.smoke ? OPERATIONS_SMOKE : OPERATIONS;
  let log = makeBenchLog(OPERATIONS_SMOKE);
  await consume(context, lab, log); // Makes the schema and warms the code.
  const results = await interleave(
    context.rounds,
    [
      {
        case: 'sha-256',
        metric: 'records/s',
        unit: 'records/s',
        measure: () => {
          log = makeBenchLog(operations);
          return hashRate(log);
        },
      },
      {
        case: 'ingest',
        metric: 'records/s',
        unit: 'records/s',
        reference: 'sha-256',
        measure: () => consume(context, lab, log),
      },
    ],
    context.log,
  );
  const gate = gateOf(context, {
    name: 'ingest records/s',
    value: resultOf(results, 'ingest').value,
    bound: RECORDS_PER_SECOND_MIN,
    op: '>=',
    referenceRounds: resultOf(results, 'sha-256').rounds,
    open: availableParallelism() < 2 ? 'needs two cores: the engine is a process of its own' : undefined,
  });
  return { results, gates: [gate] };
}

/** Publishes the log, then measures from the start of ingest until every row is in both tables. */
async function consume(context: BenchContext, lab: Deployment, log: BenchLog): Promise<number> {
  await lab.bus.ensure(TOPICS.batches);
  for (let at = 0; at < log.batches.length; at += PUBLISH_BATCHES) {
    await lab.bus.publish(TOPICS.batches.name, log.writerId, log.batches.slice(at, at + PUBLISH_BATCHES), {
      acks: 'all',
    });
  }
  const writerHex = log.writerId.toString('hex');
  const began = performance.now();
  const ingest = await startIngest({
    bus: lab.bus,
    blobs: new DiskBlobStore(join(lab.directory, 'archive')),
    logBlobs: null,
    clock: new SystemClock(),
    clusterCas: [SAMPLE_CA_PEM],
    clickhouse: lab.clickhouse,
    tenants: ['default'],
    httpSecret: SECRET,
    flushMs: FLUSH_MS,
  });
  let archivedMs = 0;
  await eventually(() => {
    if (archivedMs === 0 && ingest.archiver.archivedSize(writerHex) === log.records) {
      archivedMs = performance.now() - began;
    }
    return ingest.loader.marks.prefix(writerHex) === log.records;
  }, 'every row is there');
  const elapsedMs = performance.now() - began;
  context.log(
    `${log.records} records, ${(log.bytes / 1e6).toFixed(0)} MB: archived in ${archivedMs.toFixed(0)} ms, rows in ${elapsedMs.toFixed(0)} ms`,
  );
  await ingest.close();
  return (log.records / elapsedMs) * 1000;
}

function hashRate(log: BenchLog): number {
  const began = performance.now();
  for (const batch of log.batches) {
    createHash('sha256').update(batch).digest();
  }
  return (log.records / (performance.now() - began)) * 1000;
}

async function withDeployment<T>(directory: string, work: (lab: Deployment) => Promise<T>): Promise<T> {
  const socketPath = join(directory, 'bus.sock');
  const secrets = { writerSecret: SECRET, readerSecret: `${SECRET}-reader` };
  const busOptions = { directory: join(directory, 'bus'), socketPath };
  const busProcess = await forkProcess(new URL('./ingest/bus-process.js', import.meta.url), busOptions);
  const frontOptions = { directory: join(directory, 'clickhouse'), ...secrets };
  const entry = new URL('../ingest/clickhouse/chdb-front/front-process.js', import.meta.url);
  const front = await forkProcess(entry, frontOptions);
  const bus = new FileBus({ socketPath, clock: new SystemClock() });
  const url = `http://127.0.0.1:${Number(front.ready['port'])}`;
  try {
    return await work({ bus, directory, clickhouse: { url, username: 'writer', password: SECRET } });
  } finally {
    await bus.close();
    await front.close();
    await busProcess.close();
  }
}

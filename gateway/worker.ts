import { parentPort, workerData } from 'node:worker_threads';
import { assert, defined } from '../core/kernel/assert.ts';
import { SystemClock } from '../core/kernel/clock.ts';
import { LIMITS } from '../core/kernel/limits.ts';
import { NodeDisk } from '../core/runtime/node-disk.ts';
import { MetricPage } from '../core/runtime/metrics/metric-page.ts';
import type { AskStatus, ClaimGrant, ScriptReview } from './approvals/desk-port.ts';
import { GatewayWorker } from './threads/gateway-worker.ts';
import { bufferOf, ThreadRpc } from './threads/thread-rpc.ts';
import type { WorkerHost, WorkerPlan } from './threads/worker-plan.ts';
import { planFromClone } from './threads/worker-plan.ts';

/** Composition root of a worker thread: the data path over the channel to the main thread. */
const port = defined(parentPort, 'gateway/worker runs as a worker thread');
const plan = planFromClone(workerData as WorkerPlan);
const clock = new SystemClock();
const metrics = new MetricPage(plan.metrics, plan.index + 1);
let worker: GatewayWorker | null = null;
/** The main thread goes on reading the approvals log while this worker opens: what it tells then is not lost. */
const earlyReviews: ScriptReview[] = [];

const rpc = new ThreadRpc(port, {
  listen: ({ port: wanted }: { port: number }) => running().listen(wanted),
  archived: ({ index }: { index: number }) => running().archived(index),
  nack: ({ first }: { first: number }) => running().nack(first),
  reviewed: (review: ScriptReview) => (worker === null ? void earlyReviews.push(review) : worker.reviewed(review)),
  drain: ({ inFlightMs }: { inFlightMs: number }) => running().drain(inFlightMs),
});

const host: WorkerHost = {
  certify: async (request) => bufferOf(await rpc.call<Uint8Array>('certify', request)),
  publishBatch: (batch, writerId, first, count) => rpc.call<void>('publishBatch', { batch, writerId, first, count }),
  publishHead: (head, writerId) => rpc.call<void>('publishHead', { head, writerId }),
  putKeys: (wrapped) => rpc.call<void>('putKeys', { wrapped }),
  wrappingKeys: async () => {
    const keys = await rpc.call<Awaited<ReturnType<WorkerHost['wrappingKeys']>>>('wrappingKeys', null);
    return keys.map((key) => ({ ...key, publicKey: bufferOf(key.publicKey) }));
  },
  ask: (request) => rpc.call<AskStatus>('ask', request),
  wait: (id, holdMs) => rpc.call<AskStatus>('wait', { id, holdMs }),
  claim: (request) => rpc.call<ClaimGrant | null>('claim', request),
};

worker = await GatewayWorker.open({
  plan,
  host,
  disk: await NodeDisk.open(plan.journalDirectory),
  clock,
  metrics,
  warn: (event, detail) => rpc.notify('warn', { event, detail }),
});
for (const review of earlyReviews) {
  worker.reviewed(review);
}
// The beat comes from the loop that serves requests: a loop that hangs stops beating.
const beat = setInterval(() => metrics.increment('chaperone_heartbeat'), LIMITS.heartbeatMs);
beat.unref();
rpc.notify('opened', { writerId: worker.writer.writerId, opening: worker.writer.opening });

function running(): GatewayWorker {
  assert(worker !== null, 'the main thread waits for `opened`');
  return worker;
}

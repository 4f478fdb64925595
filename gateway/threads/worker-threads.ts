import { Worker } from 'node:worker_threads';
import { asBuffer } from '../../core/kernel/bytes.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { signEpoch, type WriterRoleNumber } from '../../core/ledger/epoch.ts';
import type { ApprovalDesk } from '../approvals/approval-desk.ts';
import type { AskRequest, ClaimRequest } from '../approvals/desk-port.ts';
import { batchSink, headSink } from './bus-sinks.ts';
import type { NodeParts } from './gateway-node.ts';
import { bufferOf, ThreadRpc } from './thread-rpc.ts';
import type { WorkerPlan } from './worker-plan.ts';

/** A worker as the main thread sees it. `opening` is what the cluster log gets to know of its writer. */
export interface WorkerThread {
  readonly index: number;
  readonly thread: Worker;
  readonly rpc: ThreadRpc;
  writerId: string;
  opening: Buffer;
  ended: boolean;
}

/** Signs the writers' keys with the node key. */
export function certifier(
  options: NodeParts,
): (publicKey: Buffer, writerId: Buffer, role: WriterRoleNumber, createdNs: bigint) => Buffer {
  const { tls } = options;
  return (publicKey, writerId, role, createdNs) =>
    signEpoch({ writerId, publicKey, role, createdNs, nodeCertificate: tls.certificateDer }, tls.privateKey);
}

/** Starts the workers; resolves when the journal of each is open. Nothing listens yet. */
export async function openWorkers(
  options: NodeParts,
  memory: SharedArrayBuffer,
  desk: ApprovalDesk,
): Promise<WorkerThread[]> {
  const { plan } = options;
  const workers: WorkerThread[] = [];
  const reviews = desk.reviews((review) => {
    for (const worker of workers) {
      worker.rpc.notify('reviewed', review);
    }
  });
  const opening = Array.from({ length: plan.workers }, (_, index) =>
    openWorker(options, { ...plan, index, metrics: memory, reviews }, desk, workers),
  );
  await Promise.all(opening);
  return workers.sort((a, b) => a.index - b.index);
}

function openWorker(options: NodeParts, plan: WorkerPlan, desk: ApprovalDesk, workers: WorkerThread[]): Promise<void> {
  const { log, bus, keyStore, onFatal, workerModule } = options;
  const certify = certifier(options);
  const batches = batchSink(bus);
  const heads = headSink(bus, options.heads, options.announced);
  const thread = new Worker(workerModule, { workerData: plan, name: `worker-${plan.index}` });
  return new Promise((resolve, reject) => {
    const worker: WorkerThread = {
      index: plan.index,
      thread,
      writerId: '',
      opening: Buffer.alloc(0),
      ended: false,
      rpc: new ThreadRpc(thread, {
        opened: ({ writerId, opening }: { writerId: Uint8Array; opening: Uint8Array }) => {
          worker.writerId = bufferOf(writerId).toString('hex');
          worker.opening = bufferOf(opening);
          resolve();
        },
        warn: ({ event, detail }: { event: string; detail: string }) => log.warn(event, { worker: plan.index, detail }),
        certify: (request: {
          publicKey: Uint8Array;
          writerId: Uint8Array;
          role: WriterRoleNumber;
          createdNs: bigint;
        }) => certify(bufferOf(request.publicKey), bufferOf(request.writerId), request.role, request.createdNs),
        publishBatch: ({
          batch,
          writerId,
          first,
          count,
        }: {
          batch: Uint8Array;
          writerId: Uint8Array;
          first: number;
          count: number;
        }) => batches.publish(bufferOf(batch), bufferOf(writerId), first, count),
        publishHead: ({ head, writerId }: { head: Uint8Array; writerId: Uint8Array }) =>
          heads.publish(bufferOf(head), bufferOf(writerId)),
        putKeys: ({ wrapped }: { wrapped: Uint8Array[] }) => keyStore.putKeys(wrapped.map(asBuffer)),
        wrappingKeys: () => keyStore.wrappingKeys(plan.tenant),
        ask: (request: AskRequest) => desk.ask(request),
        wait: ({ id, holdMs }: { id: string; holdMs: number }) => desk.wait(id, holdMs),
        claim: (request: ClaimRequest) => desk.claim(request),
      }),
    };
    workers.push(worker);
    thread.once('error', (error) => {
      log.error('a worker failed', {
        worker: plan.index,
        error: error.name,
        // Texts of ours: an assertion is written in the code. Any other message may quote what it failed on.
        detail: error instanceof GatewayError || error.name === 'InvariantError' ? error.message : error.name,
      });
      reject(
        error instanceof GatewayError
          ? error
          : new GatewayError('internal', `worker ${plan.index} failed to start`, { cause: error }),
      );
      onFatal(`worker ${plan.index} failed`);
    });
    thread.once('exit', (code) => {
      if (!worker.ended) {
        reject(new GatewayError('internal', `worker ${plan.index} ended with ${code}`));
        onFatal(`worker ${plan.index} ended`);
      }
    });
  });
}

import { generateKeyPairSync } from 'node:crypto';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MemoryBus } from '../../../core/bus/memory-bus.ts';
import { TOPICS } from '../../../core/bus/topics.ts';
import { SystemClock } from '../../../core/kernel/clock.ts';
import { GatewayError } from '../../../core/kernel/errors.ts';
import { publicKeyRaw } from '../../../core/ledger/ed25519.ts';
import { SIGNATURE_TYPES, verifierKey } from '../../../core/ledger/verifier-key.ts';
import { monthOf } from '../../../core/runtime/envelope/month.ts';
import { MemoryKeyStore } from '../../../core/runtime/envelope/testing/memory-key-store.ts';
import type { Log, LogFields } from '../../../core/runtime/log/log.ts';
import { createDevelopmentCa, issueNodeCertificate } from '../../../core/runtime/mtls/development-ca.ts';
import { loadTls } from '../../../core/runtime/mtls/tls-files.ts';
import { GatewayNode } from '../../threads/gateway-node.ts';
import type { NodeProcessOptions, NodeReply, NodeRequest } from './node-harness.ts';
import { workerPlan } from './worker-harness.ts';

/** A whole node with real worker threads in a process that can be killed; bus and key store die with it. */
const CLUSTER = 'test.chaperone.invalid';
const clock = new SystemClock();
const bus = new MemoryBus(clock);
const logged: string[] = [];

process.on('message', (message: NodeRequest) => {
  if (message.type === 'start') {
    start(message.options).then(reply, (error: unknown) => {
      const known = error instanceof GatewayError ? error : new GatewayError('internal', String(error));
      reply({ type: 'failed', code: known.code, detail: known.detail, logged });
    });
  } else {
    dump().then(reply, () => process.exit(1));
  }
});
process.once('disconnect', () => process.exit(0));

async function start(options: NodeProcessOptions): Promise<NodeReply> {
  const { directory, upstreamPort } = options;
  const ca = await createDevelopmentCa(join(directory, 'tls'), CLUSTER, clock);
  const issued = await issueNodeCertificate(ca, {
    name: 'n1',
    role: 'gateway',
    directory: join(directory, 'tls'),
    clock,
  });
  const keyStore = new MemoryKeyStore(() => monthOf(clock.nowMs()));
  const upstreams = { clinic: upstreamPort, analytics: upstreamPort };
  const {
    index: _index,
    metrics: _metrics,
    reviews: _reviews,
    ...plan
  } = await workerPlan({ upstreams }, directory, new SharedArrayBuffer(8), keyStore);
  // A log key that signs nothing: for this node, the sequencer is down.
  const logKey = publicKeyRaw(generateKeyPairSync('ed25519').privateKey);
  const node = await GatewayNode.start({
    plan,
    workerModule: join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'worker.js'),
    clock,
    log: memoryLog(),
    bus,
    keyStore,
    tls: await loadTls({
      caPath: ca.certificatePath,
      certificatePath: issued.certificatePath,
      keyPath: issued.keyPath,
    }),
    cluster: CLUSTER,
    logKey: verifierKey(`${CLUSTER}/evidence`, SIGNATURE_TYPES.ed25519, logKey),
    witnessKeys: [],
    approvalTtlMs: 60_000,
    approvalsStaleMaxMs: 60_000,
    registrationRequired: options.registrationRequired,
    relaxingSwitches: [],
    onFatal: (reason) => {
      logged.push(`fatal ${reason}`);
      process.exit(70);
    },
  });
  return { type: 'ready', port: node.ports.port, registration: node.registration, notReady: node.notReady(), logged };
}

/** All batches that the bus has. */
async function dump(): Promise<NodeReply> {
  const ends = await bus.endOffsets(TOPICS.batches.name);
  const expected = ends.reduce((sum, end) => sum + end, 0);
  const batches: Buffer[] = [];
  await new Promise<void>((resolve) => {
    const look = (): void => {
      if (batches.length >= expected) {
        resolve();
      }
    };
    bus.tail(TOPICS.batches.name, 'start', (messages) => {
      batches.push(...messages.map(({ value }) => Buffer.from(value)));
      look();
    });
    look();
  });
  return { type: 'dump', batches, logged };
}

function memoryLog(): Log {
  const write =
    (level: string) =>
    (event: string, fields: LogFields = {}): void =>
      void logged.push(`${level} ${event} ${JSON.stringify(fields)}`);
  return { info: write('info'), warn: write('warn'), error: write('error') };
}

function reply(message: NodeReply): void {
  process.send?.(message);
}

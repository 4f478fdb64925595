import { createHash, createPublicKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Bus } from '../../core/bus/bus.ts';
import { canonicalJson } from '../../core/kernel/canonical-json.ts';
import type { Clock } from '../../core/kernel/clock.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { decodeVerifierKey } from '../../core/ledger/verifier-key.ts';
import type { Config, ConnectionConfig } from '../../core/runtime/config/config-schema.ts';
import type { LoadedConfig } from '../../core/runtime/config/load-config.ts';
import { readConfigFile } from '../../core/runtime/config/read-config-file.ts';
import type { ReadyFacts } from '../../core/runtime/launcher/run-process.ts';
import type { Log } from '../../core/runtime/log/log.ts';
import { MetricRenderer } from '../../core/runtime/metrics/render-metrics.ts';
import { loadTls } from '../../core/runtime/mtls/tls-files.ts';
import { VaultClient } from '../../core/runtime/vault-client.ts';
import { startAdminHttp, type AdminHttp } from '../control/admin-http.ts';
import { approvalService } from '../control/approval-service.ts';
import { startControlServer, type ControlServer } from '../control/grpc-server.ts';
import { healthService } from '../control/health-service.ts';
import { evidenceService, nodeService } from '../control/node-service.ts';
import { BUILT_IN_MAPPINGS, parseClaimMapping, type ClaimMapping } from '../identity/claim-mapping.ts';
import { checkBundleInPool } from '../adapters/pool/check-bundle.ts';
import type { BundleKey } from '../policy/bundle-signature.ts';
import { GatewayNode } from './gateway-node.ts';
import { NodeEvidence } from './node-evidence.ts';
import type { HttpConnectionPlan, WorkerPlan } from './worker-plan.ts';

/** What the launcher tells the gateway process; everything else is in the configuration. */
export interface GatewayProcessOptions {
  readonly configPath: string;
  readonly sets: readonly string[];
  /** `host:port`, as the vault process said when it was ready. */
  readonly vaultAddress: string;
  /** Verifier keys (C2SP vkey) of the cluster log and its witnesses. */
  readonly logKey: string;
  readonly witnessKeys: readonly string[];
}

export interface GatewayProcessParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly workerModule: string;
  readonly openBus: (socketPath: string) => Bus;
  readonly binaryDigest: Buffer;
}

export interface RunningGateway {
  readonly ready: ReadyFacts;
  close(): Promise<void>;
}

const TENANT = 'default';
/** A worker fault ends the process; the launcher starts it again (00 section 4). */
const EXIT_FATAL = 70;

/** Builds a node from its configuration. Rejects with what is wrong, before anything listens. */
export async function gatewayFromConfig(
  options: GatewayProcessOptions,
  parts: GatewayProcessParts,
): Promise<RunningGateway> {
  const loaded = readConfigFile({ path: options.configPath, flags: [...options.sets] });
  const { config } = loaded;
  const { clock, log } = parts;
  const tls = await loadTls({
    caPath: join(config.tls.directory, 'ca.pem'),
    certificatePath: join(config.tls.directory, `gateway-${config.node.name}.pem`),
    keyPath: join(config.tls.directory, `gateway-${config.node.name}.key`),
  });
  const bus = parts.openBus(config.bus.socket);
  const keyStore = new VaultClient({ address: options.vaultAddress, tls, clock });
  const plan = await sharedPlan(loaded, keyStore, bus, parts.binaryDigest);
  const node = await GatewayNode.start({
    plan,
    workerModule: parts.workerModule,
    clock,
    log,
    bus,
    keyStore,
    tls,
    cluster: config.cluster.domain,
    logKey: decodeVerifierKey(options.logKey),
    witnessKeys: options.witnessKeys.map(decodeVerifierKey),
    approvalTtlMs: config.approvals.ttlMs,
    approvalsStaleMaxMs: config.approvals.staleMaxMs,
    registrationRequired: config.registration.require,
    relaxingSwitches: loaded.relaxing.map((one) => one.path),
    onFatal: (reason) => {
      log.error('fatal: the node ends and starts again', { reason });
      process.exit(EXIT_FATAL);
    },
  });
  const { admin, control } = await startControl(loaded, node, plan, parts, tls);
  return {
    ready: {
      ...node.ports,
      adminPort: admin.port,
      controlPort: control.port,
      registration: node.registration,
      writers: node.writers,
      bundle: Buffer.from(plan.bundle.engine.digest).toString('hex'),
    },
    close: async () => {
      await node.drain(config.drain.waitMs, config.drain.inFlightMs);
      await control.close();
      await admin.close();
      await bus.close();
      keyStore.close();
    },
  };
}

async function sharedPlan(
  loaded: LoadedConfig,
  keyStore: VaultClient,
  bus: Bus,
  binaryDigest: Buffer,
): Promise<Omit<WorkerPlan, 'index' | 'metrics' | 'reviews'>> {
  const { config, digest } = loaded;
  const { loaded: bundle, engine } = await checkBundleInPool({
    file: await readFile(config.policy.bundle),
    options: {
      keys: await bundleKeys(config),
      env: config.env,
      allowUnsigned: config.policy.allowUnsigned,
    },
  });
  for (const connection of config.connections) {
    if (connection.maskProfile !== bundle.masks.name) {
      throw new GatewayError(
        'config_invalid',
        `connection ${connection.name} wants mask profile ${connection.maskProfile}, the bundle has ${bundle.masks.name}`,
      );
    }
  }
  const health = await bus.health();
  return {
    workers: config.node.workers,
    node: config.node.name,
    tenant: TENANT,
    journalDirectory: join(config.node.dataDir, 'journal'),
    configDigest: digest.toString('hex'),
    binaryDigest: binaryDigest.toString('hex'),
    listen: config.listen.http,
    connections: config.connections.map(connectionPlan),
    identity: {
      audience: config.identity.audience,
      issuers: await Promise.all(
        config.identity.issuers.map(async ({ iss, jwksFile, claimMapping }) => ({
          iss,
          jwksFile,
          mapping: await claimMappingOf(claimMapping),
        })),
      ),
    },
    bundle: {
      engine,
      profile: bundle.masks,
      catalogueJson: bundle.catalogueJson,
      peopleJson: bundle.peopleJson,
    },
    secrets: await keyStore.clusterSecrets(),
    wrappingKeys: await keyStore.wrappingKeys(TENANT),
    holdMs: config.approvals.holdMs,
    unpublishedMaxMs: config.evidence.unpublishedMaxMs,
    limits: config.limits,
    replicatedAvailable: health.replicated || config.evidence.fileBusCountsAsReplicated,
  };
}

function connectionPlan(connection: ConnectionConfig): HttpConnectionPlan {
  const url = new URL(connection.upstream.url);
  const { credential, ...upstream } = connection.upstream;
  return {
    info: {
      name: connection.name,
      kind: 'http',
      env: connection.env,
      database: connection.database,
      labels: connection.labels,
    },
    // Without the secret itself: its reference is part of what an approver approved.
    digest: createHash('sha256')
      .update(
        canonicalJson({
          ...connection,
          match: { ...connection.match },
          upstream: { ...upstream, credential: credential === undefined ? null : credential.reference },
        }),
      )
      .digest('hex'),
    host: connection.match.host ?? null,
    pathPrefix: connection.match.pathPrefix,
    upstreamHost: url.hostname,
    upstreamPort: url.port === '' ? 80 : Number(url.port),
    credential: credential === undefined ? null : { name: upstream.header, value: credential.reveal() },
  };
}

async function claimMappingOf(nameOrPath: string): Promise<ClaimMapping> {
  return BUILT_IN_MAPPINGS[nameOrPath] ?? parseClaimMapping(await readFile(nameOrPath, 'utf8'));
}

const ALGORITHM_OF_KEY: Readonly<Record<string, BundleKey['algorithm']>> = {
  ed25519: 'EdDSA',
  ec: 'ES256',
  rsa: 'RS256',
};

/** A key id is the name of its file without `.pub.pem`, with `-` for each dot: `development.INSECURE.pub.pem` holds `development-INSECURE`. */
function bundleKeys(config: Config): Promise<BundleKey[]> {
  return Promise.all(
    config.policy.publicKeys.map(async (path) => {
      refuseInsecure(path, config.env);
      const publicKey = createPublicKey(await readFile(path));
      const algorithm = ALGORITHM_OF_KEY[publicKey.asymmetricKeyType ?? ''];
      if (algorithm === undefined) {
        throw new GatewayError('config_invalid', `${basename(path)} is not an Ed25519, P-256 or RSA key`);
      }
      return {
        keyId: basename(path)
          .replace(/(\.pub)?\.pem$/, '')
          .replaceAll('.', '-'),
        algorithm,
        publicKey,
      };
    }),
  );
}

async function startControl(
  loaded: LoadedConfig,
  node: GatewayNode,
  plan: Omit<WorkerPlan, 'index' | 'metrics' | 'reviews'>,
  parts: GatewayProcessParts,
  tls: Awaited<ReturnType<typeof loadTls>>,
): Promise<{ admin: AdminHttp; control: ControlServer }> {
  const { config } = loaded;
  const cluster = config.cluster.domain;
  const notReady = (): string[] => node.notReady();
  const digest = Buffer.from(plan.bundle.engine.digest).toString('hex');
  const renderer = new MetricRenderer(node.metricPages, {
    chaperone_approvals_pending: {
      help: 'Approvals that wait for a person.',
      read: () => [{ labels: {}, value: node.desk.pendingCount }],
    },
    chaperone_checkpoint_age_seconds: {
      help: 'Time since the newest checkpoint of the cluster log was seen.',
      read: () => [
        {
          labels: {},
          value:
            node.checkpoints.state.seenMs === 0 ? -1 : (parts.clock.nowMs() - node.checkpoints.state.seenMs) / 1000,
        },
      ],
    },
    chaperone_policy_bundle_info: {
      help: 'The bundle in force.',
      read: () => [{ labels: { digest, revision: String(plan.bundle.engine.revision) }, value: 1 }],
    },
    chaperone_build_info: {
      help: 'What runs.',
      read: () => [{ labels: { node_version: process.versions.node, node: config.node.name }, value: 1 }],
    },
    chaperone_relaxing_switches: {
      help: 'Relaxing switches that are on.',
      read: () => [{ labels: {}, value: loaded.relaxing.length }],
    },
  });
  const admin = await startAdminHttp({
    ...config.admin,
    readiness: () => {
      const reasons = notReady();
      return { ready: reasons.length === 0, reasons };
    },
    metrics: async () => ({ contentType: renderer.contentType, text: await renderer.render() }),
  });
  const evidence = new NodeEvidence(node, config.node.dataDir);
  const control = await startControlServer({
    ...config.control,
    tls,
    services: [
      approvalService(cluster, node.desk),
      evidenceService(cluster, evidence),
      healthService(parts.clock, () => notReady().length === 0),
      nodeService(cluster, {
        status: () => ({
          node: config.node.name,
          version: '0.1.0',
          ready: notReady().length === 0,
          notReady: notReady(),
          workers: evidence.workers(),
          bundleDigest: digest,
          bundleRevision: BigInt(plan.bundle.engine.revision),
          relaxingSwitches: loaded.relaxing.map((one) => one.path),
        }),
        // The launcher's child ends by the same way as on SIGTERM.
        drain: () => void process.kill(process.pid, 'SIGTERM'),
      }),
    ],
  });
  if (config.env === 'production' && loaded.relaxing.length > 0) {
    parts.log.warn('relaxing switches are on', { count: loaded.relaxing.length });
  }
  return { admin, control };
}

/** Refuses keys that everybody has outside of a demo. */
function refuseInsecure(path: string, env: string): void {
  if (basename(path).includes('INSECURE') && env !== 'demo') {
    throw new GatewayError('config_invalid', `${basename(path)} is a published key: it is for env: demo only`);
  }
}

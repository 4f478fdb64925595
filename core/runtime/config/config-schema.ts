import { z } from 'zod';
import { LIMITS } from '../../kernel/limits.ts';
import { Secret } from './secret.ts';

/*
 * The configuration of a cluster's processes: one file for all roles. Every key has its default and its sentence here;
 * docs/config.md is generated from this file, and a test keeps them equal. Unknown keys refuse to start.
 *
 * Paths are relative to the folder of the file. `{dataDir}` stands for `node.dataDir`.
 */
const text = z.string().max(4096);
const name = z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'must be lower-case letters, digits and -, at most 63');
const host = z.string().min(1).max(255);
const port = z.int().min(0).max(65_535);
const ms = z.int().min(0).max(86_400_000);
const bytes = z.int().min(1);
const path = z.string().min(1).max(4096).meta({ format: 'path' });
const secret = z
  .string()
  .regex(/^(file|env):.+$/, 'must be a reference: file:<path> or env:<NAME>')
  .meta({ format: 'secret' })
  .transform((reference) => new Secret(reference));

function section<T extends z.ZodRawShape>(shape: T) {
  return z.strictObject(shape);
}

const httpUpstream = z
  .string()
  .regex(/^http:\/\/[^/?#@\s]+$/, 'must be http://host:port without path, query or credentials')
  .max(512);

const connection = section({
  name: name.describe('Name in policies, catalogue and evidence. Unique.'),
  kind: z.literal('http').describe('The lane. `http` is the only one so far.'),
  match: section({
    host: host
      .regex(/^[a-z0-9.-]+$|^\[[0-9a-f:.]+\]$/, 'must be a lower-case host name without port')
      .optional()
      .describe('Host of the request, exactly. Absent: any host.'),
    pathPrefix: text
      .regex(/^(\/[^/?#\s]+)*$/, 'must be whole path segments such as /clinic, without a slash at the end')
      .default('')
      .describe('First segments of the path; they are cut off before catalogue and upstream see it.'),
  })
    .prefault({})
    .describe('Which requests belong here: a named host before any host, then the longest prefix.'),
  upstream: section({
    url: httpUpstream.describe('Where the gateway forwards to. Limit: plain HTTP; TLS upstreams come later.'),
    credential: secret.optional().describe('The gateway’s own credential for the upstream. Agents never hold one.'),
    header: z
      .string()
      .regex(/^[a-z0-9-]+$/, 'must be a lower-case header name')
      .default('authorization')
      .describe('Request header that carries the credential.'),
  }),
  env: text.default('').describe('Environment of the upstream (`staging`, …), for policies.'),
  database: text.default('').describe('Database behind the upstream, for policies.'),
  labels: z.record(name, text).default({}).describe('Free labels for policies.'),
  maskProfile: z
    .enum(['safe-harbor', 'limited-data-set', 'expert'])
    .default('safe-harbor')
    .describe('How mask strengths become operators (`masks.json` of the bundle).'),
});

const issuer = section({
  iss: text.min(1).describe('The `iss` claim, exactly.'),
  jwksFile: path.describe('Public keys of the issuer as a JWK set; read again when it changes.'),
  claimMapping: text
    .regex(/^(oidc|github-actions)$|[./]/, 'must be oidc, github-actions or the path of a file, such as ./claims.json')
    .default('oidc')
    .meta({ format: 'mapping' })
    .describe('`oidc`, `github-actions`, or the path of a claim mapping file.'),
});

const auditor = section({
  id: name.describe('Name of the auditor in the key store and in the certificate.'),
  publicKeyFile: path.describe('X25519 public key (JWK whose `kid` is the id) to which payload keys are wrapped.'),
});

const demoService = section({
  name: name.describe('Name in the output of `chaperone up` and of the log file. Unique.'),
  module: text
    .regex(/^[a-z0-9-]+(\/[a-z0-9-]+)*$/, 'must be the path of a module below the build folder, without extension')
    .describe('Module to run; it serves when its import has resolved.'),
  args: z
    .array(text)
    .max(32)
    .default([])
    .describe('What the module finds in `process.argv`. No secrets: it is a demo.'),
});

/** Limits that may differ between deployments. The others are parts of formats or of promises. */
const CONFIGURABLE_LIMITS = [
  'decisionCacheEntries',
  'heldBytesPerWorkerMax',
  'principalEvidenceBytesPerMinute',
  'sessionIdleMs',
  'tokenCacheEntries',
  'upstreamConnectTimeoutMs',
  'upstreamConnectionsMax',
  'upstreamResponseTimeoutMs',
  'writerQueueBytesMax',
] as const satisfies readonly (keyof typeof LIMITS)[];
type ConfigurableLimit = (typeof CONFIGURABLE_LIMITS)[number];

const limits = section(
  Object.fromEntries(
    CONFIGURABLE_LIMITS.map((key) => [
      key,
      bytes.default(LIMITS[key]).describe(`Overrides the built-in limit of the same name.`),
    ]),
  ) as Record<ConfigurableLimit, z.ZodDefault<typeof bytes>>,
);

export const configSchema = section({
  env: z
    .enum(['demo', 'development', 'staging', 'production'])
    .default('production')
    .describe('What this cluster is. Keys named INSECURE are refused unless it is `demo`.'),
  node: section({
    name: name
      .default('node-1')
      .describe('Unique in the cluster: two nodes of one name would record each other’s approvals.'),
    workers: z.int().min(1).max(64).default(2).describe('Worker threads; each is a whole data path.'),
    dataDir: path.default('data').describe('Where everything that has no path of its own is kept.'),
  }).prefault({}),
  cluster: section({
    domain: z
      .string()
      .regex(/^[a-z0-9.-]{1,253}$/, 'must be a domain name in lower case')
      .default('chaperone.localhost')
      .describe('Names the cluster log (`<domain>/evidence`) and the witnesses. Never change it.'),
  }).prefault({}),
  listen: section({
    http: section({
      host: host.default('127.0.0.1').describe('Address of the HTTP lane.'),
      port: port.default(8080).describe('0 = any free port.'),
      adapter: z
        .enum(['auto', 'uws', 'node'])
        .default('auto')
        .describe('`auto` = uWebSockets.js where it loads, else node:http with a warning.'),
    }).prefault({}),
  }).prefault({}),
  admin: section({
    host: host.default('127.0.0.1').describe('Address of /livez, /readyz and /metrics.'),
    port: port.default(9090).describe('0 = any free port.'),
  }).prefault({}),
  control: section({
    host: host.default('127.0.0.1').describe('Address of the gRPC control plane (mTLS).'),
    port: port.default(9091).describe('0 = any free port.'),
  }).prefault({}),
  tls: section({
    directory: path
      .default('{dataDir}/tls')
      .describe('CA, node and client certificates. `chaperone up` makes a development CA here when it is empty.'),
  }).prefault({}),
  connections: z
    .array(connection)
    .max(256)
    .default([])
    .describe('The upstreams that agents reach through the gateway.'),
  identity: section({
    audience: text.min(1).default('chaperone').describe('What the `aud` claim of every token must hold.'),
    issuers: z
      .array(issuer)
      .max(64)
      .default([])
      .describe('Issuers whose tokens are accepted. None: every request is refused.'),
  }).prefault({}),
  policy: section({
    bundle: path.describe('The policy bundle (tar.gz) to load at start.'),
    publicKeys: z
      .array(path)
      .max(16)
      .default([])
      .meta({ format: 'path' })
      .describe('Public keys (PEM) of which one must have signed the bundle.'),
    allowUnsigned: z
      .boolean()
      .default(false)
      .describe('Relaxing switch: load a bundle without a signature. Whoever can write the file then decides.'),
  }),
  evidence: section({
    fileBusCountsAsReplicated: z
      .boolean()
      .default(false)
      .describe('Relaxing switch: serve `replicated` operations although the file bus is one disk.'),
    unpublishedMaxMs: ms
      .default(LIMITS.unpublishedMaxMs)
      .describe('How old the oldest unpublished record may be before operations are denied. Higher is looser.'),
  }).prefault({}),
  registration: section({
    require: z
      .boolean()
      .default(false)
      .describe('Refuse to serve until the cluster log has this node’s writers, instead of alarming after 5 s.'),
  }).prefault({}),
  approvals: section({
    holdMs: ms.default(LIMITS.holdMs).describe('How long a request is held before the pending answer.'),
    ttlMs: ms
      .min(1_000)
      .default(LIMITS.approvalTtlMs)
      .describe('Longest life of an ask and its grant, from asking on; a policy may say less.'),
    staleMaxMs: ms
      .min(1_000)
      .default(LIMITS.approvalsStaleMaxMs)
      .describe('Approvals are refused when their state is older. Higher is looser.'),
  }).prefault({}),
  drain: section({
    waitMs: ms
      .default(LIMITS.drainWaitMs)
      .describe('Not ready but still serving: time for the load balancer to notice.'),
    inFlightMs: ms.default(LIMITS.drainInFlightMs).describe('Time for requests in flight to finish.'),
  }).prefault({}),
  bus: section({
    kind: z.literal('file').default('file').describe('The embedded bus: one process, one directory.'),
    directory: path.default('{dataDir}/bus').describe('Where the bus keeps its topics.'),
    socket: path.default('{dataDir}/bus.sock').describe('Unix socket of the bus, mode 0600. At most 100 bytes long.'),
  }).prefault({}),
  vault: section({
    host: host.default('127.0.0.1').describe('Address of the vault’s gRPC (mTLS).'),
    port: port.default(9092).describe('0 = any free port, only under `chaperone up`.'),
    directory: path.default('{dataDir}/vault').describe('The key store. Back it up apart from everything else.'),
  }).prefault({}),
  ingest: section({
    archive: path.default('{dataDir}/archive').describe('The archive: the log itself; ClickHouse is an index of it.'),
    host: host.default('127.0.0.1').describe('Address where archive and tiles are served read-only.'),
    port: port.default(9093).describe('0 = any free port, only under `chaperone up`.'),
    flushMs: ms.min(1).default(LIMITS.archiveFlushMs).describe('A flush happens after this time …'),
    flushBytes: bytes.default(LIMITS.archiveFlushBytes).describe('… or this many bytes, whichever is first.'),
  }).prefault({}),
  sequencer: section({
    directory: path.default('{dataDir}/sequencer').describe('Cluster log: tiles, lock object, signing key.'),
    checkpointMs: ms
      .min(1)
      .default(LIMITS.checkpointMs)
      .describe('A checkpoint at most this often, when something changed.'),
  }).prefault({}),
  witness: section({
    directory: path.default('{dataDir}/witness').describe('State and signing key of the embedded witness.'),
    name: name.default('witness-1').describe('Name in cosignatures: `<name>.<cluster domain>`.'),
  }).prefault({}),
  clickhouse: section({
    url: z
      .string()
      .regex(/^(https?:\/\/[^\s]+)?$/, 'must be an http or https URL')
      .default('')
      .describe('HTTP interface of a ClickHouse server. Empty: the embedded engine.'),
    host: host.default('127.0.0.1').describe('Address of the embedded engine’s HTTP front.'),
    port: port.default(9094).describe('Port of the embedded engine’s HTTP front. 0 = any free port.'),
    directory: path.default('{dataDir}/clickhouse').describe('Data of the embedded engine.'),
    database: name.default('chaperone').describe('Database that migrations create.'),
    username: text.default('default').describe('User of a ClickHouse server.'),
    password: secret.optional().describe('Password of a ClickHouse server.'),
  }).prefault({}),
  auditors: z.array(auditor).max(64).default([]).describe('Who can open sealed payloads, each with their own key.'),
  demo: section({
    issuerKeyFile: path
      .optional()
      .describe('Private key (JWK with `iss` and `kid`) with which `chaperone token` signs. Only with env: demo.'),
    keyDirectory: path
      .optional()
      .describe('Keys of the demo’s people and auditors, for commands without `--key`. Only with env: demo.'),
    services: z
      .array(demoService)
      .max(16)
      .default([])
      .describe('Relaxing switch: processes that `chaperone up` runs beside the roles. Only with env: demo.'),
  })
    .prefault({})
    .describe('What a demo has and nothing else may have.'),
  limits: limits.prefault({}).describe('Sizes are bytes, times milliseconds, the rest counts.'),
});

/** The resolved configuration: every key has a value, paths are absolute, secrets are wrapped. */
export type Config = z.output<typeof configSchema>;
export type ConnectionConfig = Config['connections'][number];

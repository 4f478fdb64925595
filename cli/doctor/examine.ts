import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  fdatasyncSync,
  mkdtempSync,
  openSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { GatewayError } from '../../core/kernel/errors.ts';
import type { Clock } from '../../core/kernel/clock.ts';
import type { Config } from '../../core/runtime/config/config-schema.ts';
import { packageRoot } from '../../core/runtime/package-root.ts';
import type { CliContext } from '../context.ts';
import { loadCliConfig } from '../deployment.ts';
import { isAlive, readRunFile } from '../run-file.ts';

export interface Check {
  readonly name: string;
  readonly status: 'ok' | 'warn' | 'fail';
  readonly detail: string;
  /** What to do; empty when nothing is. */
  readonly remedy: string;
}

const NODE_MAJOR_MIN = 20;
const NODE_MINOR_MIN = 19;
const LOAD_TIMEOUT_MS = 30_000;
/** Above this a node's latency is the disk's. */
const FDATASYNC_SLOW_MS = 5;
const FDATASYNC_ROUNDS = 33;
const BLOCK_BYTES = 4_096;
const FREE_BYTES_MIN = 2 * 1024 ** 3;
const SKEW_MAX_MS = 2_000;
/** A machine whose clock stands before this code was written has no clock. */
const CLOCK_MIN_MS = Date.UTC(2026, 0, 1);

/** File systems by the number of `statfs` (linux/magic.h), and whether a flush there means a flush. */
const FILE_SYSTEMS: Readonly<Record<number, { readonly name: string; readonly warning?: string }>> = {
  0xef53: { name: 'ext4' },
  0x58465342: { name: 'xfs' },
  0x9123683e: { name: 'btrfs' },
  0x2fc12fc1: { name: 'zfs' },
  0xf2f52010: { name: 'f2fs' },
  0x01021994: { name: 'tmpfs', warning: 'it is memory: evidence does not survive a reboot' },
  0x794c7630: { name: 'overlayfs', warning: 'a container layer: evidence goes with the container; mount a volume' },
  0x6969: { name: 'nfs', warning: 'a network disk: flushes are slow and locks may not hold' },
  0xff534d42: { name: 'cifs', warning: 'a network disk: flushes are slow and locks may not hold' },
  0x65735546: { name: 'fuse', warning: 'what a flush means depends on the driver' },
};

/** Everything that is looked at, in the order of the output. Changes nothing but a scratch folder that it removes. */
export async function examine(context: CliContext): Promise<Check[]> {
  const config = loadedConfig(context);
  const checks = [
    nodeVersion(),
    loads(
      'uWebSockets',
      'uWebSockets.js',
      'warn',
      'the gateway serves with node:http instead, at about half the speed',
    ),
    loads('chdb', 'chdb', 'fail', 'without it there is no embedded ClickHouse: set clickhouse.url, or install again'),
    opa(),
  ];
  if (config instanceof GatewayError) {
    const remedy = 'run `chaperone config check`';
    return [...checks, { name: 'config', status: 'fail', detail: config.detail.split('\n')[0] ?? '', remedy }];
  }
  checks.push({ name: 'config', status: 'ok', detail: context.configPath, remedy: '' });
  checks.push(...disk(config, context.clock));
  checks.push(await ports(config));
  checks.push(socketPath(config));
  return checks;
}

function loadedConfig(context: CliContext): Config | GatewayError {
  try {
    return loadCliConfig(context).config;
  } catch (error) {
    if (error instanceof GatewayError) {
      return error;
    }
    throw error;
  }
}

export function nodeVersion(version = process.versions.node): Check {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const enough = major > NODE_MAJOR_MIN || (major === NODE_MAJOR_MIN && minor >= NODE_MINOR_MIN);
  return {
    name: 'node',
    status: enough ? 'ok' : 'fail',
    detail: `Node ${version}`,
    remedy: enough ? '' : `install Node ${NODE_MAJOR_MIN}.${NODE_MINOR_MIN} or newer`,
  };
}

/** In a process of its own: a native module that does not fit may end it. */
function loads(name: string, module: string, otherwise: 'warn' | 'fail', remedy: string): Check {
  const { status, signal } = spawnSync(
    process.execPath,
    ['--input-type=module', '--eval', `await import(${JSON.stringify(module)}); process.exit(0);`],
    { cwd: packageRoot(), timeout: LOAD_TIMEOUT_MS, stdio: 'ignore' },
  );
  return status === 0
    ? { name, status: 'ok', detail: 'loads', remedy: '' }
    : { name, status: otherwise, detail: `does not load (${signal ?? `exit ${status}`})`, remedy };
}

function opa(): Check {
  const script = join(packageRoot(), 'tools', 'setup', 'opa.mjs');
  const found = existsSync(script)
    ? spawnSync(process.execPath, [script, '--find'], { encoding: 'utf8', timeout: LOAD_TIMEOUT_MS })
    : null;
  if (found?.status === 0) {
    return { name: 'opa', status: 'ok', detail: found.stdout.trim(), remedy: '' };
  }
  return {
    name: 'opa',
    status: 'warn',
    detail: 'OPA is not here; it is needed only to build policies, never to run',
    remedy: 'policy authors: node tools/setup/opa.mjs',
  };
}

function disk(config: Config, clock: Clock): Check[] {
  const { dataDir } = config.node;
  const folder = existingFolder(dataDir);
  const { type, bavail, bsize } = statfsSync(folder);
  const system = FILE_SYSTEMS[type] ?? { name: `file system 0x${type.toString(16)}` };
  const freeBytes = bavail * bsize;
  const enough = freeBytes >= FREE_BYTES_MIN;
  const checks: Check[] = [
    {
      name: 'disk',
      status: system.warning === undefined ? 'ok' : 'warn',
      detail: `${dataDir} on ${system.name}`,
      remedy: system.warning ?? '',
    },
    {
      name: 'space',
      status: enough ? 'ok' : 'warn',
      detail: `${(freeBytes / 1024 ** 3).toFixed(1)} GiB free`,
      remedy: enough ? '' : 'a full disk stops the gateway; make room or put node.dataDir elsewhere',
    },
  ];
  const scratch = mkdtempSync(join(folder, '.chaperone-doctor-'));
  try {
    const ms = fdatasyncMs(join(scratch, 'block'));
    const slow = ms > FDATASYNC_SLOW_MS;
    checks.push({
      name: 'fdatasync',
      status: slow ? 'warn' : 'ok',
      detail: `p50 ${ms.toFixed(2)} ms for 4 KiB`,
      remedy: slow ? 'every response waits for this; use a local disk' : '',
    });
    checks.push(clockCheck(clock.nowMs(), statSync(join(scratch, 'block')).mtimeMs));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  return checks;
}

/** The data directory, or the nearest folder above it that is there. */
function existingFolder(path: string): string {
  let folder = path;
  while (!existsSync(folder)) {
    folder = dirname(folder);
  }
  return folder;
}

/** Median of flushes over a file whose blocks are there already, as in a journal. */
function fdatasyncMs(path: string): number {
  const file = openSync(path, 'w', 0o600);
  try {
    writeSync(file, Buffer.alloc(BLOCK_BYTES * FDATASYNC_ROUNDS));
    fdatasyncSync(file);
    const times: number[] = [];
    for (let i = 0; i < FDATASYNC_ROUNDS; i++) {
      const beganMs = performance.now();
      writeSync(file, Buffer.alloc(BLOCK_BYTES, 1), 0, BLOCK_BYTES, i * BLOCK_BYTES);
      fdatasyncSync(file);
      times.push(performance.now() - beganMs);
    }
    return times.sort((a, b) => a - b)[Math.floor(FDATASYNC_ROUNDS / 2)] ?? 0;
  } finally {
    closeSync(file);
  }
}

/** Tokens, approvals and certificates are judged by the clock; the disk's own says whether ours is far off. */
export function clockCheck(nowMs: number, diskMs: number): Check {
  const detail = new Date(nowMs).toISOString();
  const remedy = 'set the time and keep it by NTP: tokens, approvals and certificates are judged by it';
  if (nowMs < CLOCK_MIN_MS) {
    return { name: 'clock', status: 'fail', detail, remedy };
  }
  const skewMs = Math.abs(nowMs - diskMs);
  return skewMs > SKEW_MAX_MS
    ? { name: 'clock', status: 'warn', detail: `${detail}, the disk's clock is ${Math.round(skewMs)} ms off`, remedy }
    : { name: 'clock', status: 'ok', detail, remedy: '' };
}

async function ports(config: Config): Promise<Check> {
  const run = readRunFile(config.node.dataDir);
  if (run !== null && run.stoppedMs === null && isAlive(run.pid)) {
    const detail = `in use by the deployment that runs (pid ${run.pid})`;
    return { name: 'ports', status: 'ok', detail, remedy: '' };
  }
  const wanted: [string, string, number][] = [
    ['listen.http', config.listen.http.host, config.listen.http.port],
    ['admin', config.admin.host, config.admin.port],
    ['control', config.control.host, config.control.port],
    ['vault', '127.0.0.1', config.vault.port],
    ['ingest', '127.0.0.1', config.ingest.port],
    ...(config.clickhouse.url === ''
      ? [['clickhouse', '127.0.0.1', config.clickhouse.port] as [string, string, number]]
      : []),
  ];
  const taken: string[] = [];
  for (const [key, host, port] of wanted) {
    if (port !== 0 && !(await isFree(host, port))) {
      taken.push(`${key}.port ${port}`);
    }
  }
  return taken.length === 0
    ? { name: 'ports', status: 'ok', detail: 'free', remedy: '' }
    : {
        name: 'ports',
        status: 'fail',
        detail: `in use: ${taken.join(', ')}`,
        remedy: 'stop what listens there, or choose others with --set <key>.port=<port>',
      };
}

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}

/** sun_path is 108 bytes on Linux, 104 on macOS. */
const SOCKET_PATH_BYTES_MAX = 100;

function socketPath(config: Config): Check {
  const bytes = Buffer.byteLength(config.bus.socket);
  const fits = bytes <= SOCKET_PATH_BYTES_MAX;
  return {
    name: 'bus.socket',
    status: fits ? 'ok' : 'fail',
    detail: `${bytes} bytes long`,
    remedy: fits ? '' : `a Unix socket's path has at most ${SOCKET_PATH_BYTES_MAX} bytes: set bus.socket`,
  };
}

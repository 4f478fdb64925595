import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { GatewayError } from '../core/kernel/errors.ts';

const port = z.int().min(0).max(65_535);

const schema = z.object({
  version: z.literal(1),
  /** Of `chaperone up`. */
  pid: z.int(),
  startedMs: z.int(),
  /** When it was stopped in order; null while it runs, and after a crash. */
  stoppedMs: z.int().nullable(),
  cluster: z.string(),
  node: z.string(),
  configPath: z.string(),
  dataDir: z.string(),
  ports: z.record(z.string(), port),
  pids: z.record(z.string(), z.int()),
  http: z.string(),
  admin: z.string(),
  /** `host:port` of gRPC. */
  control: z.string(),
  vault: z.string(),
  archive: z.object({ url: z.string(), token: z.string() }),
  /** The read-only user. */
  clickhouse: z.object({ url: z.string(), username: z.string(), password: z.string(), database: z.string() }),
  /** C2SP verifier keys. */
  logKey: z.string(),
  witnessKeys: z.array(z.string()),
  /** Cluster CA, PEM file. */
  caPath: z.string(),
});

/** What runs where: written by `chaperone up` under the data directory (0600), read by the other verbs. */
export type RunFile = z.infer<typeof schema>;

export function runFilePath(dataDir: string): string {
  return join(dataDir, 'run.json');
}

export function writeRunFile(run: RunFile): void {
  const path = runFilePath(run.dataDir);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(`${path}.tmp`, `${JSON.stringify(run, null, 2)}\n`, { mode: 0o600 });
  // If we die here the old one is in force: it names a process that a reader finds dead.
  renameSync(`${path}.tmp`, path);
}

/** What the last `up` wrote, whether it still runs or not; null when there was none. Throws `config_invalid`. */
export function readRunFile(dataDir: string): RunFile | null {
  const path = runFilePath(dataDir);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      return null;
    }
    throw new GatewayError('config_invalid', `cannot read ${path}`, { cause: error });
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    // Without the cause: it may quote the file, which holds tokens.
    throw new GatewayError('config_invalid', `${path} was not written by this version of \`chaperone up\``);
  }
}

/** The deployment that runs now. Throws `config_invalid` with what to do when none does. */
export function runningDeployment(dataDir: string): RunFile {
  const run = readRunFile(dataDir);
  if (run === null || run.stoppedMs !== null || !isAlive(run.pid)) {
    throw new GatewayError('config_invalid', `nothing runs on ${dataDir}: start it with \`chaperone up\``);
  }
  return run;
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

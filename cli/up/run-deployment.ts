import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { lockDirectory } from '../../core/bus/file-bus/directory-lock.ts';
import type { Clock } from '../../core/kernel/clock.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import type { LoadedConfig } from '../../core/runtime/config/load-config.ts';
import { Launcher } from '../../core/runtime/launcher/launcher.ts';
import type { ReadyFacts } from '../../core/runtime/launcher/run-process.ts';
import { type RunFile, writeRunFile } from '../run-file.ts';
import { prepareDataDir } from './prepare.ts';
import { isAlarm, RoleLog } from './role-log.ts';
import { clickhouseAccess, type Deployment, GATEWAY, logDirectoryOf, portOf, rolesOf } from './roles.ts';
import { settle } from './settle.ts';

export interface DeploymentOptions {
  readonly loaded: LoadedConfig;
  readonly configPath: string;
  readonly sets: readonly string[];
  readonly clock: Clock;
  /** Progress, for people. */
  readonly progress: (line: string) => void;
  /** Problems of roles as they happen. */
  readonly problem: (line: string) => void;
  /** A role ended for good: nothing is left but to stop. */
  readonly fatal: (role: string) => void;
}

export interface RunningDeployment {
  readonly run: RunFile;
  pidOf(role: string): number | undefined;
  /** Stops every role in the opposite order, each after what it has in flight, and frees the data directory. */
  stop(): Promise<void>;
}

/**
 * Starts every role as a child of this process, in order, and keeps `run.json` true while they run. Rejects with the role
 * and its problem when one does not get ready; what was started is stopped then.
 */
export async function startDeployment(options: DeploymentOptions): Promise<RunningDeployment> {
  const { config } = options.loaded;
  const { dataDir } = config.node;
  checkSupported(options.loaded);
  const lock = await lockDirectory(dataDir).catch(() => {
    throw new GatewayError('config_invalid', `another \`chaperone up\` runs on ${dataDir}`);
  });
  const deployment = new DeploymentProcesses(options);
  try {
    await deployment.start();
  } catch (error) {
    await deployment.stop();
    await lock.release();
    throw error;
  }
  return {
    get run() {
      return deployment.run;
    },
    pidOf: (role) => deployment.pidOf(role),
    stop: async () => {
      await deployment.stop();
      await lock.release();
    },
  };
}

/**
 * The children and what is known of them.
 *
 * Invariant: `#facts` has a role exactly when it was ready once; `run.json` is written after the last role is ready and
 * again whenever a role came back, so that it never names a process that was not serving.
 */
class DeploymentProcesses {
  readonly #o: DeploymentOptions;
  readonly #launcher: Launcher;
  readonly #logs = new Map<string, RoleLog>();
  readonly #facts = new Map<string, ReadyFacts>();
  readonly #pids = new Map<string, number>();
  #run: RunFile | null = null;
  #stopping = false;

  constructor(options: DeploymentOptions) {
    this.#o = options;
    this.#launcher = new Launcher(options.clock, {
      line: (role, line) => this.#onLine(role, line),
      ready: (role, facts, pid) => this.#onReady(role, facts, pid),
      exited: (role, code, signal, restarts) => this.#onExit(role, code, signal, restarts),
      failed: (role, problem) => options.problem(`${role}: could not start again: ${problem}`),
      fatal: (role) => options.fatal(role),
    });
  }

  get run(): RunFile {
    if (this.#run === null) {
      throw new GatewayError('internal', 'the deployment is not ready yet');
    }
    return this.#run;
  }

  pidOf(role: string): number | undefined {
    return this.#launcher.pidOf(role);
  }

  async start(): Promise<void> {
    const { loaded, configPath, sets, clock, progress } = this.#o;
    const { config } = loaded;
    const startedMs = clock.nowMs();
    const prepared = await prepareDataDir(config, clock);
    const deployment: Deployment = { config, configPath, sets, prepared, facts: this.#facts };
    for (const role of rolesOf(config)) {
      const beganMs = clock.monotonicMs();
      const facts = await this.#startRole(role.name, role.spec(deployment));
      const tookMs = Math.round(clock.monotonicMs() - beganMs);
      const pid = this.#pids.get(role.name) ?? 0;
      progress(`  ${role.name.padEnd(12)} ${role.says(facts, config)}  (pid ${pid}, ${tookMs} ms)`);
    }
    this.#run = runFileOf(deployment, this.#pids, startedMs);
    writeRunFile(this.#run);
  }

  /** The gateway first, then what it left has time to arrive, then the others in the opposite order of their start. */
  async stop(): Promise<void> {
    const { config } = this.#o.loaded;
    this.#stopping = true;
    if (this.#run !== null) {
      await this.#launcher.stopOne(GATEWAY);
      await settle({
        busSocketPath: config.bus.socket,
        logDirectory: logDirectoryOf(config),
        clock: this.#o.clock,
      });
    }
    await this.#launcher.stop();
    if (this.#run !== null) {
      this.#run = { ...this.#run, stoppedMs: this.#o.clock.nowMs(), pids: {} };
      writeRunFile(this.#run);
    }
    for (const log of this.#logs.values()) {
      log.close();
    }
    this.#logs.clear();
  }

  async #startRole(name: string, spec: Parameters<Launcher['start']>[0]): Promise<ReadyFacts> {
    try {
      return await this.#launcher.start(spec);
    } catch (error) {
      const problem = error instanceof GatewayError ? error.detail : 'unknown failure';
      const path = this.#logs.get(name)?.path;
      const hint = path === undefined ? '' : `\n  its log: ${path}${lastLines(path)}`;
      throw new GatewayError('config_invalid', `${name} could not start: ${problem}${hint}`, { cause: error });
    }
  }

  #onReady(role: string, facts: ReadyFacts, pid: number): void {
    this.#facts.set(role, facts);
    this.#pids.set(role, pid);
    if (this.#run !== null) {
      this.#run = { ...this.#run, pids: Object.fromEntries(this.#pids) };
      writeRunFile(this.#run);
      this.#o.progress(`  ${role.padEnd(12)} is back  (pid ${pid})`);
    }
  }

  #onExit(role: string, code: number | null, signal: string | null, restarts: boolean): void {
    this.#pids.delete(role);
    if (!this.#stopping && this.#run !== null) {
      const how = signal === null ? `with ${code ?? '?'}` : `by ${signal}`;
      this.#o.problem(`${role}: ended ${how}${restarts ? ', starting it again' : ''}`);
    }
  }

  #onLine(role: string, line: string): void {
    let log = this.#logs.get(role);
    if (log === undefined) {
      log = new RoleLog(join(this.#o.loaded.config.node.dataDir, 'logs'), role);
      this.#logs.set(role, log);
    }
    log.write(line);
    if (isAlarm(line)) {
      this.#o.problem(`${role}: ${plainLine(line)}`);
    }
  }
}

/** What the roles can do today on one machine; a setting without effect would mislead. */
function checkSupported({ config }: LoadedConfig): void {
  for (const [key, host] of [
    ['vault.host', config.vault.host],
    ['ingest.host', config.ingest.host],
    ['clickhouse.host', config.clickhouse.host],
  ] as const) {
    if (host !== '127.0.0.1' && host !== 'localhost') {
      throw new GatewayError('config_invalid', `${key}: \`chaperone up\` serves it on 127.0.0.1 only`);
    }
  }
  if (config.auditors.length === 0) {
    throw new GatewayError('config_invalid', 'auditors: at least one, or nobody could ever open what is recorded');
  }
}

function runFileOf(deployment: Deployment, pids: ReadonlyMap<string, number>, startedMs: number): RunFile {
  const { config, configPath, prepared, facts } = deployment;
  const gateway = facts.get(GATEWAY) ?? {};
  const ports = {
    http: Number(gateway['port']),
    admin: Number(gateway['adminPort']),
    control: Number(gateway['controlPort']),
    vault: portOf(facts, 'vault'),
    ingest: portOf(facts, 'ingest'),
    ...(config.clickhouse.url === '' ? { clickhouse: portOf(facts, 'clickhouse') } : {}),
  };
  return {
    version: 1,
    pid: process.pid,
    startedMs,
    stoppedMs: null,
    cluster: config.cluster.domain,
    node: config.node.name,
    configPath,
    dataDir: config.node.dataDir,
    ports,
    pids: Object.fromEntries(pids),
    http: `http://${urlHost(config.listen.http.host)}:${ports.http}`,
    admin: `http://${urlHost(config.admin.host)}:${ports.admin}`,
    control: `${urlHost(config.control.host)}:${ports.control}`,
    vault: `127.0.0.1:${ports.vault}`,
    archive: { url: `http://127.0.0.1:${ports.ingest}`, token: prepared.archiveToken },
    clickhouse: { ...clickhouseAccess(deployment, 'reader'), database: config.clickhouse.database },
    logKey: prepared.log.vkey,
    witnessKeys: [prepared.witness.vkey],
    caPath: prepared.caPath,
  };
}

/** Where a client on this machine reaches a listener of all addresses. */
function urlHost(host: string): string {
  return host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;
}

const LAST_LINES = 5;

function lastLines(path: string): string {
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n').slice(-LAST_LINES);
  return lines.map((line) => `\n    ${plainLine(line)}`).join('');
}

/** A log line as a person reads it. */
function plainLine(line: string): string {
  if (!line.startsWith('{')) {
    return line;
  }
  try {
    const { level, time, msg, role: _role, ...fields } = JSON.parse(line) as Record<string, unknown>;
    const rest = Object.entries(fields).map(([name, value]) => `${name}=${String(value)}`);
    return [time, level, msg, ...rest].map(String).join(' ');
  } catch {
    return line; // Not a log line after all: shown as it is.
  }
}

import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { until } from './until.ts';

/** What `chaperone up` leaves for its clients. */
export interface RunFacts {
  readonly pid: number;
  readonly dataDir: string;
  readonly http: string;
  readonly admin: string;
  readonly pids: Readonly<Record<string, number>>;
  /** C2SP verifier keys of the cluster log and its witnesses. */
  readonly logKey: string;
  readonly witnessKeys: readonly string[];
  readonly clickhouse: {
    readonly url: string;
    readonly username: string;
    readonly password: string;
    readonly database: string;
  };
}

const START_MS = 60_000;
const STOP_MS = 45_000;

/**
 * One `chaperone up` as a child of the demo. What can be done to it is what anybody with a shell can do: read `run.json`,
 * send signals to its processes.
 */
export class Deployment {
  readonly #child: ChildProcess;
  readonly #dataDir: string;
  readonly #stderr: string[] = [];
  readonly #stopped = new Set<number>();
  #exited = false;

  private constructor(child: ChildProcess, dataDir: string) {
    this.#child = child;
    this.#dataDir = dataDir;
    child.once('exit', () => (this.#exited = true));
    if (child.stderr !== null) {
      createInterface({ input: child.stderr }).on('line', (line) => this.#stderr.push(line));
    }
  }

  /** Spawned at once, so that it can be ended on any path; `ready` says when it serves. */
  static spawn(mainPath: string, configPath: string, dataDir: string): Deployment {
    const child = spawn(process.execPath, [mainPath, 'up', '--config', configPath, '--json'], {
      stdio: ['ignore', 'pipe', 'pipe'],
      // A group of its own: Ctrl-C comes to the demo, which ends this in order.
      detached: true,
    });
    return new Deployment(child, dataDir);
  }

  /** Rejects with what `up` said when it does not get ready. */
  ready(): Promise<RunFacts> {
    return new Promise((resolve, reject) => {
      const fail = (why: string): void => reject(new Error(`chaperone up ${why}\n${this.problems.join('\n')}`));
      const timer = setTimeout(() => fail('was not ready in time'), START_MS);
      this.#child.once('error', (error) => fail(error.message));
      this.#child.once('exit', (code) => fail(`ended with ${String(code)}`));
      if (this.#child.stdout !== null) {
        createInterface({ input: this.#child.stdout }).once('line', (line) => {
          clearTimeout(timer);
          const said = JSON.parse(line) as { ready?: boolean };
          if (said.ready === true) {
            resolve(this.facts());
          } else {
            fail(`said ${line}`);
          }
        });
      }
    });
  }

  /** Of now: pids change when a role comes back. */
  facts(): RunFacts {
    return JSON.parse(readFileSync(join(this.#dataDir, 'run.json'), 'utf8')) as RunFacts;
  }

  /** What `up` told about its roles on standard error. */
  get problems(): readonly string[] {
    return this.#stderr;
  }

  pidOf(role: string): number {
    const pid = this.facts().pids[role];
    if (pid === undefined) {
      throw new Error(`no process of the role ${role} runs`);
    }
    return pid;
  }

  /** SIGSTOP: it is there and does nothing. `resume` takes it back; so does `stop`. */
  suspend(pid: number): void {
    process.kill(pid, 'SIGSTOP');
    this.#stopped.add(pid);
  }

  resume(pid: number): void {
    if (this.#stopped.delete(pid) && isAlive(pid)) {
      process.kill(pid, 'SIGCONT');
    }
  }

  get launcherPid(): number {
    return this.#child.pid ?? 0;
  }

  /** kill -9, and waits until the process is gone. Its parent must be able to reap it, or be suspended. */
  async kill9(pid: number): Promise<void> {
    process.kill(pid, 'SIGKILL');
    await until(`process ${pid} to end`, 10_000, () => Promise.resolve(isGone(pid) ? true : null));
  }

  /** In order; by force when that takes too long. Resolves when no process is left. */
  async stop(): Promise<void> {
    const pids = this.#exited ? [] : this.#allPids();
    for (const pid of [...this.#stopped]) {
      this.resume(pid);
    }
    if (!this.#exited) {
      this.#child.kill('SIGTERM');
      await this.#exitWithin(STOP_MS);
    }
    await this.#sweep(pids);
  }

  /** The synchronous last resort, for exits that cannot wait. */
  killNow(): void {
    if (!this.#exited) {
      for (const pid of [...this.#allPids(), this.launcherPid]) {
        if (isAlive(pid)) {
          process.kill(pid, 'SIGKILL');
        }
      }
    }
  }

  async #exitWithin(boundMs: number): Promise<void> {
    if (this.#exited) {
      return;
    }
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        this.killNow();
      }, boundMs);
      this.#child.once('exit', () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** Roles end when their launcher does; this waits for it, and does not let one stay. */
  async #sweep(pids: readonly number[]): Promise<void> {
    const gone = async (): Promise<true | null> => Promise.resolve(pids.every(isGone) ? true : null);
    await until('the roles to end', 10_000, gone).catch(() => {
      for (const pid of pids.filter((one) => !isGone(one))) {
        process.kill(pid, 'SIGKILL');
      }
    });
  }

  #allPids(): number[] {
    try {
      return Object.values(this.facts().pids);
    } catch {
      return []; // Not ready yet: the launcher takes its children with it.
    }
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Gone, or a zombie that its parent has not reaped: it runs no more and holds no file. */
function isGone(pid: number): boolean {
  if (!isAlive(pid)) {
    return true;
  }
  if (existsSync('/proc/self/status')) {
    const path = `/proc/${pid}/status`;
    return !existsSync(path) || /^State:\s+Z/m.test(readFileSync(path, 'utf8'));
  }
  return spawnSync('ps', ['-o', 'state=', '-p', String(pid)], { encoding: 'utf8' })
    .stdout.trim()
    .startsWith('Z');
}

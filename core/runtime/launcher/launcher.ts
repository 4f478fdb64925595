import { fork, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Clock, Timer } from '../../kernel/clock.ts';
import { defined } from '../../kernel/assert.ts';
import { GatewayError } from '../../kernel/errors.ts';
import type { ChildMessage, ReadyFacts } from './run-process.ts';

/** One child of the launcher. Its module calls `runProcess`. */
export interface ProcessSpec {
  readonly name: string;
  /** Absolute path of a compiled module. */
  readonly module: string;
  /** Structured clone over the channel: secrets go here, never into argv or the environment. */
  readonly options: unknown;
  /** Options for the next start, from the facts of the last ready one: a port that was free to choose must not change. */
  readonly restartOptions?: (ready: ReadyFacts) => unknown;
  readonly nodeFlags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Exit codes that mean: do not start again, the launcher ends too (bad configuration, refused evidence). */
  readonly fatalExitCodes?: readonly number[];
  readonly readyTimeoutMs?: number;
}

export interface LauncherEvents {
  ready?(name: string, facts: ReadyFacts, pid: number): void;
  exited?(name: string, code: number | null, signal: string | null, restarts: boolean): void;
  /** A restart did not get ready; the next one follows. `problem` is what the child said, or its exit. */
  failed?(name: string, problem: string): void;
  /** One line of a child's standard error. */
  line?(name: string, line: string): void;
  /** A child ended for good: the launcher is stopping everything. */
  fatal?(name: string, code: number | null): void;
}

const READY_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 60_000;
const KEEP_ALIVE_MS = 60_000;
const BACKOFF_MS = [100, 250, 500, 1_000, 2_000, 5_000] as const;
/** A child that served this long starts again without delay. */
const HEALTHY_MS = 30_000;

interface Child {
  readonly spec: ProcessSpec;
  process: ChildProcess | null;
  options: unknown;
  failures: number;
  readySinceMs: number;
  restart: Timer | null;
  /** It is to end, and not to come back. */
  stopped: boolean;
}

/**
 * Starts the processes of a node in order, each after the one before is ready, starts what dies again, and stops in the
 * opposite order. A worker fault ends the gateway process (no thread is replaced in place): this is what brings it back.
 *
 * Invariant: at most one process of a name lives; a restart begins only after the old process has exited, so a journal
 * is never recovered under a living writer.
 */
export class Launcher {
  readonly #clock: Clock;
  readonly #events: LauncherEvents;
  readonly #children: Child[] = [];
  /** Holds the process while no child lives and a restart is due: the clock's timers do not. */
  #keepAlive: NodeJS.Timeout | null = null;
  #stopping = false;

  constructor(clock: Clock, events: LauncherEvents = {}) {
    this.#clock = clock;
    this.#events = events;
  }

  /** Resolves with the ready facts; rejects when the child ends or stays silent before it is ready. */
  start(spec: ProcessSpec): Promise<ReadyFacts> {
    this.#keepAlive ??= setInterval(() => undefined, KEEP_ALIVE_MS);
    const { options } = spec;
    const child: Child = {
      spec,
      process: null,
      options,
      failures: 0,
      readySinceMs: 0,
      restart: null,
      stopped: false,
    };
    this.#children.push(child);
    return this.#spawn(child);
  }

  pidOf(name: string): number | undefined {
    return this.#children.find((child) => child.spec.name === name)?.process?.pid;
  }

  /** Stops one child for good, as `stop` does. */
  async stopOne(name: string, timeoutMs = STOP_TIMEOUT_MS): Promise<void> {
    for (const child of this.#children.filter(({ spec }) => spec.name === name)) {
      child.stopped = true;
      child.restart?.cancel();
      await this.#stopChild(child, timeoutMs);
    }
  }

  /** Stops everything in the opposite order of the start; each gets SIGTERM and, when it does not end, SIGKILL. */
  async stop(timeoutMs = STOP_TIMEOUT_MS): Promise<void> {
    this.#stopping = true;
    for (const child of this.#children.toReversed()) {
      child.restart?.cancel();
      await this.#stopChild(child, timeoutMs);
    }
    clearInterval(this.#keepAlive ?? undefined);
  }

  #spawn(child: Child): Promise<ReadyFacts> {
    const { spec } = child;
    const spawned = fork(spec.module, [], {
      serialization: 'advanced',
      execArgv: [...(spec.nodeFlags ?? [])],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      // Its own process group: Ctrl-C, and whoever signals the launcher's group, reach the launcher alone, which stops
      // its children in order. A launcher that dies takes them along all the same: their channel closes.
      detached: true,
      env: { ...process.env, ...spec.env },
    });
    child.process = spawned;
    spawned.send({ type: 'start', options: child.options }, () => undefined);
    return new Promise((resolve, reject) => {
      let ready = false;
      const timer = this.#clock.after(spec.readyTimeoutMs ?? READY_TIMEOUT_MS, () => {
        if (!ready) {
          spawned.kill('SIGKILL');
        }
      });
      let problem = '';
      spawned.on('message', (message: ChildMessage) => {
        if (message.type === 'failed') {
          problem = message.message;
        } else if (!ready) {
          ready = true;
          timer.cancel();
          child.readySinceMs = this.#clock.monotonicMs();
          child.options = spec.restartOptions?.(message.ready) ?? child.options;
          this.#events.ready?.(spec.name, message.ready, spawned.pid ?? 0);
          resolve(message.ready);
        }
      });
      const stderr = defined(spawned.stderr, 'standard error is a pipe');
      createInterface({ input: stderr }).on('line', (line) => this.#events.line?.(spec.name, line));
      spawned.once('error', (error) => {
        timer.cancel();
        reject(new GatewayError('config_invalid', `${spec.name} could not be started`, { cause: error }));
      });
      spawned.once('exit', (code, signal) => {
        timer.cancel();
        child.process = null;
        if (!ready) {
          this.#events.exited?.(spec.name, code, signal, false);
          reject(
            new GatewayError(
              'config_invalid',
              problem === ''
                ? `${spec.name} ended before it was ready (exit ${code ?? signal ?? '?'})`
                : `${spec.name}: ${problem}`,
            ),
          );
          return;
        }
        this.#onExit(child, code, signal);
      });
    });
  }

  #onExit(child: Child, code: number | null, signal: string | null): void {
    const { spec } = child;
    const fatal = code !== null && (spec.fatalExitCodes ?? []).includes(code);
    const restarts = !this.#stopping && !child.stopped && !fatal;
    this.#events.exited?.(spec.name, code, signal, restarts);
    if (fatal && !this.#stopping) {
      this.#events.fatal?.(spec.name, code);
      return;
    }
    if (!restarts) {
      return;
    }
    const served = this.#clock.monotonicMs() - child.readySinceMs >= HEALTHY_MS;
    child.failures = served ? 0 : child.failures + 1;
    const delayMs = BACKOFF_MS[Math.min(child.failures, BACKOFF_MS.length - 1)] ?? 0;
    child.restart = this.#clock.after(served ? 0 : delayMs, () => this.#restart(child));
  }

  #restart(child: Child): void {
    if (this.#stopping || child.stopped) {
      return;
    }
    this.#spawn(child).catch((error: unknown) => {
      if (this.#stopping || child.stopped) {
        return;
      }
      this.#events.failed?.(child.spec.name, error instanceof GatewayError ? error.detail : 'unknown failure');
      child.failures++;
      child.restart = this.#clock.after(BACKOFF_MS[Math.min(child.failures, BACKOFF_MS.length - 1)] ?? 0, () =>
        this.#restart(child),
      );
    });
  }

  async #stopChild(child: Child, timeoutMs: number): Promise<void> {
    const running = child.process;
    if (running === null) {
      return;
    }
    await new Promise<void>((resolve) => {
      const timer = this.#clock.after(timeoutMs, () => running.kill('SIGKILL'));
      running.once('exit', () => {
        timer.cancel();
        resolve();
      });
      running.kill('SIGTERM');
    });
  }
}

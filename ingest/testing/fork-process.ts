import { fork } from 'node:child_process';
import type { ChildMessage, ReadyFacts } from '../../core/runtime/launcher/run-process.ts';

export interface ForkedProcess {
  readonly pid: number;
  readonly ready: ReadyFacts;
  /** Resolves with the exit code, or null when a signal ended it. */
  readonly exited: Promise<number | null>;
  /** SIGTERM, then waits for the end. */
  close(): Promise<void>;
  /** SIGKILL, then waits for the end. */
  kill(): Promise<void>;
}

/** Forks an entry that uses `runProcess` and resolves when it is ready; rejects with its message when it is not. */
export async function forkProcess(entry: URL, options: unknown): Promise<ForkedProcess> {
  const child = fork(entry, { serialization: 'advanced', stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  const ready = await new Promise<ReadyFacts>((resolve, reject) => {
    child.once('error', reject);
    child.once('message', (message: ChildMessage) => {
      if (message.type === 'ready') {
        resolve(message.ready);
      } else {
        reject(new Error(message.message));
      }
    });
    void exited.then((code) => reject(new Error(`the process ended before it was ready (code ${code ?? 'signal'})`)));
    child.send({ type: 'start', options });
  });
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal);
    await exited;
  };
  return { pid: child.pid ?? -1, ready, exited, close: () => end('SIGTERM'), kill: () => end('SIGKILL') };
}

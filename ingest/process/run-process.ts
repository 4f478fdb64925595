/**
 * The entry of a process that a launcher forks with an IPC channel and `serialization: 'advanced'`.
 *
 *     launcher -> child   { type: 'start', options }     once; secrets go here, never in argv or the environment
 *     child -> launcher   { type: 'ready', ready }       what `start` gave: ports
 *     child -> launcher   { type: 'failed', message }    then exit code 1
 *
 * The child closes and exits 0 on SIGTERM, SIGINT and when the launcher's end of the channel closes: a child must not
 * outlive its launcher and keep a directory locked.
 */
export interface Running {
  close(): Promise<void>;
}

export interface StartMessage {
  readonly type: 'start';
  readonly options: unknown;
}

export type ChildMessage =
  | { readonly type: 'ready'; readonly ready: Record<string, number> }
  | { readonly type: 'failed'; readonly message: string };

/** Runs `start` with the options of the launcher. `ready` picks from what runs the numbers that the launcher needs. */
export function runProcess<O, R extends Running>(
  start: (options: O) => Promise<R>,
  ready: (running: R) => Record<string, number>,
): void {
  let running: Promise<R> | null = null;
  const stop = async (): Promise<void> => {
    try {
      await (await running)?.close();
      process.exit(0);
    } catch {
      // It already failed and said so, or its close failed: nothing durable waits for either.
      process.exit(1);
    }
  };
  process.once('SIGTERM', () => void stop());
  process.once('SIGINT', () => void stop());
  process.once('disconnect', () => void stop());
  process.once('message', (message: StartMessage) => {
    running = start(message.options as O);
    running.then(
      (value) => send({ type: 'ready', ready: ready(value) }),
      (error: unknown) => {
        send({ type: 'failed', message: error instanceof Error ? error.message : String(error) });
        process.exitCode = 1;
        process.disconnect?.();
      },
    );
  });
}

function send(message: ChildMessage): void {
  process.send?.(message);
}

/**
 * The entry of a process that the launcher forks with an IPC channel and `serialization: 'advanced'`.
 *
 *     launcher -> child   { type: 'start', options }     once; secrets go here, never into argv or the environment
 *     child -> launcher   { type: 'ready', ready }       facts that others need: ports
 *     child -> launcher   { type: 'failed', message }    then exit code 1, or that of the failure
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

export type ReadyFacts = Readonly<Record<string, unknown>>;

export type ChildMessage =
  { readonly type: 'ready'; readonly ready: ReadyFacts } | { readonly type: 'failed'; readonly message: string };

/** Runs `start` with the options of the launcher; `ready` picks the facts that the launcher needs. */
export function runProcess<Options, Service extends Running>(
  start: (options: Options) => Promise<Service>,
  ready: (service: Service) => ReadyFacts,
): void {
  let running: Promise<Service> | null = null;
  let closing = false;
  const close = (): void => {
    if (!closing) {
      closing = true;
      void closeAndExit(running);
    }
  };
  process.once('SIGTERM', close);
  process.once('SIGINT', close);
  process.once('disconnect', close);
  process.once('message', (message: StartMessage) => {
    running = start(message.options as Options);
    running.then(
      (service) => send({ type: 'ready', ready: ready(service) }, () => undefined),
      (error: unknown) => send({ type: 'failed', message: messageOf(error) }, () => process.exit(1)),
    );
  });
}

async function closeAndExit(running: Promise<Running> | null): Promise<void> {
  try {
    await (await running)?.close();
    process.exit(0);
  } catch (error) {
    // A failed start was told by its own message; a failed close is told here.
    process.stderr.write(`closing failed: ${messageOf(error)}\n`);
    process.exit(1);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : 'unknown failure';
}

function send(message: ChildMessage, then: () => void): void {
  if (process.send === undefined) {
    then();
    return;
  }
  process.send(message, then);
}

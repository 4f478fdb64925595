import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/**
 * One process of the benchmark: it says `{ ready }` once, then answers each message with one. The parent talks to it in
 * turn, so no message needs an id. It ends when its parent's channel does.
 */
export class BenchChild<Ready> {
  readonly ready: Ready;
  readonly #process: ChildProcess;

  static async start<Ready>(
    module: URL,
    args: readonly string[],
    env: NodeJS.ProcessEnv = {},
  ): Promise<BenchChild<Ready>> {
    const child = fork(module, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const ready = await nextMessage<{ ready: Ready }>(child);
    return new BenchChild(child, ready.ready);
  }

  constructor(child: ChildProcess, ready: Ready) {
    this.#process = child;
    this.ready = ready;
  }

  async ask<Answer>(question: object): Promise<Answer> {
    const answer = nextMessage<Answer>(this.#process);
    this.#process.send(question);
    return await answer;
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const gone = once(this.#process, 'exit');
      this.#process.kill('SIGKILL');
      await gone;
    }
  }
}

/** The side of the child. */
export function serveParent(ready: object, answer: (question: unknown) => Promise<object> | object): void {
  process.on('disconnect', () => process.exit(0));
  process.on('message', (question: unknown) => {
    void Promise.resolve(answer(question)).then((message) => process.send?.(message));
  });
  process.send?.({ ready });
}

async function nextMessage<T>(child: ChildProcess): Promise<T> {
  const stop = new AbortController();
  try {
    const exit = once(child, 'exit', { signal: stop.signal }).then(([code]) => {
      throw new Error(`a process of the benchmark ended early (${String(code)})`);
    });
    const [message] = (await Promise.race([once(child, 'message', { signal: stop.signal }), exit])) as [T];
    exit.catch(() => undefined); // Aborted below: nobody waits for it any more.
    return message;
  } finally {
    stop.abort();
  }
}

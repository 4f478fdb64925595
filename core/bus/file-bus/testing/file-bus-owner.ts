import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './owner-main.ts' : './owner-main.js', import.meta.url),
);

/** A file bus in a child process, for tests that kill it. */
export class FileBusOwner {
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#exited = once(child, 'exit');
  }

  /** Resolves when clients can connect; rejects with what the process wrote to stderr when it refused to start. */
  static async start(directory: string, socketPath: string, segmentBytes?: number): Promise<FileBusOwner> {
    const args = [MAIN, directory, socketPath, ...(segmentBytes === undefined ? [] : [String(segmentBytes)])];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const owner = new FileBusOwner(child);
    let errors = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      errors += chunk.toString();
    });
    const ready = once(child.stdout as NodeJS.ReadableStream, 'data').then(() => true);
    if (!(await Promise.race([ready, owner.#exited.then(() => false)]))) {
      throw new Error(`the file bus refused to start: ${errors}`);
    }
    return owner;
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.#child.kill(signal);
    await this.#exited;
  }
}

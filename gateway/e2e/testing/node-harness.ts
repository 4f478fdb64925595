import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { GatewayError, type ErrorCode } from '../../../core/kernel/errors.ts';
import { decodeBatch } from '../../../core/ledger/batch.ts';
import { DevelopmentIssuer } from '../../contract/development-issuer.ts';
import { DEMO_ISSUER, demoToken } from './worker-harness.ts';

export interface NodeProcessOptions {
  readonly directory: string;
  readonly upstreamPort: number;
  readonly registrationRequired: boolean;
}

export type NodeRequest = { readonly type: 'start'; readonly options: NodeProcessOptions } | { readonly type: 'dump' };

export type NodeReply =
  | {
      readonly type: 'ready';
      readonly port: number;
      readonly registration: string;
      readonly notReady: readonly string[];
      readonly logged: readonly string[];
    }
  | { readonly type: 'failed'; readonly code: string; readonly detail: string; readonly logged: readonly string[] }
  | { readonly type: 'dump'; readonly batches: readonly Uint8Array[]; readonly logged: readonly string[] };

/** The files of a node, which outlive its process. */
export class NodeFiles {
  readonly directory: string;
  readonly issuer: DevelopmentIssuer;

  private constructor(directory: string, issuer: DevelopmentIssuer) {
    this.directory = directory;
    this.issuer = issuer;
  }

  static make(): NodeFiles {
    const directory = mkdtempSync(join(tmpdir(), 'chaperone-node-'));
    const issuer = DevelopmentIssuer.generate(DEMO_ISSUER, 'test-key');
    writeFileSync(join(directory, 'jwks.json'), issuer.publicJwks());
    return new NodeFiles(directory, issuer);
  }

  get journal(): string {
    return join(this.directory, 'journal');
  }

  copy(): NodeFiles {
    const directory = mkdtempSync(join(tmpdir(), 'chaperone-node-'));
    cpSync(this.directory, directory, { recursive: true });
    return new NodeFiles(directory, this.issuer);
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** A running node: a process of its own, over `files`. */
export class NodeHarness {
  readonly ready: Extract<NodeReply, { type: 'ready' }>;
  readonly #child: ChildProcess;
  readonly #files: NodeFiles;

  private constructor(child: ChildProcess, files: NodeFiles, ready: Extract<NodeReply, { type: 'ready' }>) {
    this.#child = child;
    this.#files = files;
    this.ready = ready;
  }

  /** Rejects with what the node says when it does not start. */
  static async start(files: NodeFiles, upstreamPort: number, registrationRequired = false): Promise<NodeHarness> {
    const module = fileURLToPath(new URL(`./node-process${import.meta.url.slice(-3)}`, import.meta.url));
    const child = fork(module, { serialization: 'advanced', stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    const options = { directory: files.directory, upstreamPort, registrationRequired };
    const answer = await ask(child, { type: 'start', options });
    if (answer.type === 'ready') {
      return new NodeHarness(child, files, answer);
    }
    await end(child);
    if (answer.type === 'failed') {
      throw new GatewayError(answer.code as ErrorCode, answer.detail);
    }
    throw new Error('the node answered something else');
  }

  /** One read of patients; resolves with its status, body and position. */
  async read(): Promise<{ readonly status: number; readonly text: string; readonly position: string }> {
    const response = await fetch(`http://127.0.0.1:${this.ready.port}/clinic/patients`, {
      headers: { authorization: `Bearer ${demoToken(this.#files.issuer)}` },
    });
    return { status: response.status, text: await response.text(), position: response.headers.get('evidence') ?? '' };
  }

  /** What the bus has by now, and what was logged. */
  async dump(): Promise<{ readonly batches: ReturnType<typeof decodeBatch>[]; readonly logged: readonly string[] }> {
    const answer = await ask(this.#child, { type: 'dump' });
    if (answer.type !== 'dump') {
      throw new Error('the node answered something else');
    }
    return { batches: answer.batches.map((bytes) => decodeBatch(Buffer.from(bytes))), logged: answer.logged };
  }

  /** As a power loss of the process: nothing of it runs any more. */
  async kill(): Promise<void> {
    await end(this.#child);
  }
}

async function ask(child: ChildProcess, request: NodeRequest): Promise<NodeReply> {
  const done = new AbortController();
  const answered = once(child, 'message', { signal: done.signal });
  const ended = once(child, 'exit', { signal: done.signal }).then(([code]): never => {
    throw new Error(`the node ended with ${String(code)}`);
  });
  child.send(request);
  try {
    const [reply] = (await Promise.race([answered, ended])) as [NodeReply];
    return reply;
  } finally {
    answered.catch(() => undefined);
    ended.catch(() => undefined);
    done.abort();
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }
}

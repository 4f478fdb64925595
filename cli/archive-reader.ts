import { GatewayError } from '../core/kernel/errors.ts';
import type { RunFile } from './run-file.ts';

const TIMEOUT_MS = 30_000;
const OBJECT_NAME = /^[a-z0-9/._-]+$/;

/** The archive over the read-only HTTP of ingest. Rejects `upstream_unreachable` when ingest does not answer. */
export class ArchiveReader {
  readonly #url: string;
  readonly #token: string;

  constructor({ url, token }: RunFile['archive']) {
    this.#url = url;
    this.#token = token;
  }

  /** Exactly `size` bytes of an object at `offset`. Rejects `evidence_incomplete` when they are not there. */
  async read(object: string, offset: number, size: number): Promise<Buffer> {
    const { status, bytes } = await this.#get(object, { range: `bytes=${offset}-${offset + size - 1}` });
    if (status !== 206 || bytes.length !== size) {
      throw new GatewayError('evidence_incomplete', `${object} has no ${size} bytes at ${offset}`);
    }
    return bytes;
  }

  /** The whole object. Rejects `evidence_incomplete` when it is not there. */
  async readAll(object: string): Promise<Buffer> {
    const { status, bytes } = await this.#get(object, {});
    if (status !== 200) {
      throw new GatewayError('evidence_incomplete', `the archive has no ${object}`);
    }
    return bytes;
  }

  async #get(object: string, headers: Readonly<Record<string, string>>): Promise<{ status: number; bytes: Buffer }> {
    if (!OBJECT_NAME.test(object)) {
      throw new GatewayError('evidence_malformed', 'the index names no archive object');
    }
    let status: number;
    let bytes: Buffer;
    try {
      const response = await fetch(`${this.#url}/archive/${object}`, {
        headers: { authorization: `Bearer ${this.#token}`, ...headers },
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      status = response.status;
      bytes = Buffer.from(await response.arrayBuffer());
    } catch (cause) {
      throw new GatewayError('upstream_unreachable', `the archive at ${this.#url} does not answer`, { cause });
    }
    if (status === 401) {
      throw new GatewayError('auth_invalid', 'the archive refuses the token of run.json');
    }
    return { status, bytes };
  }
}

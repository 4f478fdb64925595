import { readFile, stat } from 'node:fs/promises';
import { channel } from 'node:diagnostics_channel';
import type { Clock, Timer } from '../../../core/kernel/clock.ts';
import { GatewayError } from '../../../core/kernel/errors.ts';
import { type KeySource, parseKeySet, type VerificationKey } from '../../identity/key-set.ts';

/** What this adapter needs of a file system. `stamp` changes whenever the content may have changed. */
export interface JwksFileSystem {
  read(path: string): Promise<string>;
  stamp(path: string): Promise<string>;
}

export interface JwksFileOptions {
  readonly path: string;
  readonly clock: Clock;
  /** How often the file is looked at. */
  readonly reloadMs?: number;
  readonly files?: JwksFileSystem;
}

const RELOAD_MS = 5_000;

/** Messages `{path, ok, keys, detail}`: every reload, good or bad. */
export const jwksReloads = channel('chaperone:identity:jwks');

/**
 * The key set of one issuer in a file, looked at again every few seconds.
 *
 * A file that was removed or is broken changes nothing: the last good set stays (a rotation that goes wrong must not lock
 * everyone out), and every failed look is published. A key that is absent from a good file is gone at once: `version`
 * grows, and the verifier forgets the tokens that it had verified.
 *
 * Invariant: `#keys` is always a whole set that parsed; never a mix of two files.
 */
export class JwksFile implements KeySource {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #reloadMs: number;
  readonly #files: JwksFileSystem;
  #keys: ReadonlyMap<string, VerificationKey> = new Map();
  #stamp = '';
  #version = 0;
  #timer: Timer | null = null;
  #closed = false;

  private constructor(options: JwksFileOptions) {
    this.#path = options.path;
    this.#clock = options.clock;
    this.#reloadMs = options.reloadMs ?? RELOAD_MS;
    this.#files = options.files ?? nodeFiles;
  }

  /** Rejects GatewayError `config_invalid` when the first look fails: a gateway without keys does not start. */
  static async open(options: JwksFileOptions): Promise<JwksFile> {
    const source = new JwksFile(options);
    await source.#load();
    source.#schedule();
    return source;
  }

  get version(): number {
    return this.#version;
  }

  find(kid: string): VerificationKey | undefined {
    return this.#keys.get(kid);
  }

  /** Looks at the file now. Never rejects. */
  async reload(): Promise<void> {
    try {
      await this.#load();
    } catch (error) {
      const detail = error instanceof GatewayError ? error.detail : 'the file cannot be read';
      jwksReloads.publish({ path: this.#path, ok: false, keys: this.#keys.size, detail });
    }
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  async #load(): Promise<void> {
    try {
      // The stamp is taken before the content: a change in between is seen at the next look, never lost.
      const stamp = await this.#files.stamp(this.#path);
      if (stamp === this.#stamp) {
        return;
      }
      const keys = parseKeySet(await this.#files.read(this.#path));
      this.#keys = keys;
      this.#stamp = stamp;
      this.#version += 1;
      jwksReloads.publish({ path: this.#path, ok: true, keys: keys.size, detail: '' });
    } catch (cause) {
      throw cause instanceof GatewayError
        ? new GatewayError('config_invalid', `${this.#path}: ${cause.detail}`, { cause })
        : new GatewayError('config_invalid', `${this.#path}: the key set cannot be read`, { cause });
    }
  }

  #schedule(): void {
    this.#timer = this.#clock.after(this.#reloadMs, () => {
      void this.reload().then(() => {
        if (!this.#closed) {
          this.#schedule();
        }
      });
    });
  }
}

const nodeFiles: JwksFileSystem = {
  read: (path) => readFile(path, 'utf8'),
  async stamp(path) {
    const { mtimeNs, size, ino } = await stat(path, { bigint: true });
    return `${mtimeNs}/${size}/${ino}`;
  },
};

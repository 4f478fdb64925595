import { randomBytes } from 'node:crypto';
import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncDirectory } from '../core/bus/file-bus/log-files.ts';
import type { Clock } from '../core/kernel/clock.ts';
import { GatewayError } from '../core/kernel/errors.ts';
import { dayOf } from '../core/runtime/envelope/month.ts';
import type { ClusterSecrets } from '../core/runtime/key-store.ts';
import { checkPrivate } from '../core/runtime/mtls/tls-files.ts';

interface SecretsFile {
  readonly version: 1;
  readonly sessionKey: string;
  readonly approvalsKey: string;
  readonly targetKey: string;
  /** Newest last; at most the present one and the one before. */
  readonly scopeKeys: readonly { readonly day: number; readonly key: string }[];
}

const KEY_SIZE = 32;
const SCOPE_KEYS_KEPT = 2;

/**
 * The secrets that every node of the cluster shares, in one file of mode 0600 (byte strings as base64url):
 *
 *     {version: 1, sessionKey, approvalsKey, targetKey, scopeKeys: [{day: YYYYMMDD, key}]}
 *
 * A scope key is for one day, UTC; it leaves the file with the second rotation after it (48 h at most in daily use).
 * Invariant: what `current` returns is on disk. Rotation is serial. The file is replaced as a whole; what the disk keeps
 * of the old one is the disk's affair: destruction of daily keys is best effort.
 */
export class ClusterSecretsFile {
  readonly #path: string;
  readonly #clock: Clock;
  #content: SecretsFile;
  #rotating: Promise<void> = Promise.resolve();

  private constructor(path: string, clock: Clock, content: SecretsFile) {
    this.#path = path;
    this.#clock = clock;
    this.#content = content;
  }

  /** Reads the file, or makes it with new keys. Rejects `config_invalid` when it is not readable or not private. */
  static async open(path: string, clock: Clock, exists: boolean): Promise<ClusterSecretsFile> {
    if (exists) {
      await checkPrivate(path);
      return new ClusterSecretsFile(path, clock, parse(await readFile(path, 'utf8'), path));
    }
    const content: SecretsFile = {
      version: 1,
      sessionKey: newKey(),
      approvalsKey: newKey(),
      targetKey: newKey(),
      scopeKeys: [{ day: dayOf(clock.nowMs()), key: newKey() }],
    };
    await write(path, content);
    return new ClusterSecretsFile(path, clock, content);
  }

  /** The secrets of now; makes the scope key of the day when it is the first to ask. */
  async current(): Promise<ClusterSecrets> {
    this.#rotating = this.#rotating.catch(() => undefined).then(() => this.#rotateIfDue());
    await this.#rotating;
    const { sessionKey, approvalsKey, targetKey, scopeKeys } = this.#content;
    const scope = scopeKeys.at(-1) as SecretsFile['scopeKeys'][number];
    return {
      sessionKey: decode(sessionKey),
      approvalsKey: decode(approvalsKey),
      targetKey: decode(targetKey),
      scopeKey: decode(scope.key),
      scopeDay: scope.day,
    };
  }

  async #rotateIfDue(): Promise<void> {
    const day = dayOf(this.#clock.nowMs());
    const { scopeKeys } = this.#content;
    // A clock that stepped back keeps the newer key: two keys for one day would split its pseudonyms.
    if ((scopeKeys.at(-1) as { day: number }).day >= day) {
      return;
    }
    const kept = [...scopeKeys, { day, key: newKey() }].slice(-SCOPE_KEYS_KEPT);
    const next = { ...this.#content, scopeKeys: kept };
    await write(this.#path, next);
    // If we die here the next start reads the new key, which nobody has seen yet.
    this.#content = next;
  }
}

function parse(text: string, path: string): SecretsFile {
  try {
    const value = JSON.parse(text) as SecretsFile;
    const keys = [value.sessionKey, value.approvalsKey, value.targetKey, ...value.scopeKeys.map((s) => s.key)];
    const days = value.scopeKeys.map((s) => s.day);
    if (value.version === 1 && days.length > 0 && days.every(Number.isInteger) && keys.every(isKey)) {
      return value;
    }
  } catch {
    // Falls through: a parse error quotes the text, which is secret.
  }
  throw new GatewayError('config_invalid', `${path} does not hold the cluster's secrets`);
}

async function write(path: string, content: SecretsFile): Promise<void> {
  const temporary = `${path}.tmp`;
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(`${JSON.stringify(content)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  // If we die here the old file is in force.
  await rename(temporary, path);
  await syncDirectory(dirname(path));
}

function newKey(): string {
  return randomBytes(KEY_SIZE).toString('base64url');
}

function decode(text: string): Buffer {
  return Buffer.from(text, 'base64url');
}

function isKey(text: unknown): boolean {
  return typeof text === 'string' && decode(text).length === KEY_SIZE;
}

import type { Clock } from '../core/kernel/clock.ts';
import { GatewayError } from '../core/kernel/errors.ts';
import { LogCursor } from '../core/bus/file-bus/log-cursor.ts';
import type { LogFiles } from '../core/bus/file-bus/log-files.ts';
import { PartitionLog } from '../core/bus/file-bus/partition-log.ts';
import { readRecord } from '../core/bus/file-bus/segment-format.ts';

const SCAN_BYTES = 1024 * 1024;

/**
 * Named values, appended once and kept: what the key store stores. Each append is flushed before it resolves, many at a
 * time in one flush; a torn tail is cut at start, and damage before it refuses to start (`PartitionLog`).
 *
 * Invariants: `#offsets` names exactly the durable values; `#adding` names those whose flush is in flight.
 * Limit: names are in memory, about 150 bytes each; values are read from disk.
 */
export class KeyLog {
  readonly #log: PartitionLog;
  readonly #offsets = new Map<string, number>();
  readonly #adding = new Map<string, { value: Buffer; done: Promise<void> }>();

  private constructor(log: PartitionLog) {
    this.#log = log;
  }

  static async open(files: LogFiles, clock: Clock): Promise<KeyLog> {
    const log = await PartitionLog.open({
      files,
      clock,
      name: 'key store',
      cleanup: 'delete',
      retentionMs: Number.MAX_SAFE_INTEGER,
    });
    const keys = new KeyLog(log);
    try {
      await keys.#load();
    } catch (error) {
      await log.close();
      throw error;
    }
    return keys;
  }

  get size(): number {
    return this.#offsets.size;
  }

  /** Every name that starts with `prefix`. */
  names(prefix: string): string[] {
    return [...this.#offsets.keys()].filter((name) => name.startsWith(prefix));
  }

  /**
   * Resolves when the value is durable under its name. The same value again is fine; another one rejects
   * `evidence_altered`. Rejects `keystore_unavailable` when the disk failed.
   */
  async put(name: string, value: Buffer): Promise<void> {
    const adding = this.#adding.get(name);
    const existing = adding?.value ?? (await this.get(name));
    if (existing !== undefined) {
      if (!existing.equals(value)) {
        throw new GatewayError('evidence_altered', 'another value is stored under this name');
      }
      await adding?.done;
      return;
    }
    // `get` may have waited: look again before the value becomes ours to add.
    if (this.#adding.has(name) || this.#offsets.has(name)) {
      return this.put(name, value);
    }
    const done = this.#append(name, value);
    this.#adding.set(name, { value, done });
    try {
      await done;
    } finally {
      this.#adding.delete(name);
    }
  }

  async get(name: string): Promise<Buffer | undefined> {
    const offset = this.#offsets.get(name);
    if (offset === undefined) {
      return undefined;
    }
    const cursor = new LogCursor(this.#log, offset);
    try {
      const chunk = await cursor.read(1);
      const record = chunk.length === 0 ? null : readRecord(chunk, 0);
      if (record === null || record.offset !== offset || record.key.toString('latin1') !== name) {
        throw new GatewayError('bus_damaged', 'a record of the key store changed on disk');
      }
      return Buffer.from(record.value);
    } finally {
      await cursor.close();
    }
  }

  close(): Promise<void> {
    return this.#log.close();
  }

  async #append(name: string, value: Buffer): Promise<void> {
    let offset: number;
    try {
      offset = await this.#log.append(Buffer.from(name, 'latin1'), [value]);
    } catch (error) {
      throw new GatewayError('keystore_unavailable', 'the disk of the key store failed', { cause: error });
    }
    this.#offsets.set(name, offset);
  }

  async #load(): Promise<void> {
    const cursor = new LogCursor(this.#log, 0);
    try {
      for (let chunk = await cursor.read(SCAN_BYTES); chunk.length > 0; chunk = await cursor.read(SCAN_BYTES)) {
        for (let at = 0; at < chunk.length;) {
          const record = readRecord(chunk, at);
          if (record === null) {
            throw new GatewayError('bus_damaged', 'a record of the key store changed on disk');
          }
          this.#offsets.set(record.key.toString('latin1'), record.offset);
          at += record.size;
        }
      }
    } finally {
      await cursor.close();
    }
  }
}

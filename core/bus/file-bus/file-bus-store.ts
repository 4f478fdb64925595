import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readU64, writeU64 } from '../../kernel/bytes.ts';
import type { Clock, Timer } from '../../kernel/clock.ts';
import { GatewayError } from '../../kernel/errors.ts';
import type { BusPosition, TopicSettings } from '../bus.ts';
import { checkBusName, checkSameSettings, checkTopicSettings } from '../topic-settings.ts';
import { type LogFiles, openLogFiles, syncDirectory } from './log-files.ts';
import { LogCursor } from './log-cursor.ts';
import { PartitionLog } from './partition-log.ts';
import { readRecord } from './segment-format.ts';

export interface FileBusStoreOptions {
  readonly directory: string;
  readonly clock: Clock;
  readonly segmentBytes?: number;
  readonly partitionBytesMax?: number;
  readonly retentionCheckMs?: number;
  /** Tests put a fault directory here. */
  readonly openFiles?: (directory: string) => Promise<LogFiles>;
}

export interface StoredTopic {
  readonly settings: TopicSettings;
  readonly partitions: readonly PartitionLog[];
}

const RETENTION_CHECK_MS = 60_000;
const READ_BYTES = 1024 * 1024;

/**
 * The directory of a file bus:
 *
 *     topics/<name>/topic.json       settings, written once
 *     topics/<name>/<partition>/     one partition log
 *     consumers/                     a compacted log: "<consumer>/<topic>/<partition>" -> offset u64
 *
 * The caller holds the lock of the directory. Invariant: a topic is in `#topics` only when its directory is durable.
 */
export class FileBusStore {
  readonly #options: FileBusStoreOptions;
  readonly #topics = new Map<string, StoredTopic>();
  readonly #offsets = new Map<string, number>();
  readonly #consumers: PartitionLog;
  #ensuring: Promise<unknown> = Promise.resolve();
  #timer: Timer | null = null;
  #retaining: Promise<void> = Promise.resolve();

  private constructor(options: FileBusStoreOptions, consumers: PartitionLog) {
    this.#options = options;
    this.#consumers = consumers;
  }

  static async open(options: FileBusStoreOptions): Promise<FileBusStore> {
    const topicsDirectory = join(options.directory, 'topics');
    await mkdir(topicsDirectory, { recursive: true, mode: 0o700 });
    await syncDirectory(options.directory);
    const consumers = await openLog(options, join(options.directory, 'consumers'), 'consumers', {
      cleanup: 'compact',
      retentionMs: 0,
    });
    const store = new FileBusStore(options, consumers);
    try {
      await store.#loadOffsets();
      for (const name of await readdir(topicsDirectory)) {
        if (name.startsWith('.')) {
          await rm(join(topicsDirectory, name), { recursive: true }); // A topic whose creation did not finish.
        } else {
          await store.#load(name);
        }
      }
    } catch (error) {
      await store.close();
      throw error;
    }
    store.#schedule();
    return store;
  }

  /** Throws `bus_misconfigured` when it does not exist. */
  topic(name: string): StoredTopic {
    const topic = this.#topics.get(name);
    if (topic === undefined) {
      throw new GatewayError('bus_misconfigured', 'unknown topic');
    }
    return topic;
  }

  describe(name: string): TopicSettings | undefined {
    return this.#topics.get(name)?.settings;
  }

  /** One at a time, so that two clients cannot create one topic twice. */
  ensure(settings: TopicSettings): Promise<void> {
    const result = this.#ensuring.then(() => this.#ensure(settings));
    this.#ensuring = result.catch(() => undefined);
    return result;
  }

  committed(consumer: string, topic: string): (number | undefined)[] {
    checkBusName(consumer);
    const { partitions } = this.topic(topic);
    return partitions.map((_, partition) => this.#offsets.get(`${consumer}/${topic}/${partition}`));
  }

  async commit(consumer: string, topic: string, positions: readonly BusPosition[]): Promise<void> {
    checkBusName(consumer);
    const { partitions } = this.topic(topic);
    for (const { partition } of positions) {
      if (partition >= partitions.length) {
        throw new GatewayError('bus_misconfigured', `${topic} has no partition ${partition}`);
      }
    }
    await Promise.all(
      positions.map(async ({ partition, offset }) => {
        const key = `${consumer}/${topic}/${partition}`;
        const value = Buffer.alloc(8);
        writeU64(value, offset, 0);
        await this.#consumers.append(Buffer.from(key), [value]);
        this.#offsets.set(key, offset);
      }),
    );
  }

  /** Null while every partition takes messages; else the first failure. */
  get failure(): GatewayError | null {
    for (const { partitions } of this.#topics.values()) {
      const failed = partitions.find((p) => p.failure !== null);
      if (failed !== undefined) {
        return failed.failure;
      }
    }
    return this.#consumers.failure;
  }

  /** Deletes and compacts what the settings of each topic allow as of now. */
  async applyRetention(): Promise<void> {
    await this.#consumers.applyRetention();
    for (const { partitions } of this.#topics.values()) {
      for (const partition of partitions) {
        await partition.applyRetention();
      }
    }
  }

  async close(): Promise<void> {
    this.#timer?.cancel();
    await this.#ensuring;
    await this.#retaining;
    const logs = [this.#consumers, ...[...this.#topics.values()].flatMap((t) => t.partitions)];
    await Promise.all(logs.map((log) => log.close()));
  }

  #schedule(): void {
    const delayMs = this.#options.retentionCheckMs ?? RETENTION_CHECK_MS;
    this.#timer = this.#options.clock.after(delayMs, () => {
      // A failed deletion is tried again at the next check; until then more is kept than need be.
      this.#retaining = this.applyRetention().catch(() => undefined);
      this.#schedule();
    });
  }

  async #ensure(settings: TopicSettings): Promise<void> {
    checkTopicSettings(settings);
    const existing = this.#topics.get(settings.name);
    if (existing !== undefined) {
      checkSameSettings(existing.settings, settings);
      return;
    }
    const parent = join(this.#options.directory, 'topics');
    const temporary = join(parent, `.${settings.name}`);
    await rm(temporary, { recursive: true, force: true });
    await mkdir(temporary, { mode: 0o700 });
    const file = await open(join(temporary, 'topic.json'), 'wx', 0o600);
    try {
      await file.writeFile(`${JSON.stringify(settings, null, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await syncDirectory(temporary);
    // If we die here a dotted directory is left, which the next start removes.
    await rename(temporary, join(parent, settings.name));
    await syncDirectory(parent);
    // If we die here the topic exists without partitions; loading creates them.
    await this.#load(settings.name);
  }

  async #load(name: string): Promise<void> {
    const directory = join(this.#options.directory, 'topics', name);
    const settings = parseSettings(await readFile(join(directory, 'topic.json'), 'utf8'), name);
    const partitions: PartitionLog[] = [];
    try {
      for (let partition = 0; partition < settings.partitions; partition++) {
        const log = await openLog(this.#options, join(directory, String(partition)), `${name}/${partition}`, settings);
        partitions.push(log);
      }
      await syncDirectory(directory);
    } catch (error) {
      await Promise.all(partitions.map((log) => log.close()));
      throw error;
    }
    this.#topics.set(name, { settings, partitions });
  }

  async #loadOffsets(): Promise<void> {
    const cursor = new LogCursor(this.#consumers, this.#consumers.start);
    try {
      for (let chunk = await cursor.read(READ_BYTES); chunk.length > 0; chunk = await cursor.read(READ_BYTES)) {
        for (let at = 0; at < chunk.length;) {
          const record = readRecord(chunk, at);
          if (record === null || record.value.length !== 8) {
            throw new GatewayError('bus_damaged', 'the log of consumer offsets');
          }
          this.#offsets.set(record.key.toString(), readU64(record.value, 0));
          at += record.size;
        }
      }
    } finally {
      await cursor.close();
    }
  }
}

async function openLog(
  options: FileBusStoreOptions,
  directory: string,
  name: string,
  settings: Pick<TopicSettings, 'cleanup' | 'retentionMs'>,
): Promise<PartitionLog> {
  return PartitionLog.open({
    files: await (options.openFiles ?? openLogFiles)(directory),
    clock: options.clock,
    name,
    cleanup: settings.cleanup,
    retentionMs: settings.retentionMs,
    ...(options.segmentBytes === undefined ? {} : { segmentBytes: options.segmentBytes }),
    ...(options.partitionBytesMax === undefined ? {} : { partitionBytesMax: options.partitionBytesMax }),
  });
}

function parseSettings(text: string, name: string): TopicSettings {
  let parsed: TopicSettings;
  try {
    parsed = JSON.parse(text) as TopicSettings;
    checkTopicSettings(parsed);
  } catch (error) {
    throw new GatewayError('bus_damaged', `topics/${name}/topic.json`, { cause: error });
  }
  if (parsed.name !== name) {
    throw new GatewayError('bus_damaged', `topics/${name}/topic.json names another topic`);
  }
  return parsed;
}

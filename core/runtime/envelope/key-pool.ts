import { randomBytes } from 'node:crypto';
import type { Clock, Timer } from '../../kernel/clock.ts';
import { GatewayError } from '../../kernel/errors.ts';
import { LIMITS } from '../../kernel/limits.ts';
import { tenantTag } from '../../ledger/leaf.ts';
import type { KeyStore, WrappingKey } from '../key-store.ts';
import { monthOf, monthStartMs } from './month.ts';
import { wrapDataKey } from './wrap-key.ts';

export interface DataKeyPoolOptions {
  readonly store: Pick<KeyStore, 'putKeys' | 'wrappingKeys'>;
  readonly clock: Clock;
  /** 1 payload, 2 originals. */
  readonly keyClass: 1 | 2;
  readonly tenant: string;
  readonly writerId: Buffer;
  /** Stored, unassigned keys to keep. Default `keyPoolSize`. */
  readonly size?: number;
}

/** A data key whose wrapped form is durable in the key store. `key` is zeroed by `release`. */
export interface DataKey {
  readonly keyClass: 1 | 2;
  readonly id: Buffer;
  readonly key: Buffer;
  readonly noncePrefix: Buffer;
  /** Next nonce counter; the sealer that owns the key moves it. */
  counter: number;
  sealedBytes: number;
  takenMs: number;
  readonly month: number;
}

const BATCH_KEYS = 16;
const BACKOFF_MS = 100;
const BACKOFF_MAX_MS = 10_000;
const COUNTER_MAX = 0xffff_fffe;

/**
 * Stored, unassigned data keys of one class, tenant and writer, so that opening a session never waits for the key store.
 *
 * Invariants: a key is in `#fresh` or `#stale` only after the store acknowledged its wrapped form; a key is handed out
 * once; `#fresh` are of month `#month`; at most one refill runs. When the store is down the pool drains, then `take`
 * throws: nothing is ever sealed under a key that could not be opened later.
 * Limit: zeroing is best effort, JavaScript may have copied.
 */
export class DataKeyPool {
  readonly #options: DataKeyPoolOptions;
  readonly #size: number;
  readonly #tenantTag: Buffer;
  #fresh: DataKey[] = [];
  #stale: DataKey[] = [];
  #month: number;
  #wrapping: readonly WrappingKey[] = [];
  #refilling: Promise<void> | null = null;
  #retry: Timer | null = null;
  #backoffMs = BACKOFF_MS;
  #failure: GatewayError | null = null;
  #closed = false;

  constructor(options: DataKeyPoolOptions) {
    this.#options = options;
    this.#size = options.size ?? LIMITS.keyPoolSize;
    this.#tenantTag = tenantTag(options.tenant);
    this.#month = monthOf(options.clock.nowMs());
  }

  /** Fills the pool. Rejects `keystore_unavailable` when not one key could be stored; it goes on trying all the same. */
  async start(): Promise<void> {
    await this.#refill();
    if (this.available === 0) {
      throw this.#failure ?? new GatewayError('keystore_unavailable', 'the pool of data keys is empty');
    }
  }

  get keyClass(): 1 | 2 {
    return this.#options.keyClass;
  }

  get writerId(): Buffer {
    return this.#options.writerId;
  }

  get tenantTag(): Buffer {
    return this.#tenantTag;
  }

  /** Keys that `take` can give without the store. */
  get available(): number {
    return this.#fresh.length + this.#stale.length;
  }

  /** The last failure of the store, null since its last success. */
  get failure(): GatewayError | null {
    return this.#failure;
  }

  /** A key of its own for a session. Throws `keystore_unavailable` when the pool is empty. */
  take(): DataKey {
    this.#turnMonth();
    const key = this.#fresh.shift() ?? this.#stale.shift();
    if (this.#fresh.length <= (this.#size * 3) / 4 && this.#retry === null) {
      void this.#refill();
    }
    if (key === undefined) {
      throw new GatewayError('keystore_unavailable', 'the pool of data keys is empty', { cause: this.#failure });
    }
    key.takenMs = this.#options.clock.monotonicMs();
    return key;
  }

  /** Whether the owner must take another key: after 15 minutes, 1 GiB, or all nonces. */
  isSpent(key: DataKey): boolean {
    const ageMs = this.#options.clock.monotonicMs() - key.takenMs;
    return ageMs >= LIMITS.keyLifeMs || key.sealedBytes >= LIMITS.keyBytesMax || key.counter > COUNTER_MAX;
  }

  /** Ends the life of a key that was taken. */
  release(key: DataKey): void {
    key.key.fill(0);
  }

  /** Resolves when no refill is running: after `close`, the store is no longer in use. */
  async whenIdle(): Promise<void> {
    await this.#refilling;
  }

  close(): void {
    this.#closed = true;
    this.#retry?.cancel();
    for (const key of [...this.#fresh.splice(0), ...this.#stale.splice(0)]) {
      this.release(key);
    }
  }

  /** Resolves when the pool is full or the store refused; never rejects. */
  #refill(): Promise<void> {
    this.#refilling ??= this.#fill().finally(() => {
      this.#refilling = null;
    });
    return this.#refilling;
  }

  async #fill(): Promise<void> {
    this.#turnMonth();
    try {
      while (!this.#closed && this.#fresh.length < this.#size) {
        await this.#addBatch(Math.min(BATCH_KEYS, this.#size - this.#fresh.length));
        this.#failure = null;
        this.#backoffMs = BACKOFF_MS;
      }
    } catch (error) {
      const known = error instanceof GatewayError && error.code === 'keystore_unavailable';
      this.#failure = known ? error : new GatewayError('keystore_unavailable', 'the key store failed');
      this.#retryLater();
    }
  }

  async #addBatch(count: number): Promise<void> {
    const month = this.#month;
    const publicKey = await this.#wrappingKey(month);
    const made = await Promise.all(Array.from({ length: count }, () => this.#make(publicKey, month)));
    try {
      await this.#options.store.putKeys(made.map((m) => m.wrapped));
      // If we die here the store holds wrapped keys that nothing was sealed with: harmless.
    } catch (error) {
      made.forEach(({ dataKey }) => this.release(dataKey));
      throw error;
    }
    const keys = made.map((m) => m.dataKey);
    if (this.#closed) {
      keys.forEach((key) => this.release(key));
    } else if (month === this.#month) {
      this.#fresh.push(...keys);
    } else {
      this.#stale.push(...keys);
    }
  }

  async #make(publicKey: Buffer, month: number): Promise<{ dataKey: DataKey; wrapped: Buffer }> {
    const { keyClass, writerId, clock } = this.#options;
    const key = randomBytes(32);
    const id = randomBytes(16);
    const noncePrefix = randomBytes(8);
    const fields = { keyClass, keyId: id, tenantTag: this.#tenantTag, month, writerId, noncePrefix };
    const wrapped = await wrapDataKey(publicKey, { ...fields, createdMs: clock.nowMs() }, key);
    const dataKey = { keyClass, id, key, noncePrefix, month, counter: 0, sealedBytes: 0, takenMs: 0 };
    return { dataKey, wrapped };
  }

  async #wrappingKey(month: number): Promise<Buffer> {
    const find = (): WrappingKey | undefined =>
      this.#wrapping.find((w) => w.month === month && w.keyClass === this.#options.keyClass);
    if (find() === undefined) {
      this.#wrapping = await this.#options.store.wrappingKeys(this.#options.tenant);
    }
    const found = find();
    if (found === undefined) {
      throw new GatewayError('keystore_unavailable', `the key store has no wrapping key for ${month}`);
    }
    return found.publicKey;
  }

  #retryLater(): void {
    if (this.#closed) {
      return;
    }
    this.#retry = this.#options.clock.after(this.#backoffMs, () => {
      this.#retry = null;
      void this.#refill();
    });
    this.#backoffMs = Math.min(this.#backoffMs * 2, BACKOFF_MAX_MS);
  }

  /**
   * At the turn of a month the keys of the old one stay usable for as long as a session may hold a key anyway, so that
   * the turn needs no store; then they go, because shredding the old month must not reach into the new one.
   */
  #turnMonth(): void {
    const nowMs = this.#options.clock.nowMs();
    const month = monthOf(nowMs);
    if (month !== this.#month) {
      this.#month = month;
      this.#stale.push(...this.#fresh.splice(0));
    }
    if (this.#stale.length > 0 && nowMs - monthStartMs(month) >= LIMITS.keyLifeMs) {
      this.#stale.splice(0).forEach((key) => this.release(key));
    }
  }
}

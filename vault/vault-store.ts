import { GatewayError } from '../core/kernel/errors.ts';
import type { Clock } from '../core/kernel/clock.ts';
import { decodeWrappedKey } from '../core/ledger/wrapped-key.ts';
import { monthOf, nextMonth } from '../core/runtime/envelope/month.ts';
import type { ClusterSecrets, WrappingKey } from '../core/runtime/key-store.ts';
import type { ClusterSecretsFile } from './cluster-secrets.ts';
import type { KeyLog } from './key-log.ts';
import {
  createMonthKey,
  decodeMonthKey,
  encodeMonthKey,
  type Holder,
  type MonthKey,
  type MonthKeyName,
  monthKeyRecordName,
} from './month-key.ts';

export interface VaultStoreOptions {
  readonly keys: KeyLog;
  readonly secrets: ClusterSecretsFile;
  readonly clock: Clock;
  /** To whom payload keys are wrapped; at least one. */
  readonly auditors: readonly Holder[];
  /** To whom originals keys are wrapped. */
  readonly vault: Holder;
}

export const KEYS_PER_CALL_MAX = 1024;
const TENANT = /^[\x21-\x7e]{1,128}$/;

/**
 * What the key store does, apart from wire and files.
 *
 * Invariants: `putKeys` resolves after every key is durable; a month's pair is made once, and answered only when durable;
 * no private key is in memory after the pair was made.
 * Limit: an auditor that is added later cannot open months whose pair was made before.
 */
export class VaultStore {
  readonly #options: VaultStoreOptions;
  readonly #making = new Map<string, Promise<MonthKey>>();

  constructor(options: VaultStoreOptions) {
    if (options.auditors.length === 0) {
      throw new GatewayError('config_invalid', 'the vault needs one auditor at least, or nobody could open payloads');
    }
    this.#options = options;
  }

  /** Rejects `evidence_malformed` for bytes that are no wrapped key, and then stores none of them. */
  async putKeys(wrapped: readonly Buffer[]): Promise<number> {
    checkCount(wrapped.length);
    const named = wrapped.map((bytes) => ({ name: keyName(decodeWrappedKey(bytes).keyId), bytes }));
    await Promise.all(named.map(({ name, bytes }) => this.#options.keys.put(name, bytes)));
    return wrapped.length;
  }

  /** In the order asked; empty where unknown. */
  async getKeys(keyIds: readonly Buffer[]): Promise<Buffer[]> {
    checkCount(keyIds.length);
    return Promise.all(keyIds.map(async (id) => (await this.#options.keys.get(keyName(id))) ?? Buffer.alloc(0)));
  }

  /** The public keys of both classes for this month and the next. */
  async wrappingKeys(tenant: string): Promise<WrappingKey[]> {
    if (!TENANT.test(tenant)) {
      throw new GatewayError('evidence_malformed', 'a tenant is 1 to 128 printable ASCII characters');
    }
    const month = monthOf(this.#options.clock.nowMs());
    const names = [month, nextMonth(month)].flatMap((m) =>
      ([1, 2] as const).map((keyClass) => ({ tenant, keyClass, month: m })),
    );
    const made = await Promise.all(names.map((name) => this.#ensureMonthKey(name)));
    return made.map(({ keyClass, month: m, publicKey }) => ({ keyClass, month: m, publicKey }));
  }

  clusterSecrets(): Promise<ClusterSecrets> {
    return this.#options.secrets.current();
  }

  /** The private half as it was sealed to `holder`; undefined when there is no such month, or it is not theirs. */
  async monthKey(
    name: MonthKeyName,
    holder: string,
  ): Promise<{ enc: Buffer; ciphertext: Buffer; publicKey: Buffer } | undefined> {
    const stored = await this.#options.keys.get(monthKeyRecordName(name));
    const key = stored === undefined ? undefined : decodeMonthKey(stored);
    const wrap = key?.wraps.find((w) => w.holder === holder);
    return key === undefined || wrap === undefined
      ? undefined
      : { enc: wrap.enc, ciphertext: wrap.ciphertext, publicKey: key.publicKey };
  }

  async #ensureMonthKey(name: MonthKeyName): Promise<MonthKey> {
    const recordName = monthKeyRecordName(name);
    const making = this.#making.get(recordName) ?? this.#loadOrMake(name, recordName);
    this.#making.set(recordName, making);
    try {
      return await making;
    } finally {
      this.#making.delete(recordName);
    }
  }

  async #loadOrMake(name: MonthKeyName, recordName: string): Promise<MonthKey> {
    const stored = await this.#options.keys.get(recordName);
    if (stored !== undefined) {
      return decodeMonthKey(stored);
    }
    const { auditors, vault } = this.#options;
    const key = await createMonthKey(name, name.keyClass === 1 ? auditors : [vault]);
    await this.#options.keys.put(recordName, encodeMonthKey(key));
    // If we die here nobody has the public key yet; the next start hands out this same pair.
    return key;
  }
}

function keyName(id: Buffer): string {
  if (id.length !== 16) {
    throw new GatewayError('evidence_malformed', 'a key id is 16 bytes');
  }
  return `key/${id.toString('hex')}`;
}

function checkCount(count: number): void {
  if (count > KEYS_PER_CALL_MAX) {
    throw new GatewayError('evidence_malformed', `at most ${KEYS_PER_CALL_MAX} keys in one call`);
  }
}

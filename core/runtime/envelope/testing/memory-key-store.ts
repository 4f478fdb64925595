import { GatewayError } from '../../../kernel/errors.ts';
import { decodeWrappedKey } from '../../../ledger/wrapped-key.ts';
import type { ClusterSecrets, KeyStore, WrappingKey } from '../../key-store.ts';
import { generateX25519, type X25519Pair } from '../hpke.ts';
import { nextMonth } from '../month.ts';

/** A key store in memory. `down` makes every call reject; `held` makes `putKeys` wait for `letGo`. */
export class MemoryKeyStore implements KeyStore {
  down = false;
  held = false;
  /** Acknowledged wrapped keys by id, hex. */
  readonly stored = new Map<string, Buffer>();
  readonly putSizes: number[] = [];
  readonly #pairs = new Map<string, X25519Pair>();
  readonly #secrets: ClusterSecrets;
  readonly #month: () => number;
  #waiting: (() => void)[] = [];

  /** `month` says which month it is, YYYYMM. */
  constructor(month: () => number) {
    this.#month = month;
    const key = (byte: number): Buffer => Buffer.alloc(32, byte);
    this.#secrets = {
      sessionKey: key(1),
      approvalsKey: key(2),
      targetKey: key(3),
      scopeKey: key(4),
      scopeDay: 20260101,
    };
  }

  async putKeys(wrapped: readonly Buffer[]): Promise<void> {
    this.putSizes.push(wrapped.length);
    if (this.held) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#check();
    for (const bytes of wrapped) {
      this.stored.set(decodeWrappedKey(bytes).keyId.toString('hex'), bytes);
    }
  }

  async wrappingKeys(tenant: string): Promise<WrappingKey[]> {
    this.#check();
    const month = this.#month();
    return [month, nextMonth(month)].flatMap((m) =>
      ([1, 2] as const).map((keyClass) => ({
        keyClass,
        month: m,
        publicKey: this.pair(tenant, keyClass, m).publicKey,
      })),
    );
  }

  async clusterSecrets(): Promise<ClusterSecrets> {
    this.#check();
    return this.#secrets;
  }

  /** Lets every waiting `putKeys` go on. */
  letGo(): void {
    this.held = false;
    this.#waiting.splice(0).forEach((resolve) => resolve());
  }

  pair(tenant: string, keyClass: 1 | 2, month: number): X25519Pair {
    const name = `${tenant}/${keyClass}/${month}`;
    const pair = this.#pairs.get(name) ?? generateX25519();
    this.#pairs.set(name, pair);
    return pair;
  }

  #check(): void {
    if (this.down) {
      throw new GatewayError('keystore_unavailable', 'switched off');
    }
  }
}

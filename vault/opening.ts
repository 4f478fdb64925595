import { GatewayError } from '../core/kernel/errors.ts';
import { decodeUnitHeader, openUnit, type UnitContext } from '../core/ledger/sealed-unit.ts';
import { tenantTag } from '../core/ledger/leaf.ts';
import { decodeWrappedKey } from '../core/ledger/wrapped-key.ts';
import { unwrapDataKey } from '../core/runtime/envelope/wrap-key.ts';
import type { HolderKey } from './key-file.ts';
import { type MonthKeyName, openMonthKey } from './month-key.ts';

/** The key store as the opening side sees it; `VaultClient` with an auditor's certificate is one. */
export interface OpeningSource {
  /** In the order asked; undefined where unknown. */
  getKeys(keyIds: readonly Buffer[]): Promise<(Buffer | undefined)[]>;
  monthKey(name: MonthKeyName, holder: string): Promise<{ enc: Buffer; ciphertext: Buffer; publicKey: Buffer }>;
}

/**
 * Opens one sealed unit with the month's private key. `context` says where the unit was found, so it opens only there.
 * Rejects `evidence_malformed` for bytes of another format and `evidence_altered` for a wrong key, a wrong place and a
 * changed byte.
 */
export async function openSealedUnit(
  sealed: Buffer,
  wrappedKey: Buffer,
  monthPrivateKey: Buffer,
  context: UnitContext,
): Promise<Buffer> {
  checkBelongs(sealed, wrappedKey, context);
  const { key } = await unwrapDataKey(wrappedKey, monthPrivateKey);
  try {
    return openUnit(sealed, { ...context, key });
  } finally {
    key.fill(0);
  }
}

/**
 * Opens the units of many records of one tenant: asks the key store for each key and each month once.
 *
 * Invariant: keys in clear live only in this object; `close` zeroes them, best effort.
 */
export class UnitOpener {
  readonly #source: OpeningSource;
  readonly #tenant: string;
  readonly #holder: HolderKey;
  readonly #months = new Map<string, Promise<Buffer>>();
  readonly #keys = new Map<string, Promise<{ wrapped: Buffer; key: Buffer }>>();

  constructor(source: OpeningSource, tenant: string, holder: HolderKey) {
    this.#source = source;
    this.#tenant = tenant;
    this.#holder = holder;
  }

  /** As `openSealedUnit`; rejects `evidence_incomplete` when the key store does not know the key (shredded, or lost). */
  async open(sealed: Buffer, context: UnitContext): Promise<Buffer> {
    const { keyId } = decodeUnitHeader(sealed);
    const { wrapped, key } = await once(this.#keys, keyId.toString('hex'), () => this.#fetchKey(keyId));
    checkBelongs(sealed, wrapped, context);
    return openUnit(sealed, { ...context, key });
  }

  async close(): Promise<void> {
    const keys = await Promise.allSettled([...this.#keys.values()].map(async (entry) => (await entry).key));
    const months = await Promise.allSettled(this.#months.values());
    for (const result of [...keys, ...months]) {
      if (result.status === 'fulfilled') {
        result.value.fill(0);
      }
    }
    this.#keys.clear();
    this.#months.clear();
  }

  async #fetchKey(keyId: Buffer): Promise<{ wrapped: Buffer; key: Buffer }> {
    const [wrapped] = await this.#source.getKeys([keyId]);
    if (wrapped === undefined) {
      throw new GatewayError('evidence_incomplete', 'the key store does not know the key of this unit');
    }
    const fields = decodeWrappedKey(wrapped);
    if (!fields.tenantTag.equals(tenantTag(this.#tenant))) {
      throw new GatewayError('evidence_altered', 'the key of this unit is of another tenant');
    }
    const name = { tenant: this.#tenant, keyClass: fields.keyClass, month: fields.month };
    const monthPrivateKey = await once(this.#months, `${name.keyClass}/${name.month}`, async () =>
      openMonthKey(name, await this.#source.monthKey(name, this.#holder.id), this.#holder),
    );
    return { wrapped, key: (await unwrapDataKey(wrapped, monthPrivateKey)).key };
  }
}

/** A unit must name the key, and lie where the key was for: the same class, tenant, writer and nonce prefix. */
function checkBelongs(sealed: Buffer, wrappedKey: Buffer, context: UnitContext): void {
  const unit = decodeUnitHeader(sealed);
  const key = decodeWrappedKey(wrappedKey);
  const belongs =
    unit.keyId.equals(key.keyId) &&
    unit.unitClass === key.keyClass &&
    unit.nonce.subarray(0, key.noncePrefix.length).equals(key.noncePrefix) &&
    context.tenantTag.equals(key.tenantTag) &&
    context.writerId.equals(key.writerId);
  if (!belongs) {
    throw new GatewayError('evidence_altered', 'the wrapped key is not the one of this unit');
  }
}

/** The promise under `name`, made when absent and forgotten when it failed, so that a later call tries again. */
function once<T>(cache: Map<string, Promise<T>>, name: string, make: () => Promise<T>): Promise<T> {
  const existing = cache.get(name);
  if (existing !== undefined) {
    return existing;
  }
  const made = make();
  cache.set(name, made);
  made.catch(() => cache.delete(name));
  return made;
}

import { assert } from '../../kernel/assert.ts';
import { sealUnit, type UnitDirection, unitNonce } from '../../ledger/sealed-unit.ts';
import type { RecordUnit } from '../writer/evidence-writer.ts';
import type { DataKey, DataKeyPool } from './key-pool.ts';

/** What differs from unit to unit. */
export interface UnitInput {
  /** Index of the record that will carry the unit: the writer's `nextIndex`, with no append in between. */
  readonly index: number;
  readonly direction: UnitDirection;
  /** No further unit of this class follows in this direction. */
  readonly final: boolean;
  /** 32 bytes. */
  readonly planDigest: Buffer;
  readonly plaintext: Uint8Array;
}

/**
 * Seals the units of one class of one session. Synchronous: the key was stored before it came here.
 *
 * Invariants: a (key, counter) pair seals once; `#key` is replaced as soon as it is spent, and zeroed then.
 */
export class UnitSealer {
  readonly #pool: DataKeyPool;
  readonly #sessionId: Buffer;
  #key: DataKey | null = null;
  #closed = false;

  /** Takes no key yet: a session that seals nothing costs none. */
  constructor(pool: DataKeyPool, sessionId: Buffer) {
    this.#pool = pool;
    this.#sessionId = sessionId;
  }

  /** Throws `keystore_unavailable` when a new key is due and the pool is empty. */
  seal(input: UnitInput): RecordUnit {
    assert(!this.#closed, 'a closed session seals nothing');
    const key = this.#currentKey();
    const nonce = unitNonce(key.noncePrefix, key.counter);
    // Before the seal, so that not even a failure in it can use the nonce again.
    key.counter += 1;
    key.sealedBytes += input.plaintext.length;
    const bytes = sealUnit({
      key: key.key,
      unitClass: key.keyClass,
      keyId: key.id,
      nonce,
      writerId: this.#pool.writerId,
      tenantTag: this.#pool.tenantTag,
      sessionId: this.#sessionId,
      index: input.index,
      direction: input.direction,
      final: input.final,
      planDigest: input.planDigest,
      plaintext: input.plaintext,
    });
    return { unitClass: key.keyClass, keyId: key.id, bytes };
  }

  /** Zeroes the key. */
  close(): void {
    this.#closed = true;
    this.#drop();
  }

  #currentKey(): DataKey {
    if (this.#key !== null && this.#pool.isSpent(this.#key)) {
      this.#drop();
    }
    this.#key ??= this.#pool.take();
    return this.#key;
  }

  #drop(): void {
    if (this.#key !== null) {
      this.#pool.release(this.#key);
      this.#key = null;
    }
  }
}

import { GatewayError } from '../../../core/kernel/errors.ts';
import type { DataKey, DataKeySource } from '../../../core/runtime/envelope/data-key.ts';

/** Keys in order 1, 2, 3 …; `exhausted` behaves as an empty pool. */
export class FakeKeys implements DataKeySource {
  exhausted = false;
  taken = 0;

  take(): DataKey {
    if (this.exhausted) {
      throw new GatewayError('keystore_unavailable');
    }
    const number = ++this.taken;
    let counter = 0;
    return {
      id: Buffer.alloc(16, number),
      key: Buffer.alloc(32, number),
      nextNonce: () => {
        const nonce = Buffer.alloc(12, number);
        nonce.writeUInt32BE(counter++, 8);
        return nonce;
      },
      isSpent: () => false,
      release: () => undefined,
    };
  }
}

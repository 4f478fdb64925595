import { GatewayError } from '../../../core/kernel/errors.ts';
import { sealUnit, unitNonce } from '../../../core/ledger/sealed-unit.ts';
import type { UnitInput } from '../../../core/runtime/envelope/unit-sealer.ts';
import type { RecordUnit } from '../../../core/runtime/writer/evidence-writer.ts';
import type { Sealer, SessionSealers } from '../strand.ts';

/** Real seals under fixed keys, so that a test can open them; `exhausted` behaves as an empty key pool. */
export class FakeSealers {
  exhausted = false;
  readonly writerId: Buffer;

  constructor(writerId: Buffer) {
    this.writerId = writerId;
  }

  readonly forSession = (sessionId: Buffer): SessionSealers => ({
    payload: this.#sealer(sessionId, 1),
    originals: this.#sealer(sessionId, 2),
  });

  static key(unitClass: 1 | 2): Buffer {
    return Buffer.alloc(32, unitClass);
  }

  #sealer(sessionId: Buffer, unitClass: 1 | 2): Sealer {
    let counter = 0;
    return {
      seal: (input: UnitInput): RecordUnit => {
        if (this.exhausted) {
          throw new GatewayError('keystore_unavailable');
        }
        const keyId = Buffer.alloc(16, unitClass);
        const bytes = sealUnit({
          ...input,
          key: FakeSealers.key(unitClass),
          unitClass,
          keyId,
          nonce: unitNonce(Buffer.alloc(8, unitClass), counter++),
          writerId: this.writerId,
          tenantTag: Buffer.alloc(16),
          sessionId,
        });
        return { unitClass, keyId, bytes };
      },
      close: () => undefined,
    };
  }
}

import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LIMITS } from '../../kernel/limits.ts';
import { ManualClock } from '../../kernel/testing/manual-clock.ts';
import { decodeUnitHeader, openUnit } from '../../ledger/sealed-unit.ts';
import { DataKeyPool } from './key-pool.ts';
import { monthOf } from './month.ts';
import { MemoryKeyStore } from './testing/memory-key-store.ts';
import { UnitSealer } from './unit-sealer.ts';
import { unwrapDataKey } from './wrap-key.ts';

const SESSION = Buffer.alloc(16, 9);
const PLAN = Buffer.alloc(32, 8);

describe('UnitSealer', () => {
  test('seals units that open with the stored key at their place, with a new nonce each', async () => {
    const { sealer, pool, store, clock } = await fixture(2);
    const nonces = new Set<string>();
    for (let index = 0; index < 5; index++) {
      const plaintext = Buffer.from(`unit ${index}`);
      const unit = sealer.seal({ index, direction: 2, final: index === 4, planDigest: PLAN, plaintext });
      const header = decodeUnitHeader(unit.bytes);
      equal(unit.unitClass, 2);
      ok(header.keyId.equals(unit.keyId));
      nonces.add(header.nonce.toString('hex'));
      const wrapped = store.stored.get(unit.keyId.toString('hex'));
      ok(wrapped !== undefined);
      const { key } = await unwrapDataKey(wrapped, store.pair('acme', 2, monthOf(clock.nowMs())).privateKey);
      const place = { writerId: pool.writerId, tenantTag: pool.tenantTag, sessionId: SESSION, planDigest: PLAN };
      deepEqual(openUnit(unit.bytes, { ...place, index, key }).toString(), `unit ${index}`);
      throws(() => openUnit(unit.bytes, { ...place, index: index + 1, key }), { code: 'evidence_altered' });
    }
    equal(nonces.size, 5);
  });

  test('takes another key when the first is spent, and zeroes the first', async () => {
    const { sealer, clock } = await fixture(2);
    const first = seal(sealer, 0);
    ok(seal(sealer, 1).keyId.equals(first.keyId), 'one key for the session');
    clock.advance(LIMITS.keyLifeMs);
    ok(!seal(sealer, 2).keyId.equals(first.keyId));
  });

  test('takes no key before the first seal, and refuses when there is none', async () => {
    const { sealer, pool, store } = await fixture(1);
    equal(pool.available, 1);
    store.down = true;
    pool.take();
    throws(() => seal(sealer, 0), { code: 'keystore_unavailable' });
  });

  test('seals nothing after close', async () => {
    const { sealer } = await fixture(1);
    seal(sealer, 0);
    sealer.close();
    throws(() => seal(sealer, 1), { name: 'InvariantError' });
  });
});

async function fixture(size: number): Promise<{
  sealer: UnitSealer;
  pool: DataKeyPool;
  store: MemoryKeyStore;
  clock: ManualClock;
}> {
  const clock = new ManualClock();
  const store = new MemoryKeyStore(() => monthOf(clock.nowMs()));
  const writerId = Buffer.alloc(16, 1);
  const pool = new DataKeyPool({ store, clock, keyClass: 2, tenant: 'acme', writerId, size });
  await pool.start();
  return { sealer: new UnitSealer(pool, SESSION), pool, store, clock };
}

function seal(sealer: UnitSealer, index: number): ReturnType<UnitSealer['seal']> {
  return sealer.seal({ index, direction: 1, final: true, planDigest: PLAN, plaintext: Buffer.from('x') });
}

import { deepEqual, equal, notEqual, ok, rejects, throws } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LIMITS } from '../../kernel/limits.ts';
import { ManualClock } from '../../kernel/testing/manual-clock.ts';
import { tenantTag } from '../../ledger/leaf.ts';
import { DataKeyPool } from './key-pool.ts';
import { monthOf } from './month.ts';
import { MemoryKeyStore } from './testing/memory-key-store.ts';
import { unwrapDataKey } from './wrap-key.ts';

const WRITER = Buffer.alloc(16, 5);
const DAY_MS = 86_400_000;

describe('DataKeyPool', () => {
  test('fills in batches, and every key it gives is stored, wrapped to the month, and opens to itself', async () => {
    const { pool, store, clock } = fixture({ size: 40 });
    await pool.start();
    deepEqual(store.putSizes, [16, 16, 8]);
    const ids = new Set<string>();
    for (let i = 0; i < 40; i++) {
      const key = pool.take();
      ids.add(key.id.toString('hex'));
      const wrapped = store.stored.get(key.id.toString('hex'));
      ok(wrapped !== undefined, 'the store acknowledged it');
      const pair = store.pair('acme', 1, monthOf(clock.nowMs()));
      const opened = await unwrapDataKey(wrapped, pair.privateKey);
      ok(opened.key.equals(key.key) && opened.fields.noncePrefix.equals(key.noncePrefix));
      ok(opened.fields.tenantTag.equals(tenantTag('acme')) && opened.fields.writerId.equals(WRITER));
    }
    equal(ids.size, 40, 'each key is given once');
  });

  test('gives no key before the store acknowledged it', async () => {
    const { pool, store } = fixture({ size: 8 });
    store.held = true;
    const started = pool.start();
    await until(() => store.putSizes.length === 1);
    throws(() => pool.take(), { code: 'keystore_unavailable' });
    equal(store.stored.size, 0);
    store.letGo();
    await started;
    equal(pool.available, 8);
    ok(store.stored.has(pool.take().id.toString('hex')));
  });

  test('drains while the store is down, then refuses, tries again later and recovers', async () => {
    const { pool, store, clock } = fixture({ size: 8 });
    await pool.start();
    store.down = true;
    for (let i = 0; i < 8; i++) {
      pool.take();
    }
    throws(() => pool.take(), { code: 'keystore_unavailable' });
    await until(() => pool.failure !== null);
    for (const delayMs of [100, 200, 400]) {
      const before = store.putSizes.length;
      clock.advance(delayMs - 1);
      equal(store.putSizes.length, before, 'waits between the attempts');
      clock.advance(1);
      await pool.whenIdle();
      equal(store.putSizes.length, before + 1);
    }
    throws(() => pool.take(), { code: 'keystore_unavailable' });
    store.down = false;
    clock.advance(800);
    await until(() => pool.available === 8);
    equal(pool.failure, null);
    ok(store.stored.has(pool.take().id.toString('hex')));
  });

  test('does not ask a dead store again for every session', async () => {
    const { pool, store } = fixture({ size: 8 });
    await pool.start();
    store.down = true;
    pool.take();
    pool.take();
    await until(() => pool.failure !== null);
    const asked = store.putSizes.length;
    for (let i = 0; i < 6; i++) {
      pool.take();
    }
    for (let i = 0; i < 100; i++) {
      throws(() => pool.take(), { code: 'keystore_unavailable' });
    }
    await pool.whenIdle();
    equal(store.putSizes.length, asked);
  });

  test('rejects the start when the store is down, and fills when it comes', async () => {
    const { pool, store, clock } = fixture({ size: 4 });
    store.down = true;
    await rejects(pool.start(), { code: 'keystore_unavailable' });
    store.down = false;
    clock.advance(100);
    await until(() => pool.available === 4);
  });

  test('refills in the background when a quarter is gone', async () => {
    const { pool } = fixture({ size: 8 });
    await pool.start();
    pool.take();
    equal(pool.available, 7);
    pool.take();
    await until(() => pool.available === 8);
  });

  for (const [what, spend] of [
    ['its age', (f: Fixture, key: { sealedBytes: number }) => void (f.clock.advance(LIMITS.keyLifeMs - 1), key)],
    ['its bytes', (_: Fixture, key: { sealedBytes: number }) => void (key.sealedBytes = LIMITS.keyBytesMax - 1)],
    ['its nonces', (_: Fixture, key: { counter: number }) => void (key.counter = 0xffff_fffe)],
  ] as const) {
    test(`calls a key spent at the limit of ${what}, not before`, async () => {
      const f = fixture({ size: 2 });
      await f.pool.start();
      const key = f.pool.take();
      spend(f, key);
      equal(f.pool.isSpent(key), false);
      f.clock.advance(what === 'its age' ? 1 : 0);
      key.sealedBytes += what === 'its bytes' ? 1 : 0;
      key.counter += what === 'its nonces' ? 1 : 0;
      equal(f.pool.isSpent(key), true);
    });
  }

  test('goes over to the keys of a new month, and drops the old ones after the life of a key', async () => {
    const { pool, store, clock } = fixture({ size: 4, startMs: Date.UTC(2026, 11, 31, 23, 59) });
    await pool.start();
    equal(pool.take().month, 202612);
    store.down = true;
    clock.advance(60_000);
    equal(pool.take().month, 202612, 'usable for a while: the turn needs no store');
    await until(() => pool.failure !== null);
    clock.advance(LIMITS.keyLifeMs);
    await pool.whenIdle();
    throws(() => pool.take(), { code: 'keystore_unavailable' });
    store.down = false;
    clock.advance(DAY_MS);
    await until(() => pool.available === 4);
    equal(pool.take().month, 202701);
  });

  test('zeroes keys on release and on close', async () => {
    const { pool } = fixture({ size: 2 });
    await pool.start();
    const key = pool.take();
    notEqual(key.key.equals(Buffer.alloc(32)), true);
    pool.release(key);
    ok(key.key.equals(Buffer.alloc(32)));
    pool.close();
    equal(pool.available, 0);
    await pool.whenIdle();
    equal(pool.available, 0, 'also not by a refill that was under way');
  });
});

type Fixture = ReturnType<typeof fixture>;

function fixture(options: { size: number; startMs?: number }): {
  pool: DataKeyPool;
  store: MemoryKeyStore;
  clock: ManualClock;
} {
  const clock = new ManualClock(options.startMs);
  const store = new MemoryKeyStore(() => monthOf(clock.nowMs()));
  const pool = new DataKeyPool({ store, clock, keyClass: 1, tenant: 'acme', writerId: WRITER, size: options.size });
  return { pool, store, clock };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

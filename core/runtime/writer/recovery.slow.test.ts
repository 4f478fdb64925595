import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SeededRandom } from '../../kernel/testing/seeded-random.ts';
import { FaultDisk, type DiskFault, type DiskOperation } from '../testing/fault-disk.ts';
import { recoverJournals, releaseRecovered } from './recovery.ts';
import { CrashScenario, randomTraffic } from './testing/crash-scenario.ts';
import { settle } from './testing/writer-fixture.ts';

const SCALE = Number(process.env['CHAPERONE_TEST_SCALE'] ?? '1');

/** A fixed life that crosses a segment border, frees a segment and closes. */
async function fixedLife(scenario: CrashScenario): Promise<void> {
  await scenario.open();
  for (let i = 0; i < 60; i++) {
    scenario.append(`${i} ${'y'.repeat(400)}`);
    if (i % 7 === 6) {
      await settle(6);
      scenario.clock.advance(120);
      await settle(6);
    }
    if (i === 45) {
      scenario.archive(scenario.writer?.status.publisher.published ?? 0);
    }
  }
  await settle(10);
  await scenario.writer?.close();
}

describe('a crash at any step of the disk', () => {
  // Fault table: every operation, died before it was done and died after it was done but before anybody knew.
  for (const applied of [false, true]) {
    test(`${applied ? 'done, not reported' : 'not done'}: nothing acknowledged is lost, nothing is invented`, async () => {
      const dry = new CrashScenario(new FaultDisk(), false);
      await fixedLife(dry);
      const total = dry.disk.operations;
      ok(total > 20, `${total} operations`);
      for (let operation = 1; operation <= total; operation++) {
        const scenario = new CrashScenario(new FaultDisk({ seed: operation }), false);
        const died = scenario.disk.dieAt(operation, applied);
        await Promise.race([died, fixedLife(scenario)]);
        await died;
        scenario.disk.crash();
        await scenario.check(`operation ${operation} of ${total}`);
      }
    });
  }

  test('also when the next recovery dies at any step', async () => {
    const scenario = new CrashScenario(new FaultDisk({ seed: 5 }), false);
    const died = scenario.disk.dieAt(40, true);
    await Promise.race([died, fixedLife(scenario)]);
    scenario.disk.crash();
    for (let operation = 1; operation <= 6; operation++) {
      const dead = scenario.disk.dieAt(operation, operation % 2 === 0);
      await Promise.race([dead, recoverJournals(scenario.disk)]);
      scenario.disk.crash();
    }
    ok((await scenario.check('after six dead recoveries')) !== null);
  });
});

describe('a fault of the disk', () => {
  const table: readonly { operation: DiskOperation; fault: DiskFault; name: RegExp; code: string; heals: boolean }[] = [
    { operation: 'datasync', fault: { kind: 'error', code: 'EIO' }, name: /seg$/, code: 'disk_failed', heals: false },
    { operation: 'datasync', fault: { kind: 'applied', code: 'EIO' }, name: /seg$/, code: 'disk_failed', heals: false },
    { operation: 'write', fault: { kind: 'error', code: 'EIO' }, name: /seg$/, code: 'disk_failed', heals: false },
    { operation: 'write', fault: { kind: 'applied', code: 'EIO' }, name: /seg$/, code: 'disk_failed', heals: false },
    { operation: 'write', fault: { kind: 'error', code: 'ENOSPC' }, name: /seg$/, code: 'disk_full', heals: true },
    { operation: 'write', fault: { kind: 'error', code: 'EDQUOT' }, name: /seg$/, code: 'disk_full', heals: true },
    { operation: 'write', fault: { kind: 'short', bytes: 0 }, name: /seg$/, code: 'disk_full', heals: true },
    { operation: 'write', fault: { kind: 'short', bytes: 512 }, name: /seg$/, code: 'disk_full', heals: true },
    { operation: 'write', fault: { kind: 'short', bytes: 1500 }, name: /seg$/, code: 'disk_full', heals: true },
  ];
  for (const { operation, fault, name, code, heals } of table) {
    for (const after of [1, 2, 5]) {
      test(`${operation} ${JSON.stringify(fault)} after ${after}: ${code}, ${heals ? 'heals' : 'stays'}`, async () => {
        const scenario = new CrashScenario(new FaultDisk({ seed: after }), true);
        await scenario.open();
        scenario.disk.inject({ operation, fault, name, after });
        for (let i = 0; i < 40; i++) {
          scenario.append(`${i} ${'z'.repeat(300)}`);
          await settle(i % 4 === 3 ? 2 : 0); // Four records a group: more than any short write of the table.
        }
        await settle();
        equal(scenario.writer?.failure?.code, code);
        equal(scenario.failures, 1);
        ok(scenario.refused.length > 0, 'who waited was told');
        const told = [...scenario.acknowledged, ...scenario.refused].sort((a, b) => a - b);
        deepEqual(told, [...scenario.appended.keys()], 'everybody was told exactly once');
        equal(scenario.append('refused'), false);
        scenario.clock.advance(1000);
        await settle();
        equal(scenario.append('after a second'), heals);
        await settle();
        if (heals) {
          equal(scenario.writer?.failure, null);
          equal(
            scenario.acknowledged.at(-1),
            scenario.writer?.nextIndex === undefined ? 0 : scenario.writer.nextIndex - 1,
          );
        }
        scenario.disk.crash();
        ok((await scenario.check('after the fault')) !== null);
      });
    }
  }

  test('the account of an outage is in the log, and the epoch ends cleanly on a failed disk', async () => {
    const scenario = new CrashScenario(new FaultDisk(), true);
    await scenario.open();
    scenario.disk.inject({ operation: 'datasync', fault: { kind: 'error', code: 'EIO' }, name: /seg$/ });
    scenario.append('lost its first place');
    await settle();
    deepEqual(scenario.refused, [1]);
    const closed = await scenario.writer?.close();
    deepEqual(closed, { clean: true, size: 4, published: true }, 'epoch.open, the record, gap.declared, epoch.close');
    scenario.disk.crash();
    const journal = await scenario.check('closed after EIO');
    equal(journal?.state, 'clean');
  });
});

describe('a full disk', () => {
  test('accepts what has room, then refuses; heals when files are archived', async () => {
    const scenario = new CrashScenario(new FaultDisk({ capacityBytes: 130_000 }), true);
    await scenario.open();
    let refusedAt = -1;
    for (let i = 0; i < 400 && refusedAt < 0; i++) {
      refusedAt = scenario.append(`${i} ${'f'.repeat(500)}`) ? -1 : i;
      await settle(2);
      scenario.clock.advance(50);
    }
    await settle();
    ok(refusedAt > 50, `refused at ${refusedAt}`);
    equal(scenario.writer?.failure?.code, 'disk_full');
    deepEqual(scenario.refused, [], 'what was accepted had a place');
    equal(scenario.acknowledged.length, scenario.appended.size);
    scenario.clock.advance(5000);
    await settle();
    equal(scenario.append('still full'), false);
    scenario.archive(scenario.writer?.status.publisher.published ?? 0);
    await settle();
    scenario.clock.advance(1000);
    await settle();
    equal(scenario.writer?.failure, null);
    equal(scenario.append('room again'), true);
    await settle();
    equal(scenario.acknowledged.at(-1), (scenario.writer?.nextIndex ?? 0) - 1);
    scenario.disk.crash();
    await scenario.check('after a full disk');
  });

  test('epoch.close goes into the reserve', async () => {
    const scenario = new CrashScenario(new FaultDisk({ capacityBytes: 130_000 }), true);
    await scenario.open();
    for (let i = 0; i < 400; i++) {
      scenario.append(`${i} ${'f'.repeat(500)}`);
      await settle(1);
    }
    equal(scenario.writer?.failure?.code, 'disk_full');
    await settle();
    equal((await scenario.writer?.close())?.clean, true);
    scenario.disk.crash();
    equal((await scenario.check('closed on a full disk'))?.state, 'clean');
  });
});

test('random lives end in a crash without losing what was acknowledged', async () => {
  const cycles = 120 * SCALE;
  let acknowledged = 0;
  let torn = 0;
  for (let seed = 1; seed <= cycles; seed++) {
    const random = new SeededRandom(seed);
    const scenario = new CrashScenario(
      new FaultDisk({ seed, capacityBytes: random.next() < 0.2 ? 160_000 : 1e9 }),
      false,
    );
    const died = scenario.disk.dieAt(1 + random.below(150), random.next() < 0.5);
    if (random.next() < 0.3) {
      const fault: DiskFault = random.pick<DiskFault>([
        { kind: 'short', bytes: 512 * random.below(8) },
        { kind: 'error', code: 'EIO' },
        { kind: 'error', code: 'ENOSPC' },
        { kind: 'hang' },
      ]);
      const operation = fault.kind === 'short' ? 'write' : random.pick(['write', 'datasync', 'create'] as const);
      scenario.disk.inject({ operation, fault, after: 5 + random.below(30), name: /seg$/ });
    }
    const life = (async () => {
      await scenario.open({ publishQueueBatchesMax: 1 + random.below(4) });
      await randomTraffic(scenario, random, 40 + random.below(80));
      if (random.next() < 0.2) {
        await scenario.writer?.close();
      }
    })();
    await Promise.race([died, life.catch(() => undefined), turns(600)]);
    scenario.disk.heal();
    scenario.disk.crash(random.next() < 0.3);
    try {
      const journal = await scenario.check(`seed ${seed}`);
      acknowledged += scenario.acknowledged.length;
      torn += journal?.state === 'torn' ? 1 : 0;
    } catch (error) {
      console.error(`seed ${seed}`);
      throw error;
    }
  }
  ok(acknowledged > cycles * 10, `${acknowledged} acknowledged in ${cycles} lives`);
  ok(torn > 0, 'some tails were torn');
});

test('a recovered journal is removed when it is archived, not before', async () => {
  const scenario = new CrashScenario(new FaultDisk(), false);
  await scenario.open();
  for (let i = 0; i < 50; i++) {
    scenario.append(`${i} ${'r'.repeat(400)}`);
    await settle(2);
  }
  scenario.disk.crash();
  const journal = await scenario.check('plain crash');
  ok(journal !== null);
  equal(journal.state, 'crash');
  equal(await releaseRecovered(scenario.disk, journal, journal.size - 1), false);
  equal((await recoverJournals(scenario.disk)).length, 1);
  equal(await releaseRecovered(scenario.disk, journal, journal.size), true);
  deepEqual(await scenario.disk.list(), []);
});

async function turns(count: number): Promise<void> {
  await settle(count);
}

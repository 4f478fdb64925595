import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { LIMITS } from '../../core/kernel/limits.ts';
import { ManualClock } from '../../core/kernel/testing/manual-clock.ts';
import { HeartbeatMonitor, type HeartbeatVerdict } from './heartbeat.ts';

function watch(): {
  clock: ManualClock;
  beat: { value: number };
  verdicts: HeartbeatVerdict[];
  monitor: HeartbeatMonitor;
} {
  const clock = new ManualClock();
  const beat = { value: 0 };
  const verdicts: HeartbeatVerdict[] = [];
  const monitor = new HeartbeatMonitor(clock, [() => beat.value], (_worker, verdict) => verdicts.push(verdict));
  monitor.start();
  return { clock, beat, verdicts, monitor };
}

test('a worker that beats is alive', () => {
  const { clock, beat, verdicts } = watch();
  for (let i = 0; i < 8; i++) {
    beat.value++;
    clock.advance(LIMITS.heartbeatMs);
  }
  deepEqual(new Set(verdicts), new Set(['alive']));
});

test('three missed beats make a worker late, two seconds make it dead', () => {
  const { clock, verdicts } = watch();
  clock.advance(LIMITS.heartbeatMs * 2);
  deepEqual(verdicts, []);
  clock.advance(LIMITS.heartbeatMs);
  deepEqual(verdicts, ['late']);
  clock.advance(LIMITS.heartbeatDeadMs - LIMITS.heartbeatMs * 3);
  equal(verdicts.at(-1), 'dead');
});

test('nobody is judged while the main thread itself was late', () => {
  const { clock, verdicts, monitor } = watch();
  monitor.stop();
  clock.advance(LIMITS.heartbeatDeadMs * 3);
  monitor.look();
  deepEqual(verdicts, ['unjudged']);
});

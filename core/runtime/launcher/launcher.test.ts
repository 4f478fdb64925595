import { deepEqual, equal, notEqual, ok, rejects } from 'node:assert/strict';
import { once, EventEmitter } from 'node:events';
import { join, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { SystemClock } from '../../kernel/clock.ts';
import { Launcher } from './launcher.ts';

const module = join(dirname(fileURLToPath(import.meta.url)), 'testing', 'child-process.js');

test('a child that is killed comes back under a new pid, after the old one has exited', async () => {
  const events = new EventEmitter();
  const launcher = new Launcher(new SystemClock(), {
    ready: (name, facts) => events.emit('ready', name, facts),
    exited: (name, code, signal, restarts) => events.emit('exited', name, code, signal, restarts),
  });
  try {
    const first = await launcher.start({ name: 'child', module, options: { mode: 'ready' } });
    const again = once(events, 'ready');
    const exited = once(events, 'exited');
    process.kill(Number(first['pid']), 'SIGKILL');
    const [, code, signal, restarts] = (await exited) as [string, number | null, string, boolean];
    equal(code, null);
    equal(signal, 'SIGKILL');
    equal(restarts, true);
    const [, second] = (await again) as [string, Record<string, unknown>];
    notEqual(second['pid'], first['pid']);
    equal(launcher.pidOf('child'), second['pid']);
  } finally {
    await launcher.stop();
  }
  equal(launcher.pidOf('child'), undefined);
});

test('a child that ends before it is ready is an error with its name', async () => {
  const launcher = new Launcher(new SystemClock());
  await rejects(launcher.start({ name: 'broken', module, options: { mode: 'die' } }), /broken: no such mode/);
  await launcher.stop();
});

test('a fatal exit code is not answered by a restart', async () => {
  const events = new EventEmitter();
  const lines: string[] = [];
  const launcher = new Launcher(new SystemClock(), {
    fatal: (name, code) => events.emit('fatal', name, code),
    line: (_name, line) => lines.push(line),
  });
  try {
    const facts = await launcher.start({ name: 'child', module, options: { mode: 'ready' }, fatalExitCodes: [2] });
    const fatal = once(events, 'fatal');
    process.kill(Number(facts['pid']), 'SIGUSR2');
    const [name, code] = (await fatal) as [string, number];
    equal(name, 'child');
    equal(code, 2);
    equal(launcher.pidOf('child'), undefined);
    ok(lines.includes('hello from the child'));
  } finally {
    await launcher.stop();
  }
});

test('a restart gets the options that follow from what the child said when it was ready', async () => {
  const events = new EventEmitter();
  const launcher = new Launcher(new SystemClock(), { ready: (_name, facts) => events.emit('ready', facts) });
  try {
    const first = await launcher.start({
      name: 'child',
      module,
      options: { mode: 'ready' },
      restartOptions: ({ mode }) => ({ mode: `${String(mode)}-again` }),
    });
    equal(first['mode'], 'ready');
    const again = once(events, 'ready');
    process.kill(Number(first['pid']), 'SIGKILL');
    const [second] = (await again) as [Record<string, unknown>];
    equal(second['mode'], 'ready-again');
  } finally {
    await launcher.stop();
  }
});

test('a restart that fails is told, and tried again', async () => {
  const events = new EventEmitter();
  const launcher = new Launcher(new SystemClock(), {
    failed: (name, problem) => events.emit('failed', name, problem),
  });
  try {
    const first = await launcher.start({
      name: 'child',
      module,
      options: { mode: 'ready' },
      restartOptions: () => ({ mode: 'die' }),
    });
    const failed = once(events, 'failed');
    process.kill(Number(first['pid']), 'SIGKILL');
    deepEqual(await failed, ['child', 'child: no such mode']);
    await once(events, 'failed');
  } finally {
    await launcher.stop();
  }
});

test('one child can be stopped for good while the others serve', async () => {
  const launcher = new Launcher(new SystemClock());
  try {
    await launcher.start({ name: 'first', module, options: { mode: 'ready' } });
    await launcher.start({ name: 'second', module, options: { mode: 'ready' } });
    await launcher.stopOne('second');
    equal(launcher.pidOf('second'), undefined);
    notEqual(launcher.pidOf('first'), undefined);
  } finally {
    await launcher.stop();
  }
});

test('a child has a process group of its own: what is sent to the launcher’s group does not reach it', async () => {
  const launcher = new Launcher(new SystemClock());
  try {
    const { pid } = await launcher.start({ name: 'child', module, options: { mode: 'ready' } });
    // Signal 0 to the group with the id of the child: there is one exactly when the child leads it.
    equal(process.kill(-Number(pid), 0), true);
  } finally {
    await launcher.stop();
  }
});

import { announceReady } from '../ready-line.ts';

/** A child for the launcher's tests: `ready` serves, `die` ends before it is ready, `fatal` ends with exit 2 on SIGUSR2. */
const [mode] = process.argv.slice(2);
if (mode === 'die') {
  process.exit(3);
}
process.stderr.write('hello from the child\n');
const keepAlive = setInterval(() => undefined, 1_000);
process.once('SIGTERM', () => {
  clearInterval(keepAlive);
  process.exit(0);
});
process.once('SIGUSR2', () => process.exit(2));
announceReady.print({ pid: process.pid, mode: mode ?? '' });

import { runProcess } from '../run-process.ts';

/** A child for the launcher's tests: `die` fails before it is ready, any other mode serves and ends with 2 on SIGUSR2. */
runProcess(
  ({ mode }: { readonly mode: string }) => {
    if (mode === 'die') {
      return Promise.reject(new Error('no such mode'));
    }
    process.stderr.write('hello from the child\n');
    const keepAlive = setInterval(() => undefined, 1_000);
    process.once('SIGUSR2', () => process.exit(2));
    return Promise.resolve({
      mode,
      close: () => {
        clearInterval(keepAlive);
        return Promise.resolve();
      },
    });
  },
  ({ mode }) => ({ pid: process.pid, mode }),
);

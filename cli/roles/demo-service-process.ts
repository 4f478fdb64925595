import { pathToFileURL } from 'node:url';
import { runProcess, type Running } from '../../core/runtime/launcher/run-process.ts';

export interface DemoServiceOptions {
  /** Absolute path of a compiled module that serves when its import has resolved. */
  readonly module: string;
  readonly args: readonly string[];
}

/** A service of the demo, in a process of its own like every role. It finds its arguments where a program does. */
runProcess<DemoServiceOptions, Running>(
  async ({ module, args }) => {
    process.argv = [process.argv[0] ?? process.execPath, module, ...args];
    await import(pathToFileURL(module).href);
    return { close: async () => undefined };
  },
  () => ({}),
);

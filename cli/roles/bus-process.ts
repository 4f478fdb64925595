import { startFileBus, type RunningFileBus } from '../../core/bus/file-bus/file-bus-process.ts';
import { runProcess } from '../../core/runtime/launcher/run-process.ts';

export interface BusProcessOptions {
  readonly directory: string;
  readonly socketPath: string;
}

runProcess<BusProcessOptions, RunningFileBus>(
  ({ directory, socketPath }) => startFileBus({ directory, socketPath }),
  () => ({}),
);

import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FileBus } from '../core/bus/file-bus/file-bus.ts';
import { SystemClock } from '../core/kernel/clock.ts';
import { runProcess } from '../core/runtime/launcher/run-process.ts';
import { createLog } from '../core/runtime/log/log.ts';
import { gatewayFromConfig, type GatewayProcessOptions, type RunningGateway } from './threads/gateway-from-config.ts';

/** Composition root of a node process. The launcher gives the path of the configuration and what it chose itself. */
const here = dirname(fileURLToPath(import.meta.url));

runProcess<GatewayProcessOptions, RunningGateway>(
  (options) => {
    const clock = new SystemClock();
    return gatewayFromConfig(options, {
      clock,
      log: createLog({ role: 'gateway' }),
      workerModule: join(here, 'worker.js'),
      openBus: (socketPath) => new FileBus({ socketPath, clock }),
      binaryDigest: binaryDigest(),
    });
  },
  ({ ready }) => ready,
);

/** Digest of what runs: the version and the lockfile stand for the code of a packaged installation. */
function binaryDigest(): Buffer {
  const hash = createHash('sha256');
  for (let dir = here; dir !== dirname(dir); dir = dirname(dir)) {
    const manifest = join(dir, 'package.json');
    if (existsSync(manifest)) {
      hash.update(readFileSync(manifest));
      const lock = join(dir, 'package-lock.json');
      return (existsSync(lock) ? hash.update(readFileSync(lock)) : hash).digest();
    }
  }
  return hash.digest();
}

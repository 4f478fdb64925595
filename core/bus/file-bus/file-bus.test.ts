import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '../../kernel/clock.ts';
import { busContract } from '../bus-contract.ts';
import { FileBus } from './file-bus.ts';
import { FileBusOwner } from './testing/file-bus-owner.ts';

busContract('file', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'chaperone-file-bus-'));
  const socketPath = join(directory, 'bus.sock');
  const data = join(directory, 'data');
  const clock = new SystemClock();
  let owner = await FileBusOwner.start(data, socketPath);
  return {
    connect: async () => new FileBus({ socketPath, clock }),
    replicated: false,
    crash: async () => {
      await owner.kill();
      owner = await FileBusOwner.start(data, socketPath);
    },
    close: async () => {
      await owner.kill('SIGTERM');
      await rm(directory, { recursive: true });
    },
  };
});

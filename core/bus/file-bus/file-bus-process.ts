import { type Clock, SystemClock } from '../../kernel/clock.ts';
import { lockDirectory } from './directory-lock.ts';
import { FileBusServer } from './file-bus-server.ts';
import { FileBusStore, type FileBusStoreOptions } from './file-bus-store.ts';

export interface StartFileBusOptions extends Pick<
  FileBusStoreOptions,
  'directory' | 'segmentBytes' | 'partitionBytesMax' | 'retentionCheckMs' | 'openFiles'
> {
  readonly socketPath: string;
  readonly clock?: Clock;
}

export interface RunningFileBus {
  /** Deletes and compacts now what the settings of the topics allow; it also happens each minute. */
  applyRetention(): Promise<void>;
  /** Answers what is in flight, closes every file, and frees the directory. */
  close(): Promise<void>;
}

/**
 * Owns `directory` and serves it on `socketPath`: the whole of the file bus process. Resolves when clients can connect.
 * Rejects `bus_unavailable` when another process owns the directory or the socket, `bus_damaged` when acknowledged
 * messages cannot be read back.
 */
export async function startFileBus(options: StartFileBusOptions): Promise<RunningFileBus> {
  const lock = await lockDirectory(options.directory);
  let store: FileBusStore | null = null;
  try {
    store = await FileBusStore.open({ ...options, clock: options.clock ?? new SystemClock() });
    const server = await FileBusServer.listen(store, options.socketPath);
    return running(store, server, lock);
  } catch (error) {
    await store?.close();
    await lock.release();
    throw error;
  }
}

function running(store: FileBusStore, server: FileBusServer, lock: { release(): Promise<void> }): RunningFileBus {
  return {
    applyRetention: () => store.applyRetention(),
    close: async () => {
      await server.close();
      await store.close();
      await lock.release();
    },
  };
}

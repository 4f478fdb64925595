import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** What a partition log needs of one file. */
export interface LogFile {
  /** Resolves with the bytes that the kernel took, which may be fewer than offered: the caller MUST compare. */
  writev(buffers: readonly Buffer[], position: number): Promise<number>;
  datasync(): Promise<void>;
  read(target: Buffer, position: number): Promise<number>;
  size(): Promise<number>;
  truncate(size: number): Promise<void>;
  close(): Promise<void>;
}

/** What a partition log needs of its directory. The second implementation is the fault directory of the tests. */
export interface LogFiles {
  list(): Promise<string[]>;
  /** Opens for reading and writing; creates the file when `create`. */
  open(name: string, create?: boolean): Promise<LogFile>;
  /** Renames and makes the directory durable. */
  rename(from: string, to: string): Promise<void>;
  remove(name: string): Promise<void>;
}

/** The files of one directory of the node file system, created mode 0700 with files of mode 0600. */
export async function openLogFiles(directory: string): Promise<LogFiles> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await syncDirectory(dirname(directory));
  return {
    list: () => readdir(directory),
    open: async (name, create = false) => {
      const flags = constants.O_RDWR | (create ? constants.O_CREAT : 0);
      return new NodeLogFile(await open(join(directory, name), flags, 0o600));
    },
    rename: async (from, to) => {
      await rename(join(directory, from), join(directory, to));
      await syncDirectory(directory);
    },
    remove: (name) => rm(join(directory, name), { force: true }),
  };
}

/** Makes created, renamed and removed entries of a directory durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

class NodeLogFile implements LogFile {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async writev(buffers: readonly Buffer[], position: number): Promise<number> {
    return (await this.#handle.writev(buffers as Buffer[], position)).bytesWritten;
  }

  datasync(): Promise<void> {
    return this.#handle.datasync();
  }

  async read(target: Buffer, position: number): Promise<number> {
    return (await this.#handle.read(target, 0, target.length, position)).bytesRead;
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  truncate(size: number): Promise<void> {
    return this.#handle.truncate(size);
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

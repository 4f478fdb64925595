import { createHash } from 'node:crypto';
import { mkdir, open, readFile, rm, stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { GatewayError } from '../../kernel/errors.ts';

export interface DirectoryLock {
  release(): Promise<void>;
}

/**
 * Makes this process the one owner of a directory, or throws `bus_unavailable`. The lock goes with the process, however it
 * ends.
 *
 * On Linux it is an abstract Unix socket named after device and inode of the directory: the kernel lets one process bind
 * it and frees it when that process is gone. Limit: two containers with their own network namespaces that share a volume
 * do not see each other's lock. Elsewhere it is a file with the process id. Limit: there a start in the same instant as
 * another start after a crash could win twice.
 */
export async function lockDirectory(directory: string): Promise<DirectoryLock> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  return process.platform === 'linux' ? lockBySocket(directory) : lockByFile(directory);
}

async function lockBySocket(directory: string): Promise<DirectoryLock> {
  const { dev, ino } = await stat(directory, { bigint: true });
  const id = createHash('sha256').update(`${dev}/${ino}`).digest('hex').slice(0, 32);
  const server = createServer((socket) => socket.destroy());
  await listen(server, `\0chaperone-directory-${id}`);
  server.unref();
  return { release: () => new Promise((resolve) => server.close(() => resolve())) };
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        error.code === 'EADDRINUSE' ? owned() : new GatewayError('bus_unavailable', 'cannot lock', { cause: error }),
      ),
    );
    server.listen(path, resolve);
  });
}

async function lockByFile(directory: string): Promise<DirectoryLock> {
  const path = join(directory, 'owner.pid');
  for (;;) {
    try {
      const file = await open(path, 'wx', 0o600);
      await file.writeFile(String(process.pid));
      await file.close();
      return { release: () => rm(path, { force: true }) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
        throw error;
      }
    }
    if (isAlive(Number(await readFile(path, 'utf8').catch(() => '0')))) {
      throw owned();
    }
    await rm(path, { force: true });
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) {
    return false;
  }
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function owned(): GatewayError {
  return new GatewayError('bus_unavailable', 'another process owns this directory');
}

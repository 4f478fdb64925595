import { closeSync, existsSync, fstatSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import type { Disk, DiskFile } from '../../core/runtime/disk.ts';

/** Every file below `directory`, as paths relative to it with `/`, sorted. Temporary files (dotted) are left out. */
export function listFiles(directory: string): string[] {
  if (!isDirectory(directory)) {
    return [];
  }
  const names: string[] = [];
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isFile() && !entry.name.startsWith('.')) {
      names.push(relative(directory, join(entry.parentPath, entry.name)).split(sep).join('/'));
    }
  }
  return names.sort();
}

export function isDirectory(path: string): boolean {
  return existsSync(path) && statSync(path).isDirectory();
}

/** The whole file, in memory of its own; null when it is not there (any more). */
export function readWhole(path: string): Buffer | null {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      return null;
    }
    throw error;
  }
  try {
    return readFrom(fd, 0, fstatSync(fd).size);
  } finally {
    closeSync(fd);
  }
}

/** Fewer bytes than `size` only at the end of the file; null when it is not there. */
export function readPart(path: string, offset: number, size: number): Buffer | null {
  if (!existsSync(path)) {
    return null;
  }
  const fd = openSync(path, 'r');
  try {
    return readFrom(fd, offset, size);
  } finally {
    closeSync(fd);
  }
}

const ZEROS = Buffer.alloc(64 * 1024);

/** Position of the first byte from `from` on that is not zero, -1 when there is none. */
export function firstNonZero(bytes: Buffer, from: number): number {
  for (let start = from; start < bytes.length; start += ZEROS.length) {
    const end = Math.min(bytes.length, start + ZEROS.length);
    if (bytes.compare(ZEROS, 0, end - start, start, end) !== 0) {
      for (let at = start; at < end; at++) {
        if (bytes[at] !== 0) {
          return at;
        }
      }
    }
  }
  return -1;
}

/** A disk on which nothing can be changed: evidence is only looked at. */
export class ReadOnlyDisk implements Disk {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  list(): Promise<string[]> {
    return Promise.resolve(listFiles(this.#directory).filter((name) => !name.includes('/')));
  }

  size(name: string): Promise<number> {
    return Promise.resolve(statSync(join(this.#directory, name)).size);
  }

  open(name: string): Promise<DiskFile> {
    const fd = openSync(join(this.#directory, name), 'r');
    return Promise.resolve({
      writev: refuse,
      datasync: refuse,
      writeDurable: refuse,
      read: (target, position) => Promise.resolve(readInto(fd, target, position)),
      close: () => Promise.resolve(closeSync(fd)),
    });
  }

  createZeroed(): Promise<DiskFile> {
    return refuse();
  }

  remove(): Promise<void> {
    return refuse();
  }

  rename(): Promise<void> {
    return refuse();
  }

  freeBytes(): Promise<number> {
    return Promise.resolve(0);
  }
}

function refuse(): Promise<never> {
  return Promise.reject(Object.assign(new Error('evidence is read-only'), { code: 'EROFS' }));
}

function readFrom(fd: number, offset: number, size: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(size);
  return bytes.subarray(0, readInto(fd, bytes, offset));
}

function readInto(fd: number, target: Buffer, position: number): number {
  let filled = 0;
  while (filled < target.length) {
    const count = readSync(fd, target, filled, target.length - filled, position + filled);
    if (count === 0) {
      break;
    }
    filled += count;
  }
  return filled;
}

import { randomBytes } from 'node:crypto';
import { closeSync, fdatasync, fsync, linkSync, openSync, renameSync, rmSync, writev } from 'node:fs';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { assert } from '../../core/kernel/assert.ts';
import { isBlobName } from '../archive/blob-store.ts';
import type { BlobStore, NewBlob, VersionedBlob } from '../archive/blob-store.ts';

/** Versions that stay behind the newest, so that a reader which listed them just now still finds its own. */
const OLD_VERSIONS_KEPT = 8;
const VERSION_DIGITS = 16;
const TEMPORARY = '.new-';

/**
 * Objects as files of one directory. A file is written under a temporary name, flushed, linked to its name (which fails
 * when the name is taken) and then its folder is flushed; so a name is never half an object, and never replaced.
 *
 * `swap` keeps version n of a name as the file `<name>/<n>`: the link decides who wins. A swap that found its version
 * free only because it had been cleaned up sees a newer one afterwards and takes its own back.
 */
export class DiskBlobStore implements BlobStore {
  readonly #root: string;
  readonly #known = new Set<string>();

  constructor(root: string) {
    this.#root = root;
  }

  async create(blobs: readonly NewBlob[]): Promise<boolean[]> {
    const created = await Promise.all(blobs.map((blob) => this.#createOne(blob)));
    // If we die here, the files may be gone after a power loss: nobody was told that they are there.
    await this.#flushFolders(blobs.map(({ name }) => dirname(this.#path(name))));
    return created;
  }

  async replace(name: string, bytes: Uint8Array): Promise<void> {
    const path = this.#path(name);
    await this.#makeFolder(dirname(path));
    const temporary = await writeTemporary(dirname(path), [bytes]);
    // If we die here, the old bytes stand and a temporary file stays behind, which `list` does not show.
    renameSync(temporary, path);
    await this.#flushFolders([dirname(path)]);
  }

  async swap(name: string, from: number, bytes: Uint8Array): Promise<boolean> {
    if (((await this.#versions(name)).at(-1) ?? 0) !== from) {
      return false;
    }
    const version = from + 1;
    const own = `${name}/${digits(version)}`;
    const [created] = await this.create([{ name: own, parts: [bytes] }]);
    if (created !== true) {
      return false;
    }
    const versions = await this.#versions(name);
    if (versions.at(-1) !== version) {
      await this.remove(own);
      return false;
    }
    // If we die here, older versions stay behind; the next swap removes them.
    for (const old of versions.slice(0, -1 - OLD_VERSIONS_KEPT)) {
      await rm(this.#path(`${name}/${digits(old)}`), { force: true });
    }
    return true;
  }

  async latest(name: string): Promise<VersionedBlob | null> {
    const version = (await this.#versions(name)).at(-1);
    if (version === undefined) {
      return null;
    }
    const bytes = await this.read(`${name}/${digits(version)}`);
    // Cleaned up between the two steps: there are newer ones.
    return bytes === null ? this.latest(name) : { version, bytes };
  }

  async read(name: string): Promise<Buffer | null> {
    try {
      return await readFile(this.#path(name));
    } catch (error) {
      return ignoreMissing(error);
    }
  }

  async list(prefix: string): Promise<string[]> {
    const folder = prefix === '' ? this.#root : this.#path(prefix.replace(/\/$/, ''));
    const names: string[] = [];
    try {
      for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
        if (entry.isFile() && !entry.name.startsWith('.')) {
          names.push(join(entry.parentPath, entry.name).slice(this.#root.length + 1));
        }
      }
    } catch (error) {
      ignoreMissing(error);
    }
    return names.sort();
  }

  async remove(name: string): Promise<void> {
    await rm(this.#path(name), { force: true });
  }

  async #createOne({ name, parts }: NewBlob): Promise<boolean> {
    const path = this.#path(name);
    await this.#makeFolder(dirname(path));
    const temporary = await writeTemporary(dirname(path), parts);
    try {
      linkSync(temporary, path);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') {
        return false;
      }
      throw error;
    } finally {
      rmSync(temporary, { force: true });
    }
  }

  async #versions(name: string): Promise<number[]> {
    const names = await this.list(`${name}/`);
    return names.map((each) => Number(each.slice(name.length + 1)));
  }

  /** A new folder is durable when its parent is flushed, up to one that was there before. */
  async #makeFolder(folder: string): Promise<void> {
    if (this.#known.has(folder)) {
      return;
    }
    const first = await mkdir(folder, { recursive: true, mode: 0o700 });
    if (first !== undefined) {
      for (let at = folder; at.length >= first.length; at = dirname(at)) {
        await flushFolder(dirname(at));
      }
    }
    this.#known.add(folder);
  }

  async #flushFolders(folders: readonly string[]): Promise<void> {
    await Promise.all([...new Set(folders)].map(flushFolder));
  }

  #path(name: string): string {
    assert(isBlobName(name), 'a blob has a name that stays in its folder');
    return join(this.#root, name);
  }
}

/**
 * Only what can wait for the disk is asynchronous: each trip through the event loop of a busy process costs more than
 * opening, linking and closing do.
 */
async function writeTemporary(folder: string, parts: readonly Uint8Array[]): Promise<string> {
  const path = join(folder, `${TEMPORARY}${randomBytes(8).toString('hex')}`);
  const file = openSync(path, 'wx', 0o600);
  try {
    const size = parts.reduce((sum, part) => sum + part.length, 0);
    // A short count without an error is what a full disk gives.
    if ((await writeParts(file, parts)) !== size) {
      throw Object.assign(new Error('the disk took fewer bytes than offered'), { code: 'ENOSPC' });
    }
    await flush(file);
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
  return path;
}

function writeParts(file: number, parts: readonly Uint8Array[]): Promise<number> {
  return new Promise((resolve, reject) => {
    writev(file, parts as Uint8Array[], 0, (error, written) => (error === null ? resolve(written) : reject(error)));
  });
}

function flush(file: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fdatasync(file, (error) => (error === null ? resolve() : reject(error)));
  });
}

async function flushFolder(folder: string): Promise<void> {
  const handle = openSync(folder, 'r');
  try {
    await new Promise<void>((resolve, reject) => {
      fsync(handle, (error) => (error === null ? resolve() : reject(error)));
    });
  } finally {
    closeSync(handle);
  }
}

function ignoreMissing(error: unknown): null {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return null;
  }
  throw error;
}

function digits(version: number): string {
  return String(version).padStart(VERSION_DIGITS, '0');
}

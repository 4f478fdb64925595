import { assert } from '../../../core/kernel/assert.ts';
import { isBlobName } from '../blob-store.ts';
import type { BlobStore, NewBlob, VersionedBlob } from '../blob-store.ts';

/** `before`: the call fails and nothing happened. `after`: it fails and was applied all the same. */
export type Fault = 'before' | 'after';

/** Every call that changes something, in order, as `create a,b`. */
export type BlobCall = `${'create' | 'replace' | 'swap' | 'remove'} ${string}`;

/**
 * A store in memory with faults. `fault` is asked before each changing call and may answer with a fault or throw, which
 * stands for the death of the process there.
 */
export class MemoryBlobStore implements BlobStore {
  readonly blobs = new Map<string, Buffer>();
  readonly calls: BlobCall[] = [];
  fault: (call: BlobCall, number: number) => Fault | null = () => null;
  readonly #versions = new Map<string, VersionedBlob>();

  create(blobs: readonly NewBlob[]): Promise<boolean[]> {
    return this.#change(`create ${blobs.map((blob) => blob.name).join(',')}`, () =>
      blobs.map(({ name, parts }) => {
        assert(isBlobName(name), 'a blob has a name');
        if (this.blobs.has(name)) {
          return false;
        }
        this.blobs.set(name, Buffer.concat(parts));
        return true;
      }),
    );
  }

  replace(name: string, bytes: Uint8Array): Promise<void> {
    return this.#change(`replace ${name}`, () => void this.blobs.set(name, Buffer.from(bytes)));
  }

  swap(name: string, from: number, bytes: Uint8Array): Promise<boolean> {
    return this.#change(`swap ${name}`, () => {
      if ((this.#versions.get(name)?.version ?? 0) !== from) {
        return false;
      }
      this.#versions.set(name, { version: from + 1, bytes: Buffer.from(bytes) });
      return true;
    });
  }

  async latest(name: string): Promise<VersionedBlob | null> {
    return this.#versions.get(name) ?? null;
  }

  async read(name: string): Promise<Buffer | null> {
    return this.blobs.get(name) ?? null;
  }

  async list(prefix: string): Promise<string[]> {
    return [...this.blobs.keys()].filter((name) => name.startsWith(prefix)).sort();
  }

  remove(name: string): Promise<void> {
    return this.#change(`remove ${name}`, () => void this.blobs.delete(name));
  }

  async #change<T>(call: BlobCall, apply: () => T): Promise<T> {
    this.calls.push(call);
    const fault = this.fault(call, this.calls.length);
    if (fault === 'before') {
      throw new Error(`fault before: ${call}`);
    }
    const result = apply();
    if (fault === 'after') {
      throw new Error(`fault after: ${call}`);
    }
    return result;
  }
}

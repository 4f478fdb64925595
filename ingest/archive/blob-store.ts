/** One file to create. `parts` are written one after the other. */
export interface NewBlob {
  readonly name: string;
  readonly parts: readonly Uint8Array[];
}

/** What a name held, and the version that a swap must name to replace it. */
export interface VersionedBlob {
  readonly version: number;
  readonly bytes: Buffer;
}

/**
 * Where the archive and the cluster log live: named objects, whole or not there. Names are relative paths of
 * `[a-zA-Z0-9._-]` segments joined by `/`; a name never also is the folder of another.
 *
 * Every promise that resolves means that what it says survives a power loss. A rejected call MAY have been applied:
 * callers repeat it, which is harmless for all but `swap`, and `swap` they follow by `latest`.
 */
export interface BlobStore {
  /** Creates each object that is not there yet and gives, in the same order, whether it was created now. Never overwrites. */
  create(blobs: readonly NewBlob[]): Promise<boolean[]>;
  /** Puts `bytes` under `name`, whatever was there; readers see the old or the new bytes. */
  replace(name: string, bytes: Uint8Array): Promise<void>;
  /**
   * Compare and swap: stores `bytes` as version `from` + 1 if `from` is the newest version of `name` (0: there is none).
   * False when another has won. MUST be atomic among all processes that use the store.
   */
  swap(name: string, from: number, bytes: Uint8Array): Promise<boolean>;
  /** The newest version of a name that is used with `swap`. */
  latest(name: string): Promise<VersionedBlob | null>;
  /** Null when it is not there. */
  read(name: string): Promise<Buffer | null>;
  /** Names that start with `prefix`, sorted. `prefix` ends in `/` or is empty. */
  list(prefix: string): Promise<string[]>;
  /** Nothing when it is not there. */
  remove(name: string): Promise<void>;
}

const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/;
const NAME_CHARACTERS_MAX = 512;

/** Whether `name` may name an object: no empty, hidden or `..` segment, so no name leaves its folder. */
export function isBlobName(name: string): boolean {
  return name.length <= NAME_CHARACTERS_MAX && NAME.test(name);
}

/**
 * What the writer needs of a disk, and no more. `adapters` are the node file system (`node-disk.ts`) and the fault disk
 * of the tests (`testing/fault-disk.ts`). All paths are names inside one directory that the disk owns.
 */
export interface DiskFile {
  /**
   * Writes `buffers` at `position`. Resolves with the number of bytes that the kernel took, which MAY be less than
   * offered without an error (ENOSPC does that): the caller MUST compare.
   */
  writev(buffers: readonly Buffer[], position: number): Promise<number>;
  /** Resolves when every byte taken so far is on stable storage. After a rejection the file MUST NOT be used again. */
  datasync(): Promise<void>;
  read(target: Buffer, position: number): Promise<number>;
  close(): Promise<void>;
}

export interface Disk {
  /** Creates a file of `size` zero bytes, durable including its directory entry. Rejects if it exists. */
  createZeroed(name: string, size: number): Promise<DiskFile>;
  open(name: string): Promise<DiskFile>;
  list(): Promise<string[]>;
  size(name: string): Promise<number>;
  remove(name: string): Promise<void>;
  /** Durable rename inside the directory. */
  rename(from: string, to: string): Promise<void>;
  /** Free bytes for this process. */
  freeBytes(): Promise<number>;
}

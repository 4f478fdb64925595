/**
 * What the writer needs of a disk, and no more. `adapters` are the node file system (`node-disk.ts`) and the fault disk
 * of the tests (`testing/fault-disk.ts`). All paths are names inside one directory that the disk owns.
 *
 * Rejections carry the code of the system call in `code` (`ENOSPC`, `EDQUOT`, `EIO`, `EEXIST`, `ENOENT`, ...).
 */
export interface DiskFile {
  /**
   * Writes `buffers` at `position`. Resolves with the number of bytes that the kernel took, which MAY be less than
   * offered without an error (ENOSPC does that): the caller MUST compare.
   */
  writev(buffers: readonly Buffer[], position: number): Promise<number>;
  /** Resolves when every byte taken so far is on stable storage. After a rejection the file MUST NOT be used again. */
  datasync(): Promise<void>;
  /**
   * `writev` and `datasync` of these bytes as one step, so that the flush does not wait for a turn of the event loop in
   * between. Resolves with the number of bytes taken, which are then on stable storage; it MAY be short as with `writev`.
   * After a rejection nothing is known about any of these bytes and the file MUST NOT be written again.
   */
  writeDurable(buffers: readonly Buffer[], position: number): Promise<number>;
  /** Fills `target` from `position` on; resolves with the bytes read, fewer only at the end of the file. */
  read(target: Buffer, position: number): Promise<number>;
  close(): Promise<void>;
}

export interface Disk {
  /**
   * Creates a file of `size` zero bytes, really written and durable including its directory entry. Rejects if it exists
   * (`EEXIST`) or does not fit (`ENOSPC`); a rejected creation leaves no file behind unless removing it failed too.
   */
  createZeroed(name: string, size: number): Promise<DiskFile>;
  /** Opens an existing file for reading and writing; for reading alone where the file system allows no more. */
  open(name: string): Promise<DiskFile>;
  list(): Promise<string[]>;
  size(name: string): Promise<number>;
  /** Durable removal. */
  remove(name: string): Promise<void>;
  /** Durable rename inside the directory; replaces `to`. */
  rename(from: string, to: string): Promise<void>;
  /** Free bytes for this process. */
  freeBytes(): Promise<number>;
}

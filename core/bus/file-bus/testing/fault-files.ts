import type { LogFile, LogFiles } from '../log-files.ts';

/** What happens to the next calls. Each is consumed by one call. */
export interface FaultPlan {
  /** The next `writev` takes only so many bytes, and says so. */
  shortWriteBytes: number | null;
  writeError: Error | null;
  syncError: Error | null;
  truncateError: Error | null;
}

/**
 * Files in memory that fail on demand; they outlive a log, as a disk outlives a process. An open file keeps its bytes
 * when its name is removed or replaced.
 */
export class FaultFiles implements LogFiles {
  readonly plan: FaultPlan = { shortWriteBytes: null, writeError: null, syncError: null, truncateError: null };
  syncs = 0;
  openCount = 0;
  readonly #nodes = new Map<string, { bytes: Buffer }>();

  get names(): string[] {
    return [...this.#nodes.keys()].sort();
  }

  bytesOf(name: string): Buffer {
    const node = this.#nodes.get(name);
    if (node === undefined) {
      throw new Error(`no file ${name}`);
    }
    return node.bytes;
  }

  put(name: string, bytes: Buffer): void {
    this.#nodes.set(name, { bytes });
  }

  async list(): Promise<string[]> {
    return this.names;
  }

  async open(name: string, create = false): Promise<LogFile> {
    if (create && !this.#nodes.has(name)) {
      this.put(name, Buffer.alloc(0));
    }
    const node = this.#nodes.get(name);
    if (node === undefined) {
      throw new Error(`no file ${name}`);
    }
    this.openCount += 1;
    return this.#file(node);
  }

  async rename(from: string, to: string): Promise<void> {
    const node = this.#nodes.get(from);
    if (node === undefined) {
      throw new Error(`no file ${from}`);
    }
    this.#nodes.set(to, node);
    this.#nodes.delete(from);
  }

  async remove(name: string): Promise<void> {
    this.#nodes.delete(name);
  }

  #file(node: { bytes: Buffer }): LogFile {
    return {
      writev: async (buffers, position) => {
        fail(this.plan, 'writeError');
        let data = Buffer.concat(buffers);
        if (this.plan.shortWriteBytes !== null) {
          data = data.subarray(0, this.plan.shortWriteBytes);
          this.plan.shortWriteBytes = null;
        }
        const next = Buffer.alloc(Math.max(node.bytes.length, position + data.length));
        node.bytes.copy(next);
        data.copy(next, position);
        node.bytes = next;
        return data.length;
      },
      datasync: async () => {
        this.syncs += 1;
        fail(this.plan, 'syncError');
      },
      read: async (target, position) => (position >= node.bytes.length ? 0 : node.bytes.copy(target, 0, position)),
      size: async () => node.bytes.length,
      truncate: async (size) => {
        fail(this.plan, 'truncateError');
        node.bytes = Buffer.from(node.bytes.subarray(0, size));
      },
      close: async () => {
        this.openCount -= 1;
      },
    };
  }
}

function fail(plan: FaultPlan, kind: 'writeError' | 'syncError' | 'truncateError'): void {
  const error = plan[kind];
  plan[kind] = null;
  if (error !== null) {
    throw error;
  }
}

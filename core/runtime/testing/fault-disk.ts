import { assert } from '../../kernel/assert.ts';
import { SeededRandom } from '../../kernel/testing/seeded-random.ts';
import type { Disk, DiskFile } from '../disk.ts';

export type DiskOperation = 'create' | 'open' | 'write' | 'datasync' | 'remove' | 'rename';

/**
 * What goes wrong. `error` rejects with that code (a failed datasync loses its claim on the bytes: the kernel marks the
 * pages clean, so a later datasync succeeds and proves nothing). `short` takes at most `bytes`, and one less than offered
 * at best, without an error. `hang`
 * never settles. `applied` does the work and then rejects: failed, but applied.
 */
export type DiskFault =
  | { readonly kind: 'error'; readonly code: string }
  | { readonly kind: 'applied'; readonly code: string }
  | { readonly kind: 'short'; readonly bytes: number }
  | { readonly kind: 'hang' };

export interface FaultRule {
  readonly operation: DiskOperation;
  readonly fault: DiskFault;
  /** How many matching operations pass before it strikes, 0 by default. */
  readonly after?: number;
  /** How often it strikes, once by default; `Infinity` until `heal`. */
  readonly times?: number;
  readonly name?: RegExp;
}

export interface FaultDiskOptions {
  readonly seed?: number;
  readonly capacityBytes?: number;
}

const SECTOR_SIZE = 512;

/**
 * A disk in memory for tests. Bytes that a datasync covered survive `crash`; unsynced writes survive by whole sectors
 * chosen by the seed: none, all, or any of them. Names are durable when the operation returned, as `Disk` demands.
 *
 * After `crash` the handles and pending promises of before belong to a dead process: they never settle again.
 * Invariant: `durable` is what a crash cannot take away; `live` = `durable` + every write in `unsynced`, in order.
 */
export class FaultDisk implements Disk {
  readonly seed: number;
  readonly #random: SeededRandom;
  readonly #files = new Map<string, FaultFile>();
  #rules: { rule: FaultRule; passed: number; struck: number }[] = [];
  #incarnation = 0;
  #operations = 0;
  #dieAt: { operation: number; applied: boolean; died: () => void } | undefined;
  #held: { operation: DiskOperation; waiting: (() => void)[] }[] = [];
  capacityBytes: number;

  constructor(options: FaultDiskOptions = {}) {
    this.seed = options.seed ?? 1;
    this.#random = new SeededRandom(this.seed);
    this.capacityBytes = options.capacityBytes ?? Number.MAX_SAFE_INTEGER;
  }

  /** Operations that changed something or promised something, so far. */
  get operations(): number {
    return this.#operations;
  }

  inject(rule: FaultRule): void {
    this.#rules.push({ rule, passed: 0, struck: 0 });
  }

  /** Removes all faults. */
  heal(): void {
    this.#rules = [];
  }

  /** Holds back every `operation` from now on; the returned function lets them go on, in order. */
  hold(operation: DiskOperation): () => void {
    const held = { operation, waiting: [] as (() => void)[] };
    this.#held.push(held);
    return () => {
      this.#held = this.#held.filter((each) => each !== held);
      held.waiting.splice(0).forEach((go) => go());
    };
  }

  /** The process dies at the n-th operation from now (1 = the next), after it was `applied` or before. */
  dieAt(operation: number, applied: boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#dieAt = { operation: this.#operations + operation, applied, died: resolve };
    });
  }

  /** Power loss, or with `keepUnsynced` the death of the process alone (the kernel still has its pages). */
  crash(keepUnsynced = false): void {
    this.#incarnation++;
    this.#dieAt = undefined;
    this.#held = [];
    for (const file of this.#files.values()) {
      file.crash(this.#random, keepUnsynced);
    }
  }

  /** What the worst crash would leave behind now, as a disk of its own. */
  durableCopy(): FaultDisk {
    const copy = new FaultDisk({ seed: this.seed });
    for (const [name, file] of this.#files) {
      const other = new FaultFile(0);
      other.live = Buffer.from(file.durable);
      other.durable = Buffer.from(file.durable);
      copy.#files.set(name, other);
    }
    return copy;
  }

  /** A copy of the bytes as the process sees them. */
  contents(name: string): Buffer {
    return Buffer.from(this.#file(name).live);
  }

  /** Changes stored bytes behind everybody's back. */
  corrupt(name: string, change: (bytes: Buffer) => void): void {
    const file = this.#file(name);
    change(file.live);
    file.durable = Buffer.from(file.live);
    file.unsynced = [];
  }

  createZeroed(name: string, size: number): Promise<DiskFile> {
    return this.#run('create', name, () => {
      if (this.#files.has(name)) {
        throw diskError('EEXIST');
      }
      if (this.#usedBytes() + size > this.capacityBytes) {
        throw diskError('ENOSPC');
      }
      this.#files.set(name, new FaultFile(size));
      return this.#handle(name);
    });
  }

  open(name: string): Promise<DiskFile> {
    return this.#run('open', name, () => this.#handle(name));
  }

  list(): Promise<string[]> {
    return this.#alive(() => [...this.#files.keys()]);
  }

  size(name: string): Promise<number> {
    return this.#alive(() => this.#file(name).live.length);
  }

  remove(name: string): Promise<void> {
    return this.#run('remove', name, () => {
      this.#file(name);
      this.#files.delete(name);
    });
  }

  rename(from: string, to: string): Promise<void> {
    return this.#run('rename', from, () => {
      this.#files.set(to, this.#file(from));
      this.#files.delete(from);
    });
  }

  freeBytes(): Promise<number> {
    return this.#alive(() => this.capacityBytes - this.#usedBytes());
  }

  #handle(name: string): DiskFile {
    const file = this.#file(name);
    const incarnation = this.#incarnation;
    const write = (buffers: readonly Buffer[], position: number): Promise<number> => {
      const bytes = Buffer.concat(buffers);
      return this.#run(
        'write',
        name,
        (fault) => {
          const taken = fault?.kind === 'short' ? Math.min(fault.bytes, bytes.length - 1) : bytes.length;
          file.write(bytes.subarray(0, taken), position);
          return taken;
        },
        incarnation,
      );
    };
    const datasync = (): Promise<void> =>
      this.#run(
        'datasync',
        name,
        () => file.sync(),
        incarnation,
        () => file.loseClaim(),
      );
    return {
      writev: write,
      datasync,
      writeDurable: async (buffers, position) => {
        const taken = await write(buffers, position);
        await datasync();
        return taken;
      },
      read: (target, position) =>
        this.#alive(() => file.live.copy(target, 0, position, position + target.length), incarnation),
      close: () => this.#alive(() => undefined, incarnation),
    };
  }

  /** One operation: waits while held, then fails, hangs, dies or works as the rules say. */
  async #run<T>(
    operation: DiskOperation,
    name: string,
    work: (fault: DiskFault | undefined) => T,
    incarnation = this.#incarnation,
    onError: () => void = () => undefined,
  ): Promise<T> {
    await Promise.resolve();
    for (let held = this.#heldFor(operation); held !== undefined; held = this.#heldFor(operation)) {
      const { waiting } = held;
      await new Promise<void>((resolve) => waiting.push(resolve));
    }
    if (incarnation !== this.#incarnation) {
      return never();
    }
    this.#operations++;
    const fault = this.#strike(operation, name);
    const dying = this.#dieAt !== undefined && this.#operations >= this.#dieAt.operation ? this.#dieAt : undefined;
    if (dying !== undefined && !dying.applied) {
      this.#die(dying);
      return never();
    }
    if (fault?.kind === 'error') {
      onError();
      throw diskError(fault.code);
    }
    const result = fault?.kind === 'hang' ? undefined : work(fault);
    if (dying !== undefined) {
      this.#die(dying);
      return never();
    }
    if (fault?.kind === 'applied') {
      throw diskError(fault.code);
    }
    return fault?.kind === 'hang' ? never() : (result as T);
  }

  async #alive<T>(work: () => T, incarnation = this.#incarnation): Promise<T> {
    await Promise.resolve();
    return incarnation === this.#incarnation ? work() : never();
  }

  #die(dying: { died: () => void }): void {
    this.#incarnation++;
    this.#dieAt = undefined;
    dying.died();
  }

  #heldFor(operation: DiskOperation): { waiting: (() => void)[] } | undefined {
    return this.#held.find((each) => each.operation === operation);
  }

  #strike(operation: DiskOperation, name: string): DiskFault | undefined {
    for (const each of this.#rules) {
      const { rule } = each;
      const matches = rule.operation === operation && (rule.name === undefined || rule.name.test(name));
      if (matches && each.struck < (rule.times ?? 1) && each.passed++ >= (rule.after ?? 0)) {
        each.struck++;
        return rule.fault;
      }
    }
    return undefined;
  }

  #file(name: string): FaultFile {
    const file = this.#files.get(name);
    if (file === undefined) {
      throw diskError('ENOENT');
    }
    return file;
  }

  #usedBytes(): number {
    let used = 0;
    for (const file of this.#files.values()) {
      used += file.live.length;
    }
    return used;
  }
}

class FaultFile {
  live: Buffer;
  durable: Buffer;
  unsynced: { position: number; bytes: Buffer }[] = [];
  /** Writes whose datasync failed: they may be on the disk, and no later datasync says anything about them. */
  #orphaned: { position: number; bytes: Buffer }[] = [];

  constructor(size: number) {
    this.live = Buffer.alloc(size);
    this.durable = Buffer.alloc(size);
  }

  write(bytes: Buffer, position: number): void {
    assert(position + bytes.length <= this.live.length, 'segments do not grow');
    const copy = Buffer.from(bytes);
    copy.copy(this.live, position);
    this.unsynced.push({ position, bytes: copy });
  }

  sync(): void {
    for (const { position, bytes } of this.unsynced.splice(0)) {
      bytes.copy(this.durable, position);
    }
  }

  loseClaim(): void {
    this.#orphaned.push(...this.unsynced.splice(0));
  }

  crash(random: SeededRandom, keepUnsynced: boolean): void {
    const fate = keepUnsynced ? 'all' : random.pick(['none', 'all', 'some', 'some', 'prefix'] as const);
    for (const { position, bytes } of [...this.#orphaned.splice(0), ...this.unsynced.splice(0)]) {
      const sectorsMax = Math.ceil(bytes.length / SECTOR_SIZE) + 1;
      const prefix = random.below(sectorsMax + 1);
      const first = Math.floor(position / SECTOR_SIZE);
      for (let sector = first; sector * SECTOR_SIZE < position + bytes.length; sector++) {
        if (
          fate === 'all' ||
          (fate === 'some' && random.next() < 0.5) ||
          (fate === 'prefix' && sector - first < prefix)
        ) {
          const start = Math.max(sector * SECTOR_SIZE, position);
          const end = Math.min((sector + 1) * SECTOR_SIZE, position + bytes.length);
          bytes.copy(this.durable, start, start - position, end - position);
        }
      }
    }
    this.live = Buffer.from(this.durable);
  }
}

function diskError(code: string): Error {
  return Object.assign(new Error(`${code}: injected`), { code });
}

function never<T>(): Promise<T> {
  return new Promise<T>(() => undefined);
}

import { hash } from 'node:crypto';
import { mkdtemp, open, rm, statfs } from 'node:fs/promises';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';

/** What this machine does on its own, so that figures of two machines can be compared. */
export interface Calibration {
  readonly memcpyGBps: number;
  readonly sha256MBps: number;
  /** 4 KiB written and flushed into a preallocated file. */
  readonly fdatasync4KiBMs: number;
  readonly fileSystem: string;
  /** Work done by two threads over work done by one in the same time: 2 when two cores are free. */
  readonly twoThreadScaling: number;
}

export interface BenchEnvironment {
  readonly node: string;
  readonly platform: string;
  readonly cpu: string;
  readonly cpus: number;
  readonly memoryGB: number;
}

const MIB = 1024 * 1024;

/** File systems by their magic number (statfs(2)); `inMemory` ones make a flush free. */
const FILE_SYSTEMS: Readonly<Record<number, { readonly name: string; readonly inMemory: boolean }>> = {
  0xef53: { name: 'ext4', inMemory: false },
  0x58465342: { name: 'xfs', inMemory: false },
  0x9123683e: { name: 'btrfs', inMemory: false },
  0x2fc12fc1: { name: 'zfs', inMemory: false },
  0x794c7630: { name: 'overlayfs', inMemory: false },
  0xf2f52010: { name: 'f2fs', inMemory: false },
  0x6969: { name: 'nfs', inMemory: false },
  0x01021997: { name: '9p', inMemory: false },
  0x65735546: { name: 'fuse', inMemory: false },
  0x1a: { name: 'apfs', inMemory: false },
  0x01021994: { name: 'tmpfs', inMemory: true },
  0x858458f6: { name: 'ramfs', inMemory: true },
};

/**
 * (func (export "spin") (param $n i32) (result i32)): acc = acc * 31 + n, n times. Depends on every step, so that no
 * compiler removes it, and touches no memory, so that only the cores are measured.
 */
const SPIN_WASM = Buffer.from(
  '0061736d01000000' + // magic, version
    '01060160017f017f' + // type (i32) -> i32
    '03020100' + // one function of it
    '070801047370696e0000' + // export "spin"
    '0a1e011c01017f' + // one body, one local i32
    '03402001411f6c20006a2101' + // loop: acc = acc * 31 + n
    '200041016b22000d000b' + // n = n - 1, again unless 0
    '20010b',
  'hex',
);

const SPIN_THREAD = `
const { parentPort, workerData } = require('node:worker_threads');
const { spin } = new WebAssembly.Instance(new WebAssembly.Module(workerData)).exports;
spin(1_000_000);
parentPort.on('message', (count) => {
  if (count === 0) { parentPort.close(); return; }
  const start = performance.now();
  spin(count);
  parentPort.postMessage(performance.now() - start);
});
parentPort.postMessage('ready');
`;

export async function calibrate(options: { readonly smoke: boolean }): Promise<Calibration> {
  const scale = options.smoke ? 1 : 8;
  const directory = process.env['CHAPERONE_BENCH_DIR'] ?? tmpdir();
  const fileSystem = await fileSystemOf(directory);
  if (fileSystem.inMemory && !options.smoke) {
    throw new Error(`${directory} is ${fileSystem.name}: set CHAPERONE_BENCH_DIR to a folder on a disk`);
  }
  return {
    memcpyGBps: measureMemcpy(scale),
    sha256MBps: measureSha256(scale),
    fdatasync4KiBMs: await measureFdatasync(directory, 16 * scale),
    fileSystem: fileSystem.name,
    twoThreadScaling: await measureScaling(20_000_000 * scale),
  };
}

export function environment(): BenchEnvironment {
  const all = cpus();
  return {
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    cpu: all[0]?.model ?? 'unknown',
    cpus: all.length,
    memoryGB: round(totalmem() / 1024 ** 3),
  };
}

export async function fileSystemOf(path: string): Promise<{ readonly name: string; readonly inMemory: boolean }> {
  const magic = (await statfs(path)).type >>> 0;
  return FILE_SYSTEMS[magic] ?? { name: `0x${magic.toString(16)}`, inMemory: false };
}

function measureMemcpy(scale: number): number {
  // Larger than a cache, so that memory is measured.
  const source = Buffer.alloc(scale * 8 * MIB, 1);
  const target = Buffer.alloc(source.length);
  const bestMs = best(5, () => {
    source.copy(target);
  });
  return round(source.length / 1e9 / (bestMs / 1000));
}

function measureSha256(scale: number): number {
  const source = Buffer.alloc(scale * MIB, 1);
  const bestMs = best(5, () => {
    hash('sha256', source, 'hex');
  });
  return round(source.length / 1e6 / (bestMs / 1000));
}

async function measureFdatasync(directory: string, count: number): Promise<number> {
  const folder = await mkdtemp(join(directory, 'chaperone-calibration-'));
  try {
    const file = await open(join(folder, 'flush'), 'w');
    try {
      const block = Buffer.alloc(4096, 7);
      await file.write(Buffer.alloc(count * block.length), 0, count * block.length, 0);
      await file.sync();
      const samples: number[] = [];
      for (let i = 0; i < count; i++) {
        const start = performance.now();
        await file.write(block, 0, block.length, i * block.length);
        await file.datasync();
        samples.push(performance.now() - start);
      }
      return round(samples.sort((a, b) => a - b)[count >> 1] ?? NaN);
    } finally {
      await file.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function measureScaling(count: number): Promise<number> {
  const threads = [startSpinner(), startSpinner()];
  try {
    await Promise.all(threads.map((thread) => thread.answer()));
    const [one, two] = threads as [Spinner, Spinner];
    const aloneMs = Math.min(await one.spin(count), await one.spin(count));
    const togetherMs = await Promise.all([one.spin(count), two.spin(count)]);
    return round((2 * aloneMs) / Math.max(...togetherMs));
  } finally {
    await Promise.all(threads.map((thread) => thread.stop()));
  }
}

interface Spinner {
  answer(): Promise<unknown>;
  spin(count: number): Promise<number>;
  stop(): Promise<number>;
}

function startSpinner(): Spinner {
  const worker = new Worker(SPIN_THREAD, { eval: true, workerData: SPIN_WASM });
  const answer = (): Promise<unknown> =>
    new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
  return {
    answer,
    spin: (count) => {
      const reply = answer();
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- threads have no origins
      worker.postMessage(count);
      return reply as Promise<number>;
    },
    stop: () => worker.terminate(),
  };
}

function best(times: number, work: () => void): number {
  let bestMs = Infinity;
  for (let i = 0; i < times; i++) {
    const start = performance.now();
    work();
    bestMs = Math.min(bestMs, performance.now() - start);
  }
  return bestMs;
}

function round(value: number): number {
  return Number(value.toPrecision(3));
}

import { generateKeyPairSync } from 'node:crypto';
import { ZERO32 } from '../core/kernel/bytes.ts';
import { SystemClock } from '../core/kernel/clock.ts';
import { LIMITS } from '../core/kernel/limits.ts';
import { signEpoch } from '../core/ledger/epoch.ts';
import { KINDS } from '../core/ledger/leaf.ts';
import { recordSize } from '../core/ledger/record.ts';
import type { Disk, DiskFile } from '../core/runtime/disk.ts';
import { NodeDisk } from '../core/runtime/node-disk.ts';
import type { RecordInput } from '../core/runtime/writer/evidence-writer.ts';
import { JournalWriter } from '../core/runtime/writer/journal-writer.ts';
import {
  type Bench,
  type BenchCase,
  type BenchContext,
  type Gate,
  gateOf,
  interleave,
  type MeasuredCase,
  quantile,
  resultOf,
  withBenchDirectory,
} from './harness.ts';

const RECORD_BYTES = 600;
const IN_FLIGHT = [1, 256, 2048] as const;
const GATED_IN_FLIGHT = 256;
const RATIO_MIN = 0.6;
const RECORDS_PER_SECOND_MIN = 150_000;
/** The absolute gate is for disks whose flush is at most this slow. */
const FLUSH_P50_MAX_MS = 0.25;
const SUSTAINED_RECORDS = 400_000;
/** A flush of a network disk. */
const SLOW_FLUSH_MS = 2.6;

/** One run of the writer: what the bare loop has to write again. */
interface WriterRun {
  readonly recordsPerSecond: number;
  readonly groups: readonly { readonly bytes: number; readonly records: number }[];
  readonly p50Ms: number;
  readonly p99Ms: number;
}

interface BareRun {
  readonly recordsPerSecond: number;
  readonly flushP50Ms: number;
}

/**
 * The journal against a bare loop that writes the same groups with writev and fdatasync into a file that was zeroed before
 * the clock started. The writer does everything that it does: hashes, checksums, the tree, batches and their signatures.
 *
 * A run begins when the writer is idle, so it has two segments; the gated cases end before it needs a third, of which the
 * zeroing began on the way. `sustained` goes on over several segments, where as many zeros as records are written: it
 * shows what that costs and gates nothing.
 */
export const bench: Bench = {
  name: 'journal',
  run: (context) =>
    withBenchDirectory(context, async (directory) => {
      const disk = await NodeDisk.open(directory);
      const state = new Measurements(disk);
      await state.writer(2, 200, 0); // Warm-up: the first round would measure the compiler.
      const results = await interleave(context.rounds, state.cases(context), context.log);
      return { results: [...results, ...state.details(context)], gates: gates(context, state, results) };
    }),
};

function gates(context: BenchContext, state: Measurements, results: readonly BenchCase[]): Gate[] {
  const gated = resultOf(results, `writer, ${GATED_IN_FLIGHT} in flight`);
  const referenceRounds = resultOf(results, `bare, ${GATED_IN_FLIGHT} in flight`).rounds;
  const flushP50Ms = state.flushP50Ms(GATED_IN_FLIGHT);
  const slow = flushP50Ms > FLUSH_P50_MAX_MS;
  return [
    gateOf(context, {
      name: `journal to bare writev + fdatasync, ${GATED_IN_FLIGHT} in flight`,
      value: gated.ratio ?? NaN,
      bound: RATIO_MIN,
      op: '>=',
      referenceRounds,
    }),
    gateOf(context, {
      name: `durable records a second, ${GATED_IN_FLIGHT} in flight`,
      value: gated.value,
      bound: RECORDS_PER_SECOND_MIN,
      op: '>=',
      referenceRounds,
      open: slow
        ? `fdatasync p50 is ${flushP50Ms.toFixed(2)} ms here, the gate is for ${FLUSH_P50_MAX_MS} ms or less`
        : undefined,
    }),
  ];
}

class Measurements {
  readonly #disk: NodeDisk;
  readonly #last = new Map<string, WriterRun>();
  readonly #p50 = new Map<string, number[]>();
  readonly #p99 = new Map<string, number[]>();
  readonly #flush = new Map<number, number[]>();

  constructor(disk: NodeDisk) {
    this.#disk = disk;
  }

  cases(context: BenchContext): MeasuredCase[] {
    const cases: MeasuredCase[] = [];
    for (const inFlight of IN_FLIGHT) {
      const name = `writer, ${inFlight} in flight`;
      const count = recordCount(inFlight, context.smoke);
      cases.push(
        {
          case: name,
          metric: 'records',
          unit: '1/s',
          reference: `bare, ${inFlight} in flight`,
          measure: async () => this.#note(name, await this.writer(inFlight, count, 0)),
        },
        {
          case: `bare, ${inFlight} in flight`,
          metric: 'records',
          unit: '1/s',
          measure: async () => {
            const run = await this.#bare(this.#last.get(name)?.groups ?? []);
            push(this.#flush, inFlight, run.flushP50Ms);
            return run.recordsPerSecond;
          },
        },
      );
    }
    const sustained = `writer, ${GATED_IN_FLIGHT} in flight, sustained`;
    cases.push({
      case: sustained,
      metric: 'records',
      unit: '1/s',
      measure: async () =>
        this.#note(sustained, await this.writer(GATED_IN_FLIGHT, context.smoke ? 1_000 : SUSTAINED_RECORDS, 0)),
    });
    const slow = `writer, ${GATED_IN_FLIGHT} in flight, flush + ${SLOW_FLUSH_MS} ms`;
    cases.push({
      case: slow,
      metric: 'records',
      unit: '1/s',
      measure: async () =>
        this.#note(slow, await this.writer(GATED_IN_FLIGHT, context.smoke ? 500 : 40_000, SLOW_FLUSH_MS)),
    });
    return cases;
  }

  /** Latencies from append to release, group sizes, and the flush of the bare loop. */
  details(context: BenchContext): BenchCase[] {
    const details: BenchCase[] = [];
    for (const [name, rounds] of this.#p50) {
      details.push({ case: name, metric: 'p50', unit: 'ms', value: quantile(rounds, 0.5), rounds });
    }
    for (const [name, rounds] of this.#p99) {
      details.push({ case: name, metric: 'p99', unit: 'ms', value: quantile(rounds, 0.5), rounds });
    }
    for (const [name, { groups }] of this.#last) {
      const sizes = groups.map((group) => group.records);
      details.push({ case: name, metric: 'group', unit: 'records', value: quantile(sizes, 0.5) });
    }
    for (const [inFlight, rounds] of this.#flush) {
      const value = quantile(rounds, 0.5);
      details.push({ case: `bare, ${inFlight} in flight`, metric: 'fdatasync p50', unit: 'ms', value, rounds });
    }
    for (const each of details) {
      context.log(`${each.case}  ${each.metric} ${each.value.toFixed(3)} ${each.unit}`);
    }
    return details;
  }

  flushP50Ms(inFlight: number): number {
    return quantile(this.#flush.get(inFlight) ?? [], 0.5);
  }

  async writer(inFlight: number, count: number, extraFlushMs: number): Promise<WriterRun> {
    const groups: { bytes: number; records: number }[] = [];
    const disk = new ObservedDisk(this.#disk, extraFlushMs, (bytes) => groups.push({ bytes, records: 0 }));
    const writer = await openWriter(disk);
    await disk.created();
    groups.length = 0;
    const { latenciesMs, elapsedMs } = await closedLoop(writer, inFlight, count);
    for (const group of groups) {
      (group as { records: number }).records = Math.round(group.bytes / (RECORD_BYTES + 44));
    }
    const measured = groups.slice();
    await writer.close();
    for (const name of await this.#disk.list()) {
      await this.#disk.remove(name);
    }
    return {
      recordsPerSecond: (count / elapsedMs) * 1000,
      groups: measured,
      p50Ms: quantile(latenciesMs, 0.5),
      p99Ms: quantile(latenciesMs, 0.99),
    };
  }

  async #bare(groups: readonly { readonly bytes: number; readonly records: number }[]): Promise<BareRun> {
    const total = groups.reduce((sum, group) => sum + group.bytes, 0);
    const file = await this.#disk.createZeroed('bare', Math.max(total, 1));
    const bytes = Buffer.alloc(LIMITS.groupCommitBytesMax + 64, 0x5a);
    const flushes: number[] = [];
    let position = 0;
    const startMs = performance.now();
    for (const group of groups) {
      await file.writev([bytes.subarray(0, group.bytes)], position);
      const flushMs = performance.now();
      await file.datasync();
      flushes.push(performance.now() - flushMs);
      position += group.bytes;
    }
    const elapsedMs = performance.now() - startMs;
    await file.close();
    await this.#disk.remove('bare');
    const records = groups.reduce((sum, group) => sum + group.records, 0);
    return { recordsPerSecond: (records / elapsedMs) * 1000, flushP50Ms: quantile(flushes, 0.5) };
  }

  #note(name: string, run: WriterRun): number {
    this.#last.set(name, run);
    push(this.#p50, name, run.p50Ms);
    push(this.#p99, name, run.p99Ms);
    return run.recordsPerSecond;
  }
}

/** Keeps `inFlight` records unacknowledged until `count` are durable. */
function closedLoop(
  writer: JournalWriter,
  inFlight: number,
  count: number,
): Promise<{ latenciesMs: number[]; elapsedMs: number }> {
  const record = unsealedRecord();
  const latenciesMs = Array.from({ length: count }, () => 0);
  let appended = 0;
  let released = 0;
  return new Promise((resolve, reject) => {
    const startMs = performance.now();
    const next = (): void => {
      const i = appended++;
      const atMs = performance.now();
      const { index } = writer.append(record);
      writer.whenDurable(index, (failure) => {
        if (failure !== null) {
          reject(failure);
          return;
        }
        const nowMs = performance.now();
        latenciesMs[i] = nowMs - atMs;
        if (++released === count) {
          resolve({ latenciesMs, elapsedMs: nowMs - startMs });
        } else if (appended < count) {
          next();
        }
      });
    };
    for (let i = Math.min(inFlight, count); i > 0; i--) {
      next();
    }
  });
}

function openWriter(disk: Disk): Promise<JournalWriter> {
  const nodeKey = generateKeyPairSync('ed25519').privateKey;
  const taken = { publish: () => Promise.resolve() };
  return JournalWriter.open({
    disk,
    clock: new SystemClock(),
    role: 'worker',
    epoch: { node: 'bench', configDigest: ZERO32, binaryDigest: ZERO32, bundleDigest: ZERO32 },
    certify: (publicKey, writerId, role, createdNs) =>
      signEpoch({ publicKey, writerId, role, createdNs, nodeCertificate: Buffer.from('bench') }, nodeKey),
    batches: taken,
    heads: taken,
  });
}

function unsealedRecord(): RecordInput {
  const fixed = recordSize({ meta: Buffer.alloc(0), units: [] });
  return {
    kind: KINDS.operation,
    sessionId: Buffer.alloc(16, 1),
    strandSeq: 1,
    strandPrevious: Buffer.alloc(32, 2),
    tenantTag: Buffer.alloc(16, 3),
    bundleDigest: Buffer.alloc(32, 4),
    decision: 1,
    obligations: 0,
    approvalLeafHash: ZERO32,
    meta: Buffer.alloc(RECORD_BYTES - fixed, 0x61),
    units: [],
  };
}

/** Passes everything on, notes the size of each commit, and makes a flush slower when asked. */
class ObservedDisk implements Disk {
  readonly #disk: NodeDisk;
  readonly #extraFlushMs: number;
  readonly #onCommit: (bytes: number) => void;
  #creating: Promise<unknown> = Promise.resolve();

  constructor(disk: NodeDisk, extraFlushMs: number, onCommit: (bytes: number) => void) {
    this.#disk = disk;
    this.#extraFlushMs = extraFlushMs;
    this.#onCommit = onCommit;
  }

  async createZeroed(name: string, size: number): Promise<DiskFile> {
    const creating = this.#disk.createZeroed(name, size);
    this.#creating = creating;
    return this.#observe(await creating);
  }

  /** Resolves when the segment that is being prepared is ready. */
  async created(): Promise<void> {
    await this.#creating;
  }

  async open(name: string): Promise<DiskFile> {
    return this.#observe(await this.#disk.open(name));
  }

  list = (): Promise<string[]> => this.#disk.list();
  size = (name: string): Promise<number> => this.#disk.size(name);
  remove = (name: string): Promise<void> => this.#disk.remove(name);
  rename = (from: string, to: string): Promise<void> => this.#disk.rename(from, to);
  freeBytes = (): Promise<number> => this.#disk.freeBytes();

  #observe(file: DiskFile): DiskFile {
    return {
      writev: (buffers, position) => file.writev(buffers, position),
      datasync: () => file.datasync(),
      writeDurable: (buffers, position) => {
        this.#onCommit(buffers.reduce((sum, buffer) => sum + buffer.length, 0));
        const written = file.writeDurable(buffers, position);
        return this.#extraFlushMs === 0 ? written : later(written, this.#extraFlushMs);
      },
      read: (target, position) => file.read(target, position),
      close: () => file.close(),
    };
  }
}

async function later<T>(value: Promise<T>, delayMs: number): Promise<T> {
  const result = await value;
  const untilMs = performance.now() + delayMs;
  // setTimeout is a millisecond coarse; what is left of the delay is spent in turns of the loop.
  await new Promise<void>((resolve) => {
    setTimeout(resolve, Math.floor(delayMs) - 1);
  });
  while (performance.now() < untilMs) {
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
  }
  return result;
}

function recordCount(inFlight: number, smoke: boolean): number {
  if (smoke) {
    return inFlight === 1 ? 50 : 2 * inFlight;
  }
  return inFlight === 1 ? 2_000 : 120_000;
}

function push<K>(map: Map<K, number[]>, key: K, value: number): void {
  const list = map.get(key);
  if (list === undefined) {
    map.set(key, [value]);
  } else {
    list.push(value);
  }
}

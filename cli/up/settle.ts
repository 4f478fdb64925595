import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FileBus } from '../../core/bus/file-bus/file-bus.ts';
import { TOPICS } from '../../core/bus/topics.ts';
import type { Bus } from '../../core/bus/bus.ts';
import type { Clock } from '../../core/kernel/clock.ts';
import { decodeCheckpoint, inputOffsetOf } from '../../core/ledger/checkpoint.ts';
import { parseNote } from '../../core/ledger/note.ts';

export interface SettleOptions {
  readonly busSocketPath: string;
  /** Of the cluster log. */
  readonly logDirectory: string;
  readonly clock: Clock;
}

/** A checkpoint comes each second and its cosignatures each two; an idle machine needs half of this. */
const SETTLE_MS = 5_000;
const POLL_MS = 50;
/** Where ingest notes which batches have rows (`ROWS_CONSUMER`). */
const ROWS_CONSUMER = 'ingest-rows';

/**
 * After the gateway has ended and before the others do: waits until what it published last is in the cosigned cluster log
 * and in the index, so that a deployment that was stopped in order is complete at rest. Resolves with false when that
 * took too long, or the bus is gone: then the next start goes on from there, and nothing is lost.
 */
export async function settle(options: SettleOptions): Promise<boolean> {
  const { clock } = options;
  const bus = new FileBus({ socketPath: options.busSocketPath, clock });
  const untilMs = clock.monotonicMs() + SETTLE_MS;
  try {
    for (;;) {
      if ((await isLogged(bus, options.logDirectory)) && (await isIndexed(bus))) {
        return true;
      }
      if (clock.monotonicMs() > untilMs) {
        return false;
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  } catch {
    return false; // The bus or the log is not there: what is durable is durable, and is gone on with at the next start.
  } finally {
    await bus.close();
  }
}

/** The last head on the bus is in the newest cosigned checkpoint. */
async function isLogged(bus: Bus, logDirectory: string): Promise<boolean> {
  const [end = 0] = await bus.endOffsets(TOPICS.heads.name);
  const note = await readFile(join(logDirectory, 'checkpoint.cosigned'), 'utf8').catch(() => null);
  if (note === null) {
    return false; // Nothing was cosigned yet.
  }
  return (inputOffsetOf(decodeCheckpoint(parseNote(note).text)) ?? 0) >= end;
}

/** Every batch on the bus has its rows. */
async function isIndexed(bus: Bus): Promise<boolean> {
  const [ends, loaded] = await Promise.all([
    bus.endOffsets(TOPICS.batches.name),
    bus.committed(ROWS_CONSUMER, TOPICS.batches.name),
  ]);
  return ends.every((end, partition) => (loaded[partition] ?? 0) >= end);
}

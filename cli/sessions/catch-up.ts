import { GatewayError } from '../../core/kernel/errors.ts';
import { decodeHead } from '../../core/ledger/head.ts';
import type { Config } from '../../core/runtime/config/config-schema.ts';
import type { CliContext } from '../context.ts';
import { ControlClient } from '../control-client.ts';
import type { RunFile } from '../run-file.ts';
import type { SessionIndex } from './session-index.ts';

/** What the gateway recorded just now is archived and indexed within this time, unless something is broken. */
const CATCH_UP_MS = 15_000;
const NOTICE_MS = 500;
const POLL_MS = 100;
/** A batch closes 100 ms after its first record; what was recorded before the command began is signed by then. */
const SIGN_MS = 200;

/** A record by its place in the log of its writer. */
export interface Position {
  readonly writer: string;
  readonly index: number;
}

/**
 * Waits until the index has what the node's writers had signed when the command began, and the record at `wanted`, if its
 * writer lives. Without the gateway there is nothing newer to wait for than what is there; that is said.
 */
export async function catchUp(
  context: CliContext,
  config: Config,
  run: RunFile,
  index: SessionIndex,
  wanted: Position | null = null,
): Promise<void> {
  await pause(SIGN_MS);
  const heads = await nodeHeads(config, run);
  if (heads === null) {
    context.err('The gateway does not answer: records of its last seconds may not be shown.');
    return;
  }
  if (wanted !== null && heads.has(wanted.writer)) {
    heads.set(wanted.writer, Math.max(wanted.index + 1, heads.get(wanted.writer) ?? 0));
  }
  const startedMs = context.clock.monotonicMs();
  let noticed = false;
  for (;;) {
    const ends = await index.writerEnds();
    if ([...heads].every(([writer, size]) => (ends.get(writer) ?? 0) >= size)) {
      return;
    }
    const waitedMs = context.clock.monotonicMs() - startedMs;
    if (waitedMs > CATCH_UP_MS) {
      context.err('The index is behind the gateway: the newest records may not be shown.');
      return;
    }
    if (!noticed && waitedMs > NOTICE_MS) {
      noticed = true;
      context.err('Waiting for the newest records to be archived and indexed …');
    }
    await pause(POLL_MS);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Size of the newest signed head of each writer of the node, 0 before its first; null when it does not answer. */
async function nodeHeads(config: Config, run: RunFile): Promise<Map<string, number> | null> {
  const control = await ControlClient.open(config, run.control);
  try {
    const [heads, writers] = await Promise.all([control.heads(), control.writers()]);
    const signed = heads
      .map(decodeHead)
      .map(({ writerId, size }): [string, number] => [writerId.toString('hex'), size]);
    return new Map([...writers.map((writer): [string, number] => [writer, 0]), ...signed]);
  } catch (error) {
    if (error instanceof GatewayError && error.code === 'upstream_unreachable') {
      return null;
    }
    throw error;
  } finally {
    control.close();
  }
}

import { createPrivateKey } from 'node:crypto';
import { SystemClock } from '../../core/kernel/clock.ts';
import { FileBus } from '../../core/bus/file-bus/file-bus.ts';
import { decodeVerifierKey } from '../../core/ledger/verifier-key.ts';
import { runProcess } from '../../core/runtime/launcher/run-process.ts';
import { DiskBlobStore } from '../adapters/disk-blob-store.ts';
import { startSequencer } from './start-sequencer.ts';

/** What a launcher gives to the process `sequencer`. */
export interface SequencerProcessOptions {
  readonly busSocketPath: string;
  readonly logDirectory: string;
  /** `<cluster-domain>/evidence`. */
  readonly origin: string;
  /** Ed25519, PKCS #8 PEM. */
  readonly privateKeyPem: string;
  /** PEM. */
  readonly clusterCas: readonly string[];
  /** `vkey` in C2SP signed-note form, type cosignature. */
  readonly witnesses: readonly { readonly url: string; readonly vkey: string }[];
  readonly checkpointMs?: number;
}

async function start(options: SequencerProcessOptions): Promise<{ close(): Promise<void> }> {
  const clock = new SystemClock();
  const bus = new FileBus({ socketPath: options.busSocketPath, clock });
  const sequencer = await startSequencer({
    bus,
    clock,
    blobs: new DiskBlobStore(options.logDirectory),
    signer: { name: options.origin, key: createPrivateKey(options.privateKeyPem) },
    clusterCas: options.clusterCas,
    witnesses: options.witnesses.map(({ url, vkey }) => ({ url, key: decodeVerifierKey(vkey) })),
    ...(options.checkpointMs === undefined ? {} : { checkpointMs: options.checkpointMs }),
  });
  sequencer.done.catch((error: unknown) => {
    // Fenced, or the log contradicts itself: the launcher starts it again, and it begins from what the lock says.
    process.stderr.write(`sequencer stopped: ${error instanceof Error ? error.message : 'unknown failure'}\n`);
    process.exit(1);
  });
  return {
    async close() {
      await sequencer.close();
      await bus.close();
    },
  };
}

runProcess(start, () => ({}));

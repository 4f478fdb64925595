import { createPrivateKey } from 'node:crypto';
import { SystemClock } from '../../core/kernel/clock.ts';
import { decodeVerifierKey } from '../../core/ledger/verifier-key.ts';
import { runProcess } from '../../core/runtime/launcher/run-process.ts';
import { DiskBlobStore } from '../adapters/disk-blob-store.ts';
import { startWitness } from './start-witness.ts';
import type { RunningWitness } from './start-witness.ts';

/** What a launcher gives to the process `witness`. */
export interface WitnessProcessOptions {
  readonly directory: string;
  readonly name: string;
  /** Ed25519, PKCS #8 PEM. */
  readonly privateKeyPem: string;
  /** `vkey` of each log that it knows, type Ed25519. */
  readonly logs: readonly string[];
  readonly port?: number;
}

function start({ directory, name, privateKeyPem, logs, port }: WitnessProcessOptions): Promise<RunningWitness> {
  return startWitness({
    cosigner: { name, key: createPrivateKey(privateKeyPem) },
    logs: logs.map(decodeVerifierKey),
    blobs: new DiskBlobStore(directory),
    clock: new SystemClock(),
    ...(port === undefined ? {} : { port }),
  });
}

runProcess(start, (witness) => ({ port: witness.port }));

import { TOPICS } from '../../core/bus/topics.ts';
import { publicKeyRaw } from '../../core/ledger/ed25519.ts';
import { SIGNATURE_TYPES, verifierKey } from '../../core/ledger/verifier-key.ts';
import type { VerifierKey } from '../../core/ledger/verifier-key.ts';
import { Cosigners } from './cosigners.ts';
import { httpWitness } from '../adapters/http-witness.ts';
import { Sequencer } from './sequencer.ts';
import type { SequencerOptions } from './sequencer.ts';

export interface StartSequencerOptions extends Omit<SequencerOptions, 'cosigners'> {
  readonly witnesses: readonly { readonly url: string; readonly key: VerifierKey }[];
}

/** The role `sequencer`. Resolves when it reads its input; `done` of the result rejects when it must be started anew. */
export async function startSequencer(options: StartSequencerOptions): Promise<Sequencer> {
  const { bus, signer, witnesses } = options;
  await bus.ensure(TOPICS.heads);
  await bus.ensure(TOPICS.checkpoints);
  const logKey = verifierKey(signer.name, SIGNATURE_TYPES.ed25519, publicKeyRaw(signer.key));
  const cosigners = new Cosigners(
    logKey,
    witnesses.map(({ url, key }) => httpWitness(url, key)),
  );
  return Sequencer.start({ ...options, cosigners });
}

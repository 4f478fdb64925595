import type { VerifierKey } from '../../core/ledger/verifier-key.ts';
import type { WitnessEndpoint } from '../sequence/cosigners.ts';

const TIMEOUT_MS = 2_000;
const ANSWER_CHARACTERS_MAX = 4_096;

/** A witness at `url`, to which `/add-checkpoint` is added. */
export function httpWitness(url: string, key: VerifierKey): WitnessEndpoint {
  const target = `${url.replace(/\/$/, '')}/add-checkpoint`;
  return {
    key,
    async addCheckpoint(body) {
      const answer = await fetch(target, { method: 'POST', body, signal: AbortSignal.timeout(TIMEOUT_MS) });
      return { status: answer.status, body: (await answer.text()).slice(0, ANSWER_CHARACTERS_MAX) };
    },
  };
}

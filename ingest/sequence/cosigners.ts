import { channel } from 'node:diagnostics_channel';
import { openCheckpoint } from '../../core/ledger/checkpoint.ts';
import { addSignature } from '../../core/ledger/note.ts';
import type { VerifierKey } from '../../core/ledger/verifier-key.ts';
import type { TileTree } from '../archive/tile-tree.ts';

/** Answer of a witness to `add-checkpoint` (C2SP tlog-witness). */
export interface WitnessAnswer {
  readonly status: number;
  readonly body: string;
}

export interface WitnessEndpoint {
  readonly key: VerifierKey;
  addCheckpoint(body: string): Promise<WitnessAnswer>;
}

/** Messages `{ name, status }`: a witness did not cosign. */
export const witnessRefusedChannel = channel('chaperone:ingest:witness.refused');

const CONFLICT = 409;
const SIZE = /^(0|[1-9][0-9]{0,15})\n?$/;

/**
 * The witnesses of a log, as its sequencer sees them. What each has seen last is only remembered to save a round trip:
 * a witness that knows better says so (409) and is asked again from its size.
 */
export class Cosigners {
  readonly #logKey: VerifierKey;
  readonly #witnesses: readonly WitnessEndpoint[];
  readonly #seen = new Map<WitnessEndpoint, number>();

  constructor(logKey: VerifierKey, witnesses: readonly WitnessEndpoint[]) {
    this.#logKey = logKey;
    this.#witnesses = witnesses;
  }

  /** The note with the cosignatures of the witnesses that gave a valid one, or null when none did. */
  async cosign(note: string, size: number, tree: TileTree): Promise<string | null> {
    const lines = await Promise.all(this.#witnesses.map((witness) => this.#ask(witness, note, size, tree)));
    let cosigned = note;
    for (const line of lines) {
      cosigned = line === null ? cosigned : addSignature(cosigned, line);
    }
    return cosigned === note ? null : cosigned;
  }

  async #ask(witness: WitnessEndpoint, note: string, size: number, tree: TileTree): Promise<string | null> {
    let old = this.#seen.get(witness) ?? 0;
    for (let attempt = 0; attempt < 2; attempt++) {
      const proof = await tree.consistencyProof(old, size);
      const lines = proof.map((hash) => `${hash.toString('base64')}\n`).join('');
      let answer: WitnessAnswer;
      try {
        answer = await witness.addCheckpoint(`old ${old}\n${lines}\n${note}`);
      } catch {
        answer = { status: 0, body: '' }; // Away: the next checkpoint asks again.
      }
      if (answer.status === 200 && this.#valid(witness, note, answer.body)) {
        this.#seen.set(witness, size);
        return answer.body;
      }
      const theirs = answer.status === CONFLICT ? SIZE.exec(answer.body)?.[1] : undefined;
      if (theirs === undefined || Number(theirs) > size) {
        witnessRefusedChannel.publish({ name: witness.key.name, status: answer.status });
        return null;
      }
      old = Number(theirs);
    }
    return null;
  }

  #valid(witness: WitnessEndpoint, note: string, line: string): boolean {
    try {
      const { cosignatures } = openCheckpoint(addSignature(note, line), this.#logKey, [witness.key]);
      return cosignatures.some(({ name }) => name === witness.key.name);
    } catch {
      witnessRefusedChannel.publish({ name: witness.key.name, status: 200 });
      return false;
    }
  }
}

import { decodeCheckpoint, inputOffsetOf } from '../../core/ledger/checkpoint.ts';
import { openNote, parseNote } from '../../core/ledger/note.ts';
import { SIGNATURE_TYPES, type VerifierKey } from '../../core/ledger/verifier-key.ts';
import { type Evidence, problemOf } from './evidence.ts';
import { readWhole } from './evidence-files.ts';
import type { Place } from './findings.ts';

export interface CheckpointKeys {
  /** Null: the checkpoint is taken as it is. */
  readonly log: VerifierKey | null;
  readonly witnesses: readonly VerifierKey[];
}

export interface SeenCheckpoint {
  readonly size: number;
  readonly root: Buffer;
  readonly inputOffset: number;
  readonly note: string;
  readonly cosignatures: readonly { readonly name: string; readonly timeSeconds: number }[];
  readonly place: Place;
}

/** The checkpoint of a file, none when it does not hold: then that is a finding. */
export function readCheckpoint(evidence: Evidence, path: string, file: string, keys: CheckpointKeys): SeenCheckpoint[] {
  const bytes = readWhole(path);
  if (bytes === null) {
    return [];
  }
  const checkpoint = takeCheckpoint(evidence, bytes, { kind: 'checkpoint', file, offset: 0 }, keys);
  if (checkpoint === null) {
    return [];
  }
  if (file.endsWith('.cosigned') && keys.witnesses.length > 0 && checkpoint.cosignatures.length === 0) {
    const detail = 'a cosigned checkpoint without a cosignature of a known witness';
    evidence.findings.add('ALTERED', detail, { place: checkpoint.place });
  }
  return [checkpoint];
}

/** A signed note as it stands, checked with the keys that are known. Null when it does not hold. */
export function takeCheckpoint(
  evidence: Evidence,
  bytes: Buffer,
  place: Place,
  keys: CheckpointKeys,
): SeenCheckpoint | null {
  evidence.checked.checkpoints++;
  try {
    const { text, signatures } = parseNote(bytes);
    const known = [...(keys.log === null ? [] : [keys.log]), ...keys.witnesses];
    const verified = known.length === 0 ? [] : openNote(bytes, known).verified;
    const checkpoint = decodeCheckpoint(text);
    if (keys.log !== null) {
      if (!verified.some(({ key }) => key === keys.log) || checkpoint.origin !== keys.log.name) {
        throw new Error('not signed by the log');
      }
    }
    checkStrangers(evidence, signatures.length, verified.length, keys, place);
    const cosignatures = verified.flatMap(({ key, timeSeconds }) =>
      key.type === SIGNATURE_TYPES.cosignature && timeSeconds !== null ? [{ name: key.name, timeSeconds }] : [],
    );
    for (const { timeSeconds } of cosignatures) {
      evidence.newestMs = Math.max(evidence.newestMs, timeSeconds * 1000);
    }
    const { size, root } = checkpoint;
    const inputOffset = inputOffsetOf(checkpoint) ?? 0;
    return { size, root, inputOffset, note: bytes.toString('utf8'), cosignatures, place };
  } catch (error) {
    evidence.findings.add('ALTERED', `checkpoint: ${problemOf(error)}`, { place });
    return null;
  }
}

/**
 * Lines of nobody we know. A witness that somebody else runs may be among them; but where one of ours has no line and
 * there is a strange one, ours was changed.
 */
function checkStrangers(evidence: Evidence, lines: number, verified: number, keys: CheckpointKeys, place: Place): void {
  const known = (keys.log === null ? 0 : 1) + keys.witnesses.length;
  if (keys.log !== null && keys.witnesses.length > 0 && lines > verified && verified < known) {
    evidence.findings.add('ALTERED', 'checkpoint: a signature line names no known key', { place });
  }
}

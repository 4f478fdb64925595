import { assert } from '../kernel/assert.ts';
import { GatewayError } from '../kernel/errors.ts';
import { decodeBase64 } from './base64.ts';
import { malformed } from './byte-reader.ts';
import { type OpenedCheckpoint, openCheckpoint } from './checkpoint.ts';
import { HASH_SIZE } from './hash.ts';
import { verifyInclusion } from './merkle.ts';
import type { VerifierKey } from './verifier-key.ts';

/*
 * C2SP tlog-proof, a proof that is checked offline:
 *
 *   "c2sp.org/tlog-proof@v1\n" ["extra " base64 "\n"] "index " decimal "\n" (base64(hash) "\n")* "\n" checkpoint
 */
const HEADER = 'c2sp.org/tlog-proof@v1';
const INDEX = /^index (0|[1-9][0-9]{0,15})$/;
const HASHES_MAX = 64;

export interface TlogProof {
  readonly index: number;
  /** From the leaf's sibling upwards. */
  readonly hashes: readonly Buffer[];
  /** The signed note as the log published it, with the cosignatures. */
  readonly checkpoint: string;
  /** Opaque and not authenticated; null when there is none. */
  readonly extra: Buffer | null;
}

export function encodeTlogProof(proof: TlogProof): string {
  assert(Number.isSafeInteger(proof.index) && proof.index >= 0, 'an index is a non-negative safe integer');
  assert(
    proof.hashes.every((hash) => hash.length === HASH_SIZE),
    'a hash is 32 bytes',
  );
  const lines = [HEADER];
  if (proof.extra !== null) {
    lines.push(`extra ${proof.extra.toString('base64')}`);
  }
  lines.push(`index ${proof.index}`, ...proof.hashes.map((hash) => hash.toString('base64')), '');
  return `${lines.join('\n')}\n${proof.checkpoint}`;
}

export function decodeTlogProof(text: string): TlogProof {
  const end = text.indexOf('\n\n');
  const lines = text.slice(0, Math.max(end, 0)).split('\n');
  if (end < 0 || lines.shift() !== HEADER) {
    throw malformed('tlog proof');
  }
  let extra: Buffer | null = null;
  if (lines[0]?.startsWith('extra ') === true) {
    extra = base64Of(lines.shift()?.slice('extra '.length));
  }
  const index = Number(INDEX.exec(lines.shift() ?? '')?.[1] ?? NaN);
  if (!Number.isSafeInteger(index) || lines.length > HASHES_MAX) {
    throw malformed('tlog proof: index');
  }
  const hashes = lines.map(base64Of);
  if (hashes.some((hash) => hash.length !== HASH_SIZE)) {
    throw malformed('tlog proof: hash');
  }
  return { index, hashes, checkpoint: text.slice(end + 2), extra };
}

/**
 * Checks that the leaf is in the log under a checkpoint of `logKey`. Throws `evidence_malformed` or `evidence_altered`.
 * Which witnesses are enough is for the caller: see `cosignatures`.
 */
export function verifyTlogProof(
  text: string,
  leafHash: Buffer,
  logKey: VerifierKey,
  witnessKeys: readonly VerifierKey[] = [],
): OpenedCheckpoint & { readonly index: number } {
  const proof = decodeTlogProof(text);
  const opened = openCheckpoint(proof.checkpoint, logKey, witnessKeys);
  const { size, root } = opened.checkpoint;
  if (!verifyInclusion(proof.index, size, leafHash, proof.hashes, root)) {
    throw new GatewayError('evidence_altered', 'tlog proof: the leaf is not under this checkpoint');
  }
  return { ...opened, index: proof.index };
}

function base64Of(text: string | undefined): Buffer {
  const bytes = decodeBase64(text ?? '');
  if (bytes === undefined) {
    throw malformed('tlog proof: base64');
  }
  return bytes;
}

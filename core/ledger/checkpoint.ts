import { assert } from '../kernel/assert.ts';
import { GatewayError } from '../kernel/errors.ts';
import { decodeBase64 } from './base64.ts';
import { ByteReader, malformed } from './byte-reader.ts';
import { HASH_SIZE } from './hash.ts';
import { openNote } from './note.ts';
import { SIGNATURE_TYPES, type VerifierKey } from './verifier-key.ts';

/*
 * C2SP tlog-checkpoint, the text of a signed note:
 *
 *   origin "\n" size (decimal) "\n" base64(root) "\n" (extension line "\n")*
 *
 * Ours has one extension line, "input-offset <n>": the next offset of `evidence.heads.v1` to be read.
 * Value of `evidence.checkpoints.v1`: type u8 (1 checkpoint, 2 cosigned checkpoint) | note.
 */
export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  readonly root: Buffer;
  readonly extensions: readonly string[];
}

export interface OpenedCheckpoint {
  readonly checkpoint: Checkpoint;
  readonly text: string;
  readonly cosignatures: readonly { readonly name: string; readonly timeSeconds: number }[];
}

export const CHECKPOINT_VALUE_TYPES = { signed: 1, cosigned: 2 } as const;

export interface CheckpointValue {
  readonly type: 1 | 2;
  readonly note: string;
}

const DECIMAL = /^(0|[1-9][0-9]{0,15})$/;
const INPUT_OFFSET = 'input-offset ';

export function encodeCheckpoint(checkpoint: Checkpoint): string {
  const lines = [
    checkpoint.origin,
    String(checkpoint.size),
    checkpoint.root.toString('base64'),
    ...checkpoint.extensions,
  ];
  assert(Number.isSafeInteger(checkpoint.size) && checkpoint.size >= 0, 'a size is a non-negative safe integer');
  assert(checkpoint.root.length === HASH_SIZE, 'a root is 32 bytes');
  assert(
    lines.every((line) => line !== '' && !line.includes('\n')),
    'no line is empty or more than one',
  );
  return `${lines.join('\n')}\n`;
}

/** The text of a note that was opened. Throws GatewayError `evidence_malformed`. */
export function decodeCheckpoint(text: string): Checkpoint {
  const lines = text.split('\n');
  const [origin, size, root, ...extensions] = lines.slice(0, -1);
  const hash = root === undefined ? undefined : decodeBase64(root);
  if (lines.at(-1) !== '' || origin === undefined || origin === '' || size === undefined || !DECIMAL.test(size)) {
    throw malformed('checkpoint');
  }
  if (hash?.length !== HASH_SIZE || !Number.isSafeInteger(Number(size)) || extensions.includes('')) {
    throw malformed('checkpoint');
  }
  return { origin, size: Number(size), root: hash, extensions };
}

export function inputOffsetExtension(offset: number): string {
  assert(Number.isSafeInteger(offset) && offset >= 0, 'an offset is a non-negative safe integer');
  return `${INPUT_OFFSET}${offset}`;
}

/** The input offset of a checkpoint of ours, undefined when it has none. */
export function inputOffsetOf(checkpoint: Checkpoint): number | undefined {
  const line = checkpoint.extensions.find((each) => each.startsWith(INPUT_OFFSET));
  const digits = line?.slice(INPUT_OFFSET.length);
  return digits !== undefined && DECIMAL.test(digits) ? Number(digits) : undefined;
}

/**
 * A checkpoint that the log itself signed, with the witnesses of `witnessKeys` that cosigned it. The key name of the log
 * must be the origin, so that a key of one log cannot speak for another. How many witnesses are enough is for the caller.
 */
export function openCheckpoint(
  note: string | Buffer,
  logKey: VerifierKey,
  witnessKeys: readonly VerifierKey[] = [],
): OpenedCheckpoint {
  const { text, verified } = openNote(note, [logKey, ...witnessKeys]);
  if (logKey.type !== SIGNATURE_TYPES.ed25519 || !verified.some(({ key }) => key === logKey)) {
    throw new GatewayError('evidence_altered', 'checkpoint: not signed by the log');
  }
  const checkpoint = decodeCheckpoint(text);
  if (checkpoint.origin !== logKey.name) {
    throw new GatewayError('evidence_altered', 'checkpoint: origin of another log');
  }
  const cosignatures = verified.flatMap(({ key, timeSeconds }) =>
    timeSeconds === null ? [] : [{ name: key.name, timeSeconds }],
  );
  return { checkpoint, text, cosignatures };
}

export function encodeCheckpointValue(value: CheckpointValue): Buffer {
  return Buffer.concat([Buffer.of(value.type), Buffer.from(value.note, 'utf8')]);
}

export function decodeCheckpointValue(bytes: Buffer): CheckpointValue {
  const reader = new ByteReader(bytes, 'checkpoint value');
  const type = reader.oneOf(reader.u8('type'), [1, 2] as const, 'type');
  return { type, note: reader.bytes(reader.remaining, 'note').toString('utf8') };
}

import { isUtf8 } from 'node:buffer';
import { assert } from '../kernel/assert.ts';
import { GatewayError } from '../kernel/errors.ts';
import { malformed } from './byte-reader.ts';
import { verifyCosignature } from './cosignature.ts';
import { type PrivateKey, publicKeyRaw, signBytes, verifyBytes } from './ed25519.ts';
import {
  isKeyName,
  keyIdOf,
  parseSignatureLine,
  SIGNATURE_TYPES,
  signatureLine,
  type VerifierKey,
} from './verifier-key.ts';

/*
 * C2SP signed-note:
 *
 *   note = text "\n" line+          text ends in a newline; the last empty line of the note parts text and signatures
 *   line = "— " name " " base64(key id u32 | signature) "\n"
 */
const NOTE_BYTES_MAX = 64 * 1024;
const SIGNATURES_MAX = 64;

export interface NoteSigner {
  readonly name: string;
  readonly key: PrivateKey;
}

export interface NoteSignature {
  readonly name: string;
  readonly keyId: number;
  /** Without the key id. */
  readonly signature: Buffer;
}

export interface VerifiedSignature {
  readonly key: VerifierKey;
  /** Seconds since 1970 of a cosignature, null for a plain signature. */
  readonly timeSeconds: number | null;
}

export interface OpenedNote {
  readonly text: string;
  /** At least one, in the order of the lines. */
  readonly verified: readonly VerifiedSignature[];
}

/** Ed25519 signatures (type 0x01) of all signers under one text. */
export function signNote(text: string, signers: readonly NoteSigner[]): string {
  assert(signers.length > 0, 'a note has a signature');
  const bytes = Buffer.from(text, 'utf8');
  assert(isNoteText(text), 'the text of a note ends in a newline and has no control characters');
  assert(bytes.toString('utf8') === text, 'the text of a note has no lone surrogates');
  let note = `${text}\n`;
  for (const signer of signers) {
    assert(isKeyName(signer.name), 'a key name has no spaces and no plus');
    const keyId = keyIdOf(signer.name, SIGNATURE_TYPES.ed25519, publicKeyRaw(signer.key));
    note += signatureLine(signer.name, keyId, signBytes(signer.key, bytes));
  }
  return note;
}

/** Adds a signature line (of `cosignatureLine`) at the end. */
export function addSignature(note: string, line: string): string {
  const { signatures } = parseNote(note);
  assert(signatures.length < SIGNATURES_MAX, 'a note has a bounded number of signatures');
  assert(parseSignatureLine(line.slice(0, -1)) !== undefined && line.endsWith('\n'), 'one signature line');
  return note + line;
}

/** Text and signature lines, unverified: the text MUST NOT be used before `openNote` accepted it. */
export function parseNote(note: string | Buffer): { text: string; signatures: NoteSignature[] } {
  if (Buffer.isBuffer(note) && !isUtf8(note)) {
    throw malformed('note: not UTF-8');
  }
  const whole = note.toString();
  const split = whole.lastIndexOf('\n\n');
  if (Buffer.byteLength(whole) > NOTE_BYTES_MAX || split < 0 || !whole.endsWith('\n')) {
    throw malformed('note');
  }
  const text = whole.slice(0, split + 1);
  const lines = whole.slice(split + 2, -1).split('\n');
  if (!isNoteText(text) || lines.length > SIGNATURES_MAX) {
    throw malformed('note: text');
  }
  const signatures = lines.map((line) => {
    const signature = parseSignatureLine(line);
    if (signature === undefined) {
      throw malformed('note: signature line');
    }
    return signature;
  });
  return { text, signatures };
}

/**
 * The text of a note that at least one of `keys` signed. Signatures of other keys are ignored. A signature that claims
 * one of `keys` and is wrong rejects the whole note (`evidence_altered`), and so does a note that none of them signed.
 */
export function openNote(note: string | Buffer, keys: readonly VerifierKey[]): OpenedNote {
  const { text, signatures } = parseNote(note);
  const verified: VerifiedSignature[] = [];
  const bytes = Buffer.from(text, 'utf8');
  for (const { name, keyId, signature } of signatures) {
    const key = keys.find((known) => known.name === name && known.keyId === keyId);
    if (key === undefined || verified.some((seen) => seen.key === key)) {
      continue;
    }
    const timeSeconds = key.type === SIGNATURE_TYPES.cosignature ? verifyCosignature(key, text, signature) : null;
    const holds =
      key.type === SIGNATURE_TYPES.cosignature ? timeSeconds !== null : verifyBytes(key.publicKey, bytes, signature);
    if (!holds) {
      throw new GatewayError('evidence_altered', `note: signature of ${key.name}`);
    }
    verified.push({ key, timeSeconds });
  }
  if (verified.length === 0) {
    throw new GatewayError('evidence_altered', 'note: no signature of a known key');
  }
  return { text, verified };
}

function isNoteText(text: string): boolean {
  // oxlint-disable-next-line no-control-regex -- the format forbids exactly these
  return text.endsWith('\n') && !/[\u0000-\u0009\u000b-\u001f]/.test(text);
}

import type { KeyObject } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson } from '../../core/kernel/canonical-json.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import { signBytes } from '../../core/ledger/ed25519.ts';

/*
 * A DSSE envelope (https://github.com/secure-systems-lab/dsse, version 1) around an in-toto Statement v1:
 *
 *   envelope  {"payload": base64, "payloadType": "application/vnd.in-toto+json", "signatures": [{"keyid", "sig": base64}]}
 *   payload   canonical JSON {"_type": "https://in-toto.io/Statement/v1", "predicate": {"commit", "repository",
 *             "reviewedMs", "reviewer"}, "predicateType": "https://chaperone.dev/attestation/script-review/v1",
 *             "subject": [{"digest": {"sha256": hex}, "name": "script"}]}
 *   signed    PAE = "DSSEv1" SP length(payloadType) SP payloadType SP length(payload) SP payload, Ed25519
 *
 * Lengths are ASCII decimal. Exactly one signature; the key id is that of the people map.
 */
const PAYLOAD_TYPE = 'application/vnd.in-toto+json';
const STATEMENT_TYPE = 'https://in-toto.io/Statement/v1';
const PREDICATE_TYPE = 'https://chaperone.dev/attestation/script-review/v1';

/** "This person reviewed the script of this digest, at this commit of this repository." */
export interface ScriptReviewStatement {
  /** Lower-case hex SHA-256 of the script. */
  readonly scriptDigest: string;
  /** Person of the people map. */
  readonly reviewer: string;
  readonly repository: string;
  readonly commit: string;
  readonly reviewedMs: number;
}

/** An envelope that parsed. Its signature has not been checked yet: `signedBytes` and `signature` are for that. */
export interface ScriptAttestation extends ScriptReviewStatement {
  readonly keyId: string;
  readonly signedBytes: Buffer;
  readonly signature: Buffer;
  readonly envelope: Buffer;
}

const text = z
  .string()
  .min(1)
  .max(1024)
  .regex(/^[^\p{Cc}\p{Cs}]*$/u);
const base64 = z.string().regex(/^[A-Za-z0-9+/]+={0,2}$/);
const envelopeSchema = z.strictObject({
  payload: base64,
  payloadType: z.literal(PAYLOAD_TYPE),
  signatures: z.tuple([z.strictObject({ keyid: text, sig: base64 })]),
});
const statementSchema = z.strictObject({
  _type: z.literal(STATEMENT_TYPE),
  subject: z.tuple([
    z.strictObject({
      name: z.literal('script'),
      digest: z.strictObject({ sha256: z.string().regex(/^[0-9a-f]{64}$/) }),
    }),
  ]),
  predicateType: z.literal(PREDICATE_TYPE),
  predicate: z.strictObject({ reviewer: text, repository: text, commit: text, reviewedMs: z.int().min(0) }),
});

/** The envelope as JSON text. */
export function signScriptAttestation(statement: ScriptReviewStatement, keyId: string, key: KeyObject): string {
  const payload = Buffer.from(
    canonicalJson({
      _type: STATEMENT_TYPE,
      subject: [{ name: 'script', digest: { sha256: statement.scriptDigest } }],
      predicateType: PREDICATE_TYPE,
      predicate: {
        reviewer: statement.reviewer,
        repository: statement.repository,
        commit: statement.commit,
        reviewedMs: statement.reviewedMs,
      },
    }),
  );
  const sig = signBytes(key, preAuthEncoding(payload)).toString('base64');
  return canonicalJson({
    payload: payload.toString('base64'),
    payloadType: PAYLOAD_TYPE,
    signatures: [{ keyid: keyId, sig }],
  });
}

/** `undefined` for anything that is not one well-formed envelope of a script review. Verifies no signature. */
export function openScriptAttestation(envelope: Buffer): ScriptAttestation | undefined {
  const outer = envelope.length > LIMITS.attestationBytesMax ? undefined : parse(envelopeSchema, envelope);
  if (outer === undefined) {
    return undefined;
  }
  const payload = Buffer.from(outer.payload, 'base64');
  const statement = parse(statementSchema, payload);
  // Canonical bytes only: one statement has one text, and no member is there twice.
  if (statement === undefined || canonicalJson(statement) !== payload.toString('utf8')) {
    return undefined;
  }
  const [signature] = outer.signatures;
  return {
    scriptDigest: statement.subject[0].digest.sha256,
    ...statement.predicate,
    keyId: signature.keyid,
    signedBytes: preAuthEncoding(payload),
    signature: Buffer.from(signature.sig, 'base64'),
    envelope,
  };
}

function preAuthEncoding(payload: Buffer): Buffer {
  return Buffer.concat([
    Buffer.from(`DSSEv1 ${PAYLOAD_TYPE.length} ${PAYLOAD_TYPE} ${payload.length} `, 'ascii'),
    payload,
  ]);
}

function parse<T>(schema: z.ZodType<T>, bytes: Buffer): T | undefined {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined; // Not JSON: the caller gives one answer for everything malformed.
  }
  const parsed = schema.safeParse(value);
  return parsed.success ? parsed.data : undefined;
}

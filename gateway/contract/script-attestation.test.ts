import { deepEqual, equal, notEqual, ok } from 'node:assert/strict';
import { generateKeyPairSync, verify } from 'node:crypto';
import { describe, test } from 'node:test';
import { verifyBytes } from '../../core/ledger/ed25519.ts';
import { openScriptAttestation, signScriptAttestation } from './script-attestation.ts';

const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const statement = {
  scriptDigest: 'a'.repeat(64),
  reviewer: 'bo',
  repository: 'clinic/etl',
  commit: 'c0ffee',
  reviewedMs: 1_767_225_600_000,
};
const text = signScriptAttestation(statement, 'bo-1', privateKey);

describe('a script attestation', () => {
  test('opens to what was signed', () => {
    const opened = openScriptAttestation(Buffer.from(text));
    ok(opened !== undefined);
    const { keyId, signedBytes, signature, envelope, ...rest } = opened;
    deepEqual(rest, statement);
    equal(keyId, 'bo-1');
    equal(envelope.toString(), text);
    ok(verifyBytes(publicKey, signedBytes, signature));
  });

  test('signs the pre-authentication encoding of DSSE over an in-toto statement', () => {
    const envelope = JSON.parse(text) as { payload: string; payloadType: string; signatures: { sig: string }[] };
    const payload = Buffer.from(envelope.payload, 'base64');
    const pae = Buffer.concat([Buffer.from(`DSSEv1 28 application/vnd.in-toto+json ${payload.length} `), payload]);
    ok(verify(null, pae, publicKey, Buffer.from(envelope.signatures[0]?.sig ?? '', 'base64')));
    const inToto = JSON.parse(payload.toString()) as { subject: { digest: { sha256: string } }[] };
    equal(inToto.subject[0]?.digest.sha256, statement.scriptDigest);
  });

  test('does not verify after any part of the statement changed', () => {
    let seen = 0;
    for (const change of [
      { scriptDigest: 'b'.repeat(64) },
      { reviewer: 'ada' },
      { commit: 'other' },
      { repository: 'x' },
    ]) {
      const forged = JSON.parse(signScriptAttestation({ ...statement, ...change }, 'bo-1', privateKey)) as object;
      const { signatures } = JSON.parse(text) as { signatures: unknown };
      const opened = openScriptAttestation(Buffer.from(JSON.stringify({ ...forged, signatures })));
      ok(opened !== undefined && !verifyBytes(publicKey, opened.signedBytes, opened.signature));
      seen += 1;
    }
    equal(seen, 4);
  });

  const envelope = JSON.parse(text) as { payload: string; payloadType: string; signatures: object[] };
  const payloadText = Buffer.from(envelope.payload, 'base64').toString();
  const withPayload = (changed: string): string => {
    notEqual(changed, payloadText);
    return JSON.stringify({ ...envelope, payload: Buffer.from(changed).toString('base64') });
  };
  for (const [name, malformed] of [
    ['no JSON', 'x'],
    ['two signatures', JSON.stringify({ ...envelope, signatures: [...envelope.signatures, ...envelope.signatures] })],
    ['no signature', JSON.stringify({ ...envelope, signatures: [] })],
    ['another payload type', JSON.stringify({ ...envelope, payloadType: 'text/plain' })],
    ['an extra member', JSON.stringify({ ...envelope, extra: 1 })],
    ['a payload that is not canonical', withPayload(payloadText.replace(',', ', '))],
    [
      'a member of the payload twice',
      withPayload(payloadText.replace('"reviewer":"bo"', '"reviewer":"ada","reviewer":"bo"')),
    ],
    ['an empty commit', withPayload(payloadText.replace('c0ffee', ''))],
    ['a line break in a name', withPayload(payloadText.replace('c0ffee', 'c0\\nffee'))],
    ['a digest that is none', withPayload(payloadText.replace('aaaa', 'AAAA'))],
    ['another predicate', withPayload(payloadText.replace('script-review/v1', 'script-review/v2'))],
    ['an envelope over the limit', text.replace('"payload"', `${' '.repeat(16_384)}"payload"`)],
  ] as const) {
    test(`is refused with ${name}`, () => {
      equal(openScriptAttestation(Buffer.from(malformed)), undefined);
    });
  }
});

import { deepEqual, equal, ok, rejects, throws } from 'node:assert/strict';
import { createCipheriv, createHmac, createPrivateKey, createPublicKey, diffieHellman } from 'node:crypto';
import { describe, test } from 'node:test';
import { generateX25519, hpkeOpen, hpkeSeal, x25519PublicKey } from './hpke.ts';

const AAD = Buffer.from('aad');
const INFO = 'chaperone/key/v1\n';

describe('HPKE', () => {
  test('opens what it sealed, and a second seal of the same differs', async () => {
    const pair = generateX25519();
    const plaintext = Buffer.alloc(32, 7);
    const first = await hpkeSeal(pair.publicKey, INFO, AAD, plaintext);
    const second = await hpkeSeal(pair.publicKey, INFO, AAD, plaintext);
    deepEqual([first.enc.length, first.ciphertext.length], [32, 48]);
    ok(!first.enc.equals(second.enc) && !first.ciphertext.equals(second.ciphertext));
    ok((await hpkeOpen(pair.privateKey, INFO, AAD, first)).equals(plaintext));
  });

  // Goal: our archives must open with any RFC 9180 implementation. Method: one written from the RFC's text, by node:crypto.
  test('opens what an implementation from the text of RFC 9180 sealed', async () => {
    const recipient = generateX25519();
    for (let i = 0; i < 8; i++) {
      const plaintext = Buffer.alloc(i * 16, i);
      const sealed = sealByTheBook(recipient.publicKey, Buffer.from(INFO, 'latin1'), AAD, plaintext);
      ok((await hpkeOpen(recipient.privateKey, INFO, AAD, sealed)).equals(plaintext));
    }
  });

  test('refuses a wrong key, aad, info, and every flipped bit, with words that give nothing away', async () => {
    const pair = generateX25519();
    const sealed = await hpkeSeal(pair.publicKey, INFO, AAD, Buffer.from('plaintext canary'));
    const altered = (error: Error): boolean => {
      equal((error as Error & { code: string }).code, 'evidence_altered');
      ok(!`${error.message} ${error.stack} ${JSON.stringify(error)}`.includes('canary'));
      equal(error.cause, undefined);
      return true;
    };
    await rejects(hpkeOpen(generateX25519().privateKey, INFO, AAD, sealed), altered);
    await rejects(hpkeOpen(pair.privateKey, INFO, Buffer.from('other'), sealed), altered);
    await rejects(hpkeOpen(pair.privateKey, 'other', AAD, sealed), altered);
    for (const field of ['enc', 'ciphertext'] as const) {
      for (let byte = 0; byte < sealed[field].length; byte++) {
        // The top bit of an X25519 coordinate is ignored by the curve, but not by HPKE: `enc` is part of its context.
        const changed = { enc: Buffer.from(sealed.enc), ciphertext: Buffer.from(sealed.ciphertext) };
        changed[field][byte] = (changed[field][byte] as number) ^ 0x80;
        await rejects(hpkeOpen(pair.privateKey, INFO, AAD, changed), altered);
      }
    }
  });

  test('refuses keys that are none', async () => {
    await rejects(hpkeSeal(Buffer.alloc(31), INFO, AAD, Buffer.alloc(1)), { code: 'keystore_unavailable' });
    await rejects(hpkeSeal(Buffer.alloc(32), INFO, AAD, Buffer.alloc(1)), { code: 'keystore_unavailable' });
    throws(() => x25519PublicKey(Buffer.alloc(31)), { code: 'config_invalid' });
  });

  test('derives the public half', () => {
    const pair = generateX25519();
    ok(x25519PublicKey(pair.privateKey).equals(pair.publicKey));
  });
});

/** RFC 9180 base mode, section by section: 4.1 (DHKEM), 5.1 (key schedule), 5.2 (seal at sequence 0). */
function sealByTheBook(
  recipient: Buffer,
  info: Buffer,
  aad: Buffer,
  plaintext: Buffer,
): { enc: Buffer; ciphertext: Buffer } {
  const ephemeral = generateX25519();
  const dh = diffieHellman({ privateKey: privateObject(ephemeral), publicKey: publicObject(recipient) });
  const kemSuite = Buffer.concat([Buffer.from('KEM'), u16(0x20)]);
  const eaePrk = labeledExtract(kemSuite, Buffer.alloc(0), 'eae_prk', dh);
  const kemContext = Buffer.concat([ephemeral.publicKey, recipient]);
  const shared = labeledExpand(kemSuite, eaePrk, 'shared_secret', kemContext, 32);
  const suite = Buffer.concat([Buffer.from('HPKE'), u16(0x20), u16(1), u16(2)]);
  const context = Buffer.concat([
    Buffer.from([0]),
    labeledExtract(suite, Buffer.alloc(0), 'psk_id_hash', Buffer.alloc(0)),
    labeledExtract(suite, Buffer.alloc(0), 'info_hash', info),
  ]);
  const secret = labeledExtract(suite, shared, 'secret', Buffer.alloc(0));
  const key = labeledExpand(suite, secret, 'key', context, 32);
  const nonce = labeledExpand(suite, secret, 'base_nonce', context, 12);
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(aad);
  const body = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return { enc: ephemeral.publicKey, ciphertext: Buffer.concat([body, cipher.getAuthTag()]) };
}

function labeledExtract(suite: Buffer, salt: Buffer, label: string, ikm: Buffer): Buffer {
  const key = salt.length === 0 ? Buffer.alloc(32) : salt;
  return createHmac('sha256', key)
    .update(Buffer.concat([Buffer.from('HPKE-v1'), suite, Buffer.from(label), ikm]))
    .digest();
}

function labeledExpand(suite: Buffer, prk: Buffer, label: string, info: Buffer, size: number): Buffer {
  const labeled = Buffer.concat([u16(size), Buffer.from('HPKE-v1'), suite, Buffer.from(label), info]);
  return createHmac('sha256', prk)
    .update(labeled)
    .update(Buffer.from([1]))
    .digest()
    .subarray(0, size);
}

function u16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}

function privateObject(pair: { publicKey: Buffer; privateKey: Buffer }): ReturnType<typeof createPrivateKey> {
  const [x, d] = [pair.publicKey.toString('base64url'), pair.privateKey.toString('base64url')];
  return createPrivateKey({ key: { kty: 'OKP', crv: 'X25519', x, d }, format: 'jwk' });
}

function publicObject(raw: Buffer): ReturnType<typeof createPublicKey> {
  return createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x: raw.toString('base64url') }, format: 'jwk' });
}

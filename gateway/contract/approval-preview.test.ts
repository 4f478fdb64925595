import { deepEqual, equal, notDeepEqual, rejects, throws } from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { describe, test } from 'node:test';
import { LIMITS } from '../../core/kernel/limits.ts';
import { signDecision } from './approval-decision.ts';
import { makePreview, openPreview, sealPreview } from './approval-preview.ts';

const approver = generateKeyPairSync('x25519');
const x25519 = Buffer.from(approver.publicKey.export({ format: 'jwk' }).x ?? '', 'base64url');
const to = { approvalId: 'ap-1', keyId: 'bo-1', x25519 };
const opener = { approvalId: 'ap-1', keyId: 'bo-1', x25519: approver.privateKey };
const literals = { query: 'ssn=078-05-1120', body: { note: 'ä' } };

describe('a sealed preview', () => {
  test('opens with the approver’s key, and only with it', async () => {
    const preview = makePreview(literals);
    const sealed = await sealPreview(preview, to);
    equal(sealed.ciphertext.includes('078-05-1120'), false);
    deepEqual(await openPreview(sealed, opener, preview.hash), literals);
    const stranger = generateKeyPairSync('x25519').privateKey;
    await rejects(openPreview(sealed, { ...opener, x25519: stranger }, preview.hash), { code: 'approval_signature' });
  });

  test('belongs to one approval and one key', async () => {
    const preview = makePreview(literals);
    const sealed = await sealPreview(preview, to);
    for (const other of [{ approvalId: 'ap-2' }, { keyId: 'bo-2' }]) {
      await rejects(openPreview(sealed, { ...opener, ...other }, preview.hash), { code: 'approval_signature' });
    }
  });

  test('is refused when it is not the one whose hash would be signed', async () => {
    const sealed = await sealPreview(makePreview({ query: 'harmless' }), to);
    await rejects(openPreview(sealed, opener, makePreview(literals).hash), { code: 'approval_signature' });
  });

  test('has a hash that tells nothing about its literals: the salt is in it', () => {
    notDeepEqual(makePreview(literals).hash, makePreview(literals).hash);
    deepEqual(makePreview(literals, Buffer.alloc(32)).hash, makePreview(literals, Buffer.alloc(32)).hash);
  });

  test('may have 64 KiB and not a byte more', () => {
    const frame = makePreview({ b: '' }).plaintext.length;
    equal(makePreview({ b: 'x'.repeat(LIMITS.previewBytesMax - frame) }).plaintext.length, LIMITS.previewBytesMax);
    throws(() => makePreview({ b: 'x'.repeat(LIMITS.previewBytesMax - frame + 1) }), {
      code: 'approval_body_too_large',
    });
  });
});

test('the approver’s machine signs nothing when the server’s digest does not cover what was shown', () => {
  const key = generateKeyPairSync('ed25519').privateKey;
  const input = {
    approvalId: 'ap-1',
    opDigest: Buffer.alloc(32, 1),
    shown: '{}',
    previewHash: Buffer.alloc(32, 2),
    shownDigest: Buffer.alloc(32, 3),
    decision: 'approve',
    person: 'bo',
    reason: '',
    decidedMs: 1,
  } as const;
  throws(() => signDecision(input, key), { code: 'approval_signature' });
});

import { deepEqual, equal, match, ok, rejects, throws } from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { canonicalJson } from '../core/kernel/canonical-json.ts';
import { GatewayError } from '../core/kernel/errors.ts';
import { shownDigest } from '../core/ledger/statement.ts';
import type { Config } from '../core/runtime/config/config-schema.ts';
import { makePreview, sealPreview } from '../gateway/contract/approval-preview.ts';
import type { ApprovalView } from '../proto/gen/chaperone/control/v1/approval.ts';
import { approvalCard, parseShown } from './approval-card.ts';
import { openWithKeys } from './approval-keys.ts';

const directory = mkdtempSync(join(tmpdir(), 'chaperone-approvals-'));
after(() => rmSync(directory, { recursive: true, force: true }));
// Of the configuration only these are looked at.
const config = { env: 'staging', demo: {} } as unknown as Config;

const SHOWN = {
  v: 1,
  connection: 'clinic',
  env: 'staging',
  operation: {
    class: 'read',
    verb: 'export',
    text: 'GET /export/patients.ndjson',
    fingerprint: 'f',
    objects: ['table:patients'],
    classes: ['name', 'ssn', 'zip', 'gender'],
    rowsBand: 'bulk',
  },
  approvals: [
    { code: 'bulk_export', approvers: ['officers'], quorum: 1, ttlS: 900, scope: 'statement', justify: true },
  ],
  masks: { ssn: 'redact', zip: 'partial', gender: 'none', free_text: 'none', mrn: 'redact' },
  limits: { rows: 100_000, bytes: 268_435_456 },
  egress: { denyKinds: [], action: 'block' },
  obligations: [],
  evidence: 'local',
} as const;
const PREVIEW = {
  method: 'GET',
  target: '/export/patients.ndjson?state=MA',
  content_type: '',
  body: '',
  body_bytes: 0,
};

interface Approver {
  readonly keyPath: string;
  readonly x25519: KeyObject;
}

function approver(name: string): Approver {
  const keyPath = join(directory, `${name}.ed25519.jwk.json`);
  const write = (path: string, key: KeyObject): void =>
    writeFileSync(path, JSON.stringify({ kid: `${name}-1`, ...key.export({ format: 'jwk' }) }), { mode: 0o600 });
  write(keyPath, generateKeyPairSync('ed25519').privateKey);
  const x25519 = generateKeyPairSync('x25519').privateKey;
  write(join(directory, `${name}.x25519.jwk.json`), x25519);
  return { keyPath, x25519 };
}

const pat = approver('pat');
const preview = makePreview(PREVIEW);

async function view(changes: Partial<ApprovalView> = {}): Promise<ApprovalView> {
  const opDigest = Buffer.alloc(32, 1);
  const shown = canonicalJson(SHOWN);
  const raw = Buffer.from(pat.x25519.export({ format: 'jwk' }).x ?? '', 'base64url');
  const sealed = await sealPreview(preview, { approvalId: 'ap-1', keyId: 'pat-1', x25519: raw });
  return {
    id: 'ap-1',
    state: 'pending',
    code: 'bulk_export',
    connection: 'clinic',
    requester: 'dana',
    agent: 'coding-agent',
    run: '7041',
    commit: '4f2a9c1d0b8e7f6a',
    summary: 'export GET /export/patients.ndjson on clinic',
    askedMs: 0n,
    expiresMs: 900_000n,
    quorum: 1,
    approvers: ['pat'],
    opDigest,
    shownDigest: shownDigest(opDigest, shown, preview.hash),
    shown: Buffer.from(shown),
    previews: [{ person: 'pat', keyId: 'pat-1', ...sealed }],
    previewHash: preview.hash,
    decisions: [],
    sessionId: 'ab'.repeat(16),
    reasons: ['A person of officers must approve this bulk export'],
    ...changes,
  };
}

describe('the approver’s card', () => {
  const card = async (
    opened: boolean,
    changes: Partial<ApprovalView> = {},
    earlier: readonly ApprovalView[] = [],
  ): Promise<string> => {
    const one = await view(changes);
    return approvalCard({
      view: one,
      shown: parseShown(one.shown),
      preview: opened ? PREVIEW : null,
      nowMs: 60_000,
      earlier,
    }).join('\n');
  };

  test('says the plain effect first, then what is seen, what runs, who is behind it and why', async () => {
    const text = await card(true);
    const at = ['EFFECT', 'SEEN', 'RUNS', 'WHO', 'WHY', 'NEEDS', 'SHOWN'].map((label) => text.indexOf(`\n${label}`));
    deepEqual(
      at,
      [...at].sort((a, b) => a - b),
    );
    ok(at.every((position) => position > 0));
    match(text, /pending, expires in 14 min 0 s/);
    match(text, /EFFECT +export: bulk rows of patients on clinic \(staging\); at most 100,000 rows and 256\.0 MiB/);
    match(text, /WHO +dana > coding-agent > run 7041 > commit 4f2a9c1d0b8e/);
    match(text, /NEEDS +1 of pat \(bulk_export\); a reason is required/);
  });

  test('names what passes in clear before anything else; a class without an entry counts as redacted', async () => {
    const text = await card(true);
    match(text, /SEEN +IN CLEAR: gender\n +partly: zip\n +redacted: name, ssn\n/);
    match(text, /should others appear: in clear free_text; 1 redacted/);
  });

  test('shows literals only when they were opened', async () => {
    match(await card(true), /RUNS +GET \/export\/patients\.ndjson\?state=MA/);
    const closed = await card(false);
    ok(!closed.includes('state=MA'));
    match(closed, /RUNS +GET \/export\/patients\.ndjson\n/);
  });

  test('counts the other asks of the requester, and shows decisions with their reasons', async () => {
    const earlier = [
      await view({ state: 'denied' }),
      await view({ state: 'denied' }),
      await view({ state: 'expired' }),
    ];
    match(await card(true, {}, earlier), /BEFORE +other asks of this requester: 2 denied, 1 expired/);
    const decisions = [{ person: 'sam', decision: 'deny', reason: 'not now', decidedMs: 1n }];
    match(await card(true, { decisions }), /DECISIONS +sam: deny: not now/);
  });

  test('does not let text of others control the terminal', async () => {
    const text = await card(true, { agent: 'bot\u001b[2K\rpat', reasons: ['a\u202eb'] });
    ok(!['\u001b', '\r', '\u202e'].some((character) => text.includes(character)));
    match(text, /bot\\x1b\[2K\\x0dpat/);
  });

  test('refuses to show what it does not know: nobody may sign for it', () => {
    for (const changed of [
      { ...SHOWN, v: 2 },
      { ...SHOWN, extra: 1 },
      { ...SHOWN, limits: { rows: 'many' } },
    ]) {
      throws(() => parseShown(Buffer.from(JSON.stringify(changed))), { code: 'approval_signature' });
    }
    throws(() => parseShown(Buffer.from('{')), { code: 'approval_signature' });
  });
});

describe('the approver’s keys', () => {
  test('open the preview that was sealed for them; the X25519 key lies beside the Ed25519 key', async () => {
    const opened = await openWithKeys(await view(), 'pat', { key: pat.keyPath }, config);
    deepEqual(opened.preview, PREVIEW);
    equal(opened.signingKey.keyId, 'pat-1');
  });

  test('of somebody else open nothing', async () => {
    const sam = approver('sam');
    await rejects(openWithKeys(await view(), 'sam', { key: sam.keyPath }, config), { code: 'approval_not_eligible' });
    const renamed = join(directory, 'sam.x25519.jwk.json');
    writeFileSync(renamed, JSON.stringify({ ...sam.x25519.export({ format: 'jwk' }), kid: 'pat-1' }), { mode: 0o600 });
    await rejects(openWithKeys(await view(), 'pat', { key: pat.keyPath, previewKey: renamed }, config), {
      code: 'approval_signature',
    });
  });

  test('refuse a preview that is not the one that the approval names', async () => {
    const other = makePreview({ ...PREVIEW, target: '/export/patients.ndjson?state=NY' });
    await rejects(openWithKeys(await view({ previewHash: other.hash }), 'pat', { key: pat.keyPath }, config), {
      code: 'approval_signature',
    });
  });

  test('are asked for when nothing says where they are', async () => {
    await rejects(openWithKeys(await view(), 'pat', {}, config), (error: unknown) => {
      ok(error instanceof GatewayError);
      return /--key is needed/.test(error.detail);
    });
  });
});

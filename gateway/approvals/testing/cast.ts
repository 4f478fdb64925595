import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { publicKeyRaw } from '../../../core/ledger/ed25519.ts';
import { signDecision } from '../../contract/approval-decision.ts';
import { PeopleMap } from '../../contract/people-map.ts';
import type { Verdict } from '../../contract/verdict.ts';
import type { DecideRequest } from '../approval-desk.ts';
import type { AskRequest, Shown } from '../desk-port.ts';

export interface Member {
  readonly id: string;
  readonly keyId: string;
  readonly ed25519: KeyObject;
  readonly x25519: KeyObject;
  readonly entry: Readonly<Record<string, unknown>>;
}

export function member(id: string, groups: readonly string[], hasKeys = true): Member {
  const ed25519 = generateKeyPairSync('ed25519');
  const x25519 = generateKeyPairSync('x25519');
  const keyId = `${id}-1`;
  const keys = {
    keyId,
    ed25519: publicKeyRaw(ed25519.publicKey).toString('base64url'),
    x25519: x25519.publicKey.export({ format: 'jwk' }).x,
  };
  return {
    id,
    keyId,
    ed25519: ed25519.privateKey,
    x25519: x25519.privateKey,
    entry: { id, name: id, groups, identities: [{ iss: 'i', sub: id }], keys: hasKeys ? [keys] : [] },
  };
}

/** ada asks; bo and cy are owners, di and ed are security, bo and ada review scripts, flo has no key. */
export const cast = {
  ada: member('ada', ['engineers', 'owners', 'reviewers']),
  bo: member('bo', ['owners', 'reviewers']),
  cy: member('cy', ['owners']),
  di: member('di', ['security']),
  ed: member('ed', ['security', 'owners']),
  flo: member('flo', ['keyless'], false),
} as const;

export const people: PeopleMap = peopleOf(Object.values(cast));

export function peopleOf(members: readonly Pick<Member, 'entry'>[]): PeopleMap {
  return PeopleMap.parse({ persons: members.map(({ entry }) => entry) });
}

export const REQUIREMENT: Verdict['approvals'][number] = {
  code: 'bulk_export',
  approvers: ['owners'],
  quorum: 1,
  ttlS: 900,
  scope: 'statement',
  justify: false,
};

export function shown(changes: Partial<Shown> = {}): Shown {
  return {
    v: 1,
    connection: 'clinic-api',
    env: 'staging',
    operation: {
      class: 'read',
      verb: 'GET',
      text: '/export/patients.ndjson',
      fingerprint: 'f1',
      objects: ['table:patients'],
      classes: ['name', 'ssn'],
      rowsBand: 'bulk',
    },
    approvals: [REQUIREMENT],
    masks: { ssn: 'redact', name: 'none' },
    limits: { rows: 50_000 },
    egress: { denyKinds: ['ssn'], action: 'block' },
    obligations: ['record_full'],
    evidence: 'local',
    ...changes,
  };
}

export function askRequest(changes: Partial<AskRequest> = {}): AskRequest {
  return {
    opDigest: 'd'.repeat(64),
    requester: {
      principal: 'i ada',
      person: 'ada',
      chainPersons: ['ada'],
      agent: 'agent:coder',
      run: '99',
      commit: 'c0ffee',
      repository: 'clinic/etl',
      scriptDigest: '',
    },
    sessionId: '5'.repeat(32),
    shown: shown(),
    summary: 'bulk export of patients',
    reasons: ['over 10,000 rows'],
    preview: { query: 'since=2020-01-01' },
    uses: 1,
    ...changes,
  };
}

/** What the desk's view has of an ask: enough to decide it as the CLI does. */
export interface DecidableView {
  readonly id: string;
  readonly opDigest: Buffer;
  readonly shown: Buffer;
  readonly previewHash: Buffer;
  readonly shownDigest: Buffer;
}

export function decisionBy(
  who: Member,
  view: DecidableView,
  decidedMs: number,
  decision: 'approve' | 'deny' = 'approve',
  reason = 'needed for the report',
): DecideRequest {
  const signature = signDecision(
    {
      approvalId: view.id,
      opDigest: view.opDigest,
      shown: view.shown.toString('utf8'),
      previewHash: view.previewHash,
      shownDigest: view.shownDigest,
      decision,
      person: who.id,
      reason,
      decidedMs,
    },
    who.ed25519,
  );
  return { id: view.id, decision, person: who.id, keyId: who.keyId, reason, decidedMs, signature };
}

import type { JsonValue } from '../../core/kernel/canonical-json.ts';
import type { ConnectionInfo, Operation } from '../contract/operation.ts';
import type { Subject } from '../contract/subject.ts';
import type { GrantFact } from '../contract/verdict.ts';

/** Bands, not counters: a band makes decisions cacheable and replayable. Exact budgets are enforced natively. */
export interface PolicyFacts {
  readonly estRowsBand: string;
  readonly bytesBand: string;
  readonly subjectsBand: string;
  readonly deniedRecentBand: string;
  readonly risk: string;
}

/** What a lane knows nothing of yet. */
export const UNKNOWN_FACTS: PolicyFacts = {
  estRowsBand: 'unknown',
  bytesBand: 'unknown',
  subjectsBand: 'unknown',
  deniedRecentBand: 'unknown',
  risk: 'unknown',
};

/** What is asked of the policy. Grants were verified natively before. */
export interface PolicyRequest {
  readonly subject: Subject;
  readonly connection: ConnectionInfo;
  readonly operation: Operation;
  /** A reviewer has signed the script that this run executes. */
  readonly reviewed: boolean;
  readonly grants: readonly GrantFact[];
  readonly remoteAddress: string;
  readonly facts?: PolicyFacts;
}

export type AgeBand = 'fresh' | 'recent' | 'aged' | 'old' | 'expired';

export interface HourFacts {
  /** 0 = Sunday. UTC. */
  readonly dow: number;
  readonly hour: number;
  readonly business: boolean;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_HOURS = 24;
/** 1970-01-01 was a Thursday. */
const EPOCH_DOW = 4;

/**
 * The input document, version 1 (02 section 1), as an object. Slow and obvious: the hot path writes the same bytes by
 * `InputWriter`, and this is its oracle.
 */
export function inputDocument(request: PolicyRequest, nowMs: number): JsonValue {
  const { subject, connection, operation, grants } = request;
  const facts = request.facts ?? UNKNOWN_FACTS;
  const time = hourFacts(nowMs);
  return {
    v: 1,
    session: sessionPart(subject, request.reviewed, nowMs),
    connection: {
      name: connection.name,
      kind: connection.kind,
      env: connection.env,
      database: connection.database,
      labels: { ...connection.labels },
    },
    operation: {
      class: operation.class,
      verb: operation.verb,
      fingerprint: operation.fingerprint,
      objects: operation.objects.map(({ type, id, labels }) => ({ type, id, labels: [...labels] })),
      classes: [...operation.classes],
      kinds: [...operation.kinds],
      outputs_classes: [...operation.outputsClasses],
      filters_classes: [...operation.filtersClasses],
      egress: { kinds: [...operation.egress.kinds], destination: operation.egress.destination },
      unresolved: operation.unresolved,
      facts: {
        has_where: operation.facts.hasWhere,
        has_limit: operation.facts.hasLimit,
        multi: operation.facts.multi,
        function_calls: [...operation.facts.functionCalls],
        lineage: operation.facts.lineage,
      },
    },
    facts: {
      rows_band: operation.facts.rowsBand,
      est_rows_band: facts.estRowsBand,
      bytes_band: facts.bytesBand,
      subjects_band: facts.subjectsBand,
      denied_recent_band: facts.deniedRecentBand,
      time: { dow: time.dow, hour: time.hour, business: time.business },
      client_net: clientNet(request.remoteAddress),
      risk: facts.risk,
    },
    approvals: grants.map(({ code, by, scope, expiresBand }) => ({ code, by, scope, expires_band: expiresBand })),
  };
}

function sessionPart(subject: Subject, reviewed: boolean, nowMs: number): JsonValue {
  const { auth, ci } = subject;
  const human = humanOf(subject);
  const agent = agentOf(subject);
  return {
    human: human === null ? null : { id: human.id, groups: [...human.groups], type: human.type },
    agent: { id: agent.id, kind: agent.kind, group: agent.group, attested: agent.attested },
    chain: chainOf(subject).map(({ id, type, iss }) => ({ id, type, iss })),
    depth: subject.actors.length,
    auth: { method: auth.method, issuer: auth.issuer, mfa: auth.mfa, age_band: ageBand(subject, nowMs) },
    purpose: subject.purpose,
    env: subject.env,
    ci:
      ci === null
        ? null
        : {
            repo_id: ci.repoId,
            ref: ci.ref,
            sha: ci.sha,
            workflow: ci.workflow,
            reviewed: isReviewed(reviewed, ci.scriptDigest),
            script_digest: ci.scriptDigest,
          },
  };
}

/** A review is of one script: without a digest there is nothing that was reviewed. */
export function isReviewed(reviewed: boolean, scriptDigest: string): boolean {
  return reviewed && scriptDigest !== '';
}

/** The person behind the request. Null for a bare service. */
export function humanOf(
  subject: Subject,
): { readonly id: string; readonly groups: readonly string[]; readonly type: 'enrolled' | 'unknown' } | null {
  const type = humanType(subject);
  return type === null ? null : { id: subject.person ?? subject.principal.sub, groups: subject.groups, type };
}

/** An account that the people map knows is `enrolled`. */
export function humanType({ person, principal }: Subject): 'enrolled' | 'unknown' | null {
  return person !== null ? 'enrolled' : principal.kind === 'user' ? 'unknown' : null;
}

/** Who acts: the last AI agent of the chain, else the last actor, else a service that acts for itself. */
export function agentOf(subject: Subject): {
  readonly id: string;
  readonly kind: ReturnType<typeof agentKind>;
  readonly group: string;
  readonly attested: boolean;
} {
  const { actors, principal } = subject;
  const kind = agentKind(subject);
  const actor = actors.findLast((candidate) => candidate.kind === kind) ?? null;
  const id = actor?.sub ?? (kind === 'none' ? '' : principal.sub);
  return { id, kind, group: subject.ci?.repository ?? '', attested: isAttested(subject) };
}

/** One AI agent anywhere in the chain makes the request that of an AI agent. `none` is a person without an agent. */
export function agentKind({ actors, principal }: Subject): 'ai_agent' | 'service' | 'none' {
  for (const actor of actors) {
    if (actor.kind === 'ai_agent') {
      return 'ai_agent';
    }
  }
  return actors.length > 0 || principal.kind === 'service' ? 'service' : 'none';
}

/** Somebody whom the gateway trusts vouches for every actor of the chain. */
export function isAttested({ actors }: Subject): boolean {
  for (const actor of actors) {
    if (!actor.verified) {
      return false;
    }
  }
  return true;
}

/** Outermost first: the principal, then the actors in order of delegation. */
export function chainOf(
  subject: Subject,
): readonly { readonly id: string; readonly type: string; readonly iss: string }[] {
  const { principal, actors } = subject;
  return [
    { id: principal.sub, type: principal.kind, iss: principal.iss },
    ...actors.map((actor) => ({ id: actor.sub, type: actor.kind, iss: actor.iss })),
  ];
}

export function ageBand(subject: Subject, nowMs: number): AgeBand {
  if (nowMs >= subject.expiresMs) {
    return 'expired';
  }
  const ageMs = nowMs - subject.auth.issuedMs;
  return ageMs < 5 * MINUTE_MS ? 'fresh' : ageMs < HOUR_MS ? 'recent' : ageMs < 8 * HOUR_MS ? 'aged' : 'old';
}

/** Limit: business hours are Monday to Friday, 08 to 18 UTC, for everybody. */
export function hourFacts(nowMs: number): HourFacts {
  const hours = Math.floor(nowMs / HOUR_MS);
  const hour = hours % DAY_HOURS;
  const dow = (Math.floor(hours / DAY_HOURS) + EPOCH_DOW) % 7;
  return { dow, hour, business: dow >= 1 && dow <= 5 && hour >= 8 && hour < 18 };
}

/** Where the client is, coarsely: an address is itself an identifier (45 CFR 164.514(b)(2)(i)(O)). */
export function clientNet(remoteAddress: string): 'loopback' | 'private' | 'public' | 'unknown' {
  const address = remoteAddress.startsWith('::ffff:') ? remoteAddress.slice(7) : remoteAddress;
  if (address === '') {
    return 'unknown';
  }
  if (address === '::1' || address.startsWith('127.')) {
    return 'loopback';
  }
  if (
    address.startsWith('10.') ||
    address.startsWith('192.168.') ||
    /^172\.(?:1[6-9]|2\d|3[01])\./.test(address) ||
    /^f[cd][0-9a-f]{2}:/i.test(address)
  ) {
    return 'private';
  }
  return 'public';
}

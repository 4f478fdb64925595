import type { JsonValue } from '../../core/kernel/canonical-json.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import type { PeopleMap } from '../contract/people-map.ts';
import type { Actor, CiRun, Principal } from '../contract/subject.ts';
import type { CiMapping, ClaimMapping } from './claim-mapping.ts';

export type Claims = Readonly<Record<string, JsonValue | undefined>>;

/** What a mapping makes of verified claims; the verifier adds what it knows of the token itself. */
export interface MappedClaims {
  readonly principal: Principal;
  readonly actors: readonly Actor[];
  readonly ci: CiRun | null;
  readonly person: string | null;
  readonly chainPersons: readonly string[];
  readonly groups: readonly string[];
  readonly purpose: string;
  readonly env: string;
  readonly mfa: boolean;
}

const NAME_SIZE_MAX = 1024;
const GROUPS_MAX = 256;
/** Control characters would break joints and logs; lone surrogates are not one text once written as UTF-8. */
const FORBIDDEN = /[\p{Cc}\p{Cs}]/u;
const HEX_SHA256 = /^[0-9a-f]{64}$/;

/** Pure. `iss` is the verified issuer. Throws GatewayError `auth_invalid`, whose detail names claims, never values. */
export function mapClaims(iss: string, claims: Claims, mapping: ClaimMapping, people: PeopleMap): MappedClaims {
  checkRequired(claims, mapping);
  const principal: Principal = {
    iss,
    sub: requiredText(claims, 'sub'),
    kind: kindOf(claims, mapping.principalKindClaim, ['user', 'service'], mapping.principalKind),
  };
  const actors = actorChain(iss, claims, mapping);
  const person = people.personOf(iss, principal.sub) ?? null;
  const groups = new Set([...(person?.groups ?? []), ...groupClaim(claims, mapping.groupsClaim)]);
  return {
    principal,
    actors,
    ci: mapping.ci === undefined ? null : ciRun(claims, mapping.ci),
    person: person?.id ?? null,
    chainPersons: chainPersons(principal, actors, claims, mapping, people),
    groups: [...groups].sort(),
    purpose: optionalText(claims, mapping.purposeClaim),
    env: optionalText(claims, mapping.envClaim),
    mfa: hasMfa(claims, mapping),
  };
}

/**
 * The `act` chain of RFC 8693 section 4.1 in order of delegation: first the actor that the principal chose, last the one
 * that presents the token. In the token the last is outermost. One actor that the issuer may not vouch for makes the
 * whole chain unverified: what it delegated, it delegated unseen.
 */
function actorChain(iss: string, claims: Claims, mapping: ClaimMapping): readonly Actor[] {
  const nearestFirst: { iss: string; sub: string; kind: Actor['kind'] }[] = [];
  let entry: JsonValue | undefined = claims['act'];
  while (entry !== undefined) {
    if (!isObject(entry)) {
      throw invalid('act');
    }
    if (nearestFirst.length === LIMITS.actorChainMax) {
      throw invalid(`act: more than ${LIMITS.actorChainMax} actors`);
    }
    nearestFirst.push({
      iss: entry['iss'] === undefined ? iss : requiredText(entry, 'iss'),
      sub: requiredText(entry, 'sub'),
      kind: kindOf(entry, mapping.actorKindClaim, ['ai_agent', 'service'], mapping.actorKind),
    });
    entry = entry['act'];
  }
  const verified = nearestFirst.every((actor) => actor.iss === iss || mapping.actorIssuers.includes(actor.iss));
  return nearestFirst.reverse().map((actor) => ({ ...actor, verified }));
}

function chainPersons(
  principal: Principal,
  actors: readonly Actor[],
  claims: Claims,
  mapping: ClaimMapping,
  people: PeopleMap,
): readonly string[] {
  const found = new Set<string>();
  const identities = [principal, ...actors].map(({ iss, sub }) => ({ iss, sub }));
  for (const name of mapping.chainClaims) {
    const value = optionalText(claims, name);
    if (value !== '') {
      identities.push({ iss: principal.iss, sub: `${name}:${value}` });
    }
  }
  for (const { iss, sub } of identities) {
    const person = people.personOf(iss, sub);
    if (person !== undefined) {
      found.add(person.id);
    }
  }
  return [...found].sort();
}

/** A token that names a run names it whole: a run without its commit could pass for a reviewed one. */
function ciRun(claims: Claims, mapping: CiMapping): CiRun | null {
  if (claims[mapping.runId] === undefined) {
    if (mapping.required) {
      throw invalid(mapping.runId);
    }
    return null;
  }
  const scriptDigest = optionalText(claims, mapping.scriptDigest);
  if (scriptDigest !== '' && !HEX_SHA256.test(scriptDigest)) {
    throw invalid(mapping.scriptDigest);
  }
  return {
    repoId: requiredText(claims, mapping.repoId),
    repository: requiredText(claims, mapping.repository),
    ref: requiredText(claims, mapping.ref),
    sha: requiredText(claims, mapping.sha),
    workflow: requiredText(claims, mapping.workflow),
    runId: requiredText(claims, mapping.runId),
    environment: optionalText(claims, mapping.environment),
    scriptDigest,
  };
}

function checkRequired(claims: Claims, mapping: ClaimMapping): void {
  for (const [name, allowed] of Object.entries(mapping.require)) {
    if (!allowed.includes(requiredText(claims, name))) {
      throw invalid(name);
    }
  }
}

function hasMfa(claims: Claims, mapping: ClaimMapping): boolean {
  const rule = mapping.mfa;
  if (rule === undefined) {
    return false;
  }
  const value = claims[rule.claim];
  const values = Array.isArray(value) ? (value as readonly JsonValue[]) : [value];
  return values.some((item) => typeof item === 'string' && rule.values.includes(item));
}

function groupClaim(claims: Claims, name: string | undefined): readonly string[] {
  const value = name === undefined ? undefined : claims[name];
  if (value === undefined) {
    return [];
  }
  if (!Array.isArray(value) || value.length > GROUPS_MAX) {
    throw invalid(name ?? '');
  }
  return (value as readonly JsonValue[]).map((item) => checkedText(item, name ?? ''));
}

function kindOf<K extends string>(source: Claims, name: string | undefined, allowed: readonly K[], otherwise: K): K {
  const value = name === undefined ? undefined : source[name];
  if (value === undefined) {
    return otherwise;
  }
  const kind = allowed.find((item) => item === value);
  if (kind === undefined) {
    throw invalid(name ?? '');
  }
  return kind;
}

function requiredText(source: Claims, name: string): string {
  const text = checkedText(source[name], name);
  if (text === '') {
    throw invalid(name);
  }
  return text;
}

function optionalText(source: Claims, name: string | undefined): string {
  return name === undefined || source[name] === undefined ? '' : checkedText(source[name], name);
}

/** Numeric ids (GitHub's are strings, GitLab's numbers) are taken as their decimal text. */
function checkedText(value: JsonValue | undefined, name: string): string {
  const text = typeof value === 'number' && Number.isSafeInteger(value) ? String(value) : value;
  if (typeof text !== 'string' || text.length > NAME_SIZE_MAX || FORBIDDEN.test(text)) {
    throw invalid(name);
  }
  return text;
}

export function isObject(value: JsonValue | undefined): value is Claims & JsonValue {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function invalid(detail: string): GatewayError {
  return new GatewayError('auth_invalid', `claim ${detail}`);
}

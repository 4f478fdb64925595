import { GatewayError } from '../../core/kernel/errors.ts';
import type { PeopleMap } from '../contract/people-map.ts';
import type { Ask } from './approval-reducer.ts';
import type { AskRequest, Shown } from './desk-port.ts';
import type { Asked, Decided } from './transition.ts';

/** Who may decide an ask, fixed when it is made: their previews are sealed then, so nobody can join later. */
export interface Eligible {
  readonly sets: Asked['sets'];
  readonly keys: Asked['keys'];
  readonly recipients: readonly { readonly person: string; readonly keyId: string; readonly x25519: Buffer }[];
  readonly quorum: number;
}

/** Throws GatewayError `approval_requester_unknown` or `approval_no_approver`. */
export function eligibleFor(people: PeopleMap, request: AskRequest): Eligible {
  const { chainPersons } = request.requester;
  if (chainPersons.length === 0) {
    throw new GatewayError('approval_requester_unknown');
  }
  const sets = request.shown.approvals.map((approval) => ({
    code: approval.code,
    approvers: [...approval.approvers],
    persons: membersOf(people, approval.approvers).filter((person) => !chainPersons.includes(person)),
  }));
  const persons = [...new Set(sets.flatMap((set) => set.persons))].sort();
  const quorum = Math.max(1, ...request.shown.approvals.map((approval) => approval.quorum));
  const short = sets.find((set) => set.persons.length === 0);
  if (sets.length === 0 || short !== undefined || persons.length < quorum) {
    throw new GatewayError('approval_no_approver', short === undefined ? `${persons.length} of ${quorum}` : short.code);
  }
  const keys = persons.flatMap((person) => (people.person(person)?.keys ?? []).map((key) => ({ person, ...key })));
  return {
    sets,
    quorum,
    keys: keys.map(({ person, keyId, ed25519 }) => ({ person, keyId, ed25519: ed25519.toString('hex') })),
    recipients: keys.map(({ person, keyId, x25519 }) => ({ person, keyId, x25519 })),
  };
}

/** Whether a person may decide this ask by the people map of now. Both the map of then and of now must agree. */
export function isEligible(people: PeopleMap, ask: Ask, person: string): boolean {
  return (
    !ask.asked.requester.chainPersons.includes(person) &&
    ask.asked.sets.some((set) => set.persons.includes(person) && membersOf(people, set.approvers).includes(person))
  );
}

/** The decisions that still count by the people map of now: someone who left, or whose key was withdrawn, does not. */
export function standingDecisions(people: PeopleMap, ask: Ask): Decided[] {
  return ask.decisions.filter(
    (decided) => isEligible(people, ask, decided.person) && isEnrolled(people, ask, decided.person, decided.keyId),
  );
}

/** The key is still that person's, and it is the one that was enrolled when the ask was made. */
export function isEnrolled(people: PeopleMap, ask: Ask, person: string, keyId: string): boolean {
  const then = ask.asked.keys.find((key) => key.person === person && key.keyId === keyId);
  const now = people.keyOf(person, keyId);
  return then !== undefined && now !== undefined && now.ed25519.toString('hex') === then.ed25519;
}

/** The time to live of an ask: the shortest of its approvals. */
export function ttlMs(shown: Shown, defaultMs: number): number {
  return Math.min(defaultMs, ...shown.approvals.map((approval) => approval.ttlS * 1000));
}

/** Persons without a key cannot sign, so they are nobody's approver. */
function membersOf(people: PeopleMap, approvers: readonly string[]): string[] {
  const members = new Set(approvers.flatMap((approver) => people.membersOf(approver)));
  return [...members].filter((person) => (people.person(person)?.keys.length ?? 0) > 0).sort();
}

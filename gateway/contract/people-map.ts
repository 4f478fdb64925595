import type { KeyObject } from 'node:crypto';
import { z } from 'zod';
import { GatewayError } from '../../core/kernel/errors.ts';
import { publicKeyObject } from '../../core/ledger/ed25519.ts';

/** An account of a person at one issuer. A claim of a token other than `sub` is written `<claim>:<value>`. */
export interface PersonIdentity {
  readonly iss: string;
  readonly sub: string;
}

/** The keys of one device of a person: Ed25519 signs decisions, X25519 opens previews. Raw 32-byte public keys. */
export interface PersonKey {
  readonly keyId: string;
  readonly ed25519: Buffer;
  readonly x25519: Buffer;
}

export interface Person {
  readonly id: string;
  readonly name: string;
  readonly groups: readonly string[];
  readonly identities: readonly PersonIdentity[];
  readonly keys: readonly PersonKey[];
}

const RAW_KEY_SIZE = 32;
const PERSONS_MAX = 10_000;

const name = z
  .string()
  .min(1)
  .max(256)
  .regex(/^[^\p{Cc}\p{Cs}]*$/u);
const rawKey = z.string().regex(/^[A-Za-z0-9_-]{43}$/, 'must be 32 bytes in base64url');
const documentSchema = z.strictObject({
  persons: z
    .array(
      z.strictObject({
        id: name,
        name,
        groups: z.array(name).max(256),
        identities: z.array(z.strictObject({ iss: name, sub: name.max(1024) })).max(64),
        keys: z.array(z.strictObject({ keyId: name, ed25519: rawKey, x25519: rawKey })).max(16),
      }),
    )
    .max(PERSONS_MAX),
});

/**
 * The people map of the signed bundle: which accounts and keys belong to one human. It is what makes "two different
 * people" mean two humans. Who is not in it cannot ask for an approval and cannot give one.
 *
 * Invariants: an identity, a key id and a raw key each belong to at most one person; no group has the name of a person.
 */
export class PeopleMap {
  readonly persons: readonly Person[];
  readonly #byId = new Map<string, Person>();
  readonly #byIdentity = new Map<string, Person>();
  readonly #byGroup = new Map<string, string[]>();
  readonly #signingKeys = new Map<string, KeyObject>();

  private constructor(persons: readonly Person[]) {
    this.persons = persons;
    const rawKeys = new Set<string>();
    for (const person of persons) {
      refuse(this.#byId.has(person.id), `person ${person.id} is there twice`);
      this.#byId.set(person.id, person);
      for (const identity of person.identities) {
        const key = identityKey(identity.iss, identity.sub);
        refuse(this.#byIdentity.has(key), `an identity of ${person.id} belongs to another person too`);
        this.#byIdentity.set(key, person);
      }
      for (const group of new Set(person.groups)) {
        this.#byGroup.set(group, [...(this.#byGroup.get(group) ?? []), person.id].sort());
      }
      for (const key of person.keys) {
        for (const raw of [key.ed25519.toString('hex'), key.x25519.toString('hex')]) {
          // One key under two names would let one human stand for two.
          refuse(rawKeys.has(raw), `a key of ${person.id} is enrolled twice`);
          rawKeys.add(raw);
        }
        refuse(this.#signingKeys.has(key.keyId), `key id ${key.keyId} is there twice`);
        this.#signingKeys.set(key.keyId, publicKeyObject(key.ed25519));
      }
    }
    for (const group of this.#byGroup.keys()) {
      refuse(this.#byId.has(group), `${group} is both a group and a person`);
    }
  }

  static readonly empty: PeopleMap = new PeopleMap([]);

  /** From the parsed `people.json` of a verified bundle. Throws GatewayError `bundle_invalid`. */
  static parse(document: unknown): PeopleMap {
    const parsed = documentSchema.safeParse(document);
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      throw new GatewayError('bundle_invalid', `people.json: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
    }
    return new PeopleMap(
      parsed.data.persons.map((person) => ({
        ...person,
        keys: person.keys.map((key) => ({
          keyId: key.keyId,
          ed25519: rawKeyBytes(key.ed25519),
          x25519: rawKeyBytes(key.x25519),
        })),
      })),
    );
  }

  person(id: string): Person | undefined {
    return this.#byId.get(id);
  }

  personOf(iss: string, sub: string): Person | undefined {
    return this.#byIdentity.get(identityKey(iss, sub));
  }

  /** Ids of the persons that an approver entry of a policy names: the members of the group, or the one person. */
  membersOf(groupOrPerson: string): readonly string[] {
    return this.#byGroup.get(groupOrPerson) ?? (this.#byId.has(groupOrPerson) ? [groupOrPerson] : []);
  }

  keyOf(personId: string, keyId: string): PersonKey | undefined {
    return this.#byId.get(personId)?.keys.find((key) => key.keyId === keyId);
  }

  /** The Ed25519 key under which `personId` signs, if that key is theirs. */
  signingKeyOf(personId: string, keyId: string): KeyObject | undefined {
    return this.keyOf(personId, keyId) === undefined ? undefined : this.#signingKeys.get(keyId);
  }
}

function identityKey(iss: string, sub: string): string {
  // Neither part can hold a control character, so the joint is unambiguous.
  return `${iss}\n${sub}`;
}

function rawKeyBytes(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64url');
  refuse(bytes.length !== RAW_KEY_SIZE || bytes.toString('base64url') !== text, 'a key is not canonical base64url');
  return bytes;
}

function refuse(condition: boolean, detail: string): void {
  if (condition) {
    throw new GatewayError('bundle_invalid', `people.json: ${detail}`);
  }
}

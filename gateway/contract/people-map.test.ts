import { deepEqual, equal, throws } from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto';
import { describe, test } from 'node:test';
import { PeopleMap } from './people-map.ts';

const signing = generateKeyPairSync('ed25519');
const key = { keyId: 'ada-1', ed25519: raw(signing.publicKey), x25519: raw(generateKeyPairSync('x25519').publicKey) };
const ada = { id: 'ada', name: 'Ada', groups: ['owners'], identities: [{ iss: 'i', sub: 'ada' }], keys: [key] };
const bo = { id: 'bo', name: 'Bo', groups: ['owners', 'reviewers'], identities: [{ iss: 'i', sub: 'bo' }], keys: [] };

describe('PeopleMap', () => {
  test('joins the identities of one person, and knows groups and keys', () => {
    const people = PeopleMap.parse({
      persons: [ada, { ...bo, identities: [...bo.identities, { iss: 'j', sub: 'bo2' }] }],
    });
    equal(people.personOf('i', 'bo'), people.personOf('j', 'bo2'));
    equal(people.personOf('j', 'bo'), undefined);
    deepEqual(people.membersOf('owners'), ['ada', 'bo']);
    deepEqual(people.membersOf('ada'), ['ada']);
    deepEqual(people.membersOf('nobody'), []);
    const signingKey = people.signingKeyOf('ada', 'ada-1');
    equal(
      signingKey !== undefined &&
        verify(null, Buffer.from('x'), signingKey, sign(null, Buffer.from('x'), signing.privateKey)),
      true,
    );
    equal(people.signingKeyOf('bo', 'ada-1'), undefined, 'a key signs only for its person');
  });

  const refused: readonly (readonly [string, unknown])[] = [
    ['something else', []],
    ['an unknown member', { persons: [], extra: 1 }],
    ['one person twice', { persons: [ada, ada] }],
    ['one identity with two persons', { persons: [ada, { ...bo, identities: ada.identities }] }],
    ['one key with two persons', { persons: [ada, { ...bo, keys: [{ ...key, keyId: 'bo-1' }] }] }],
    ['one key id with two persons', { persons: [ada, { ...bo, keys: [{ ...otherKey(), keyId: 'ada-1' }] }] }],
    ['a group named like a person', { persons: [ada, { ...bo, groups: ['ada'] }] }],
    ['a short key', { persons: [{ ...ada, keys: [{ ...key, ed25519: 'AAAA' }] }] }],
    ['a key in a second spelling', { persons: [{ ...ada, keys: [{ ...key, ed25519: `${'A'.repeat(42)}B` }] }] }],
    ['a name with a line break', { persons: [{ ...ada, identities: [{ iss: 'i\n', sub: 'x' }] }] }],
  ];
  for (const [name, document] of refused) {
    test(`refuses ${name}`, () => {
      throws(() => PeopleMap.parse(document), { code: 'bundle_invalid' });
    });
  }
});

function otherKey(): { ed25519: string; x25519: string } {
  return {
    ed25519: raw(generateKeyPairSync('ed25519').publicKey),
    x25519: raw(generateKeyPairSync('x25519').publicKey),
  };
}

function raw(publicKey: KeyObject): string {
  return publicKey.export({ format: 'jwk' }).x ?? '';
}

import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { InvariantError } from '../kernel/assert.ts';
import { SeededRandom } from '../kernel/testing/seeded-random.ts';
import {
  decodeCheckpoint,
  decodeCheckpointValue,
  encodeCheckpoint,
  encodeCheckpointValue,
  inputOffsetExtension,
  inputOffsetOf,
  openCheckpoint,
} from './checkpoint.ts';
import { cosignatureLine } from './cosignature.ts';
import { publicKeyRaw } from './ed25519.ts';
import { leafHash, sha256 } from './hash.ts';
import { MerkleTree } from './merkle.ts';
import { addSignature, openNote, parseNote, signNote } from './note.ts';
import { decodeTlogProof, encodeTlogProof, verifyTlogProof } from './tlog-proof.ts';
import { decodeVerifierKey, encodeVerifierKey, SIGNATURE_TYPES, verifierKey } from './verifier-key.ts';

const random = new SeededRandom(3);
const LOG = { name: 'cluster.example/evidence', key: random.bytes(32) };
const WITNESS = { name: 'witness.example/w1', key: random.bytes(32) };
const OTHER = { name: 'cluster.example/evidence', key: random.bytes(32) };
const LOG_KEY = verifierKey(LOG.name, SIGNATURE_TYPES.ed25519, publicKeyRaw(LOG.key));
const WITNESS_KEY = verifierKey(WITNESS.name, SIGNATURE_TYPES.cosignature, publicKeyRaw(WITNESS.key));
const OTHER_KEY = verifierKey(OTHER.name, SIGNATURE_TYPES.ed25519, publicKeyRaw(OTHER.key));
const ROOT = sha256(Buffer.from('root'));
const TEXT = encodeCheckpoint({ origin: LOG.name, size: 20, root: ROOT, extensions: [inputOffsetExtension(31)] });

describe('signed notes', () => {
  // The note and key of the C2SP specification.
  test('the example of the specification verifies', () => {
    const key = decodeVerifierKey('example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k');
    const note =
      'This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n';
    equal(openNote(note, [key]).text, 'This is an example message.\n');
    equal(openNote(Buffer.from(note), [key]).verified[0]?.key, key);
  });

  test('the text may have empty lines; the last empty line parts it from the signatures', () => {
    const text = 'a\n\nb\n';
    equal(openNote(signNote(text, [LOG]), [LOG_KEY]).text, text);
  });

  test('signatures of unknown keys are ignored, one of a known key must hold', () => {
    const note = signNote(TEXT, [OTHER, LOG]);
    deepEqual(
      openNote(note, [LOG_KEY]).verified.map(({ key }) => key),
      [LOG_KEY],
    );
    deepEqual(openNote(note, [OTHER_KEY, LOG_KEY]).verified.length, 2);
    throws(() => openNote(note, [WITNESS_KEY]), { code: 'evidence_altered' });
    throws(() => openNote(note, []), { code: 'evidence_altered' });
  });

  test('a wrong signature that claims a known key rejects the note, although another one holds', () => {
    const wrong = signNote(TEXT.replace('20', '21'), [OTHER]);
    const note = addSignature(signNote(TEXT, [LOG]), wrong.slice(wrong.lastIndexOf('\n\n') + 2));
    equal(openNote(note, [LOG_KEY]).text, TEXT);
    throws(() => openNote(note, [LOG_KEY, OTHER_KEY]), { code: 'evidence_altered' });
  });

  test('no note survives a changed byte', () => {
    const note = Buffer.from(addSignature(signNote(TEXT, [LOG]), cosignatureLine(WITNESS, TEXT, 1_700_000_000)));
    const property = fc.property(fc.nat({ max: note.length - 1 }), fc.integer({ min: 0, max: 7 }), (at, bit) => {
      const changed = Buffer.from(note);
      changed[at]! ^= 1 << bit;
      // A line whose name or key id changed is one of an unknown key, so both signatures are asked for.
      try {
        ok(openNote(changed, [LOG_KEY, WITNESS_KEY]).verified.length < 2);
      } catch (error) {
        ok(error instanceof Error && 'code' in error);
      }
    });
    fc.assert(property, { numRuns: 500 });
  });

  for (const [what, note] of [
    ['no signature', `${TEXT}\n`],
    ['no empty line', TEXT],
    ['a line without the dash', `${TEXT}\nname AAAAAAAA\n`],
    ['no newline at the end', signNote(TEXT, [LOG]).slice(0, -1)],
    ['a control character', signNote(TEXT, [LOG]).replace('20', '2\t0')],
    ['base64 with spare bits', signNote(TEXT, [LOG]).replace(/.=\n$/, 'B=\n')],
    ['a signature too short', `${TEXT}\n— name AAAAAA==\n`],
    [
      '65 signatures',
      signNote(
        TEXT,
        Array.from({ length: 65 }, () => LOG),
      ),
    ],
  ] as const) {
    test(`malformed: ${what}`, () => {
      throws(() => parseNote(note), { code: 'evidence_malformed' });
    });
  }

  test('bytes that are not UTF-8 are malformed, and nothing unprintable is signed', () => {
    throws(() => parseNote(Buffer.concat([Buffer.from([0xff]), Buffer.from(signNote(TEXT, [LOG]))])), {
      code: 'evidence_malformed',
    });
    throws(() => signNote('no newline', [LOG]), InvariantError);
    throws(() => signNote('tab\t\n', [LOG]), InvariantError);
    throws(() => signNote(TEXT, [{ ...LOG, name: 'has space' }]), InvariantError);
  });
});

describe('verifier keys', () => {
  test('come back from their text', () => {
    deepEqual(decodeVerifierKey(encodeVerifierKey(WITNESS_KEY)), WITNESS_KEY);
    deepEqual(decodeVerifierKey(`${encodeVerifierKey(LOG_KEY)}\n`), LOG_KEY);
  });

  test('the same key has another id for another signature type and name', () => {
    const raw = LOG_KEY.publicKey;
    const ids = [LOG_KEY, verifierKey(LOG.name, 4, raw), verifierKey('x', 1, raw)].map((key) => key.keyId);
    equal(new Set(ids).size, 3);
  });

  for (const [what, vkey] of [
    ['another key id', encodeVerifierKey(LOG_KEY).replace(/\+[0-9a-f]{8}/, '+00000000')],
    ['an unknown signature type', 'n+00000000+AuHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx'],
    ['no key', 'n+00000000+AQ=='],
    ['no name', encodeVerifierKey(LOG_KEY).replace(/^[^+]+/, '')],
    ['nothing', ''],
  ] as const) {
    test(`refuses ${what}`, () => throws(() => decodeVerifierKey(vkey), { code: 'evidence_malformed' }));
  }
});

describe('checkpoints and cosignatures', () => {
  // The checkpoint of the C2SP specifications.
  test('the example of the specification has the form', () => {
    const text = 'example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n';
    const checkpoint = decodeCheckpoint(text);
    deepEqual(
      [checkpoint.origin, checkpoint.size, checkpoint.extensions],
      ['example.com/behind-the-sofa', 20852163, []],
    );
    equal(encodeCheckpoint(checkpoint), text);
    equal(inputOffsetOf(checkpoint), undefined);
  });

  test('log signature and cosignature are verified, and the time is that of the witness', () => {
    const note = addSignature(signNote(TEXT, [LOG]), cosignatureLine(WITNESS, TEXT, 1_700_000_000));
    const opened = openCheckpoint(note, LOG_KEY, [WITNESS_KEY]);
    deepEqual(opened.cosignatures, [{ name: WITNESS.name, timeSeconds: 1_700_000_000 }]);
    deepEqual([opened.checkpoint.size, inputOffsetOf(opened.checkpoint)], [20, 31]);
    deepEqual(openCheckpoint(note, LOG_KEY).cosignatures, []);
    const moved = cosignatureLine(WITNESS, TEXT.replace('20', '21'), 1_700_000_000);
    throws(() => openCheckpoint(addSignature(signNote(TEXT, [LOG]), moved), LOG_KEY, [WITNESS_KEY]), {
      code: 'evidence_altered',
    });
  });

  test('a witness alone does not make a checkpoint, nor does the key of another log', () => {
    const note = `${TEXT}\n${cosignatureLine(WITNESS, TEXT, 1)}`;
    throws(() => openCheckpoint(note, LOG_KEY, [WITNESS_KEY]), { code: 'evidence_altered' });
    const foreign = { ...OTHER, name: 'other.example/log' };
    const foreignKey = verifierKey(foreign.name, SIGNATURE_TYPES.ed25519, publicKeyRaw(foreign.key));
    throws(() => openCheckpoint(signNote(TEXT, [foreign]), foreignKey), { code: 'evidence_altered' });
  });

  for (const [what, text] of [
    ['a leading zero', TEXT.replace('\n20\n', '\n020\n')],
    ['a size past what is safe', TEXT.replace('\n20\n', '\n9007199254740993\n')],
    ['a negative size', TEXT.replace('\n20\n', '\n-1\n')],
    ['a short root', TEXT.replace(/\n.{43}=\n/, '\nAAAA\n')],
    ['an empty extension line', `${TEXT}\n`],
    ['two lines', 'origin\n1\n'],
  ] as const) {
    test(`malformed: ${what}`, () => throws(() => decodeCheckpoint(text), { code: 'evidence_malformed' }));
  }

  test('the value of the checkpoints topic comes back', () => {
    const value = { type: 2, note: signNote(TEXT, [LOG]) } as const;
    deepEqual(decodeCheckpointValue(encodeCheckpointValue(value)), value);
    throws(() => decodeCheckpointValue(Buffer.of(3)), { code: 'evidence_malformed' });
    throws(() => decodeCheckpointValue(Buffer.alloc(0)), { code: 'evidence_malformed' });
  });
});

describe('tlog proofs', () => {
  const entries = Array.from({ length: 20 }, (_, i) => Buffer.from(`entry ${i}`));
  const tree = new MerkleTree();
  for (const entry of entries) {
    tree.append(leafHash(entry));
  }
  const checkpoint = signNote(
    encodeCheckpoint({ origin: LOG.name, size: 20, root: tree.root(), extensions: [inputOffsetExtension(3)] }),
    [LOG],
  );

  test('every entry of a log is proved by its own text, with and without extra data', () => {
    for (const [index, entry] of entries.entries()) {
      const proof = { index, hashes: tree.inclusionProof(index), checkpoint, extra: index % 2 === 0 ? null : entry };
      const text = encodeTlogProof(proof);
      deepEqual(decodeTlogProof(text), proof);
      equal(verifyTlogProof(text, leafHash(entry), LOG_KEY).index, index);
      throws(() => verifyTlogProof(text, leafHash(Buffer.from('no')), LOG_KEY), { code: 'evidence_altered' });
      throws(() => verifyTlogProof(text, leafHash(entry), OTHER_KEY), { code: 'evidence_altered' });
    }
  });

  test('a log of one entry has a proof without hashes', () => {
    const one = new MerkleTree();
    one.append(leafHash(entries[0]!));
    const note = signNote(encodeCheckpoint({ origin: LOG.name, size: 1, root: one.root(), extensions: [] }), [LOG]);
    const text = encodeTlogProof({ index: 0, hashes: [], checkpoint: note, extra: null });
    equal(verifyTlogProof(text, leafHash(entries[0]!), LOG_KEY).index, 0);
  });

  const good = encodeTlogProof({ index: 3, hashes: tree.inclusionProof(3), checkpoint, extra: null });
  for (const [what, text] of [
    ['another version', good.replace('@v1', '@v2')],
    ['a leading zero', good.replace('index 3', 'index 03')],
    ['no index', good.replace('index 3\n', '')],
    ['a short hash', good.replace(/index 3\n.*\n/, 'index 3\nAAAA\n')],
    ['no checkpoint', good.slice(0, good.indexOf('\n\n'))],
  ] as const) {
    test(`malformed: ${what}`, () => throws(() => decodeTlogProof(text), { code: 'evidence_malformed' }));
  }
});

import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { decodeBatch, encodeBatch } from './batch.ts';
import { CompactRange } from './compact-range.ts';
import { publicKeyRaw } from './ed25519.ts';
import { decodeLeaf, encodeLeaf, KINDS, type LeafFields } from './leaf.ts';
import { decodeRecord, encodeRecord } from './record.ts';
import { StrandCheck } from './strand-check.ts';
import { SampleWriter } from './testing/sample-evidence.ts';
import { SAMPLE_CA_PEM } from './testing/sample-node.ts';
import { verifyBatch } from './verify-batch.ts';
import { readRecord, verifyRecordCommits } from './verify-record.ts';

const SCALE = Number(process.env['CHAPERONE_TEST_SCALE'] ?? 1);
const SESSION = Buffer.alloc(16, 0x5e);
const CAS = { clusterCas: [SAMPLE_CA_PEM] };
const codes = (verdict: { findings: readonly { code: string }[] }) => verdict.findings.map(({ code }) => code);

/** A writer with two batches: [0, 4) and [4, 7). */
function twoBatches() {
  const writer = new SampleWriter(21);
  writer.append({ sessionId: SESSION });
  writer.append({ sessionId: SESSION, payload: Buffer.from('asked'), originals: Buffer.from('taken out') });
  writer.append({ sessionId: SESSION, kind: 'response', payload: Buffer.from('answered') });
  const first = writer.batch();
  writer.append({ sessionId: SESSION, kind: 'delivery' });
  writer.append({ sessionId: SESSION, kind: 'session.close' });
  writer.append({ kind: 'epoch.close' });
  return { writer, first, second: writer.batch() };
}

describe('verifyBatch', () => {
  test('a log of two batches verifies to its end, each from what the one before left', () => {
    const { writer, first, second } = twoBatches();
    const strands = new StrandCheck();
    const one = verifyBatch(first, { ...CAS, known: new CompactRange(), strands });
    deepEqual([one.findings, one.signature, one.records.length], [[], 'valid', 4]);
    ok(one.after !== null && one.epochPublicKey !== null);
    const two = verifyBatch(second, { known: one.after, writerPublicKey: one.epochPublicKey, strands });
    deepEqual([two.findings, two.signature, two.records.length], [[], 'valid', 3]);
    deepEqual([two.after?.size, two.after?.root()], [7, writer.root]);
    equal(strands.openCount, 0);
  });

  test('without a key the signature is unchecked, and that is said', () => {
    const { second } = twoBatches();
    const verdict = verifyBatch(second);
    deepEqual([verdict.findings, verdict.signature], [[], 'unchecked']);
  });

  test('bytes that are no batch are one finding', () => {
    for (const bytes of [Buffer.alloc(0), Buffer.from('CHB1'), Buffer.alloc(1000, 7)]) {
      const verdict = verifyBatch(bytes);
      deepEqual([codes(verdict), verdict.batch], [['malformed'], null]);
    }
  });

  test('no flipped bit goes unseen', () => {
    const { writer, first, second } = twoBatches();
    const known = verifyBatch(first, CAS).after ?? undefined;
    ok(known !== undefined);
    const property = fc.property(fc.boolean(), fc.nat(), fc.integer({ min: 0, max: 7 }), (early, atSeed, bit) => {
      const bytes = Buffer.from(early ? first : second);
      bytes[atSeed % bytes.length]! ^= 1 << bit;
      const context = early
        ? { ...CAS, known: new CompactRange(), writerPublicKey: publicKeyRaw(writer.key) }
        : { known, writerPublicKey: publicKeyRaw(writer.key) };
      ok(verifyBatch(bytes, context).findings.length > 0, `byte ${atSeed % bytes.length} bit ${bit}`);
    });
    fc.assert(property, { numRuns: 1500 * SCALE });
  });

  test('a changed leaf is named when a hash tile tells what it was', () => {
    const { writer, first } = twoBatches();
    const bytes = Buffer.from(first);
    const at = bytes.indexOf(writer.records[2]!) + 140; // approval leaf hash of record 2
    bytes[at]! ^= 1;
    const verdict = verifyBatch(bytes, { ...CAS, expectedLeafHash: (index) => writer.leafHashes[index] });
    deepEqual(
      verdict.findings.map(({ code, index }) => [code, index]),
      [
        ['leaf_hash', 2],
        ['root', 0],
      ],
    );
    equal(verdict.findings[0]?.offset, bytes.indexOf(writer.records[2]!.subarray(200)) - 200);
  });

  test('a changed meta, salt or unit is named by its record, with its place', () => {
    const { writer, first } = twoBatches();
    for (const [offset, code] of [
      [300, 'meta_commit'],
      [299 + 16 + 4, 'meta_commit'],
      [writer.records[2]!.length - 1, 'unit_commit'],
    ] as const) {
      const bytes = Buffer.from(first);
      const start = bytes.indexOf(writer.records[2]!);
      bytes[start + offset]! ^= 1;
      const { findings } = verifyBatch(bytes, CAS);
      deepEqual(
        findings.map((finding) => [finding.code, finding.index, finding.offset]),
        [[code, 2, start]],
      );
    }
  });

  test('a fork is seen: the batch goes on from another log', () => {
    const { first, second } = twoBatches();
    const other = new SampleWriter(21, { openMeta: Buffer.from('another history') });
    for (let i = 0; i < 3; i++) {
      other.append();
    }
    const known = verifyBatch(other.batch(), CAS).after ?? undefined;
    ok(known !== undefined);
    ok(codes(verifyBatch(second, { known })).includes('compact'));
    ok(codes(verifyBatch(second, { known: new CompactRange() })).includes('compact'), 'a gap');
    ok(codes(verifyBatch(first, { known })).includes('compact'), 'an overlap');
  });

  test('a head signed by another key, and one of another place, are refused', () => {
    const { writer, first } = twoBatches();
    const stranger = new SampleWriter(22);
    const value = decodeBatch(first);
    deepEqual(codes(verifyBatch(first, { writerPublicKey: publicKeyRaw(stranger.key) })), ['signature']);
    deepEqual(codes(verifyBatch(encodeBatch({ ...value, head: writer.head() }), CAS)), ['head']);
    deepEqual(codes(verifyBatch(encodeBatch({ ...value, head: stranger.head() }), CAS)), ['head', 'signature']);
  });

  test('the head of a recovered writer needs the key of the control writer', () => {
    const control = new SampleWriter(23, { role: 'control' });
    const { writer } = twoBatches();
    const fresh = new SampleWriter(21);
    fresh.append({ kind: 'epoch.close' });
    const head = fresh.head(control);
    const bytes = fresh.batch({ head });
    equal(verifyBatch(bytes, CAS).signature, 'unchecked');
    const recoveryKey = (id: Buffer) => (id.equals(control.writerId) ? publicKeyRaw(control.key) : undefined);
    deepEqual([verifyBatch(bytes, { ...CAS, recoveryKey }).signature], ['valid']);
    const wrong = verifyBatch(bytes, { ...CAS, recoveryKey: () => publicKeyRaw(writer.key) });
    deepEqual([wrong.signature, codes(wrong)], ['invalid', ['signature']]);
  });

  test('a certificate that no CA of the cluster vouches for is a finding', () => {
    const { first } = twoBatches();
    deepEqual(codes(verifyBatch(first, { clusterCas: [] })), ['epoch']);
    const value = decodeBatch(first);
    const foreign = new SampleWriter(24).epoch;
    ok(codes(verifyBatch(encodeBatch({ ...value, epoch: foreign }), CAS)).includes('epoch'));
  });

  test('records of another writer or at another index are findings', () => {
    const { writer, first } = twoBatches();
    const value = decodeBatch(first);
    const other = new SampleWriter(25);
    const swapped = [value.records[0]!, value.records[2]!, value.records[1]!, value.records[3]!];
    ok(codes(verifyBatch(encodeBatch({ ...value, records: swapped }), CAS)).includes('index'));
    const mixed = [other.records[0]!, ...value.records.slice(1)];
    ok(codes(verifyBatch(encodeBatch({ ...value, records: mixed }), CAS)).includes('writer'));
    equal(writer.size, 7);
  });
});

describe('verifyRecordCommits', () => {
  const { writer } = twoBatches();
  const bytes = writer.records[2]!;
  const body = decodeRecord(bytes);
  const check = (change: Partial<typeof body>, leaf: Partial<LeafFields> = {}) => {
    const changedLeaf = encodeLeaf({ ...decodeLeaf(body.leaf), ...leaf });
    const record = readRecord(encodeRecord({ ...body, leaf: changedLeaf, ...change }));
    ok(typeof record !== 'string');
    return verifyRecordCommits(record).map(({ code }) => code);
  };
  const [payload, originals] = body.units;

  for (const [what, found, expected] of [
    ['nothing', check({}), []],
    ['the salt', check({ salt: Buffer.alloc(16) }), ['meta_commit']],
    ['a unit that was taken away', check({ units: [payload!] }), ['unit_missing']],
    ['a unit that the leaf does not commit to', check({}, { originalsCommit: Buffer.alloc(32) }), ['unit_unexpected']],
    [
      'a unit under another class',
      check({ units: [{ unitClass: 1, bytes: originals!.bytes }, originals!] }),
      ['unit_commit'],
    ],
    ['a key id that the unit does not have', check({}, { payloadKeyId: Buffer.alloc(16) }), ['key_id']],
    ['a key id without a unit', check({ units: [payload!] }, { originalsCommit: Buffer.alloc(32) }), ['key_id']],
  ] as const) {
    test(`finds ${what}`, () => deepEqual(found, expected));
  }

  test('units that were taken out on purpose are not asked for', () => {
    const record = readRecord(encodeRecord({ ...body, units: [] }));
    ok(typeof record !== 'string');
    deepEqual(verifyRecordCommits(record, { withUnits: false }), []);
    equal(verifyRecordCommits(record).length, 2);
  });
});

describe('StrandCheck', () => {
  const run = (change: (leaf: LeafFields, index: number) => Partial<LeafFields> | null) => {
    const { writer } = twoBatches();
    const strands = new StrandCheck();
    return writer.records.flatMap((record, index) => {
      const leaf = decodeLeaf(decodeRecord(record).leaf);
      const changed = change(leaf, index);
      const finding = changed === null ? null : strands.next({ ...leaf, ...changed }, writer.leafHashes[index]!);
      return finding === null ? [] : [[finding.index, finding.detail]];
    });
  };

  for (const [what, change, expected] of [
    ['an unchanged writer', () => ({}), []],
    [
      'a record that was taken out',
      (_: LeafFields, i: number) => (i === 2 ? null : {}),
      [[3, 'the sequence of a strand has a gap']],
    ],
    [
      'a link to another record',
      (_: LeafFields, i: number) => (i === 3 ? { strandPrevious: Buffer.alloc(32, 1) } : {}),
      [[3, 'a record does not name the one before it in its strand']],
    ],
    [
      'a strand without its beginning',
      (_: LeafFields, i: number) => (i === 1 ? null : {}),
      [[2, 'a strand goes on without its beginning']],
    ],
    [
      'a strand that does not begin with session.open',
      (_: LeafFields, i: number) => (i === 1 ? { kind: 10 } : {}),
      [[1, 'a strand does not begin with session.open']],
    ],
    [
      'a record without a session that has a place in a strand',
      (_: LeafFields, i: number) => (i === 0 ? { strandSeq: 1 } : {}),
      [[0, 'a record outside of strands has a place in one']],
    ],
    [
      'a strand that begins again',
      (_: LeafFields, i: number) => (i === 2 ? { strandSeq: 0, kind: 3, strandPrevious: Buffer.alloc(32) } : {}),
      [
        [2, 'a strand begins again before it was closed'],
        [3, 'the sequence of a strand has a gap'],
      ],
    ],
  ] as const) {
    test(what, () => deepEqual(run(change), expected));
  }

  test('a record about an approval names a session and is in no strand', () => {
    const { writer } = twoBatches();
    const strands = new StrandCheck();
    const about = decodeLeaf(decodeRecord(writer.records[0]!).leaf);
    const sessionId = Buffer.alloc(16, 7);
    const kinds = Object.entries(KINDS).filter(([name]) => name.startsWith('approval.'));
    equal(kinds.length, 5);
    for (const [, kind] of kinds) {
      equal(strands.next({ ...about, kind, sessionId }, writer.leafHashes[0]!), null);
      const placed = strands.next({ ...about, kind, sessionId, strandSeq: 1 }, writer.leafHashes[0]!);
      equal(placed?.detail, 'a record outside of strands has a place in one');
    }
    equal(strands.openCount, 0);
  });
});

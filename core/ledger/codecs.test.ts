import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { InvariantError } from '../kernel/assert.ts';
import { GatewayError } from '../kernel/errors.ts';
import { LIMITS } from '../kernel/limits.ts';
import { SeededRandom } from '../kernel/testing/seeded-random.ts';
import { decodeAck, encodeAck } from './ack.ts';
import {
  archiveObjectName,
  decodeArchiveObject,
  encodeArchiveObject,
  parseArchiveObjectName,
} from './archive-object.ts';
import { batchOverhead, batchRecordSize, decodeBatch, encodeBatch } from './batch.ts';
import {
  CLUSTER_LEAF_BYTES_MAX,
  decodeClusterLeaf,
  decodeEpochEntry,
  decodeHeadsValue,
  decodeRefusedEntry,
  encodeClusterLeaf,
  encodeEpochEntry,
  encodeHeadsValue,
  encodeRefusedEntry,
  HEADS_VALUE_BYTES_MAX,
} from './cluster-leaf.ts';
import { publicKeyRaw } from './ed25519.ts';
import { decodeEpoch, encodeEpoch, signEpoch, verifyEpoch, verifyEpochChain } from './epoch.ts';
import { EMPTY_ROOT, leafHash, nodeHash, sha256 } from './hash.ts';
import { decodeHead, encodeHead, HEAD_SIZE, verifyHead } from './head.ts';
import { decodeLeaf, encodeLeaf, kindName, KINDS, LEAF_SIZE, obligationNames, tenantTag } from './leaf.ts';
import { decodeRecord, encodeRecord, recordSize } from './record.ts';
import {
  decodeUnitHeader,
  openUnit,
  sealUnit,
  UNIT_AAD_SIZE,
  unitAad,
  unitNonce,
  UNIT_OVERHEAD,
} from './sealed-unit.ts';
import { approvalStatement, httpExactParts, opDigest, shownDigest } from './statement.ts';
import { SampleWriter } from './testing/sample-evidence.ts';
import { SAMPLE_CA_PEM, SAMPLE_NODE_CERTIFICATE, SAMPLE_NODE_SEED } from './testing/sample-node.ts';
import {
  decodeWrappedKey,
  encodeWrappedKey,
  WRAPPED_KEY_AAD_SIZE,
  WRAPPED_KEY_SIZE,
  wrappedKeyAad,
} from './wrapped-key.ts';

const MALFORMED = { code: 'evidence_malformed' } as const;
const random = new SeededRandom(11);
const writer = new SampleWriter(1);
const session = random.bytes(16);
writer.append({ sessionId: session });
writer.append({ sessionId: session, payload: Buffer.from('payload'), originals: Buffer.from('originals') });
writer.append({ kind: 'epoch.close' });
const [record0, record1, record2] = writer.records as [Buffer, Buffer, Buffer];
const head = writer.head();
const batch = writer.batch();
const object = encodeArchiveObject([{ writerId: writer.writerId, first: 0, count: 4, busOffset: 7, batch }]);
const leaf = decodeRecord(record2).leaf;
const unit = decodeRecord(record2).units[0]!.bytes;
const wrapped = encodeWrappedKey({
  keyClass: 1,
  keyId: random.bytes(16),
  tenantTag: tenantTag('default'),
  month: 2026_01,
  writerId: writer.writerId,
  noncePrefix: random.bytes(8),
  createdMs: 1_767_225_600_000,
  enc: random.bytes(32),
  ciphertext: random.bytes(48),
});

/** Every decoder that reads a whole value, with a good one. */
const FORMATS: readonly (readonly [string, Buffer, (bytes: Buffer) => unknown])[] = [
  ['leaf', leaf, decodeLeaf],
  ['record', record2, decodeRecord],
  ['head', head, decodeHead],
  ['epoch certificate', writer.epoch, decodeEpoch],
  ['batch', batch, decodeBatch],
  ['cluster leaf', encodeClusterLeaf({ type: 2, inputOffset: 5, body: head }), decodeClusterLeaf],
  ['heads value', encodeHeadsValue({ type: 2, body: head }), decodeHeadsValue],
  ['epoch entry', encodeEpochEntry({ epoch: writer.epoch, record: record0 }), decodeEpochEntry],
  ['refused entry', encodeRefusedEntry({ reason: 'no', inputHash: random.bytes(32) }), decodeRefusedEntry],
  ['ack', encodeAck({ type: 2, writerId: writer.writerId, index: 9, reason: 'wrong root' }), decodeAck],
  ['sealed unit', unit, decodeUnitHeader],
  ['wrapped key', wrapped, decodeWrappedKey],
  ['archive object', object, decodeArchiveObject],
];

describe('every decoder', () => {
  for (const [name, bytes, decode] of FORMATS) {
    test(`${name}: refuses every shorter value and one more byte`, () => {
      decode(bytes);
      const cuts = bytes.length > 600 ? [0, 1, 4, 5, 40, 161, bytes.length >> 1, bytes.length - 1] : bytes.keys();
      for (const size of cuts) {
        throws(() => decode(bytes.subarray(0, size)), MALFORMED, `${size} of ${bytes.length}`);
      }
      throws(() => decode(Buffer.concat([bytes, Buffer.alloc(1)])), MALFORMED);
    });

    test(`${name}: any bytes give a value or evidence_malformed, nothing else`, () => {
      const tweak = fc.tuple(fc.nat({ max: bytes.length - 1 }), fc.integer({ min: 0, max: 255 }));
      const property = fc.property(fc.array(tweak, { maxLength: 4 }), fc.nat({ max: bytes.length }), (tweaks, size) => {
        const hostile = Buffer.from(bytes);
        for (const [at, value] of tweaks) {
          hostile[at] = value;
        }
        for (const input of [hostile, hostile.subarray(0, size)]) {
          try {
            decode(input);
          } catch (error) {
            ok(error instanceof GatewayError && error.code === 'evidence_malformed', String(error));
          }
        }
      });
      fc.assert(property, { numRuns: 150 });
    });
  }

  for (const [name, bytes, decode] of FORMATS.filter(([, value]) => value.subarray(0, 2).toString() === 'CH')) {
    test(`${name}: refuses another magic and another version`, () => {
      for (const at of name === 'ack' ? [0, 3] : [0, 3, 4]) {
        const changed = Buffer.from(bytes);
        changed[at]! ^= 0x40;
        throws(() => decode(changed), MALFORMED);
      }
    });
  }
});

describe('hashes', () => {
  test('are those of RFC 6962, at every size around the gathering limit', () => {
    const plain = (...parts: Uint8Array[]) => createHash('sha256').update(Buffer.concat(parts)).digest();
    deepEqual(EMPTY_ROOT.toString('hex'), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    for (const size of [0, 1, 299, 4094, 4095, 4096, 4097, 70_000]) {
      const bytes = random.bytes(size);
      deepEqual(leafHash(bytes), plain(Buffer.of(0), bytes), `leaf of ${size}`);
      deepEqual(sha256(bytes), plain(bytes), `one part of ${size}`);
      deepEqual(sha256(bytes, Buffer.from('a'), bytes), plain(bytes, Buffer.from('a'), bytes), `parts of ${size}`);
    }
    const [left, right] = [random.bytes(32), random.bytes(32)];
    deepEqual(nodeHash(left, right), plain(Buffer.of(1), left, right));
  });

  test('results do not share memory', () => {
    const first = leafHash(Buffer.from('a'));
    const copy = Buffer.from(first);
    leafHash(Buffer.from('b'));
    deepEqual(first, copy);
  });
});

describe('leaf', () => {
  test('comes back, and has its fields where the format says', () => {
    const fields = decodeLeaf(leaf);
    deepEqual(encodeLeaf(fields), leaf);
    equal(leaf.length, LEAF_SIZE);
    deepEqual([leaf[0], leaf[1], fields.index, fields.strandSeq], [1, KINDS.operation, 2, 1]);
    deepEqual(leaf.subarray(50, 66), session);
    deepEqual(obligationNames(fields.obligations), ['record_full', 'read_fast_path']);
  });

  test('any fields come back', () => {
    const bytes = (size: number) =>
      fc.uint8Array({ minLength: size, maxLength: size }).map((value) => Buffer.from(value));
    const fields = fc.record(
      {
        kind: fc.integer({ min: 1, max: 255 }),
        writerId: bytes(16),
        index: fc.maxSafeNat(),
        timeNs: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        tenantTag: bytes(16),
        sessionId: bytes(16),
        strandSeq: fc.integer({ min: 0, max: 0xffff_ffff }),
        strandPrevious: bytes(32),
        bundleDigest: bytes(32),
        decision: fc.constantFrom(0, 1, 2, 3),
        obligations: fc.integer({ min: 0, max: 0xffff_ffff }),
        approvalLeafHash: bytes(32),
        metaCommit: bytes(32),
        payloadCommit: bytes(32),
        originalsCommit: bytes(32),
        payloadKeyId: bytes(16),
        originalsKeyId: bytes(16),
      },
      { noNullPrototype: true },
    );
    fc.assert(
      fc.property(fields, (value) => {
        deepEqual(decodeLeaf(encodeLeaf(value)), value);
      }),
    );
  });

  test('unknown kinds are accepted and named by number; kind 0 and a fourth decision are refused', () => {
    const changed = Buffer.from(leaf);
    changed[1] = 200;
    equal(kindName(decodeLeaf(changed).kind), 'unknown.200');
    equal(kindName(KINDS['epoch.open']), 'epoch.open');
    changed[1] = 0;
    throws(() => decodeLeaf(changed), MALFORMED);
    changed[1] = 10;
    changed[134] = 4;
    throws(() => decodeLeaf(changed), MALFORMED);
  });

  test('a field of another size is a bug of ours', () => {
    throws(() => encodeLeaf({ ...decodeLeaf(leaf), writerId: Buffer.alloc(15) }), InvariantError);
    throws(() => encodeLeaf({ ...decodeLeaf(leaf), index: -1 }), InvariantError);
  });
});

describe('record', () => {
  const base = { leaf, salt: random.bytes(16), meta: Buffer.alloc(0), units: [] };

  test('comes back, with no, one and two units', () => {
    for (const bytes of [record0, record1, record2]) {
      const body = decodeRecord(bytes);
      deepEqual(encodeRecord(body), bytes);
      equal(recordSize(body), bytes.length);
    }
    equal(decodeRecord(record2).units.length, 2);
  });

  test('meta at, and one over, its limit', () => {
    const full = encodeRecord({ ...base, meta: Buffer.alloc(LIMITS.metaBytesMax) });
    equal(decodeRecord(full).meta.length, LIMITS.metaBytesMax);
    throws(() => encodeRecord({ ...base, meta: Buffer.alloc(LIMITS.metaBytesMax + 1) }), InvariantError);
    const over = Buffer.concat([full, Buffer.alloc(1)]);
    over.writeUInt32BE(LIMITS.metaBytesMax + 1, LEAF_SIZE + 16);
    throws(() => decodeRecord(over), MALFORMED);
  });

  test('the whole at, and one over, its limit', () => {
    const space = LIMITS.recordBytesMax - recordSize({ meta: base.meta, units: [{ bytes: Buffer.alloc(0) }] });
    const units = (size: number) => [{ unitClass: 1 as const, bytes: Buffer.alloc(size) }];
    equal(decodeRecord(encodeRecord({ ...base, units: units(space) })).units[0]?.bytes.length, space);
    throws(() => encodeRecord({ ...base, units: units(space + 1) }), InvariantError);
    throws(() => decodeRecord(Buffer.alloc(LIMITS.recordBytesMax + 1, 1)), MALFORMED);
  });

  test('units out of order, twice or of an unknown class are refused', () => {
    const payload = { unitClass: 1 as const, bytes: Buffer.from('p') };
    const originals = { unitClass: 2 as const, bytes: Buffer.from('o') };
    throws(() => encodeRecord({ ...base, units: [originals, payload] }), InvariantError);
    throws(() => encodeRecord({ ...base, units: [payload, payload] }), InvariantError);
    const good = encodeRecord({ ...base, units: [payload, originals] });
    const classes = [LEAF_SIZE + 16 + 4 + 1, LEAF_SIZE + 16 + 4 + 1 + 6] as const;
    for (const [first, second] of [
      [2, 1],
      [1, 1],
      [1, 3],
      [0, 1],
    ] as const) {
      const changed = Buffer.from(good);
      changed[classes[0]] = first;
      changed[classes[1]] = second;
      throws(() => decodeRecord(changed), MALFORMED);
    }
  });
});

describe('head and epoch certificate', () => {
  test('a head comes back and verifies with the key of the writer only', () => {
    equal(head.length, HEAD_SIZE);
    deepEqual(encodeHead(decodeHead(head)), head);
    ok(verifyHead(head, publicKeyRaw(writer.key)));
    ok(!verifyHead(head, publicKeyRaw(SAMPLE_NODE_SEED)));
    for (let at = 0; at < HEAD_SIZE; at++) {
      const changed = Buffer.from(head);
      changed[at]! ^= 1;
      ok(!verifyHead(changed, publicKeyRaw(writer.key)), `byte ${at}`);
    }
    ok(!verifyHead(head.subarray(1), publicKeyRaw(writer.key)));
    ok(!verifyHead(head, Buffer.alloc(31)));
  });

  test('a head that says it was signed by the writer must name it, a recovery another', () => {
    const signerKind = Buffer.from(head);
    signerKind[69] = 2;
    throws(() => decodeHead(signerKind), MALFORMED);
    const signerId = Buffer.from(head);
    signerId[70]! ^= 1;
    throws(() => decodeHead(signerId), MALFORMED);
    const control = new SampleWriter(2, { role: 'control' });
    const recovered = decodeHead(writer.head(control));
    deepEqual([recovered.signerKind, recovered.signerWriterId], [2, control.writerId]);
  });

  test('an epoch certificate chains over the node to the cluster CA', () => {
    deepEqual(encodeEpoch(decodeEpoch(writer.epoch)), writer.epoch);
    ok(verifyEpoch(writer.epoch, publicKeyRaw(SAMPLE_NODE_SEED)));
    equal(verifyEpochChain(writer.epoch, [SAMPLE_CA_PEM]), null);
  });

  test('a changed certificate, another CA and another time are refused, each with its reason', () => {
    const fields = decodeEpoch(writer.epoch);
    const sign = (change: object) => signEpoch({ ...fields, ...change }, SAMPLE_NODE_SEED);
    const changed = Buffer.from(writer.epoch);
    changed[30]! ^= 1;
    equal(verifyEpochChain(changed, [SAMPLE_CA_PEM]), 'signature of the node');
    equal(verifyEpochChain(writer.epoch, []), 'node certificate is not issued by the cluster CA');
    equal(
      verifyEpochChain(sign({ nodeCertificate: Buffer.from('x') }), [SAMPLE_CA_PEM]),
      'node certificate is not X.509',
    );
    equal(
      verifyEpochChain(sign({ createdNs: 1n }), [SAMPLE_CA_PEM]),
      'node certificate was not valid when the epoch began',
    );
    // A node certificate is no CA, also for itself.
    const node = Buffer.from(SAMPLE_NODE_CERTIFICATE);
    equal(verifyEpochChain(writer.epoch, [node]), 'node certificate is not issued by the cluster CA');
    const stranger = generateKeyPairSync('ed25519').privateKey;
    equal(verifyEpochChain(signEpoch(fields, stranger), [SAMPLE_CA_PEM]), 'signature of the node');
  });
});

describe('batch', () => {
  const value = decodeBatch(batch);

  test('comes back, and its size is what the overhead functions say', () => {
    deepEqual(encodeBatch(value), batch);
    const records = value.records.reduce((sum, record) => sum + batchRecordSize(record.length), 0);
    equal(batchOverhead(0, value.epoch) + records, batch.length);
    const later = { ...value, first: 5, compact: [random.bytes(32), random.bytes(32)], epoch: null };
    deepEqual(decodeBatch(encodeBatch(later)), later);
    equal(batchOverhead(2, null) + records, encodeBatch(later).length);
  });

  test('only the first batch has a certificate, and a compact range has one hash for each one of `first`', () => {
    throws(() => encodeBatch({ ...value, epoch: null }), InvariantError);
    throws(() => encodeBatch({ ...value, first: 1 }), InvariantError);
    const changed = Buffer.from(batch);
    changed[29] = 1; // first = 1
    throws(() => decodeBatch(changed), MALFORMED);
    const counted = Buffer.from(batch);
    counted[33] = 0; // count = 0
    throws(() => decodeBatch(counted), MALFORMED);
    counted.writeUInt32BE(0xffff_ffff, 30);
    throws(() => decodeBatch(counted), MALFORMED);
  });

  test('at, and one over, its hard limit', () => {
    const rest = LIMITS.batchBytesMax - batchOverhead(0, value.epoch) - 3 * 4;
    const parts = (last: number) => [Buffer.alloc(190_000), Buffer.alloc(190_000), Buffer.alloc(last)];
    const fits = { ...value, count: 3, records: parts(rest - 380_000) };
    const bytes = encodeBatch(fits);
    equal(bytes.length, LIMITS.batchBytesMax);
    equal(decodeBatch(bytes).records.length, 3);
    throws(() => encodeBatch({ ...fits, records: parts(rest - 380_000 + 1) }), InvariantError);
    throws(() => decodeBatch(Buffer.concat([bytes, Buffer.alloc(1)])), MALFORMED);
  });
});

describe('cluster leaf, heads value, ack', () => {
  test('come back', () => {
    const value = {
      type: 1,
      inputOffset: 2 ** 40,
      body: encodeEpochEntry({ epoch: writer.epoch, record: record0 }),
    } as const;
    deepEqual(decodeClusterLeaf(encodeClusterLeaf(value)), value);
    deepEqual(decodeEpochEntry(value.body), { epoch: writer.epoch, record: record0 });
    deepEqual(decodeHeadsValue(encodeHeadsValue({ type: 3, body: record0 })), { type: 3, body: record0 });
    const refused = { reason: 'unknown writer', inputHash: random.bytes(32) };
    deepEqual(decodeRefusedEntry(encodeRefusedEntry(refused)), refused);
    const ack = { type: 1, writerId: writer.writerId, index: 2 ** 33, reason: '' } as const;
    deepEqual(decodeAck(encodeAck(ack)), ack);
  });

  test('a cluster leaf fits an entry bundle, and so does everything that the heads topic may carry', () => {
    const body = (size: number) => Buffer.alloc(size);
    equal(encodeClusterLeaf({ type: 3, inputOffset: 0, body: body(65_525) }).length, CLUSTER_LEAF_BYTES_MAX);
    throws(() => encodeClusterLeaf({ type: 3, inputOffset: 0, body: body(65_526) }), InvariantError);
    equal(encodeHeadsValue({ type: 3, body: body(65_525) }).length, HEADS_VALUE_BYTES_MAX);
    throws(() => encodeHeadsValue({ type: 3, body: body(65_526) }), InvariantError);
  });

  test('a head of another size, an unknown type and a reason that is not ASCII are refused', () => {
    throws(() => decodeClusterLeaf(encodeClusterLeaf({ type: 2, inputOffset: 0, body: Buffer.alloc(160) })), MALFORMED);
    throws(() => decodeHeadsValue(Buffer.concat([Buffer.of(4), head])), MALFORMED);
    throws(() => decodeClusterLeaf(Buffer.concat([Buffer.of(1, 5), Buffer.alloc(8), head])), MALFORMED);
    throws(() => encodeRefusedEntry({ reason: 'größe', inputHash: random.bytes(32) }), InvariantError);
    throws(() => encodeAck({ type: 2, writerId: writer.writerId, index: 0, reason: 'größe' }), InvariantError);
  });
});

describe('sealed unit', () => {
  const key = random.bytes(32);
  const input = {
    key,
    unitClass: 2,
    direction: 2,
    final: true,
    keyId: random.bytes(16),
    nonce: unitNonce(random.bytes(8), 3),
    writerId: writer.writerId,
    index: 77,
    tenantTag: tenantTag('default'),
    sessionId: session,
    planDigest: random.bytes(32),
  } as const;

  test('opens at its own place, from 0 bytes to the limit', () => {
    for (const size of [0, 1, 65_536, LIMITS.recordBytesMax - UNIT_OVERHEAD]) {
      const plaintext = random.bytes(size);
      const sealed = sealUnit({ ...input, plaintext });
      equal(sealed.length, UNIT_OVERHEAD + size);
      deepEqual(openUnit(sealed, input), plaintext);
    }
    const over = Buffer.alloc(LIMITS.recordBytesMax - UNIT_OVERHEAD + 1);
    throws(() => sealUnit({ ...input, plaintext: over }), InvariantError);
  });

  const altered = { code: 'evidence_altered' } as const;
  const sealed = sealUnit({ ...input, plaintext: Buffer.from('secret') });
  for (const [what, change] of [
    ['key', { key: random.bytes(32) }],
    ['writer', { writerId: random.bytes(16) }],
    ['record', { index: 78 }],
    ['tenant', { tenantTag: tenantTag('other') }],
    ['session', { sessionId: random.bytes(16) }],
    ['plan', { planDigest: random.bytes(32) }],
  ] as const) {
    test(`does not open with another ${what}`, () => {
      throws(() => openUnit(sealed, { ...input, ...change }), altered);
    });
  }

  test('no changed byte goes unseen', () => {
    for (let at = 0; at < sealed.length; at++) {
      const changed = Buffer.from(sealed);
      changed[at]! ^= 2;
      throws(
        () => openUnit(changed, input),
        (error) => error instanceof GatewayError,
        `byte ${at}`,
      );
    }
  });

  test('the aad has 136 bytes and begins with its domain', () => {
    const aad = unitAad(input, input);
    equal(aad.length, UNIT_AAD_SIZE);
    equal(aad.subarray(0, 16).toString(), 'chaperone/unit/1');
  });

  test('a counter past 2^32 is refused', () => {
    equal(unitNonce(Buffer.alloc(8), 2 ** 32 - 1).readUInt32BE(8), 2 ** 32 - 1);
    throws(() => unitNonce(Buffer.alloc(8), 2 ** 32));
  });
});

describe('wrapped key and statements', () => {
  test('a wrapped key comes back; its aad is what stands before enc', () => {
    equal(wrapped.length, WRAPPED_KEY_SIZE);
    deepEqual(encodeWrappedKey(decodeWrappedKey(wrapped)), wrapped);
    deepEqual(wrappedKeyAad(decodeWrappedKey(wrapped)), wrapped.subarray(0, WRAPPED_KEY_AAD_SIZE));
    const month = Buffer.from(wrapped);
    month.writeUInt32BE(2026_13, 38);
    throws(() => decodeWrappedKey(month), MALFORMED);
  });

  const key = random.bytes(32);
  const operation = {
    subject: '{"sub":"a"}',
    connection: 'clinic',
    connectionDigest: random.bytes(32),
    operation: '{"class":"read"}',
    catalogueDigest: random.bytes(32),
    exact: httpExactParts({ method: 'GET', target: '/a?b=1', contentType: '', bodyDigest: sha256(Buffer.alloc(0)) }),
  };

  test('opDigest depends on every part and on where one part ends', () => {
    const digests = [
      operation,
      { ...operation, subject: '{"sub":"b"}' },
      { ...operation, connection: 'clinic{' },
      {
        ...operation,
        connection: 'clini',
        connectionDigest: Buffer.concat([Buffer.from('c'), operation.connectionDigest]),
      },
      { ...operation, operation: '{"class":"bulk"}' },
      { ...operation, catalogueDigest: Buffer.alloc(32) },
      { ...operation, exact: operation.exact.slice(1) },
      { ...operation, exact: [...operation.exact, Buffer.alloc(0)] },
    ].map((input) => opDigest(key, input).toString('hex'));
    equal(new Set(digests).size, digests.length);
    ok(!digests.includes(opDigest(random.bytes(32), operation).toString('hex')));
  });

  test('an approval statement differs by every field, and a text over 64 KiB is refused', () => {
    const shown = shownDigest(opDigest(key, operation), '{}', random.bytes(32));
    const base = { approvalId: 'a1', decision: 1, shownDigest: shown, decidedMs: 5, person: 'p', reason: 'r' } as const;
    const statements = [
      base,
      { ...base, approvalId: 'a2' },
      { ...base, decision: 2 as const },
      { ...base, shownDigest: Buffer.alloc(32) },
      { ...base, decidedMs: 6 },
      { ...base, person: 'pr', reason: '' },
      { ...base, reason: '' },
    ].map((input) => approvalStatement(input).toString('hex'));
    equal(new Set(statements).size, statements.length);
    throws(() => approvalStatement({ ...base, reason: 'é'.repeat(32_768) }), MALFORMED);
  });
});

describe('archive object', () => {
  test('comes back: entries point at their batches', () => {
    const second = new SampleWriter(9);
    const other = second.batch();
    const bytes = encodeArchiveObject([
      { writerId: writer.writerId, first: 0, count: 4, busOffset: 7, batch },
      { writerId: second.writerId, first: 0, count: 1, busOffset: 8, batch: other },
    ]);
    const { entries, digestHolds } = decodeArchiveObject(bytes);
    ok(digestHolds);
    deepEqual(
      entries.map((entry) => bytes.subarray(entry.objectOffset, entry.objectOffset + entry.batchBytes)),
      [batch, other],
    );
    deepEqual(
      entries.map(({ busOffset, count }) => [busOffset, count]),
      [
        [7, 4],
        [8, 1],
      ],
    );
  });

  test('a changed byte is malformed or breaks the digest', () => {
    for (let at = 0; at < object.length; at += 1) {
      const changed = Buffer.from(object);
      changed[at]! ^= 0x10;
      try {
        ok(!decodeArchiveObject(changed).digestHolds, `byte ${at}`);
      } catch (error) {
        ok(error instanceof GatewayError, `byte ${at}`);
      }
    }
  });

  test('names come back, others are none', () => {
    const name = { partition: 11, month: 2026_01, firstOffset: 5, lastOffset: 1234 };
    equal(archiveObjectName(name), 'objects/11/202601/0000000000000005-0000000000001234.cho');
    deepEqual(parseArchiveObjectName(archiveObjectName(name)), name);
    for (const path of [
      'objects/011/202601/0000000000000005-0000000000001234.cho',
      'objects/1/202601/5-6.cho',
      'x',
      '',
    ]) {
      equal(parseArchiveObjectName(path), undefined);
    }
  });
});

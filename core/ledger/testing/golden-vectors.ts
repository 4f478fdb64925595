import { SeededRandom } from '../../kernel/testing/seeded-random.ts';
import { encodeAck } from '../ack.ts';
import { encodeArchiveObject } from '../archive-object.ts';
import { decodeBatch } from '../batch.ts';
import { encodeCheckpoint, encodeCheckpointValue, inputOffsetExtension } from '../checkpoint.ts';
import { encodeClusterLeaf, encodeEpochEntry, encodeHeadsValue, encodeRefusedEntry } from '../cluster-leaf.ts';
import { cosignatureLine } from '../cosignature.ts';
import { publicKeyRaw } from '../ed25519.ts';
import { decodeEpoch } from '../epoch.ts';
import { leafHash, sha256 } from '../hash.ts';
import { decodeHead } from '../head.ts';
import { encodeSegmentHeader, FRAME_HEADER_SIZE, segmentName, writeFrameHeader } from '../journal-format.ts';
import { decodeLeaf, tenantTag } from '../leaf.ts';
import { MerkleTree } from '../merkle.ts';
import { addSignature, signNote } from '../note.ts';
import { subtreeConsistencyProof } from '../proof-nodes.ts';
import { decodeRecord } from '../record.ts';
import { sealUnit, unitAad, unitNonce } from '../sealed-unit.ts';
import { approvalStatement, httpExactParts, opDigest, shownDigest } from '../statement.ts';
import { encodeEntryBundle, encodeTile, tilePath } from '../tiles.ts';
import { encodeTlogProof } from '../tlog-proof.ts';
import { encodeVerifierKey, SIGNATURE_TYPES, verifierKey } from '../verifier-key.ts';
import { encodeWrappedKey, wrappedKeyAad } from '../wrapped-key.ts';
import { SAMPLE_TIME_NS, SampleWriter } from './sample-evidence.ts';
import { SAMPLE_CA_PEM } from './sample-node.ts';

/** JSON: bytes are hex, 64-bit times decimal strings. */
export type VectorValue =
  string | number | boolean | null | readonly VectorValue[] | { readonly [key: string]: VectorValue };

export interface VectorFile {
  readonly format: string;
  readonly cases: readonly { readonly [key: string]: VectorValue }[];
}

const SEED = 20_260_101;
const ORIGIN = 'cluster.example/evidence';

/**
 * The golden vectors of docs/formats.md by file name. Keys are fixed and bytes are seeded, so the same code gives the
 * same files. What is generated here is judged by `tools/verify/verify.mjs`, which shares no code with this room.
 */
export function goldenVectors(): Record<string, VectorFile> {
  const random = new SeededRandom(SEED);
  const writer = sampleWriter(random);
  const control = new SampleWriter(SEED + 1, { role: 'control' });
  return {
    'leaf.json': leafVectors(writer),
    'record.json': recordVectors(writer),
    'journal.json': journalVectors(writer),
    'head.json': headVectors(writer, control),
    'epoch.json': epochVectors(writer, control),
    'batch.json': batchVectors(random),
    'cluster-leaf.json': clusterLeafVectors(writer, control),
    'ack.json': ackVectors(writer),
    'checkpoint.json': checkpointVectors(random),
    'sealed-unit.json': sealedUnitVectors(random, writer),
    'wrapped-key.json': wrappedKeyVectors(random, writer),
    'statement.json': statementVectors(random),
    'archive-object.json': archiveVectors(random),
    'tree.json': treeVectors(),
    'tiles.json': tileVectors(),
    'tlog-proof.json': proofVectors(random),
  };
}

function sampleWriter(random: SeededRandom): SampleWriter {
  const writer = new SampleWriter(SEED);
  const sessionId = random.bytes(16);
  writer.append({ sessionId });
  writer.append({ sessionId, payload: random.bytes(50), originals: random.bytes(20) });
  writer.append({ sessionId, kind: 'response', payload: random.bytes(200) });
  writer.append({ sessionId, kind: 'session.close' });
  return writer;
}

function leafVectors(writer: SampleWriter): VectorFile {
  const cases = writer.records.map((record) => {
    const { leaf } = decodeRecord(record);
    return { fields: plain(decodeLeaf(leaf)), bytes: hex(leaf), leafHash: hex(leafHash(leaf)) };
  });
  const tag = { name: 'default', tenantTag: hex(tenantTag('default')) };
  return { format: 'leaf', cases: [...cases, tag] };
}

function recordVectors(writer: SampleWriter): VectorFile {
  const cases = writer.records.map((bytes) => ({ fields: plain(decodeRecord(bytes)), bytes: hex(bytes) }));
  return { format: 'record', cases };
}

function journalVectors(writer: SampleWriter): VectorFile {
  const header = { writerId: writer.writerId, segment: 2, firstIndex: 0, createdNs: SAMPLE_TIME_NS };
  const frames = writer.records.map((body, index) => ({
    writerId: writer.writerId,
    segment: 2,
    index,
    group: 1 + (index >> 1),
    groupEnd: index % 2 === 1,
    body,
  }));
  const parts = frames.flatMap((frame) => {
    const target = Buffer.alloc(FRAME_HEADER_SIZE);
    writeFrameHeader(target, 0, frame, frame.body);
    return [target, frame.body];
  });
  // The last frame does not end its group: whole groups only are kept, so four of five records are.
  const bytes = Buffer.concat([encodeSegmentHeader(header), ...parts, Buffer.alloc(100)]);
  const name = segmentName(writer.writerId, 2);
  return {
    format: 'journal',
    cases: [{ name, header: plain(header), frames: plain(frames), kept: 4, bytes: hex(bytes) }],
  };
}

function headVectors(writer: SampleWriter, control: SampleWriter): VectorFile {
  const cases = [
    { bytes: writer.head(), key: writer.key },
    { bytes: writer.head(control), key: control.key },
  ].map(({ bytes, key }) => ({
    fields: plain(decodeHead(bytes)),
    bytes: hex(bytes),
    publicKey: hex(publicKeyRaw(key)),
  }));
  return { format: 'head', cases };
}

function epochVectors(writer: SampleWriter, control: SampleWriter): VectorFile {
  const cases = [writer, control].map(({ epoch }) => ({
    fields: plain(decodeEpoch(epoch)),
    bytes: hex(epoch),
    clusterCa: SAMPLE_CA_PEM,
  }));
  return { format: 'epoch', cases };
}

function batchVectors(random: SeededRandom): VectorFile {
  const writer = sampleWriter(random);
  const first = writer.batch();
  writer.append({ kind: 'epoch.close' });
  const second = writer.batch();
  const cases = [first, second].map((bytes) => ({
    fields: plain(decodeBatch(bytes)),
    bytes: hex(bytes),
    publicKey: hex(publicKeyRaw(writer.key)),
  }));
  return { format: 'batch', cases };
}

function clusterLeafVectors(writer: SampleWriter, control: SampleWriter): VectorFile {
  const event = control.records[0] ?? Buffer.alloc(0);
  const bodies = [
    { type: 1, body: encodeEpochEntry({ epoch: writer.epoch, record: writer.records[0] ?? Buffer.alloc(0) }) },
    { type: 2, body: writer.head() },
    { type: 3, body: event },
  ] as const;
  const inputs = bodies.map(({ type, body }, i) => {
    const bytes = encodeClusterLeaf({ type, inputOffset: i * 3, body });
    return {
      fields: { type, inputOffset: i * 3, body: hex(body) },
      bytes: hex(bytes),
      leafHash: hex(leafHash(bytes)),
      headsValue: hex(encodeHeadsValue({ type, body })),
    };
  });
  const refused = {
    reason: 'node certificate is not issued by the cluster CA',
    inputHash: sha256(Buffer.from('input')),
  };
  const body = encodeRefusedEntry(refused);
  const bytes = encodeClusterLeaf({ type: 4, inputOffset: 11, body });
  const refusal = {
    fields: { type: 4, inputOffset: 11, body: hex(body) },
    refused: plain(refused),
    bytes: hex(bytes),
    leafHash: hex(leafHash(bytes)),
  };
  return { format: 'cluster-leaf', cases: [...inputs, refusal] };
}

function ackVectors(writer: SampleWriter): VectorFile {
  const acks = [
    { type: 1, writerId: writer.writerId, index: 5, reason: '' },
    { type: 2, writerId: writer.writerId, index: 4_294_967_301, reason: 'root' },
  ] as const;
  return { format: 'ack', cases: acks.map((ack) => ({ fields: plain(ack), bytes: hex(encodeAck(ack)) })) };
}

interface SampleLog {
  readonly logKey: string;
  readonly witnessKey: string;
  readonly checkpoint: (size: number, root: Buffer, timeSeconds: number) => string;
}

function sampleLog(random: SeededRandom): SampleLog {
  const log = { name: ORIGIN, key: random.bytes(32) };
  const witness = { name: 'witness.example/w1', key: random.bytes(32) };
  return {
    logKey: encodeVerifierKey(verifierKey(log.name, SIGNATURE_TYPES.ed25519, publicKeyRaw(log.key))),
    witnessKey: encodeVerifierKey(verifierKey(witness.name, SIGNATURE_TYPES.cosignature, publicKeyRaw(witness.key))),
    checkpoint: (size, root, timeSeconds) => {
      const text = encodeCheckpoint({ origin: ORIGIN, size, root, extensions: [inputOffsetExtension(size + 2)] });
      return addSignature(signNote(text, [log]), cosignatureLine(witness, text, timeSeconds));
    },
  };
}

function checkpointVectors(random: SeededRandom): VectorFile {
  const { logKey, witnessKey, checkpoint } = sampleLog(random);
  const cases = [0, 1, 1_000_000].map((size) => {
    const root = size === 0 ? sha256() : random.bytes(32);
    const note = checkpoint(size, root, 1_767_225_600 + size);
    const fields = { origin: ORIGIN, size, root: hex(root), inputOffset: size + 2, timeSeconds: 1_767_225_600 + size };
    return { fields, note, logKey, witnessKey, value: hex(encodeCheckpointValue({ type: 2, note })) };
  });
  return { format: 'checkpoint', cases };
}

function sealedUnitVectors(random: SeededRandom, writer: SampleWriter): VectorFile {
  const cases = [
    { unitClass: 1, direction: 3, final: true, plaintext: Buffer.from('GET /patients') },
    { unitClass: 2, direction: 2, final: false, plaintext: Buffer.alloc(0) },
  ].map((variant, i) => {
    const input = {
      ...(variant as { unitClass: 1 | 2; direction: 2 | 3; final: boolean; plaintext: Buffer }),
      key: random.bytes(32),
      keyId: random.bytes(16),
      nonce: unitNonce(random.bytes(8), i),
      writerId: writer.writerId,
      index: 4_294_967_296 + i,
      tenantTag: tenantTag('default'),
      sessionId: random.bytes(16),
      planDigest: random.bytes(32),
    };
    return { fields: plain(input), aad: hex(unitAad(input, input)), bytes: hex(sealUnit(input)) };
  });
  return { format: 'sealed-unit', cases };
}

function wrappedKeyVectors(random: SeededRandom, writer: SampleWriter): VectorFile {
  const key = {
    keyClass: 2,
    keyId: random.bytes(16),
    tenantTag: tenantTag('default'),
    month: 202_601,
    writerId: writer.writerId,
    noncePrefix: random.bytes(8),
    createdMs: 1_767_225_600_123,
    enc: random.bytes(32),
    ciphertext: random.bytes(48),
  } as const;
  const cases = [{ fields: plain(key), aad: hex(wrappedKeyAad(key)), bytes: hex(encodeWrappedKey(key)) }];
  return { format: 'wrapped-key', cases };
}

function statementVectors(random: SeededRandom): VectorFile {
  const key = random.bytes(32);
  const request = {
    method: 'GET',
    target: '/export/patients.ndjson?since=2026-01-01',
    contentType: '',
    bodyDigest: sha256(),
  };
  const operation = {
    subject: '{"principal":"robot","tenant":"default"}',
    connection: 'clinic',
    connectionDigest: random.bytes(32),
    operation: '{"class":"bulk","verb":"GET"}',
    catalogueDigest: random.bytes(32),
    exact: httpExactParts(request),
  };
  const digest = opDigest(key, operation);
  const shown = '{"effect":"approve","masks":[]}';
  const previewHash = random.bytes(32);
  const approval = {
    approvalId: 'ap-0001',
    decision: 1,
    shownDigest: shownDigest(digest, shown, previewHash),
    decidedMs: 1_767_225_600_123,
    person: 'Żaneta',
    reason: 'reviewed with the data owner',
  } as const;
  const cases = [
    {
      approvalsKey: hex(key),
      operation: plain(operation),
      opDigest: hex(digest),
      shown,
      previewHash: hex(previewHash),
      approval: plain(approval),
      statement: hex(approvalStatement(approval)),
    },
  ];
  return { format: 'statement', cases };
}

function archiveVectors(random: SeededRandom): VectorFile {
  const writers = [sampleWriter(random), new SampleWriter(SEED + 5)];
  const entries = writers.map((writer, i) => ({
    writerId: writer.writerId,
    first: 0,
    count: writer.size,
    busOffset: 40 + i,
    batch: writer.batch(),
  }));
  return { format: 'archive-object', cases: [{ entries: plain(entries), bytes: hex(encodeArchiveObject(entries)) }] };
}

function treeOf(size: number): MerkleTree {
  const tree = new MerkleTree();
  for (let i = 0; i < size; i++) {
    tree.append(leafHash(Buffer.from(`entry ${i}`)));
  }
  return tree;
}

function treeVectors(): VectorFile {
  const tree = treeOf(20);
  const roots = Array.from({ length: 21 }, (_, size) => hex(tree.root(size)));
  const inclusion = [
    [0, 1],
    [6, 7],
    [13, 20],
    [19, 20],
  ].map(([index = 0, size = 0]) => ({ index, size, proof: tree.inclusionProof(index, size).map(hex) }));
  const consistency = [
    [1, 20],
    [8, 20],
    [13, 20],
    [20, 20],
  ].map(([size1 = 0, size2 = 0]) => ({ size1, size2, proof: tree.consistencyProof(size1, size2).map(hex) }));
  const subtree = [
    [8, 12],
    [4, 7],
    [16, 20],
  ].map(([start = 0, end = 0]) => ({
    start,
    end,
    size: 20,
    proof: subtreeConsistencyProof(start, end, 20, tree.hashAt).map(hex),
  }));
  return { format: 'tree', cases: [{ entry: 'entry <index>', roots, inclusion, consistency, subtree }] };
}

function tileVectors(): VectorFile {
  const size = 300;
  const tree = treeOf(size);
  const entries = Array.from({ length: size - 256 }, (_, i) => Buffer.from(`entry ${256 + i}`));
  const partial = { level: 0, index: 1, width: size - 256 };
  const top = { level: 1, index: 0, width: 1 };
  const paths = [
    [0, 0, 256],
    [0, 1, 44],
    [3, 1_234_067, 256],
    [63, 999_999, 1],
  ].map(([level = 0, index = 0, width = 0]) => ({ level, index, width, path: tilePath({ level, index, width }) }));
  const tiles = [partial, top].map((tile) => ({ path: tilePath(tile), bytes: hex(encodeTile(tile, tree.hashAt)) }));
  const bundlePath = tilePath({ level: 'entries', index: 1, width: size - 256 });
  const bundle = { path: bundlePath, entries: entries.map(hex), bytes: hex(encodeEntryBundle(entries)) };
  return { format: 'tiles', cases: [{ size, root: hex(tree.root()), paths, tiles, bundle }] };
}

function proofVectors(random: SeededRandom): VectorFile {
  const tree = treeOf(20);
  const { logKey, witnessKey, checkpoint } = sampleLog(random);
  const note = checkpoint(20, tree.root(), 1_767_225_601);
  const cases = [0, 13, 19].map((index) => {
    const extra = index === 13 ? Buffer.from('extra data') : null;
    const text = encodeTlogProof({ index, hashes: tree.inclusionProof(index), checkpoint: note, extra });
    return { text, index, leafHash: hex(leafHash(Buffer.from(`entry ${index}`))), logKey, witnessKey };
  });
  return { format: 'tlog-proof', cases };
}

/** Buffers to hex, bigints to decimal, all the way down. */
function plain(value: unknown): VectorValue {
  if (Buffer.isBuffer(value)) {
    return hex(value);
  }
  if (typeof value === 'bigint') {
    return value.toString();
  }
  if (Array.isArray(value)) {
    return value.map(plain);
  }
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, plain(member)]));
  }
  return value as string | number | boolean | null;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

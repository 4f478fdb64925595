#!/usr/bin/env node
/*
 * Verifies Chaperone evidence without Chaperone: one file, Node.js built-ins only, and no code shared with the product.
 * The formats are those of docs/formats.md, decoded here a second time.
 *
 *   node verify.mjs vectors <dir> [--json]
 *   node verify.mjs archive <dir> [--ca ca.pem] [--cluster-log <dir>] [--checkpoint-key <vkey>]
 *                           [--witness-key <vkey>]... [--live] [--strict] [--json]
 *
 * `archive` reads objects/ and writers/ of an ingest archive; `--cluster-log` is a folder with `checkpoint` and `tile/`.
 * Verdicts of a writer, the worst of what was found:
 *
 *   PRESENT       every record up to its newest head, and that in the cluster log when one is given
 *   PENDING       the newest records are not in the cluster log yet
 *   RECOVERED     the writer died; a control writer of the next start published the rest from its journal
 *   UNWITNESSED   the cluster log should have this by now, or no witness of --witness-key cosigned it
 *   OPEN-ENDED    the log neither ends with epoch.close nor was recovered (an open end is no end; with --live it may be)
 *   GAP           a record of the log itself declares that a range is missing
 *   UNREGISTERED  the cluster log has no epoch certificate of this writer
 *   MISSING       records (or tiles) that a signed head covers are not there
 *   ALTERED       bytes are not those that were hashed or signed
 *
 * Exit code: 0 for the first three (with --strict RECOVERED fails), 7 ALTERED, 8 MISSING, 9 any other, 2 wrong use.
 * Limit: PRUNED and SHREDDED are not told apart from MISSING here. Without --ca the node certificates are taken as they
 * are, without --checkpoint-key the checkpoint is: what was not checked is listed in the report as `unchecked`.
 */
import {
  createDecipheriv,
  createHash,
  createHmac,
  createPublicKey,
  verify as verifySignature,
  X509Certificate,
} from 'node:crypto';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { crc32 } from 'node:zlib';

const EXIT_OK = 0;
const EXIT_USAGE = 2;
const EXIT_ALTERED = 7;
const EXIT_MISSING = 8;
const EXIT_REST = 9;
/** From best to worst. */
const VERDICTS = [
  'PRESENT',
  'PENDING',
  'RECOVERED',
  'UNWITNESSED',
  'OPEN-ENDED',
  'GAP',
  'UNREGISTERED',
  'MISSING',
  'ALTERED',
];
const PENDING_YOUNG_NS = 10_000_000_000n;
const ROLES = { 1: 'worker', 2: 'control', 3: 'vault', 4: 'console', 5: 'retention' };
const KIND_EPOCH_OPEN = 1;
const KIND_EPOCH_CLOSE = 2;
const KIND_SESSION_OPEN = 3;
const KIND_SESSION_CLOSE = 4;
const KIND_APPROVAL_FIRST = 20;
const KIND_APPROVAL_LAST = 24;
const KIND_GAP_DECLARED = 61;
const LEAF_SIZE = 299;
const HEAD_SIZE = 161;
const RECORD_MAX = 192 * 1024;
const META_MAX = 64 * 1024;
const BATCH_MAX = 512 * 1024;

// ---------------------------------------------------------------------------------------------------------------------
// Reading

/** Thrown for bytes that are not of the format; `at` is the position where that showed. */
class Bad extends Error {
  constructor(what, at) {
    super(what);
    this.at = at;
  }
}

class Cursor {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }
  take(size, what) {
    if (this.at + size > this.bytes.length) throw new Bad(`${what} is cut off`, this.at);
    const part = this.bytes.subarray(this.at, this.at + size);
    this.at += size;
    return part;
  }
  u8(what) {
    return this.take(1, what)[0];
  }
  u16(what) {
    return this.take(2, what).readUInt16BE();
  }
  u32(what) {
    return this.take(4, what).readUInt32BE();
  }
  u64(what) {
    const start = this.at;
    const value = this.take(8, what).readBigUInt64BE();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new Bad(`${what} is out of range`, start);
    return Number(value);
  }
  big(what) {
    return this.take(8, what).readBigUInt64BE();
  }
  expect(bytes, what) {
    const start = this.at;
    if (!this.take(bytes.length, what).equals(bytes)) throw new Bad(what, start);
  }
  one(value, allowed, what) {
    if (!allowed.includes(value)) throw new Bad(what, this.at);
    return value;
  }
  rest() {
    return this.take(this.bytes.length - this.at, 'rest');
  }
  end() {
    if (this.at !== this.bytes.length) throw new Bad('bytes after the end', this.at);
  }
}

const magic = (text, version = 1) => Buffer.concat([Buffer.from(text, 'latin1'), Buffer.of(version)]);
const zeros = (size) => Buffer.alloc(size);
const isZero = (bytes) => bytes.every((byte) => byte === 0);

// ---------------------------------------------------------------------------------------------------------------------
// Hashes and trees (RFC 6962)

const sha256 = (...parts) => {
  const state = createHash('sha256');
  for (const part of parts) state.update(part);
  return state.digest();
};
const hashLeaf = (bytes) => sha256(Buffer.of(0), bytes);
const hashNode = (left, right) => sha256(Buffer.of(1), left, right);

/** Roots of the full subtrees of [0, size), largest first. */
class Range {
  constructor(size = 0, hashes = []) {
    this.size = size;
    this.hashes = [...hashes];
  }
  push(hash) {
    let node = hash;
    for (let rest = this.size; rest % 2 === 1; rest = (rest - 1) / 2) node = hashNode(this.hashes.pop(), node);
    this.hashes.push(node);
    this.size++;
  }
  root() {
    if (this.hashes.length === 0) return sha256();
    return this.hashes.reduceRight((right, left) => hashNode(left, right));
  }
}

const ones = (size) => {
  let count = 0;
  for (let rest = size; rest > 0; rest = Math.floor(rest / 2)) count += rest % 2;
  return count;
};

/** RFC 9162 section 2.1.3.2. */
function inclusionHolds(index, size, leaf, proof, root) {
  if (!(index >= 0 && index < size)) return false;
  let [node, last, hash] = [index, size - 1, leaf];
  for (const sibling of proof) {
    if (last === 0) return false;
    if (node % 2 === 1 || node === last) {
      hash = hashNode(sibling, hash);
      while (node % 2 === 0 && node !== 0) [node, last] = [node / 2, Math.floor(last / 2)];
    } else {
      hash = hashNode(hash, sibling);
    }
    [node, last] = [Math.floor(node / 2), Math.floor(last / 2)];
  }
  return last === 0 && hash.equals(root);
}

/** Root of [start, end) by the recursive definition, from leaf hashes. */
function rootOf(leaves, start = 0, end = leaves.length) {
  if (end === start) return sha256();
  if (end - start === 1) return leaves[start];
  let split = 1;
  while (split * 2 < end - start) split *= 2;
  return hashNode(rootOf(leaves, start, start + split), rootOf(leaves, start + split, end));
}

/** PROOF of the subtree [start, end) by the recursive definition (RFC 6962 section 2.1.2, extended to subtrees). */
function consistencyOf(leaves, start, end, low = 0, high = leaves.length, known = true) {
  if (start === low && end === high) return known ? [] : [rootOf(leaves, low, high)];
  let split = 1;
  while (split * 2 < high - low) split *= 2;
  split += low;
  if (end <= split) return [...consistencyOf(leaves, start, end, low, split, known), rootOf(leaves, split, high)];
  if (start >= split) return [...consistencyOf(leaves, start, end, split, high, known), rootOf(leaves, low, split)];
  return [...consistencyOf(leaves, split, end, split, high, false), rootOf(leaves, low, split)];
}

// ---------------------------------------------------------------------------------------------------------------------
// Signatures and certificates

const SPKI = Buffer.from('302a300506032b6570032100', 'hex');

function signed(publicKey, message, signature) {
  try {
    const key = Buffer.isBuffer(publicKey)
      ? createPublicKey({ key: Buffer.concat([SPKI, publicKey]), format: 'der', type: 'spki' })
      : publicKey;
    return key.asymmetricKeyType === 'ed25519' && verifySignature(null, message, key, signature);
  } catch {
    return false; // A key or signature that cannot even be read holds nothing.
  }
}

/** Null when node certificate and node signature hold, else why not. `cas` null: the node certificate is taken as is. */
function epochProblem(epoch, cas) {
  let node;
  try {
    node = new X509Certificate(epoch.nodeCertificate);
  } catch {
    return 'the node certificate cannot be read';
  }
  if (cas !== null) {
    if (!cas.some((ca) => ca.ca && node.checkIssued(ca) && node.verify(ca.publicKey))) {
      return 'the node certificate is not issued by the cluster CA';
    }
    const ms = Number(epoch.createdNs / 1_000_000n);
    if (ms < Date.parse(node.validFrom) || ms > Date.parse(node.validTo)) {
      return 'the node certificate was not valid when the epoch began';
    }
  }
  const message = Buffer.concat([Buffer.from('chaperone/epoch/v1\n'), epoch.signedPart]);
  return signed(node.publicKey, message, epoch.signature) ? null : 'the node did not sign this epoch certificate';
}

const headSigned = (head, publicKey) =>
  signed(publicKey, Buffer.concat([Buffer.from('chaperone/head/v1\n'), head.signedPart]), head.signature);

// ---------------------------------------------------------------------------------------------------------------------
// Formats (docs/formats.md, in its order)

function decodeLeaf(bytes) {
  if (bytes.length !== LEAF_SIZE) throw new Bad('leaf size', 0);
  const c = new Cursor(bytes);
  c.one(c.u8('version'), [1], 'leaf version');
  const kind = c.u8('kind');
  if (kind === 0) throw new Bad('leaf kind', 1);
  const leaf = {
    kind,
    writerId: c.take(16, 'writer id'),
    index: c.u64('index'),
    timeNs: c.big('time'),
    tenantTag: c.take(16, 'tenant tag'),
    sessionId: c.take(16, 'session id'),
    strandSeq: c.u32('strand sequence'),
    strandPrevious: c.take(32, 'strand previous'),
    bundleDigest: c.take(32, 'bundle digest'),
    decision: c.one(c.u8('decision'), [0, 1, 2, 3], 'leaf decision'),
    obligations: c.u32('obligations'),
    approvalLeafHash: c.take(32, 'approval leaf hash'),
    metaCommit: c.take(32, 'meta commit'),
    payloadCommit: c.take(32, 'payload commit'),
    originalsCommit: c.take(32, 'originals commit'),
    payloadKeyId: c.take(16, 'payload key id'),
    originalsKeyId: c.take(16, 'originals key id'),
  };
  c.end();
  return leaf;
}

function decodeRecord(bytes) {
  if (bytes.length > RECORD_MAX) throw new Bad('record over its limit', 0);
  const c = new Cursor(bytes);
  const leaf = c.take(LEAF_SIZE, 'leaf');
  const salt = c.take(16, 'salt');
  const metaSize = c.u32('meta length');
  if (metaSize > META_MAX) throw new Bad('meta over its limit', LEAF_SIZE + 16);
  const meta = c.take(metaSize, 'meta');
  const units = [];
  for (let count = c.one(c.u8('unit count'), [0, 1, 2], 'unit count'); count > 0; count--) {
    const unitClass = c.one(c.u8('unit class'), [1, 2], 'unit class');
    if (units.some((unit) => unit.unitClass >= unitClass)) throw new Bad('order of units', c.at);
    units.push({ unitClass, bytes: c.take(c.u32('unit length'), 'unit') });
  }
  c.end();
  return { leaf, salt, meta, units };
}

/** What of a record is not as its leaf says, each with the part of the body. */
function recordProblems(record, leaf, withUnits = true) {
  const problems = [];
  if (!sha256(record.salt, record.meta).equals(leaf.metaCommit))
    problems.push('meta or salt is not what the leaf commits to');
  if (!withUnits) return problems;
  for (const [unitClass, name] of [
    [1, 'payload'],
    [2, 'originals'],
  ]) {
    const unit = record.units.find((each) => each.unitClass === unitClass);
    const commit = leaf[`${name}Commit`];
    if (unit === undefined) {
      if (!isZero(commit)) problems.push(`the ${name} unit is not there`);
    } else if (!sha256(unit.bytes).equals(commit)) {
      problems.push(`the ${name} unit is not what the leaf commits to`);
    } else {
      const header = decodeUnit(unit.bytes);
      if (header.unitClass !== unitClass || !header.keyId.equals(leaf[`${name}KeyId`])) {
        problems.push(`the header of the ${name} unit is not that of the leaf`);
      }
    }
  }
  return problems;
}

function decodeSegment(bytes) {
  const c = new Cursor(bytes);
  c.expect(magic('CHJ1'), 'segment magic');
  c.expect(zeros(3), 'reserved bytes');
  const header = {
    writerId: c.take(16, 'writer id'),
    segment: c.u32('segment number'),
    firstIndex: c.u64('first index'),
    createdNs: c.big('created'),
  };
  if (c.u32('crc') !== crc32(bytes.subarray(0, 44))) throw new Bad('segment crc', 44);
  c.expect(zeros(16), 'padding');
  const frames = [];
  let kept = 0;
  for (let index = header.firstIndex; bytes.length - c.at >= 44 && !isZero(bytes.subarray(c.at, c.at + 44)); index++) {
    const start = c.at;
    c.expect(header.writerId, 'frame writer');
    if (c.u32('segment number') !== header.segment || c.u64('index') !== index) throw new Bad('frame position', start);
    const length = c.u32('length');
    const group = c.u32('group');
    const groupEnd = c.one(c.u8('flags'), [0, 1], 'flags') === 1;
    c.expect(zeros(3), 'reserved bytes');
    const crc = c.u32('crc');
    const body = c.take(length, 'frame body');
    if (crc32(body, crc32(bytes.subarray(start, start + 40))) !== crc) throw new Bad('frame crc', start);
    frames.push({ writerId: header.writerId, segment: header.segment, index, group, groupEnd, body });
    if (groupEnd) kept = frames.length;
  }
  return { header, frames, kept };
}

function decodeHead(bytes) {
  const c = new Cursor(bytes);
  c.expect(magic('CHH1'), 'head magic');
  const head = {
    writerId: c.take(16, 'writer id'),
    size: c.u64('size'),
    root: c.take(32, 'root'),
    timeNs: c.big('time'),
    signerKind: c.one(c.u8('signer kind'), [1, 2], 'signer kind'),
    signerWriterId: c.take(16, 'signer writer id'),
  };
  c.expect(zeros(11), 'reserved bytes');
  head.signature = c.take(64, 'signature');
  c.end();
  if ((head.signerKind === 1) !== head.signerWriterId.equals(head.writerId)) throw new Bad('signer of the head', 69);
  return Object.defineProperty(head, 'signedPart', { value: bytes.subarray(0, 97) });
}

function decodeEpoch(bytes) {
  const c = new Cursor(bytes);
  c.expect(magic('CHE1'), 'epoch magic');
  const epoch = {
    writerId: c.take(16, 'writer id'),
    publicKey: c.take(32, 'public key'),
    role: c.one(c.u8('role'), [1, 2, 3, 4, 5], 'role'),
    createdNs: c.big('created'),
    nodeCertificate: c.take(c.u16('certificate length'), 'node certificate'),
    signature: c.take(64, 'signature'),
  };
  c.end();
  return Object.defineProperty(epoch, 'signedPart', { value: bytes.subarray(0, -64) });
}

function decodeBatch(bytes) {
  if (bytes.length > BATCH_MAX) throw new Bad('batch over its limit', 0);
  const c = new Cursor(bytes);
  c.expect(magic('CHB1'), 'batch magic');
  c.one(c.u8('codec'), [0], 'codec');
  const batch = { writerId: c.take(16, 'writer id'), first: c.u64('first'), count: c.u32('count') };
  if (batch.count === 0) throw new Bad('empty batch', 30);
  if (c.u8('compact count') !== ones(batch.first)) throw new Bad('compact count', 34);
  batch.compact = Array.from({ length: ones(batch.first) }, () => c.take(32, 'compact hash'));
  batch.rootAfter = c.take(32, 'root after');
  batch.head = c.take(HEAD_SIZE, 'head');
  const flag = c.one(c.u8('epoch flag'), [0, 1], 'epoch flag');
  if ((flag === 1) !== (batch.first === 0)) throw new Bad('epoch flag', c.at - 1);
  batch.epoch = flag === 1 ? c.take(c.u32('epoch length'), 'epoch certificate') : null;
  batch.records = [];
  for (let i = 0; i < batch.count; i++) batch.records.push(c.take(c.u32('record length'), 'record'));
  c.end();
  return batch;
}

function decodeClusterLeaf(bytes) {
  const c = new Cursor(bytes);
  c.one(c.u8('version'), [1], 'cluster leaf version');
  const type = c.one(c.u8('type'), [1, 2, 3, 4], 'cluster leaf type');
  return { type, inputOffset: c.u64('input offset'), body: c.rest() };
}

function decodeEpochEntry(body) {
  const c = new Cursor(body);
  const entry = { epoch: c.take(c.u32('epoch length'), 'epoch'), record: c.take(c.u32('record length'), 'record') };
  c.end();
  return entry;
}

function decodeRefused(body) {
  const c = new Cursor(body);
  const entry = { reason: c.take(c.u16('reason length'), 'reason').toString('latin1'), inputHash: c.take(32, 'hash') };
  c.end();
  return entry;
}

function decodeAck(bytes) {
  const c = new Cursor(bytes);
  c.expect(Buffer.from('CHA1'), 'ack magic');
  const ack = { type: c.one(c.u8('type'), [1, 2], 'type'), writerId: c.take(16, 'writer id'), index: c.u64('index') };
  ack.reason = c.take(c.u16('reason length'), 'reason').toString('latin1');
  c.end();
  return ack;
}

function decodeUnit(bytes) {
  const c = new Cursor(bytes);
  c.expect(magic('CHU1'), 'unit magic');
  const unit = {
    unitClass: c.one(c.u8('class'), [1, 2], 'class'),
    direction: c.one(c.u8('direction'), [1, 2, 3], 'direction'),
    final: c.one(c.u8('flags'), [0, 1], 'flags') === 1,
    keyId: c.take(16, 'key id'),
    nonce: c.take(12, 'nonce'),
  };
  unit.ciphertext = c.take(c.u32('plaintext length'), 'ciphertext');
  unit.tag = c.take(16, 'tag');
  c.end();
  return unit;
}

function decodeWrappedKey(bytes) {
  const c = new Cursor(bytes);
  c.expect(magic('CHK1'), 'wrapped key magic');
  const key = {
    keyClass: c.one(c.u8('class'), [1, 2], 'class'),
    keyId: c.take(16, 'key id'),
    tenantTag: c.take(16, 'tenant tag'),
    month: c.u32('month'),
    writerId: c.take(16, 'writer id'),
    noncePrefix: c.take(8, 'nonce prefix'),
    createdMs: c.u64('created'),
    enc: c.take(32, 'enc'),
    ciphertext: c.take(48, 'ciphertext'),
  };
  c.end();
  return key;
}

/** What index and footer of an object say. Throws where they contradict each other or the size. */
function decodeObjectIndex(bytes) {
  const footerAt = bytes.length - 48;
  if (footerAt < 8) throw new Bad('the object is cut off', bytes.length);
  const footer = new Cursor(bytes.subarray(footerAt));
  const indexAt = Number(footer.big('index offset'));
  const count = footer.u32('count');
  const digest = footer.take(32, 'digest');
  if (footer.rest().toString('latin1') !== 'CHO1') throw new Bad('the magic at the end', footerAt + 44);
  if (indexAt + count * 48 !== footerAt) throw new Bad('the footer does not fit the size of the object', footerAt);
  const index = new Cursor(bytes.subarray(indexAt, footerAt));
  const entries = [];
  let at = 8;
  for (let i = 0; i < count; i++) {
    const entryAt = indexAt + index.at;
    const entry = {
      writerId: index.take(16, 'writer id'),
      first: Number(index.big('first')),
      count: index.u32('count'),
      objectOffset: Number(index.big('object offset')),
      batchBytes: index.u32('batch length'),
      busOffset: Number(index.big('bus offset')),
      indexAt: entryAt,
    };
    if (entry.objectOffset !== at + 4 || entry.objectOffset + entry.batchBytes > indexAt) {
      throw new Bad('an index entry does not point behind the batch before it', entryAt);
    }
    at = entry.objectOffset + entry.batchBytes;
    entries.push(entry);
  }
  if (at !== indexAt) throw new Bad('bytes between the last batch and the index', at);
  return { entries, digest, footerAt };
}

/** Batches by the lengths before them, for an object whose index cannot be used. */
function walkObject(bytes) {
  const entries = [];
  let at = 8;
  while (at + 4 + 34 <= bytes.length) {
    const batchBytes = bytes.readUInt32BE(at);
    const header = bytes.subarray(at + 4, at + 4 + 34);
    if (header.toString('latin1', 0, 4) !== 'CHB1' || at + 4 + batchBytes > bytes.length) break;
    entries.push({
      writerId: header.subarray(6, 22),
      first: Number(header.readBigUInt64BE(22)),
      count: header.readUInt32BE(30),
      objectOffset: at + 4,
      batchBytes,
      busOffset: entries.length,
    });
    at += 4 + batchBytes;
  }
  return entries;
}

/** The batches of an object whatever is wrong with it, and what is wrong with it. */
function scanObject(bytes) {
  const problems = [];
  if (!bytes.subarray(0, 8).equals(Buffer.concat([magic('CHO1'), zeros(3)])))
    problems.push({ what: 'its header', at: 0 });
  let decoded;
  try {
    decoded = decodeObjectIndex(bytes);
  } catch (error) {
    if (!(error instanceof Bad)) throw error;
    return { entries: walkObject(bytes), problems: [...problems, { what: error.message, at: error.at }] };
  }
  for (const entry of decoded.entries) {
    if (bytes.readUInt32BE(entry.objectOffset - 4) !== entry.batchBytes) {
      problems.push({ what: 'the length before a batch', at: entry.objectOffset - 4 });
    }
    // A batch says itself what it is, and so does its first leaf: two of the three tell which one was changed.
    const own = rangeOfBatch(bytes.subarray(entry.objectOffset, entry.objectOffset + entry.batchBytes));
    if (
      own !== null &&
      !(own.writerId.equals(entry.writerId) && own.first === entry.first && own.count === entry.count)
    ) {
      problems.push({ what: 'an index entry does not say what its batch is', at: entry.indexAt });
      Object.assign(entry, own);
    }
  }
  // Which bytes they are is found by what reads them; this says that some are not what they were.
  if (!sha256(bytes.subarray(0, decoded.footerAt)).equals(decoded.digest)) {
    problems.push({ what: 'its bytes do not give its digest', at: decoded.footerAt + 12 });
  }
  return { entries: decoded.entries, problems };
}

/** Writer and range of a batch when its header and its first leaf agree, else null. */
function rangeOfBatch(bytes) {
  try {
    const batch = decodeBatch(bytes);
    const leaf = decodeLeaf(decodeRecord(batch.records[0]).leaf);
    const agreed = leaf.writerId.equals(batch.writerId) && leaf.index === batch.first;
    return agreed ? { writerId: batch.writerId, first: batch.first, count: batch.count } : null;
  } catch (error) {
    if (!(error instanceof Bad)) throw error;
    return null;
  }
}

/** Fields of one protobuf message: [number, value] with Buffers for length-delimited fields. */
function* protobuf(bytes) {
  const c = new Cursor(bytes);
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = c.u8('varint');
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
      if (shift > 63n) throw new Bad('varint', c.at);
    }
  };
  while (c.at < bytes.length) {
    const key = varint();
    const wire = Number(key & 7n);
    if (wire === 0) yield [Number(key >> 3n), varint()];
    else if (wire === 1) yield [Number(key >> 3n), c.take(8, 'fixed64')];
    else if (wire === 2) yield [Number(key >> 3n), c.take(Number(varint()), 'bytes')];
    else if (wire === 5) yield [Number(key >> 3n), c.take(4, 'fixed32')];
    else throw new Bad('wire type', c.at);
  }
}

const fieldsOf = (bytes, number) => [...protobuf(bytes)].filter(([n]) => n === number).map(([, value]) => value);
const partsOf = (bytes, number) => fieldsOf(bytes, number).filter((value) => Buffer.isBuffer(value));
const numberOf = (bytes, number) => Number(fieldsOf(bytes, number).find((value) => typeof value === 'bigint') ?? 0n);

/** `Event.epoch.journals`: what a control writer found at its start. */
function foundJournals(meta) {
  return partsOf(meta, 8).flatMap((epoch) =>
    partsOf(epoch, 9).map((journal) => ({
      writer: (partsOf(journal, 1)[0] ?? zeros(0)).toString('hex'),
      size: numberOf(journal, 2),
      root: partsOf(journal, 3)[0] ?? zeros(0),
    })),
  );
}

/** `Event.note` of a gap: a count of 0 marks a place and declares nothing as missing. */
function declaredGap(meta, ownWriter) {
  for (const note of partsOf(meta, 9)) {
    const attributes = new Map(
      partsOf(note, 6).map((pair) => [String(partsOf(pair, 1)[0] ?? ''), String(partsOf(pair, 2)[0] ?? '')]),
    );
    const [first, count] = [numberOf(note, 3), numberOf(note, 4)];
    if (count > 0) return { writer: attributes.get('writer') ?? ownWriter, first, count };
  }
  return null;
}

// ---------------------------------------------------------------------------------------------------------------------
// Notes, checkpoints, tiles (C2SP)

function strictBase64(text) {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text) throw new Bad('base64', 0);
  return bytes;
}

function parseVkey(vkey) {
  const match = /^([^+\s]+)\+([0-9a-f]{8})\+(.+)$/.exec(vkey.trim());
  if (match === null) throw new Bad('verifier key', 0);
  const material = strictBase64(match[3]);
  const type = material[0];
  const id = sha256(Buffer.from(`${match[1]}\n`), material).subarray(0, 4);
  if (material.length !== 33 || (type !== 1 && type !== 4) || id.toString('hex') !== match[2]) {
    throw new Bad('verifier key', 0);
  }
  return { name: match[1], id, type, publicKey: material.subarray(1) };
}

/** The text, and for each key null (no line of it), false (a wrong signature) or true / the time of a cosignature. */
function openNote(note, keys) {
  const split = note.lastIndexOf('\n\n');
  if (split < 0 || !note.endsWith('\n')) throw new Bad('signed note', 0);
  const text = note.slice(0, split + 1);
  const results = keys.map(() => null);
  for (const line of note.slice(split + 2, -1).split('\n')) {
    const match = /^\u2014 (\S+) (\S+)$/.exec(line);
    if (match === null) throw new Bad('signature line of a note', 0);
    const bytes = strictBase64(match[2]);
    const i = keys.findIndex((key) => key.name === match[1] && key.id.equals(bytes.subarray(0, 4)));
    if (i < 0 || results[i] !== null) continue;
    const signature = bytes.subarray(4);
    if (keys[i].type === 1) {
      results[i] = signed(keys[i].publicKey, Buffer.from(text), signature);
    } else {
      const time = signature.length === 72 ? signature.readBigUInt64BE() : 0n;
      const message = Buffer.from(`cosignature/v1\ntime ${time}\n${text}`);
      results[i] = signed(keys[i].publicKey, message, signature.subarray(8)) ? Number(time) : false;
    }
  }
  return { text, results };
}

function parseCheckpoint(text) {
  const [origin, size, root, ...rest] = text.split('\n');
  if (!origin || !/^(0|[1-9]\d{0,15})$/.test(size ?? '') || root === undefined) throw new Bad('checkpoint', 0);
  const hash = strictBase64(root);
  if (hash.length !== 32 || rest.pop() !== '' || rest.includes('')) throw new Bad('checkpoint', 0);
  return { origin, size: Number(size), root: hash, extensions: rest };
}

function tileName(level, index, width) {
  const groups = [];
  let rest = index;
  do {
    groups.unshift(String(rest % 1000).padStart(3, '0'));
    rest = Math.floor(rest / 1000);
  } while (rest > 0);
  const path = groups.map((group, i) => (i < groups.length - 1 ? `x${group}` : group)).join('/');
  return `tile/${level}/${path}${width === 256 ? '' : `.p/${width}`}`;
}

function decodeBundle(bytes, width) {
  const c = new Cursor(bytes);
  const entries = Array.from({ length: width }, () => c.take(c.u16('entry length'), 'entry'));
  c.end();
  return entries;
}

/** Tile, or the larger tile that replaced it; undefined when neither is there. */
function readTile(dir, level, index, width) {
  const own = readdirSafe(join(dir, `${tileName(level, index, 256)}.p`)).map(Number);
  const wider = own.filter((each) => each >= width).sort((a, b) => a - b);
  for (const each of [...wider, 256]) {
    const name = tileName(level, index, each);
    if (existsSync(join(dir, name)) && statSync(join(dir, name)).isFile()) {
      return { name, bytes: readFileSync(join(dir, name)), width: each };
    }
  }
  return undefined;
}

function readdirSafe(dir) {
  return existsSync(dir) ? readdirSync(dir) : [];
}

/**
 * Compares the hash tiles of a tree of `size` with its leaf hashes (null where one is not known) and reports what
 * differs or is not there. Returns the level 0 hashes as the tiles have them.
 */
function checkTiles(dir, size, leaves, report) {
  const fromTiles = [];
  let below = leaves;
  for (let level = 0; Math.floor(size / 256 ** level) > 0; level++) {
    const count = Math.floor(size / 256 ** level);
    for (let index = 0; index * 256 < count; index++) {
      const width = Math.min(256, count - index * 256);
      const tile = readTile(dir, level, index, width);
      if (tile === undefined) {
        report('MISSING', `hash tile ${tileName(level, index, width)} is not there`, {});
        continue;
      }
      if (tile.bytes.length !== tile.width * 32) {
        report('ALTERED', `hash tile ${tile.name} has ${tile.bytes.length} bytes`, { tile: tile.name });
        continue;
      }
      for (let i = 0; i < width; i++) {
        const hash = tile.bytes.subarray(i * 32, i * 32 + 32);
        const position = index * 256 + i;
        if (level === 0) fromTiles[position] = hash;
        const expected = below[position] ?? null;
        if (expected !== null && !hash.equals(expected)) {
          report('ALTERED', `hash ${i} of ${tile.name} is not that of the records`, {
            tile: tile.name,
            offset: i * 32,
            ...(level === 0 ? { index: position } : {}),
          });
        }
      }
    }
    // The next level has the roots of full tiles; where a leaf is not known, neither is what is above it.
    below = Array.from({ length: Math.floor(count / 256) }, (_, i) => {
      const part = Array.from({ length: 256 }, (__, j) => below[i * 256 + j] ?? null);
      return part.includes(null) ? null : rootOf(part);
    });
  }
  return fromTiles;
}

// ---------------------------------------------------------------------------------------------------------------------
// Cluster log

function readClusterLog(dir, options, report) {
  const log = {
    size: 0,
    origin: '',
    epochs: new Map(),
    heads: [],
    events: [],
    newestNs: 0n,
    cosigned: null,
    leaves: 0,
  };
  const keys = [...(options.checkpointKey === null ? [] : [options.checkpointKey]), ...options.witnessKeys];
  const path = join(dir, 'checkpoint');
  if (!existsSync(path)) {
    report('MISSING', 'the cluster log has no checkpoint', { file: path });
    return log;
  }
  const checkpoint = openCheckpointFile(path, keys, options, log, report);
  if (checkpoint === null) return log;
  log.size = checkpoint.size;
  log.origin = checkpoint.origin;
  const leaves = [];
  let lastOffset = -1;
  for (let index = 0; index * 256 < checkpoint.size; index++) {
    const width = Math.min(256, checkpoint.size - index * 256);
    const bundle = readTile(dir, 'entries', index, width);
    if (bundle === undefined) {
      // A size is only a claim: one finding, and an end, however large it is.
      const what = `the cluster log ends at ${index * 256}, its checkpoint says ${checkpoint.size}`;
      report('MISSING', what, { tile: tileName('entries', index, width) });
      log.size = index * 256;
      break;
    }
    try {
      for (const [i, entry] of decodeBundle(bundle.bytes, bundle.width).slice(0, width).entries()) {
        leaves.push(hashLeaf(entry));
        const at = { clusterIndex: index * 256 + i, tile: bundle.name };
        lastOffset = readClusterEntry(entry, at, lastOffset, log, options, report);
      }
    } catch (error) {
      if (!(error instanceof Bad)) throw error;
      report('ALTERED', `entry bundle of the cluster log: ${error.message}`, { tile: bundle.name, offset: error.at });
      while (leaves.length < index * 256 + width) leaves.push(null);
    }
  }
  if (log.size < checkpoint.size) return log;
  checkTiles(dir, checkpoint.size, leaves, (verdict, what, where) => report(verdict, `cluster log: ${what}`, where));
  if (!leaves.includes(null) && !rootOf(leaves).equals(checkpoint.root)) {
    report('ALTERED', 'the entries of the cluster log do not give the root of its checkpoint', { file: path });
  }
  log.leaves = leaves.length;
  return log;
}

function openCheckpointFile(path, keys, options, log, report) {
  try {
    const { text, results } = openNote(readFileSync(path, 'utf8'), keys);
    const checkpoint = parseCheckpoint(text);
    if (options.checkpointKey !== null) {
      if (results[0] !== true || checkpoint.origin !== options.checkpointKey.name) {
        report('ALTERED', 'the checkpoint is not signed by the key of the cluster log', { file: path });
      }
    }
    const cosignatures = results.slice(options.checkpointKey === null ? 0 : 1);
    if (cosignatures.includes(false))
      report('ALTERED', 'a cosignature of the checkpoint does not hold', { file: path });
    log.cosigned = cosignatures.filter((time) => typeof time === 'number').length;
    if (options.witnessKeys.length > 0 && log.cosigned === 0) {
      report('UNWITNESSED', 'no given witness cosigned the checkpoint', { file: path });
    }
    return checkpoint;
  } catch (error) {
    if (!(error instanceof Bad)) throw error;
    report('ALTERED', `the checkpoint cannot be read: ${error.message}`, { file: path });
    return null;
  }
}

function readClusterEntry(entry, at, lastOffset, log, options, report) {
  let leaf;
  try {
    leaf = decodeClusterLeaf(entry);
    if (leaf.inputOffset <= lastOffset) report('ALTERED', 'cluster leaves are not in the order of their input', at);
    if (leaf.type === 1) {
      const { epoch: bytes, record: recordBytes } = decodeEpochEntry(leaf.body);
      const epoch = decodeEpoch(bytes);
      const record = decodeRecord(recordBytes);
      const problem = epochProblem(epoch, options.cas) ?? recordProblems(record, decodeLeaf(record.leaf), false)[0];
      if (problem !== undefined && problem !== null) report('ALTERED', `cluster leaf: ${problem}`, at);
      log.epochs.set(epoch.writerId.toString('hex'), { epoch, bytes, leafHash: hashLeaf(record.leaf), ...at });
    } else if (leaf.type === 2) {
      const head = decodeHead(leaf.body);
      log.heads.push({ head, source: `cluster leaf ${at.clusterIndex}`, ...at });
      if (head.timeNs > log.newestNs) log.newestNs = head.timeNs;
    } else if (leaf.type === 3) {
      const record = decodeRecord(leaf.body);
      const event = decodeLeaf(record.leaf);
      const [problem] = recordProblems(record, event, false);
      if (problem !== undefined) report('ALTERED', `cluster leaf: ${problem}`, at);
      log.events.push({
        writer: event.writerId.toString('hex'),
        index: event.index,
        leafHash: hashLeaf(record.leaf),
        ...at,
      });
    } else {
      decodeRefused(leaf.body);
    }
  } catch (error) {
    if (!(error instanceof Bad)) throw error;
    report('ALTERED', `cluster leaf cannot be read: ${error.message}`, at);
  }
  return leaf?.inputOffset ?? lastOffset;
}

// ---------------------------------------------------------------------------------------------------------------------
// Archive

function verifyArchive(dir, options) {
  const findings = [];
  const report = (verdict, what, where = {}) => void findings.push({ verdict, what, ...where });
  const unchecked = [];
  if (options.cas === null) unchecked.push('node certificates (no --ca)');
  if (options.clusterLog === null) unchecked.push('registration and checkpoints (no --cluster-log)');
  else if (options.checkpointKey === null) unchecked.push('signature of the checkpoint (no --checkpoint-key)');
  const cluster = options.clusterLog === null ? null : readClusterLog(options.clusterLog, options, report);
  const { writers, objects } = collectBatches(dir, report);
  for (const writer of readdirSafe(join(dir, 'writers'))) {
    if (/^[0-9a-f]{32}$/.test(writer) && !writers.has(writer)) writers.set(writer, []);
  }
  for (const writer of cluster?.epochs.keys() ?? []) {
    if (!writers.has(writer)) writers.set(writer, []);
  }
  if (writers.size === 0) report('MISSING', 'there is no evidence in this archive', { file: dir });

  const context = { dir, options, cluster, keys: new Map(), journals: new Map(), gaps: new Map() };
  // Keys first: the head of a recovered writer is signed by another writer. Judgement last: what one writer says about
  // another (a gap, a journal that was found) counts.
  const states = [...writers]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([id, batches]) => openWriter(id, batches, context));
  for (const state of states) walkWriter(state, context);
  for (const state of states) judgeWriter(state, context);
  return summary({ findings, states, cluster, objects, unchecked, strict: options.strict });
}

/** Every batch that an object holds, by writer; what is wrong with the objects themselves is reported. */
function collectBatches(dir, report) {
  const writers = new Map();
  const paths = listFiles(join(dir, 'objects')).filter((path) => path.endsWith('.cho'));
  for (const path of paths) {
    const object = relative(dir, path);
    const { entries, problems } = scanObject(readFileSync(path));
    for (const { what, at } of problems) report('ALTERED', `archive object: ${what}`, { object, offset: at });
    for (const entry of entries) {
      const writer = entry.writerId.toString('hex');
      const list = writers.get(writer) ?? [];
      writers.set(writer, list);
      list.push({ ...entry, writerId: undefined, object, path });
    }
  }
  for (const list of writers.values()) list.sort((a, b) => a.first - b.first || a.busOffset - b.busOffset);
  return { writers, objects: paths.length };
}

function listFiles(dir) {
  return readdirSafe(dir)
    .sort()
    .flatMap((name) => {
      const path = join(dir, name);
      return statSync(path).isDirectory() ? listFiles(path) : [path];
    });
}

function readPart(path, offset, size) {
  const file = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(size);
    const got = readSync(file, bytes, 0, size, offset);
    return bytes.subarray(0, got);
  } finally {
    closeSync(file);
  }
}

/** State of one writer, with its key from the certificate that holds. */
function openWriter(id, batches, context) {
  const state = {
    id,
    batches,
    findings: [],
    role: null,
    publicKey: null,
    // Leaf hash and time of every record that could be read, by index.
    leaves: [],
    timesNs: [],
    records: 0,
    lastKind: 0,
    // The log as it was followed so far; `hashes` null when what came last did not hold.
    range: new Range(),
    // Heads of all sources, and the roots that others than the batches claim, by size.
    heads: [],
    claims: new Map(),
    brokenClaims: [],
    brokenRoots: [],
    // Ranges that could not be read (reported already), and ranges that are not there.
    damaged: [],
    missing: [],
    strands: new Map(),
    recovered: null,
    witnessed: undefined,
    verdict: 'PRESENT',
  };
  state.report = (verdict, what, where = {}) => void state.findings.push({ verdict, what, ...where });
  const copies = [];
  const own = join(context.dir, 'writers', id, 'epoch');
  if (existsSync(own)) copies.push({ bytes: readFileSync(own), where: { file: relative(context.dir, own) } });
  const registered = context.cluster?.epochs.get(id);
  if (registered !== undefined)
    copies.push({ bytes: registered.bytes, where: { clusterIndex: registered.clusterIndex } });
  const first = batches.find((batch) => batch.first === 0);
  if (first !== undefined) {
    try {
      const { epoch } = decodeBatch(readPart(first.path, first.objectOffset, first.batchBytes));
      if (epoch !== null) copies.push({ bytes: epoch, where: { object: first.object, offset: first.objectOffset } });
    } catch (error) {
      if (!(error instanceof Bad)) throw error; // The batch is judged, and located, where the writer is walked.
    }
  }
  for (const { bytes, where } of copies) {
    try {
      const epoch = decodeEpoch(bytes);
      const problem =
        epoch.writerId.toString('hex') === id ? epochProblem(epoch, context.options.cas) : 'another writer';
      if (problem !== null) {
        state.report('ALTERED', `epoch certificate: ${problem}`, where);
      } else if (state.publicKey === null) {
        state.publicKey = epoch.publicKey;
        state.role = ROLES[epoch.role];
      } else if (!state.publicKey.equals(epoch.publicKey)) {
        state.report('ALTERED', 'two epoch certificates with different keys', where);
      }
    } catch (error) {
      if (!(error instanceof Bad)) throw error;
      state.report('ALTERED', `epoch certificate: ${error.message}`, where);
    }
  }
  if (copies.length === 0) state.report('MISSING', 'there is no epoch certificate');
  if (state.publicKey !== null) context.keys.set(id, state.publicKey);
  return state;
}

/** All batches in order, then tiles, signatures of heads, and what the cluster log says. */
function walkWriter(state, context) {
  for (const { head, ...where } of context.cluster?.heads ?? []) {
    if (head.writerId.toString('hex') === state.id) claimHead(state, head, { ...where, witnessed: true });
  }
  const fileHead = readHeadFile(state, context);
  for (const entry of state.batches) walkBatch(state, entry, context);
  // A size is only a claim: tiles are looked for where there is about as much of the log as it says.
  if (fileHead !== null && fileHead.size <= 2 * state.records + 512) {
    checkWriterTiles(state, fileHead, join(context.dir, 'writers', state.id));
  }
  for (const { head, where } of state.heads) checkSigner(state, head, where, context);
  const registered = context.cluster?.epochs.get(state.id);
  const { clusterIndex } = registered ?? {};
  if (registered !== undefined && state.leaves[0] && !state.leaves[0].equals(registered.leafHash)) {
    state.report('ALTERED', 'record 0 is not the one that was registered', { index: 0, clusterIndex });
  }
  for (const event of context.cluster?.events ?? []) {
    const leaf = event.writer === state.id ? state.leaves[event.index] : undefined;
    if (leaf && !leaf.equals(event.leafHash)) {
      const where = { index: event.index, clusterIndex: event.clusterIndex };
      state.report('ALTERED', `record ${event.index} is not the one in the cluster log`, where);
    }
  }
}

function readHeadFile(state, context) {
  const path = join(context.dir, 'writers', state.id, 'head');
  if (!existsSync(path)) return null;
  const where = { source: 'head file', file: relative(context.dir, path) };
  try {
    const head = decodeHead(readFileSync(path));
    if (head.writerId.toString('hex') !== state.id) throw new Bad('it is of another writer', 5);
    claimHead(state, head, where);
    return head;
  } catch (error) {
    if (!(error instanceof Bad)) throw error;
    state.report('ALTERED', `head file: ${error.message}`, { ...where, offset: error.at });
    return null;
  }
}

function claimHead(state, head, where) {
  state.heads.push({ head, where });
  const claims = state.claims.get(head.size) ?? [];
  claims.push({ root: head.root, where });
  state.claims.set(head.size, claims);
}

function walkBatch(state, entry, context) {
  const { object, objectOffset, first, count } = entry;
  const where = { object, offset: objectOffset };
  const bytes = readPart(entry.path, objectOffset, entry.batchBytes);
  let batch;
  let head;
  try {
    batch = decodeBatch(bytes);
    if (batch.writerId.toString('hex') !== state.id || batch.first !== first || batch.count !== count) {
      throw new Bad('it says that it is of another writer or range', 6);
    }
    head = decodeHead(batch.head);
  } catch (error) {
    if (!(error instanceof Bad)) throw error;
    state.report('ALTERED', `batch: ${error.message}`, { object, offset: objectOffset + error.at, first, count });
    state.damaged.push({ first, count });
    return;
  }
  const end = first + count;
  if (first > state.range.size) {
    const hole = { first: state.range.size, count: first - state.range.size };
    if (!covered(state.damaged, hole)) state.missing.push({ ...hole, before: where });
  } else if (
    first === state.range.size &&
    state.range.hashes !== null &&
    !isDeepStrictEqual(batch.compact, state.range.hashes)
  ) {
    state.report('ALTERED', `the batch of records ${first} to ${end - 1} goes on from another log`, {
      ...where,
      first,
      count,
    });
  }
  // From here on as the batch says: its root is checked with its own records, and the head over it is signed.
  const range = new Range(first, batch.compact);
  let readable = true;
  for (const [i, record] of batch.records.entries()) {
    const offset = objectOffset + (record.byteOffset - bytes.byteOffset);
    readable = walkRecord(state, record, first + i, { object, offset }, range, context) && readable;
  }
  const holds = readable && range.root().equals(batch.rootAfter);
  if (readable && !holds) state.brokenRoots.push({ first, count, ...where });
  if (!head.writerId.equals(batch.writerId) || head.size !== end || !head.root.equals(batch.rootAfter)) {
    state.report('ALTERED', 'the head in the batch is not that of its end', { ...where, first, count });
  }
  state.heads.push({ head, where: { source: 'batch', ...where } });
  if (end > state.range.size) {
    state.range = holds ? range : Object.assign(new Range(end), { hashes: null });
  }
}

/** False when the leaf cannot be read, so that nothing can be said about the root. */
function walkRecord(state, bytes, index, where, range, context) {
  const at = { ...where, index };
  let record;
  let leaf;
  try {
    record = decodeRecord(bytes);
    leaf = decodeLeaf(record.leaf);
    for (const problem of recordProblems(record, leaf)) state.report('ALTERED', `record ${index}: ${problem}`, at);
  } catch (error) {
    if (!(error instanceof Bad)) throw error;
    state.report('ALTERED', `record ${index}: ${error.message}`, at);
    state.damaged.push({ first: index, count: 1 });
    return false;
  }
  const hash = hashLeaf(record.leaf);
  range.push(hash);
  const known = state.leaves[index];
  if (known !== undefined) {
    // The same range in two objects is a retry, and harmless; another log under the same indices is a fork.
    if (!known.equals(hash))
      state.report('ALTERED', `record ${index} is in two objects with different contents: a fork`, at);
    return true;
  }
  state.leaves[index] = hash;
  state.timesNs[index] = leaf.timeNs;
  state.lastKind = leaf.kind;
  state.records++;
  for (const claim of state.claims.get(index + 1) ?? []) {
    if (!range.root().equals(claim.root)) state.brokenClaims.push({ size: index + 1, ...claim.where });
  }
  if (leaf.writerId.toString('hex') !== state.id || leaf.index !== index) {
    state.report('ALTERED', `record ${index}: its leaf says that it is another`, at);
  }
  if ((leaf.kind === KIND_EPOCH_OPEN) !== (index === 0)) {
    state.report('ALTERED', `record ${index}: epoch.open is the first record, and only that`, at);
  }
  walkStrand(state, leaf, hash, at);
  readSystemRecord(state, leaf, record.meta, at, context);
  return true;
}

function walkStrand(state, leaf, hash, at) {
  // Records about approvals name a session and are in no strand, like records without one.
  if (isZero(leaf.sessionId) || (leaf.kind >= KIND_APPROVAL_FIRST && leaf.kind <= KIND_APPROVAL_LAST)) {
    if (leaf.strandSeq !== 0 || !isZero(leaf.strandPrevious)) {
      state.report('ALTERED', `record ${leaf.index} is in no strand but has a place in one`, { ...at, strand: true });
    }
    return;
  }
  const session = leaf.sessionId.toString('hex');
  const last = state.strands.get(session);
  const begins =
    last === undefined && leaf.strandSeq === 0 && leaf.kind === KIND_SESSION_OPEN && isZero(leaf.strandPrevious);
  const goesOn = last !== undefined && leaf.strandSeq === last.seq + 1 && leaf.strandPrevious.equals(last.hash);
  // After a hole in the log its strands have holes too: then the hole is the finding.
  if (!begins && !goesOn && state.damaged.length === 0 && state.missing.length === 0) {
    state.report('ALTERED', `record ${leaf.index} does not follow the one before it in its strand`, {
      ...at,
      strand: true,
    });
  }
  if (leaf.kind === KIND_SESSION_CLOSE) state.strands.delete(session);
  else state.strands.set(session, { seq: leaf.strandSeq, hash });
}

function readSystemRecord(state, leaf, meta, at, context) {
  try {
    if (leaf.kind === KIND_GAP_DECLARED) {
      const gap = declaredGap(meta, state.id);
      if (gap === null) return;
      const list = context.gaps.get(gap.writer) ?? [];
      context.gaps.set(gap.writer, list);
      list.push({ first: gap.first, count: gap.count, declaredBy: `${state.id}/${leaf.index}` });
    } else if (leaf.kind === KIND_EPOCH_OPEN) {
      context.journals.set(state.id, foundJournals(meta));
    }
  } catch (error) {
    if (!(error instanceof Bad)) throw error;
    // Bound by the leaf as it is (checked above), so this is a meta that another version wrote, or not an Event.
    state.unreadableMeta = (state.unreadableMeta ?? 0) + 1;
  }
}

/** The tiles at the size of the newest head; where records and tiles differ, the signed root tells which are right. */
function checkWriterTiles(state, head, dir) {
  const found = [];
  const fromTiles = checkTiles(dir, head.size, state.leaves, (verdict, what, where) =>
    found.push({ verdict, what, ...where }),
  );
  const whole = Array.from({ length: head.size }, (_, i) => fromTiles[i] ?? null);
  if (whole.includes(null) || !rootOf(whole).equals(head.root)) {
    state.findings.push(...found);
    return;
  }
  const wrong = whole.flatMap((hash, index) =>
    state.leaves[index] && !state.leaves[index].equals(hash) ? [index] : [],
  );
  if (wrong.length > 0) {
    // A changed leaf also breaks the link of the record after it: that one is innocent.
    state.findings = state.findings.filter((finding) => finding.strand !== true);
  }
  for (const index of wrong) {
    const entry = state.batches.find((batch) => batch.first <= index && index < batch.first + batch.count);
    const where = { index, object: entry.object, offset: entry.objectOffset };
    state.report('ALTERED', `record ${index}: its leaf is not the one in the tree`, where);
  }
  checkTiles(dir, head.size, whole, state.report);
}

function checkSigner(state, head, where, context) {
  if (head.signerKind === 1) {
    if (state.publicKey !== null && !headSigned(head, state.publicKey)) {
      state.report('ALTERED', `the head of size ${head.size} is not signed by its writer`, where);
    }
    return;
  }
  const signer = head.signerWriterId.toString('hex');
  const key = context.keys.get(signer);
  const twin = state.heads.some(
    (other) => other.head.size === head.size && context.keys.has(other.head.signerWriterId.toString('hex')),
  );
  if (key === undefined && twin) {
    state.report('ALTERED', `the head of size ${head.size} names a signer that nobody knows`, where);
    return;
  }
  if (key === undefined) {
    state.report('MISSING', `the control writer ${signer} that recovered this log is not in the archive`, where);
  } else if (!headSigned(head, key)) {
    state.report('ALTERED', `the head of size ${head.size} is not signed by the control writer ${signer}`, where);
    return;
  }
  if (state.recovered === null || head.size > state.recovered.size) {
    state.recovered = { size: head.size, root: head.root, signer };
  }
}

const covered = (ranges, { first, count }) => {
  // Ranges are few: step through what covers the beginning until the end is reached.
  let at = first;
  for (;;) {
    const next = ranges.find((range) => range.first <= at && at < range.first + range.count);
    if (next === undefined) return at >= first + count;
    at = next.first + next.count;
  }
};

function judgeWriter(state, context) {
  for (const { first, count, ...where } of state.brokenRoots) {
    const named = state.findings.some(
      (f) => f.verdict === 'ALTERED' && !f.strand && f.index >= first && f.index < first + count,
    );
    if (!named) {
      const what = `records ${first} to ${first + count - 1} do not give the root of their batch`;
      state.report('ALTERED', what, { first, count, ...where });
    }
  }
  const altered = state.findings.some((finding) => finding.verdict === 'ALTERED');
  for (const { size, ...where } of altered ? [] : state.brokenClaims) {
    state.report('ALTERED', `the head of size ${size} has another root than the records: a fork`, where);
  }
  const end = state.range.size;
  const newest = Math.max(0, ...state.heads.map(({ head }) => head.size));
  if (newest > end && !covered(state.damaged, { first: end, count: newest - end })) {
    state.missing.push({ first: end, count: newest - end });
  }
  const gaps = context.gaps.get(state.id) ?? [];
  for (const hole of state.missing.filter((each) => !covered(gaps, each))) {
    state.report('MISSING', `records ${hole.first} to ${hole.first + hole.count - 1} are not there`, hole);
  }
  for (const gap of gaps) {
    state.report('GAP', `records ${gap.first} to ${gap.first + gap.count - 1} are declared as missing`, gap);
  }
  judgeEnd(state, context);
  if (context.cluster !== null) judgeRegistration(state, context.cluster, end);
  state.verdict = worstOf(state.findings);
}

function judgeEnd(state, context) {
  const end = state.range.size;
  if (state.recovered !== null) {
    const { size, root, signer } = state.recovered;
    const journals = context.journals.get(signer);
    const listed = journals?.find((journal) => journal.writer === state.id);
    if (journals !== undefined && (listed === undefined || listed.size !== size || !listed.root.equals(root))) {
      state.report(
        'ALTERED',
        `the control writer ${signer} did not find this journal with ${size} records at its start`,
      );
    }
    state.report('RECOVERED', `recovered at ${size} by ${signer}`, { size });
  } else if (end > 0 && state.lastKind !== KIND_EPOCH_CLOSE && !context.options.live) {
    state.report('OPEN-ENDED', `nothing closes this log after record ${end - 1}`, { first: end });
  }
}

function judgeRegistration(state, cluster, end) {
  if (!cluster.epochs.has(state.id)) {
    state.report('UNREGISTERED', 'the cluster log has no epoch certificate of this writer');
    return;
  }
  if (end === 0 && state.heads.length === 0) {
    state.report('PENDING', 'registered, and nothing of it is archived yet');
    return;
  }
  state.witnessed = Math.max(0, ...state.heads.filter(({ where }) => where.witnessed).map(({ head }) => head.size));
  if (end > state.witnessed) {
    const sinceNs = state.timesNs[state.witnessed] ?? cluster.newestNs;
    // The cluster log went on for longer than a head may take to get there, without one that covers this record.
    const late = cluster.newestNs > sinceNs + PENDING_YOUNG_NS;
    const what = `records ${state.witnessed} to ${end - 1} are not under a head of the cluster log`;
    state.report(late ? 'UNWITNESSED' : 'PENDING', what, { first: state.witnessed, count: end - state.witnessed });
  }
}

const worstOf = (findings) => VERDICTS[Math.max(0, ...findings.map(({ verdict }) => VERDICTS.indexOf(verdict)))];

function summary({ findings, states, cluster, objects, unchecked, strict }) {
  const writers = states.map((state) => ({
    writer: state.id,
    role: state.role,
    verdict: state.verdict,
    records: state.records,
    ...(state.witnessed === undefined ? {} : { witnessed: state.witnessed }),
    ...(state.recovered === null ? {} : { recoveredAt: state.recovered.size }),
    findings: state.findings,
  }));
  const verdict = worstOf([...findings, ...writers]);
  const failsStrict = strict && [...findings, ...writers].some((each) => each.verdict === 'RECOVERED');
  let exit = EXIT_OK;
  if (verdict === 'ALTERED') exit = EXIT_ALTERED;
  else if (verdict === 'MISSING') exit = EXIT_MISSING;
  else if (failsStrict || VERDICTS.indexOf(verdict) > VERDICTS.indexOf('RECOVERED')) exit = EXIT_REST;
  return {
    ok: exit === EXIT_OK,
    verdict,
    exit,
    objects,
    records: writers.reduce((sum, writer) => sum + writer.records, 0),
    cluster: cluster === null ? null : { origin: cluster.origin, size: cluster.size, cosignatures: cluster.cosigned },
    unchecked,
    writers,
    findings,
  };
}

// ---------------------------------------------------------------------------------------------------------------------
// Golden vectors

const hex = (text) => Buffer.from(text, 'hex');

function plain(value) {
  if (Buffer.isBuffer(value)) return value.toString('hex');
  if (typeof value === 'bigint') return value.toString();
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, plain(member)]));
}

function same(actual, expected, what) {
  if (!isDeepStrictEqual(plain(actual), expected)) throw new Bad(`${what} differs`, 0);
}

function holds(condition, what) {
  if (!condition) throw new Bad(`${what} does not hold`, 0);
}

/** One function for each format: throws `Bad` when a case is not as the second reading of the format has it. */
const VECTOR_CHECKS = {
  leaf(v) {
    if (v.tenantTag !== undefined) {
      same(sha256(Buffer.from(`chaperone/tenant/v1\n${v.name}`)).subarray(0, 16), v.tenantTag, 'tenant tag');
      return;
    }
    same(decodeLeaf(hex(v.bytes)), v.fields, 'fields');
    same(hashLeaf(hex(v.bytes)), v.leafHash, 'leaf hash');
  },
  record(v) {
    const record = decodeRecord(hex(v.bytes));
    same(record, v.fields, 'fields');
    same(recordProblems(record, decodeLeaf(record.leaf)), [], 'commits');
  },
  journal(v) {
    const { header, frames, kept } = decodeSegment(hex(v.bytes));
    same(header, v.header, 'header');
    same(frames, v.frames, 'frames');
    same(kept, v.kept, 'kept frames');
    same(`${v.header.writerId}-${String(v.header.segment).padStart(8, '0')}.seg`, v.name, 'name');
  },
  head(v) {
    const head = decodeHead(hex(v.bytes));
    same(head, v.fields, 'fields');
    holds(headSigned(head, hex(v.publicKey)), 'signature');
  },
  epoch(v) {
    const epoch = decodeEpoch(hex(v.bytes));
    same(epoch, v.fields, 'fields');
    same(epochProblem(epoch, [new X509Certificate(v.clusterCa)]), null, 'chain');
  },
  batch(v) {
    const batch = decodeBatch(hex(v.bytes));
    same(batch, v.fields, 'fields');
    const range = new Range(batch.first, batch.compact);
    for (const record of batch.records) range.push(hashLeaf(decodeRecord(record).leaf));
    const head = decodeHead(batch.head);
    holds(range.root().equals(batch.rootAfter) && head.root.equals(batch.rootAfter), 'root');
    holds(headSigned(head, hex(v.publicKey)), 'signature of the head');
  },
  'cluster-leaf'(v) {
    const leaf = decodeClusterLeaf(hex(v.bytes));
    same(leaf, v.fields, 'fields');
    same(hashLeaf(hex(v.bytes)), v.leafHash, 'leaf hash');
    if (v.headsValue !== undefined) same(Buffer.concat([Buffer.of(leaf.type), leaf.body]), v.headsValue, 'heads value');
    if (leaf.type === 1) decodeEpochEntry(leaf.body);
    if (leaf.type === 2) decodeHead(leaf.body);
    if (leaf.type === 3)
      same(recordProblems(decodeRecord(leaf.body), decodeLeaf(decodeRecord(leaf.body).leaf)), [], 'event');
    if (leaf.type === 4) same(decodeRefused(leaf.body), v.refused, 'refusal');
  },
  ack(v) {
    same(decodeAck(hex(v.bytes)), v.fields, 'fields');
  },
  checkpoint(v) {
    const { text, results } = openNote(v.note, [parseVkey(v.logKey), parseVkey(v.witnessKey)]);
    const { origin, size, root, extensions } = parseCheckpoint(text);
    const inputOffset = Number(/^input-offset (\d+)$/.exec(extensions[0])?.[1]);
    same(results, [true, v.fields.timeSeconds], 'signatures');
    same({ origin, size, root, inputOffset, timeSeconds: results[1] }, v.fields, 'fields');
    same(Buffer.concat([Buffer.of(2), Buffer.from(v.note)]), v.value, 'value of the topic');
  },
  'sealed-unit'(v) {
    const f = v.fields;
    const unit = decodeUnit(hex(v.bytes));
    const place = Buffer.alloc(8);
    place.writeBigUInt64BE(BigInt(f.index));
    const aad = Buffer.concat([
      Buffer.from('chaperone/unit/1'),
      Buffer.of(f.unitClass, f.direction, f.final ? 1 : 0, 0),
      hex(f.writerId),
      place,
      ...[f.tenantTag, f.sessionId, f.planDigest, f.keyId, f.nonce].map(hex),
    ]);
    same(aad, v.aad, 'aad');
    same(
      [unit.unitClass, unit.direction, unit.final, unit.keyId, unit.nonce],
      [f.unitClass, f.direction, f.final, f.keyId, f.nonce],
      'header',
    );
    const decipher = createDecipheriv('aes-256-gcm', hex(f.key), unit.nonce).setAAD(aad).setAuthTag(unit.tag);
    same(Buffer.concat([decipher.update(unit.ciphertext), decipher.final()]), f.plaintext, 'plaintext');
  },
  'wrapped-key'(v) {
    same(decodeWrappedKey(hex(v.bytes)), v.fields, 'fields');
    same(hex(v.bytes).subarray(0, 74), v.aad, 'aad');
  },
  statement(v) {
    const u = (size, value) => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64BE(BigInt(value));
      return bytes.subarray(8 - size);
    };
    const prefixed = (size, bytes) => Buffer.concat([u(size, bytes.length), bytes]);
    const o = v.operation;
    const parts = [
      Buffer.from('chaperone/op/v1'),
      Buffer.from(o.subject),
      Buffer.from(o.connection),
      hex(o.connectionDigest),
    ];
    parts.push(Buffer.from(o.operation), hex(o.catalogueDigest), ...o.exact.map(hex));
    const digest = createHmac('sha256', hex(v.approvalsKey))
      .update(Buffer.concat(parts.map((part) => prefixed(4, part))))
      .digest();
    same(digest, v.opDigest, 'opDigest');
    const shown = sha256(Buffer.from('chaperone/shown/v1\n'), digest, sha256(Buffer.from(v.shown)), hex(v.previewHash));
    same(shown, v.approval.shownDigest, 'shownDigest');
    const statement = Buffer.concat([
      Buffer.from('chaperone/approval/v1\n'),
      prefixed(2, Buffer.from(v.approval.approvalId)),
      Buffer.of(v.approval.decision),
      shown,
      u(8, v.approval.decidedMs),
      prefixed(2, Buffer.from(v.approval.person)),
      prefixed(2, Buffer.from(v.approval.reason)),
    ]);
    same(statement, v.statement, 'statement');
  },
  'archive-object'(v) {
    const bytes = hex(v.bytes);
    const { entries, problems } = scanObject(bytes);
    same(problems, [], 'object');
    const found = entries.map(({ writerId, first, count, busOffset, objectOffset, batchBytes }) => {
      return { writerId, first, count, busOffset, batch: bytes.subarray(objectOffset, objectOffset + batchBytes) };
    });
    same(found, v.entries, 'entries');
  },
  tree(v) {
    const leaves = Array.from({ length: v.roots.length - 1 }, (_, i) =>
      hashLeaf(Buffer.from(v.entry.replace('<index>', i))),
    );
    for (const [size, root] of v.roots.entries()) same(rootOf(leaves.slice(0, size)), root, `root at ${size}`);
    for (const { index, size, proof } of v.inclusion) {
      holds(
        inclusionHolds(index, size, leaves[index], proof.map(hex), hex(v.roots[size])),
        `inclusion of ${index} in ${size}`,
      );
    }
    for (const { size1, size2, proof } of v.consistency) {
      same(consistencyOf(leaves.slice(0, size2), 0, size1), proof, `consistency of ${size1} and ${size2}`);
    }
    for (const { start, end, size, proof } of v.subtree) {
      same(consistencyOf(leaves.slice(0, size), start, end), proof, `subtree [${start}, ${end}) of ${size}`);
    }
  },
  tiles(v) {
    for (const { level, index, width, path } of v.paths) same(tileName(level, index, width), path, 'path');
    const leaves = Array.from({ length: v.size }, (_, i) => hashLeaf(Buffer.from(`entry ${i}`)));
    same(rootOf(leaves), v.root, 'root');
    const [bottom, top] = v.tiles;
    same(Buffer.concat(leaves.slice(256)), bottom.bytes, bottom.path);
    same(rootOf(leaves.slice(0, 256)), top.bytes, top.path);
    same(decodeBundle(hex(v.bundle.bytes), v.bundle.entries.length), v.bundle.entries, v.bundle.path);
  },
  'tlog-proof'(v) {
    const split = v.text.indexOf('\n\n');
    const lines = v.text.slice(0, split).split('\n');
    same(lines.shift(), 'c2sp.org/tlog-proof@v1', 'first line');
    if (lines[0].startsWith('extra ')) lines.shift();
    same(lines.shift(), `index ${v.index}`, 'index');
    const { text, results } = openNote(v.text.slice(split + 2), [parseVkey(v.logKey), parseVkey(v.witnessKey)]);
    holds(results[0] === true && typeof results[1] === 'number', 'signatures');
    const { size, root } = parseCheckpoint(text);
    holds(inclusionHolds(v.index, size, hex(v.leafHash), lines.map(strictBase64), root), 'inclusion');
  },
};

function verifyVectors(dir) {
  const results = [];
  const files = readdirSafe(dir).filter((name) => name.endsWith('.json'));
  for (const format of Object.keys(VECTOR_CHECKS)) {
    if (!files.includes(`${format}.json`))
      results.push({ file: `${format}.json`, case: -1, problem: 'the file is not there' });
  }
  let cases = 0;
  for (const file of files) {
    const content = JSON.parse(readFileSync(join(dir, file), 'utf8'));
    const check = VECTOR_CHECKS[content.format];
    if (check === undefined || content.format !== file.slice(0, -5) || !(content.cases?.length > 0)) {
      results.push({ file, case: -1, problem: 'no cases of a known format' });
      continue;
    }
    for (const [i, vector] of content.cases.entries()) {
      cases++;
      try {
        check(vector);
      } catch (error) {
        results.push({ file, case: i, problem: error.message });
      }
    }
  }
  const ok = results.length === 0 && cases > 0;
  return { ok, exit: ok ? EXIT_OK : EXIT_ALTERED, files: files.length, cases, problems: results };
}

// ---------------------------------------------------------------------------------------------------------------------
// Command line

function usage(problem) {
  process.stderr.write(`${problem}
usage: verify.mjs vectors <dir> [--json]
       verify.mjs archive <dir> [--ca ca.pem] [--cluster-log <dir>] [--checkpoint-key <vkey>] [--witness-key <vkey>]...
                                [--live] [--strict] [--json]
`);
  return EXIT_USAGE;
}

function printArchive(report) {
  const lines = [];
  const show = (finding) => {
    const { verdict, what, strand: _strand, ...where } = finding;
    const place = Object.entries(where).filter(([, value]) => value !== undefined && typeof value !== 'object');
    lines.push(
      `    ${verdict}  ${what}${place.length === 0 ? '' : `  (${place.map(([k, v]) => `${k} ${v}`).join(', ')})`}`,
    );
  };
  for (const writer of report.writers) {
    lines.push(
      `${writer.verdict.padEnd(12)}  ${writer.writer}  ${writer.role ?? 'unknown role'}, ${writer.records} records`,
    );
    writer.findings.forEach(show);
  }
  if (report.findings.length > 0) lines.push('archive and cluster log');
  report.findings.forEach(show);
  if (report.cluster !== null) lines.push(`cluster log ${report.cluster.origin}, ${report.cluster.size} leaves`);
  for (const each of report.unchecked) lines.push(`not checked: ${each}`);
  lines.push(
    `${report.verdict}: ${report.writers.length} writers, ${report.records} records, ${report.objects} objects`,
  );
  return lines.join('\n');
}

function printVectors(report) {
  const lines = report.problems.map((each) => `${each.file} case ${each.case}: ${each.problem}`);
  lines.push(`${report.ok ? 'ok' : 'FAILED'}: ${report.cases} cases in ${report.files} files`);
  return lines.join('\n');
}

function main(args) {
  let parsed;
  try {
    parsed = parseArgs({
      args,
      allowPositionals: true,
      options: {
        ca: { type: 'string', multiple: true },
        'cluster-log': { type: 'string' },
        'checkpoint-key': { type: 'string' },
        'witness-key': { type: 'string', multiple: true },
        live: { type: 'boolean', default: false },
        strict: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
      },
    });
  } catch (error) {
    return usage(error.message);
  }
  const { values, positionals } = parsed;
  const [mode, dir] = positionals;
  if (positionals.length !== 2 || (mode !== 'vectors' && mode !== 'archive'))
    return usage('say what to verify, and where it is');
  if (!existsSync(dir) || !statSync(dir).isDirectory()) return usage(`${dir} is not a folder`);
  let report;
  if (mode === 'vectors') {
    report = verifyVectors(dir);
  } else {
    let options;
    try {
      options = {
        cas: values.ca === undefined ? null : values.ca.map((path) => new X509Certificate(readFileSync(path))),
        clusterLog: values['cluster-log'] ?? null,
        checkpointKey: values['checkpoint-key'] === undefined ? null : parseVkey(values['checkpoint-key']),
        witnessKeys: (values['witness-key'] ?? []).map(parseVkey),
        live: values.live,
        strict: values.strict,
      };
    } catch (error) {
      return usage(error.message);
    }
    if (options.clusterLog !== null && !existsSync(options.clusterLog))
      return usage(`${options.clusterLog} is not there`);
    report = verifyArchive(dir, options);
  }
  const text = mode === 'vectors' ? printVectors(report) : printArchive(report);
  process.stdout.write(`${values.json ? JSON.stringify(report) : text}\n`);
  return report.exit;
}

process.exitCode = main(process.argv.slice(2));

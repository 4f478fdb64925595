import { GatewayError } from '../../core/kernel/errors.ts';
import { readU64 } from '../../core/kernel/bytes.ts';
import { type Batch, decodeBatch } from '../../core/ledger/batch.ts';
import { CompactRange } from '../../core/ledger/compact-range.ts';
import { decodeEpoch, verifyEpochChain, WRITER_ROLES } from '../../core/ledger/epoch.ts';
import { leafHash } from '../../core/ledger/hash.ts';
import { decodeHead, type Head } from '../../core/ledger/head.ts';
import { KINDS, LEAF_SIZE } from '../../core/ledger/leaf.ts';
import { Event } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import { kindOf, leafTimeMs, metaOf, recordProblem } from './check-record.ts';
import { Findings, type Place } from './findings.ts';
import { type Source, SOURCES } from './leaf-table.ts';
import { type Range, WriterEvidence } from './writer-evidence.ts';

export interface Checked {
  /** Different records; each may have been checked in several places (`copies`). */
  records: number;
  copies: number;
  batches: number;
  heads: number;
  objects: number;
  tiles: number;
  rows: number;
  checkpoints: number;
}

/** What a control writer says in its leaf 0 that it found of another writer. */
export interface FoundJournal {
  readonly control: string;
  readonly size: number;
  readonly root: Buffer;
  readonly state: string;
  readonly timeMs: number;
  readonly place: Place;
}

/** One record of the session that was asked for. */
export interface SessionRecord {
  readonly writer: string;
  readonly index: number;
  readonly seq: number;
  readonly kind: number;
  readonly timeMs: number;
}

/** Where a batch lies, and what an index says that it is. */
export interface BatchPlace {
  readonly source: Source;
  readonly kind: string;
  readonly file: string;
  readonly offset: number;
  readonly expected?: { readonly writerId: Buffer; readonly first: number; readonly count: number };
}

export interface EvidenceOptions {
  /** PEM or DER; null: node certificates are taken as they are. */
  readonly clusterCas: readonly (string | Buffer)[] | null;
  /** Only records of these writers; null: all. */
  readonly only: ReadonlySet<string> | null;
  /** Hex of the session whose records are listed; null: none. */
  readonly session: string | null;
}

const ROLE_NAMES = new Map<number, string>(Object.entries(WRITER_ROLES).map(([name, number]) => [number, name]));
const RUN_BYTES_UNKNOWN = 0;

/** Collects what the readers find, writer by writer. Nothing is judged here but what a record says of itself. */
export class Evidence {
  readonly findings = new Findings();
  readonly writers = new Map<string, WriterEvidence>();
  readonly checked: Checked = {
    records: 0,
    copies: 0,
    batches: 0,
    heads: 0,
    objects: 0,
    tiles: 0,
    rows: 0,
    checkpoints: 0,
  };
  readonly found = new Map<string, FoundJournal[]>();
  readonly gaps = new Map<string, Range[]>();
  readonly pruned = new Map<string, Range[]>();
  readonly shredded: { readonly writer: string; readonly index: number }[] = [];
  readonly session: SessionRecord[] = [];
  /** Files whose digest does not hold: a finding of its own unless what they hold tells which part of it was changed. */
  readonly wrongDigests: { readonly writer: string | null; readonly index: number | null; readonly place: Place }[] =
    [];
  readonly options: EvidenceOptions;
  /** The newest time that any part of the evidence names: the clock of a copy. */
  newestMs = 0;

  constructor(options: EvidenceOptions) {
    this.options = options;
  }

  writer(id: string): WriterEvidence {
    let writer = this.writers.get(id);
    if (writer === undefined) {
      writer = new WriterEvidence(id);
      this.writers.set(id, writer);
    }
    return writer;
  }

  /** Control writers always: they say what was recovered and what is missing of others. */
  wants(id: string): boolean {
    const { only } = this.options;
    return only === null || only.has(id) || this.writers.get(id)?.role === 'control';
  }

  /** One batch with all its records. Never throws on what it reads. */
  takeBatch(bytes: Buffer, at: BatchPlace): void {
    const place = { kind: at.kind, file: at.file, offset: at.offset };
    let batch: Batch;
    let head: Head;
    try {
      batch = decodeBatch(bytes);
      head = decodeHead(batch.head);
    } catch (error) {
      this.#damagedBatch(bytes, at, problemOf(error));
      return;
    }
    this.checked.batches++;
    const { writerId, first } = this.#identity(batch, head, at);
    const id = writerId.toString('hex');
    if (batch.epoch !== null) {
      this.takeEpoch(batch.epoch, place, id);
    }
    if (!this.wants(id)) {
      return;
    }
    const writer = this.writer(id);
    const end = first + batch.count;
    if (!head.writerId.equals(writerId) || head.size !== end || !head.root.equals(batch.rootAfter)) {
      const detail = 'the head in the batch is not that of its end';
      this.findings.add('ALTERED', detail, { writer: id, index: end - 1, place });
    } else {
      this.takeHead(batch.head, place);
    }
    const compact = CompactRange.fromHashes(batch.first, batch.compact).root();
    writer.claims.push({ size: first, root: compact, what: 'the compact range of the batch', place, head: null });
    // A copy: a view would keep the whole object in memory.
    const rootAfter = Buffer.from(batch.rootAfter);
    writer.claims.push({ size: end, root: rootAfter, what: 'the root of the batch', place, head: null });
    writer.addRun(first, end, at.source, place, bytes.length);
    for (const [i, record] of batch.records.entries()) {
      this.takeRecord(writer, record, first + i, at.source, at, at.offset + record.byteOffset - bytes.byteOffset);
    }
  }

  /** Checks one record body and notes its leaf. `true` when nothing is wrong with it. */
  takeRecord(
    writer: WriterEvidence,
    bytes: Buffer,
    index: number,
    source: Source,
    { kind, file }: { readonly kind: string; readonly file: string },
    offset: number,
  ): boolean {
    this.checked.copies++;
    const problem = recordProblem(bytes, writer.idBytes, index);
    if (problem !== null) {
      this.findings.add('ALTERED', problem, { writer: writer.id, index, place: { kind, file, offset } });
      writer.damaged.push({ first: index, count: 1 });
      return false;
    }
    const leaf = bytes.subarray(0, LEAF_SIZE);
    const hash = leafHash(leaf);
    const timeMs = leafTimeMs(bytes);
    const put = writer.leaves.put(index, hash, source, timeMs);
    if (put === 'different') {
      writer.others.push({ index, hash, source, place: { kind, file, offset } });
    } else if (put === 'new') {
      this.newestMs = Math.max(this.newestMs, timeMs);
      this.#noteRecord(writer, bytes, index, hash, timeMs, { kind, file, offset });
    }
    return true;
  }

  /** A frame run of a journal, so that a leaf can be found again. */
  takeRun(writer: WriterEvidence, first: number, end: number, place: Place): void {
    writer.addRun(first, end, SOURCES.journal, place, RUN_BYTES_UNKNOWN);
  }

  takeHead(bytes: Buffer, place: Place, clusterIndex: number | null = null): void {
    let head: Head;
    try {
      head = decodeHead(bytes);
    } catch (error) {
      this.findings.add('ALTERED', `head: ${problemOf(error)}`, { place });
      return;
    }
    this.checked.heads++;
    const id = head.writerId.toString('hex');
    if (!this.wants(id)) {
      return;
    }
    const writer = this.writer(id);
    const key = bytes.toString('latin1');
    const known = writer.heads.get(key);
    if (known !== undefined) {
      known.clusterIndex ??= clusterIndex;
      return;
    }
    const copy = Buffer.from(bytes);
    const seen = { bytes: copy, head: decodeHead(copy), place, clusterIndex, signed: null };
    writer.heads.set(key, seen);
    writer.claims.push({ size: head.size, root: seen.head.root, what: 'the signed head', place, head: seen });
    this.newestMs = Math.max(this.newestMs, Number(head.timeNs / 1_000_000n));
  }

  /** An epoch certificate; `expected` is the writer that it must be of. */
  takeEpoch(bytes: Buffer, place: Place, expected: string | null = null): string | null {
    try {
      const copy = Buffer.from(bytes);
      const epoch = decodeEpoch(copy);
      const id = epoch.writerId.toString('hex');
      if (
        (expected === null || id === expected) &&
        this.writers.get(id)?.epochs.some((each) => each.bytes.equals(copy))
      ) {
        return id; // Checked where it was seen first.
      }
      const { clusterCas } = this.options;
      let problem = clusterCas === null ? null : verifyEpochChain(copy, clusterCas);
      if (expected !== null && id !== expected) {
        problem = 'it is of another writer';
      }
      if (problem !== null) {
        const about = { writer: expected ?? id, index: 0, place };
        this.findings.add('ALTERED', `epoch certificate: ${problem}`, about);
        return null;
      }
      const writer = this.writer(id);
      if (writer.publicKey !== null && !writer.publicKey.equals(epoch.publicKey)) {
        const detail = 'two epoch certificates with different keys';
        this.findings.add('ALTERED', detail, { writer: id, index: 0, place });
      }
      writer.epochs.push({ bytes: copy, epoch, place });
      writer.publicKey ??= epoch.publicKey;
      writer.role = ROLE_NAMES.get(epoch.role) ?? 'unknown';
      writer.createdMs = Number(epoch.createdNs / 1_000_000n);
      return id;
    } catch (error) {
      const about = { writer: expected, index: 0, place };
      this.findings.add('ALTERED', `epoch certificate: ${problemOf(error)}`, about);
      return null;
    }
  }

  #noteRecord(writer: WriterEvidence, bytes: Buffer, index: number, hash: Buffer, timeMs: number, place: Place): void {
    this.checked.records++;
    const kind = kindOf(bytes);
    const strand = writer.strands.next(index, bytes, hash);
    if (strand !== null) {
      writer.strandProblems.push({ index, detail: strand, place });
    }
    const { session } = this.options;
    if (session !== null && bytes.toString('hex', 50, 66) === session) {
      this.session.push({ writer: writer.id, index, seq: bytes.readUInt32BE(66), kind, timeMs });
    }
    if (kind === KINDS['epoch.close']) {
      writer.closeIndex = index;
    } else if (kind === KINDS['epoch.open']) {
      this.#noteOpening(writer, metaOf(bytes), timeMs, place);
    } else if (kind === KINDS['gap.declared']) {
      this.#noteRange(this.gaps, writer, metaOf(bytes));
    } else if (kind === KINDS['retention.pruned']) {
      this.#noteRange(this.pruned, writer, metaOf(bytes));
    } else if (kind === KINDS['key.shredded']) {
      this.shredded.push({ writer: writer.id, index });
    }
  }

  #noteOpening(writer: WriterEvidence, meta: Buffer, timeMs: number, place: Place): void {
    const epoch = decodeEvent(meta)?.epoch;
    writer.node = epoch?.node ?? '';
    if (epoch === undefined || epoch.role !== 'control') {
      return;
    }
    for (const { writerId, size, root, state } of epoch.journals) {
      const id = Buffer.from(writerId).toString('hex');
      const list = this.found.get(id) ?? [];
      this.found.set(id, list);
      list.push({ control: writer.id, size: Number(size), root: Buffer.from(root), state, timeMs, place });
    }
  }

  /** `Event.note`: the writer of the attribute or the declaring one, from `first`, `count` records. */
  #noteRange(ranges: Map<string, Range[]>, writer: WriterEvidence, meta: Buffer): void {
    const note = decodeEvent(meta)?.note;
    if (note === undefined || note.count === 0n) {
      return;
    }
    const id = note.attributes['writer'] ?? writer.id;
    const list = ranges.get(id) ?? [];
    ranges.set(id, list);
    list.push({ first: Number(note.first), count: Number(note.count) });
  }

  /**
   * Whose batch it is. Header, head and first leaf say it each; where one disagrees with the other two, that one was
   * changed.
   */
  #identity(batch: Batch, head: Head, at: BatchPlace): { writerId: Buffer; first: number } {
    const own = { writerId: batch.writerId, first: batch.first };
    const leaf = batch.records[0] ?? Buffer.alloc(0);
    if (leaf.length < LEAF_SIZE) {
      return own;
    }
    const said = { writerId: leaf.subarray(2, 18), first: readU64(leaf, 18) };
    const agrees = said.writerId.equals(own.writerId) && said.first === own.first;
    const headSays = head.writerId.equals(said.writerId) && head.size === said.first + batch.count;
    if (agrees || !headSays) {
      return own;
    }
    const about = { writer: said.writerId.toString('hex'), index: said.first, place: at };
    this.findings.add('ALTERED', 'the header of the batch says another writer or range', about);
    return said;
  }

  #damagedBatch(bytes: Buffer, at: BatchPlace, problem: string): void {
    const nearest = at.expected ?? headerOf(bytes);
    const writer = nearest === null ? null : nearest.writerId.toString('hex');
    const index = nearest?.first ?? null;
    if (writer !== null && !this.wants(writer)) {
      return;
    }
    this.findings.add('ALTERED', `batch: ${problem}`, { writer, index, place: at });
    if (writer !== null && nearest !== null && this.writers.has(writer)) {
      this.writer(writer).damaged.push({ first: nearest.first, count: nearest.count });
    }
  }
}

/** What an error of a decoder says: decoders refuse, or read past the end. A broken invariant is ours and goes on. */
export function problemOf(error: unknown): string {
  if (error instanceof GatewayError) {
    return error.detail;
  }
  if (error instanceof Error && error.name !== 'InvariantError') {
    return 'cannot be read';
  }
  throw error;
}

export function decodeEvent(meta: Buffer): Event | null {
  try {
    return Event.decode(meta);
  } catch {
    return null; // Bound by the leaf as it is: of another version, or no Event. It says nothing to the verifier.
  }
}

/** Writer and range of a batch that cannot be decoded, when its first bytes still say them. */
function headerOf(bytes: Buffer): { writerId: Buffer; first: number; count: number } | null {
  if (bytes.length < 34 || bytes.toString('latin1', 0, 3) !== 'CHB') {
    return null;
  }
  const first = readU64(bytes, 22);
  return first < 0 ? null : { writerId: bytes.subarray(6, 22), first, count: bytes.readUInt32BE(30) };
}

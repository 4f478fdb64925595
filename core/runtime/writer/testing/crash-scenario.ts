import { deepEqual, equal, ok } from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { ManualClock } from '../../../kernel/testing/manual-clock.ts';
import { SeededRandom } from '../../../kernel/testing/seeded-random.ts';
import { decodeBatch } from '../../../ledger/batch.ts';
import { CompactRange } from '../../../ledger/compact-range.ts';
import { publicKeyRaw } from '../../../ledger/ed25519.ts';
import { leafHash } from '../../../ledger/hash.ts';
import { decodeHead, verifyHead } from '../../../ledger/head.ts';
import { MerkleTree } from '../../../ledger/merkle.ts';
import type { FaultDisk } from '../../testing/fault-disk.ts';
import { readJournal } from '../journal-reader.ts';
import type { JournalWriter } from '../journal-writer.ts';
import { publishRecovered, type RecoveredJournal, recoverJournals } from '../recovery.ts';
import type { WriterLimits } from '../writer-limits.ts';
import { CollectingSink, leafOf, metaOf, openWriter, record, settle } from './writer-fixture.ts';

const CONTROL_KEY = generateKeyPairSync('ed25519').privateKey;
const CONTROL_ID = Buffer.alloc(16, 0xcc);

interface Appended {
  readonly leafHash: Buffer;
  readonly meta: string;
}

/**
 * One life of a writer on a fault disk, with a memory of what it was told: what was appended where, what was acknowledged,
 * and what the worst crash would have left at the moment of each acknowledgement.
 */
export class CrashScenario {
  readonly disk: FaultDisk;
  readonly clock = new ManualClock();
  readonly sink = new CollectingSink();
  readonly appended = new Map<number, Appended>();
  readonly acknowledged: number[] = [];
  readonly refused: number[] = [];
  readonly #snapshots: { readonly index: number; readonly disk: FaultDisk }[] = [];
  readonly #withSnapshots: boolean;
  writer: JournalWriter | null = null;
  archived = 0;
  failures = 0;

  constructor(disk: FaultDisk, withSnapshots: boolean) {
    this.disk = disk;
    this.#withSnapshots = withSnapshots;
  }

  async open(limits: Partial<WriterLimits> = {}): Promise<void> {
    this.writer = await openWriter(this.disk, {
      clock: this.clock,
      batches: this.sink,
      heads: this.sink,
      limits,
      onFailure: () => this.failures++,
    });
  }

  /** False when the writer refused. */
  append(meta: string): boolean {
    const { writer } = this;
    if (writer === null) {
      return false;
    }
    let index: number;
    try {
      const appended = writer.append(record(Buffer.from(meta)));
      ({ index } = appended);
      this.appended.set(index, { leafHash: appended.leafHash, meta });
    } catch {
      return false;
    }
    writer.whenDurable(index, (failure) => {
      if (failure !== null) {
        this.refused.push(index);
        return;
      }
      this.acknowledged.push(index);
      if (this.#withSnapshots) {
        this.#snapshots.push({ index, disk: this.disk.durableCopy() });
      }
    });
    return true;
  }

  archive(upTo: number): void {
    this.archived = Math.max(this.archived, upTo);
    this.writer?.archived(upTo);
  }

  /** After a crash: recovers and checks every promise. Returns what was recovered, null when nothing was. */
  async check(label: string): Promise<RecoveredJournal | null> {
    const sorted = [...this.acknowledged].sort((a, b) => a - b);
    deepEqual(this.acknowledged, sorted, `${label}: acknowledged in order`);
    for (const { index, disk } of this.#snapshots) {
      const [journal] = await recoverJournals(disk);
      ok(journal !== undefined && journal.size > index, `${label}: ${index} was acknowledged before it was durable`);
    }
    const journals = await recoverJournals(this.disk);
    const journal = journals[0] ?? null;
    ok(journals.length <= 1, `${label}: one writer, one journal`);
    const newest = this.acknowledged.at(-1) ?? -1;
    if (journal === null) {
      equal(newest, -1, `${label}: everything acknowledged is gone`);
      return null;
    }
    deepEqual(journal.gaps, [], `${label}: a crash leaves no gap`);
    deepEqual(journal.quarantined, [], `${label}: a crash is no reason for quarantine`);
    ok(journal.size > newest, `${label}: acknowledged ${newest}, recovered ${journal.size}`);
    await this.#checkRecords(label, journal);
    await this.#checkPublishing(label, journal);
    const again = await recoverJournals(this.disk);
    deepEqual(again, journals, `${label}: recovering again finds the same`);
    return journal;
  }

  async #checkRecords(label: string, journal: RecoveredJournal): Promise<void> {
    const published = this.sink.records();
    const tree = new MerkleTree();
    for (let index = 0; index < journal.firstIndex; index++) {
      tree.append(leafHash(leafOf(published.get(index) as Buffer)));
    }
    for await (const event of readJournal(this.disk, journal.writerId)) {
      if (event.type !== 'record' || event.index < journal.firstIndex) {
        continue;
      }
      equal(event.index, tree.size, `${label}: in order, without a hole`);
      tree.append(event.leafHash);
      const appended = this.appended.get(event.index);
      if (appended !== undefined) {
        deepEqual(event.leafHash, appended.leafHash, `${label}: record ${event.index} has the leaf it was given`);
        equal(metaOf(event.body), appended.meta, `${label}: record ${event.index} has its bytes`);
      }
      const sent = published.get(event.index);
      ok(sent === undefined || sent.equals(event.body), `${label}: two records for index ${event.index}`);
    }
    equal(tree.size, journal.size);
    deepEqual(journal.root, tree.root(), `${label}: the root is that of the leaves`);
    for (const index of published.keys()) {
      ok(index < journal.size, `${label}: record ${index} was published and is not in the journal`);
    }
  }

  async #checkPublishing(label: string, journal: RecoveredJournal): Promise<void> {
    const sink = new CollectingSink();
    const { disk, clock } = this;
    const signer = { signerWriterId: CONTROL_ID, key: CONTROL_KEY };
    const watermark = this.archived;
    const result = await publishRecovered({ disk, clock, journal, watermark, sink, batchBytes: 2000, ...signer });
    let next = Math.max(watermark, journal.firstIndex);
    for (const { bytes } of sink.batches) {
      const batch = decodeBatch(bytes);
      equal(batch.first, next, `${label}: batches are contiguous`);
      const range = CompactRange.fromHashes(batch.first, batch.compact);
      batch.records.forEach((body) => range.append(leafHash(leafOf(body))));
      deepEqual(range.root(), batch.rootAfter);
      next += batch.count;
    }
    equal(next, Math.max(journal.size, next), `${label}: everything from the watermark on is published`);
    const head = decodeHead(result.head);
    ok(verifyHead(result.head, publicKeyRaw(CONTROL_KEY)));
    deepEqual([head.size, head.root, head.signerKind], [journal.size, journal.root, 2]);
  }
}

/** Random traffic until the writer dies or `steps` are done. Nothing depends on real time. */
export async function randomTraffic(scenario: CrashScenario, random: SeededRandom, steps: number): Promise<void> {
  for (let step = 0; step < steps; step++) {
    const what = random.below(100);
    if (what < 60) {
      const count = 1 + random.below(6);
      for (let i = 0; i < count; i++) {
        scenario.append(`${step}.${i} ${'x'.repeat(random.below(900))}`);
      }
    } else if (what < 70) {
      scenario.clock.advance(random.below(300));
    } else if (what < 75) {
      scenario.sink.failure = random.next() < 0.5 ? new Error('the bus is away') : null;
    } else if (what < 80) {
      scenario.archive(random.below(1 + (scenario.writer?.status.publisher.published ?? 0)));
    }
    await settle(random.below(4));
  }
}

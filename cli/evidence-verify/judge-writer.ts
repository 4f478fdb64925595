import { LIMITS } from '../../core/kernel/limits.ts';
import { SIGNER_KINDS } from '../../core/ledger/head.ts';
import type { MerkleTree } from '../../core/ledger/merkle.ts';
import type { ClusterLogView } from './cluster-log.ts';
import type { Evidence, FoundJournal } from './evidence.ts';
import { RECORD_SOURCES, SOURCES } from './leaf-table.ts';
import { type Verdict, worstOf } from './verdict.ts';
import type { Range, WriterEvidence } from './writer-evidence.ts';

export interface JudgeContext {
  readonly evidence: Evidence;
  readonly cluster: ClusterLogView | null;
  readonly hasArchive: boolean;
  /** Whether this writer's process runs: then an open end is where it is now. Never for a copy. */
  readonly isLive: (writer: WriterEvidence) => boolean;
  readonly live: boolean;
  /** The time that counts as now: the wall clock of a live deployment, the newest time in a copy. */
  readonly nowMs: number;
}

export interface JudgedWriter {
  readonly writer: string;
  readonly role: string;
  readonly node: string;
  readonly verdict: Verdict;
  /** Records from the start without a hole. */
  readonly size: number;
  /** Records under a head in the cosigned cluster log. */
  readonly witnessed: number;
  /** Records that the bus or the archive has, without a hole. */
  readonly published: number;
  readonly archived: number;
  /** Seconds since the oldest record that is not witnessed; 0 when all are. */
  readonly windowSeconds: number;
}

/** What becomes of a writer's log, after everything that was seen of it was settled in `tree`. */
export function judgeWriter(context: JudgeContext, writer: WriterEvidence, tree: MerkleTree): JudgedWriter {
  return new Judgement(context, writer, tree).run();
}

class Judgement {
  readonly #c: JudgeContext;
  readonly #w: WriterEvidence;
  readonly #tree: MerkleTree;
  /** Records from the start without a hole, in any place. */
  readonly #size: number;
  #ended: Verdict | null = null;

  constructor(context: JudgeContext, writer: WriterEvidence, tree: MerkleTree) {
    this.#c = context;
    this.#w = writer;
    this.#tree = tree;
    this.#size = writer.leaves.runEnd(0, RECORD_SOURCES);
  }

  run(): JudgedWriter {
    const { leaves, id, role, node } = this.#w;
    const published = leaves.runEnd(0, SOURCES.archive | SOURCES.bus);
    const archived = leaves.runEnd(0, SOURCES.archive);
    if (this.#w.epochs.length === 0) {
      this.#add('MISSING', 'there is no epoch certificate of this writer', 0);
    }
    this.#judgeEnd();
    this.#judgeHoles();
    this.#judgeArchive();
    const witnessed = this.#c.cluster === null ? 0 : this.#judgeWitnessed(this.#c.cluster);
    const sinceMs = witnessed < this.#size ? leaves.timeMsAt(witnessed) : undefined;
    const windowSeconds = sinceMs === undefined ? 0 : Math.max(0, this.#c.nowMs - sinceMs) / 1000;
    const verdict = worstOf(this.#c.evidence.findings.ofWriter(id).map((finding) => finding.verdict));
    return { writer: id, role, node, verdict, size: this.#size, witnessed, published, archived, windowSeconds };
  }

  /** Closed, recovered, living, or none of them. */
  #judgeEnd(): void {
    const { closeIndex } = this.#w;
    const found = this.#foundBy();
    if (found !== null) {
      this.#judgeRecovery(found);
      return;
    }
    if (closeIndex >= 0 && closeIndex === this.#w.leaves.size - 1) {
      return;
    }
    if (this.#size === 0 || this.#c.isLive(this.#w)) {
      return;
    }
    this.#ended = 'OPEN-ENDED';
    const last = this.#w.leaves.timeMsAt(this.#size - 1);
    const when = last === undefined ? '' : `, last written ${new Date(last).toISOString()}`;
    const detail = `open-ended from record ${this.#size}: the writer is not running and nothing closes or recovers its log${when}`;
    this.#add('OPEN-ENDED', detail, this.#size);
  }

  /** What the first control writer that found this journal says of it. */
  #foundBy(): FoundJournal | null {
    const found = this.#c.evidence.found.get(this.#w.id) ?? [];
    return found.reduce<FoundJournal | null>(
      (first, each) => (first === null || each.timeMs < first.timeMs ? each : first),
      null,
    );
  }

  #judgeRecovery(found: FoundJournal): void {
    const { size, root, state, control } = found;
    const own = this.#newestOwnHead();
    if (
      size <= this.#tree.size &&
      !this.#tree.root(size).equals(root) &&
      size > 0 &&
      !root.every((byte) => byte === 0)
    ) {
      const about = { writer: this.#w.id, index: Math.max(0, size - 1), place: found.place };
      const detail = `the control writer found this journal with another root at size ${size}`;
      this.#c.evidence.findings.add('ALTERED', detail, about);
    }
    for (const seen of this.#w.heads.values()) {
      if (seen.head.signerKind === SIGNER_KINDS.recovery && seen.signed === true && seen.head.size > size) {
        const about = { writer: this.#w.id, index: size, place: seen.place };
        this.#c.evidence.findings.add('ALTERED', 'a recovery signed more than its control writer found', about);
      }
    }
    const { journal, id } = this.#w;
    if (journal !== null && journal.torn !== null && state !== 'torn') {
      const detail = `the tail of the journal is cut; it was found ${state} when it was recovered`;
      this.#c.evidence.findings.add('ALTERED', detail, { writer: id, index: journal.size, place: journal.torn });
    }
    if (size < own) {
      this.#ended = 'MISSING';
      const detail = `recovered at ${size}, below a head of size ${own} that the writer itself signed`;
      this.#add('MISSING', detail, size);
      return;
    }
    const closed = this.#w.closeIndex >= 0 && this.#w.closeIndex === size - 1;
    if (closed && own === size) {
      return; // It ended in order and said so itself; its files were only still there.
    }
    this.#ended = 'RECOVERED';
    const rest =
      own < size ? `records ${own} to ${size - 1} rest on the disk of its node` : 'all of it was published before';
    const detail = `recovered at ${size} by control writer ${control.slice(0, 8)}; ${rest}`;
    this.#add('RECOVERED', detail, size);
  }

  #newestOwnHead(): number {
    let size = 0;
    for (const { head, signed } of this.#w.heads.values()) {
      if (signed === true && head.signerKind === SIGNER_KINDS.writer) {
        size = Math.max(size, head.size);
      }
    }
    return size;
  }

  /** Everything below the newest head must be there, and so must what lies before a record that is. */
  #judgeHoles(): void {
    const { leaves, id } = this.#w;
    const { gaps, pruned } = this.#c.evidence;
    // A registration is the proof that record 0 was there.
    const end = Math.max(this.#w.headSize, this.#recordEnd(), this.#w.registeredAt === null ? 0 : 1);
    for (const hole of leaves.holes(0, end, RECORD_SOURCES)) {
      const last = hole.first + hole.count - 1;
      if (covers([...(pruned.get(id) ?? []), ...this.#w.damaged], hole)) {
        if (covers(pruned.get(id) ?? [], hole)) {
          this.#add('PRUNED', `records ${hole.first} to ${last} were removed, as the log declares`, hole.first);
        }
      } else if (covers([...(gaps.get(id) ?? []), ...this.#w.damaged], hole)) {
        continue;
      } else if (this.#mayFollow(hole.first)) {
        const detail = `a head of size ${end} is newer than this copy of the records`;
        this.#add('PENDING', detail, hole.first);
      } else {
        this.#add('MISSING', `records ${hole.first} to ${last} are not there`, hole.first);
      }
    }
    for (const gap of gaps.get(id) ?? []) {
      const detail = `records ${gap.first} to ${gap.first + gap.count - 1} are declared as missing`;
      this.#add('GAP', detail, gap.first);
    }
  }

  #recordEnd(): number {
    let end = this.#w.leaves.size;
    while (end > 0 && !this.#w.leaves.has(end - 1, RECORD_SOURCES)) {
      end--;
    }
    return end;
  }

  /**
   * A copy of files that are written meanwhile may have a head of what it has not. Only at the open end of a log, only
   * while the head is young; and that end is OPEN-ENDED anyway.
   */
  #mayFollow(first: number): boolean {
    if (this.#c.live || this.#ended !== 'OPEN-ENDED' || first < this.#recordEnd()) {
      return false;
    }
    for (const { head } of this.#w.heads.values()) {
      if (head.size > first && !this.#isYoung(Number(head.timeNs / 1_000_000n))) {
        return false;
      }
    }
    return true;
  }

  /** The archive is the log: what it says that it has must be there. */
  #judgeArchive(): void {
    if (!this.#c.hasArchive) {
      return;
    }
    const { leaves, id, archivedHead, watermark } = this.#w;
    const pruned = this.#c.evidence.pruned.get(id) ?? [];
    const claimed = Math.max(archivedHead, watermark);
    for (const hole of leaves.holes(0, claimed, SOURCES.archive)) {
      const isElsewhere = leaves.holes(hole.first, hole.first + hole.count, RECORD_SOURCES).length === 0;
      // A hole everywhere is a finding already; so is damage.
      if (isElsewhere && !covers([...pruned, ...this.#w.damaged], hole)) {
        const last = hole.first + hole.count - 1;
        // The watermark follows the archive within moments; a copy may have caught one before the other.
        const young = hole.first >= archivedHead && this.#isYoung(leaves.timeMsAt(hole.first) ?? 0);
        const verdict = young ? 'PENDING' : 'MISSING';
        this.#add(
          verdict,
          `the archive does not have records ${hole.first} to ${last} that it acknowledged`,
          hole.first,
        );
      }
    }
  }

  /** Records under a head that a witness saw. */
  #judgeWitnessed(cluster: ClusterLogView): number {
    const { registeredAt, leaves, createdMs } = this.#w;
    const cosignedSize = cluster.cosigned?.size ?? 0;
    if (registeredAt === null) {
      const young = this.#isYoung(createdMs);
      this.#add(young ? 'PENDING' : 'UNREGISTERED', 'the cluster log has no epoch certificate of this writer', 0);
      return 0;
    }
    let witnessed = 0;
    let sequenced = 0;
    for (const { head, clusterIndex, signed } of this.#w.heads.values()) {
      if (clusterIndex !== null && signed !== false) {
        sequenced = Math.max(sequenced, head.size);
        witnessed = clusterIndex < cosignedSize ? Math.max(witnessed, head.size) : witnessed;
      }
    }
    if (witnessed < this.#size && this.#ended !== 'OPEN-ENDED') {
      const young = this.#isYoung(leaves.timeMsAt(witnessed) ?? createdMs);
      const range = `records ${witnessed} to ${this.#size - 1}`;
      const detail =
        sequenced > witnessed
          ? `${range} are under no cosigned checkpoint`
          : `${range} are under no head of the cluster log`;
      this.#add(young ? 'PENDING' : 'UNWITNESSED', detail, witnessed);
    }
    return witnessed;
  }

  #isYoung(timeMs: number): boolean {
    return this.#c.nowMs - timeMs < LIMITS.pendingYoungMs;
  }

  #add(verdict: Verdict, detail: string, index: number): void {
    this.#c.evidence.findings.add(verdict, detail, { writer: this.#w.id, index });
  }
}

/** Whether the ranges together cover all of `range`. */
export function covers(ranges: readonly Range[], range: Range): boolean {
  let at = range.first;
  const end = range.first + range.count;
  while (at < end) {
    const next = ranges.find(({ first, count }) => first <= at && at < first + count);
    if (next === undefined) {
      return false;
    }
    at = next.first + next.count;
  }
  return true;
}

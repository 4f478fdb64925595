import type { Clock } from '../../core/kernel/clock.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import type { MerkleTree } from '../../core/ledger/merkle.ts';
import { type ArchiveView, readArchive } from './archive-evidence.ts';
import { type BusView, readBus } from './bus-evidence.ts';
import { type ClusterLogView, readClusterLog } from './cluster-log.ts';
import { type Checked, Evidence } from './evidence.ts';
import { readJournals } from './journal-evidence.ts';
import { type JudgedWriter, judgeWriter } from './judge-writer.ts';
import { verifyRows } from './row-evidence.ts';
import { type EvidenceSources, fileOf } from './sources.ts';
import { settleWriter } from './settle-writer.ts';
import { exitOf, type Finding, type Verdict, VERDICTS, worstOf } from './verdict.ts';
import type { WriterEvidence } from './writer-evidence.ts';

export interface VerifyOptions {
  readonly clock: Clock;
  readonly strict: boolean;
  /** Hex; null: every writer. */
  readonly writer: string | null;
  /** Records [from, to) of `writer`; null: all. */
  readonly range: { readonly from: number; readonly to: number } | null;
  /** Hex; null: none. */
  readonly session: string | null;
  /** `wanted` fails when ClickHouse does not answer, `auto` says that rows were not checked. */
  readonly rows: 'wanted' | 'auto' | 'off';
}

export interface WriterReport extends JudgedWriter {
  readonly findings: readonly Finding[];
}

export interface EvidenceReport {
  readonly ok: boolean;
  readonly exit: 0 | 7 | 8 | 9;
  readonly verdict: Verdict;
  /** Seconds since the oldest record of a living or ended writer that no witness has seen; 0 when all are witnessed. */
  readonly window: number;
  readonly live: boolean;
  readonly writers: readonly WriterReport[];
  readonly findings: readonly Finding[];
  /** Findings beyond what is kept. */
  readonly findingsDropped: number;
  readonly counts: Readonly<Partial<Record<Verdict, number>>>;
  readonly checked: Checked;
  /** What could not be checked, in words. */
  readonly unchecked: readonly string[];
  readonly cluster: {
    readonly size: number;
    readonly cosignedSize: number;
    readonly witnesses: readonly string[];
  } | null;
  readonly seconds: number;
  /** Records checked a second, each copy counted, without the time that ClickHouse took. */
  readonly copiesPerSecond: number;
}

/** The report with what was read, for the modes that go on from there. */
export interface Verified {
  readonly report: EvidenceReport;
  readonly evidence: Evidence;
  readonly cluster: ClusterLogView | null;
  readonly archive: ArchiveView | null;
  /** The tree of `options.writer`; null without it. */
  readonly tree: MerkleTree | null;
  readonly writer: WriterEvidence | null;
}

/**
 * Verifies everything that the sources have.
 *
 * Order of reading: cluster log, archive, bus, journals, and the archive again for what is new. A head of the cluster log
 * covers records that were durable before, so they are found in what is read after it; a journal frees a record only
 * when the archive has it, so the second look finds what the first could not know. Everything that a living deployment
 * adds meanwhile is younger than `pendingYoungMs`.
 */
export async function verifyEvidence(sources: EvidenceSources, options: VerifyOptions): Promise<Verified> {
  const startedMs = options.clock.monotonicMs();
  const evidence = new Evidence({
    clusterCas: sources.clusterCas,
    only: options.writer === null ? null : new Set([options.writer]),
    session: options.session,
  });
  const cluster = await readLog(evidence, sources, options.clock);
  const { archive: folder, journals, bus } = sources;
  const archive = folder === null ? null : readArchive(evidence, folder.directory, folder.prefix);
  const busView = bus === null ? null : readBus(evidence, bus.directory, bus.prefix, cluster, sources.keys);
  const { live } = sources;
  const found = journals === null ? 0 : await readJournals(evidence, { ...journals, live, clock: options.clock });
  if (live && folder !== null && archive !== null) {
    readArchive(evidence, folder.directory, folder.prefix, archive);
  }
  const nowMs = live ? Math.max(options.clock.nowMs(), evidence.newestMs) : evidence.newestMs;
  const context = judgeContext({ evidence, cluster, archive, sources, nowMs });
  const judged: JudgedWriter[] = [];
  let tree: MerkleTree | null = null;
  const states = [...evidence.writers.values()].sort((a, b) => a.createdMs - b.createdMs || (a.id < b.id ? -1 : 1));
  for (const writer of states.filter(({ id }) => options.writer === null || id === options.writer)) {
    // One tree at a time: it is the largest thing in memory.
    const own = settleWriter({ evidence, archive, resolve: (file) => fileOf(sources, file) }, writer);
    judged.push(judgeWriter(context, writer, own));
    tree = writer.id === options.writer ? own : tree;
  }
  for (const { writer, index, place } of evidence.wrongDigests) {
    if (!evidence.findings.alteredIn(place.file)) {
      const detail = 'archive object: its bytes do not give its digest';
      evidence.findings.add('ALTERED', detail, { writer, index, place });
    }
  }
  judgeClusterEnd(evidence, cluster, busView, nowMs, live);
  const unchecked = uncheckedParts({ sources, cluster, archive, busView, journals: found });
  const recordSeconds = (options.clock.monotonicMs() - startedMs) / 1000;
  if (options.rows !== 'off') {
    await verifyRows({ evidence, archive, sources, nowMs, unchecked }, options.rows === 'wanted');
  }
  const seconds = (options.clock.monotonicMs() - startedMs) / 1000;
  const report = makeReport({ evidence, cluster, judged, options, unchecked, seconds, recordSeconds, live });
  const writer = options.writer === null ? null : (evidence.writers.get(options.writer) ?? null);
  return { report, evidence, cluster, archive, tree, writer };
}

const LOG_ATTEMPTS = 3;
const LOG_RETRY_MS = 100;

/** A living sequencer removes partial tiles that larger ones replace: then the log is read again. */
async function readLog(evidence: Evidence, sources: EvidenceSources, clock: Clock): Promise<ClusterLogView | null> {
  const { clusterLog, keys, live, clusterCas } = sources;
  if (clusterLog === null) {
    return null;
  }
  for (let left = live ? LOG_ATTEMPTS : 1; left > 1; left--) {
    const trial = new Evidence({ ...evidence.options, clusterCas });
    readClusterLog(trial, clusterLog.directory, clusterLog.prefix, keys);
    if (trial.findings.all.length === 0) {
      break;
    }
    await new Promise<void>((resolve) => void clock.after(LOG_RETRY_MS, resolve));
  }
  return readClusterLog(evidence, clusterLog.directory, clusterLog.prefix, keys);
}

function judgeContext(parts: {
  evidence: Evidence;
  cluster: ClusterLogView | null;
  archive: ArchiveView | null;
  sources: EvidenceSources;
  nowMs: number;
}): Parameters<typeof judgeWriter>[0] {
  const { evidence, cluster, archive, sources, nowMs } = parts;
  return {
    evidence,
    cluster,
    hasArchive: archive !== null,
    live: sources.live,
    nowMs,
    isLive: (writer) => isLive(evidence, sources, writer, nowMs),
  };
}

/**
 * Whether the process of a writer runs. In a copy nothing runs: an end that nothing closes is an open end, however young
 * it is, because nobody can tell a writer that was killed a moment before the copy from one that was not.
 *
 * In a living deployment the writers of this node live when its gateway process does and they belong to its newest start:
 * they were certified no earlier than its newest control writer. Of another node nothing but its heads is known: those
 * of a living writer come at least each `unchangedHeadMs`.
 */
function isLive(evidence: Evidence, sources: EvidenceSources, writer: WriterEvidence, nowMs: number): boolean {
  if (!sources.live) {
    return false;
  }
  let newestControlMs = 0;
  for (const other of evidence.writers.values()) {
    if (other.role === 'control' && other.node === writer.node) {
      newestControlMs = Math.max(newestControlMs, other.createdMs);
    }
  }
  if (writer.createdMs < newestControlMs) {
    return false;
  }
  if (sources.livingNode === writer.node || writer.node === '') {
    return sources.livingNode !== null;
  }
  let newestHeadMs = 0;
  for (const { head } of writer.heads.values()) {
    newestHeadMs = Math.max(newestHeadMs, Number(head.timeNs / 1_000_000n));
  }
  const isThisNode = writer.node === thisNode(evidence, sources);
  return !isThisNode && nowMs - newestHeadMs < LIMITS.unchangedHeadMs + LIMITS.pendingYoungMs;
}

/** The node whose journals lie beside: its process is known to run or not. */
function thisNode(evidence: Evidence, sources: EvidenceSources): string | null {
  if (sources.livingNode !== null) {
    return sources.livingNode;
  }
  for (const writer of evidence.writers.values()) {
    if (writer.journal !== null) {
      return writer.node;
    }
  }
  return null;
}

/** A log that ends before a checkpoint that was published was cut; a copy may have caught the two at different moments. */
function judgeClusterEnd(
  evidence: Evidence,
  cluster: ClusterLogView | null,
  bus: BusView | null,
  nowMs: number,
  live: boolean,
): void {
  if (cluster === null || bus === null || live || bus.checkpointSize <= cluster.tree.size) {
    return;
  }
  let newestMs = 0;
  for (const writer of evidence.writers.values()) {
    for (const { head, clusterIndex } of writer.heads.values()) {
      newestMs = clusterIndex === null ? newestMs : Math.max(newestMs, Number(head.timeNs / 1_000_000n));
    }
  }
  const detail = `the cluster log has ${cluster.tree.size} entries, a checkpoint of size ${bus.checkpointSize} was published`;
  const young = nowMs - newestMs < LIMITS.pendingYoungMs;
  evidence.findings.add(young ? 'PENDING' : 'MISSING', detail, { index: cluster.tree.size });
}

function uncheckedParts(parts: {
  sources: EvidenceSources;
  cluster: ClusterLogView | null;
  archive: ArchiveView | null;
  busView: BusView | null;
  journals: number;
}): string[] {
  const { sources, cluster, archive, busView, journals } = parts;
  const unchecked: string[] = [];
  const add = (missing: boolean, what: string): void => void (missing && unchecked.push(what));
  add(journals === 0, 'journals: none found');
  add(busView === null, 'bus: no segments found');
  add(archive === null, 'archive: none found');
  add(cluster === null, 'registration and witnesses: no cluster log found');
  add(sources.clusterCas === null, 'node certificates: no CA (--ca)');
  add(cluster !== null && sources.keys.log === null, 'signature of checkpoints: no key of the log (--log-key)');
  add(cluster !== null && sources.keys.witnesses.length === 0, 'cosignatures: no key of a witness (--witness-key)');
  add(sources.keysFromEvidence, 'trust: CA and keys are those in the data directory itself (--ca, --log-key)');
  return unchecked;
}

function makeReport(parts: {
  evidence: Evidence;
  cluster: ClusterLogView | null;
  judged: readonly JudgedWriter[];
  options: VerifyOptions;
  unchecked: readonly string[];
  seconds: number;
  recordSeconds: number;
  live: boolean;
}): EvidenceReport {
  const { evidence, cluster, judged, options, unchecked, seconds, recordSeconds, live } = parts;
  if (evidence.checked.copies === 0) {
    evidence.findings.add('MISSING', 'nothing was checked: there is no evidence here');
  }
  for (const { writer, index } of evidence.shredded) {
    evidence.findings.add('SHREDDED', 'a key was destroyed, as this record says', { writer, index });
  }
  const findings = inScope(evidence.findings.all, options);
  const verdicts = findings.map(({ verdict }) => verdict);
  const exit = exitOf(verdicts, options.strict);
  const counts: Partial<Record<Verdict, number>> = {};
  for (const verdict of VERDICTS) {
    const count = findings.filter((finding) => finding.verdict === verdict).length;
    if (count > 0) {
      counts[verdict] = count;
    }
  }
  return {
    ok: exit === 0,
    exit,
    verdict: worstOf(verdicts),
    window: Math.round(Math.max(0, ...judged.map(({ windowSeconds }) => windowSeconds)) * 10) / 10,
    live,
    writers: judged.map((writer) => {
      const own = findings.filter((finding) => finding.writer === writer.writer);
      return { ...writer, verdict: worstOf(own.map(({ verdict }) => verdict)), findings: own };
    }),
    findings,
    findingsDropped: evidence.findings.dropped,
    counts,
    checked: evidence.checked,
    unchecked,
    cluster:
      cluster === null
        ? null
        : {
            size: cluster.tree.size,
            cosignedSize: cluster.cosigned?.size ?? 0,
            witnesses: (cluster.cosigned?.cosignatures ?? []).map(({ name }) => name),
          },
    seconds: Math.round(seconds * 1000) / 1000,
    copiesPerSecond: recordSeconds > 0 ? Math.round(evidence.checked.copies / recordSeconds) : 0,
  };
}

/** What is about other writers, or records outside the range, does not count; what is about no writer does. */
function inScope(findings: readonly Finding[], { writer: only, range }: VerifyOptions): Finding[] {
  return findings.filter(({ writer, index }) => {
    const ours = only === null || writer === null || writer === only;
    return ours && (range === null || writer === null || index === null || (index >= range.from && index < range.to));
  });
}

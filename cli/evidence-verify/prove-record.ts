import { leafHash } from '../../core/ledger/hash.ts';
import { verifyInclusion } from '../../core/ledger/merkle.ts';
import { inclusionProof } from '../../core/ledger/proof-nodes.ts';
import type { Verified } from './verify-evidence.ts';
import type { SeenHead } from './writer-evidence.ts';

export interface ProofStep {
  readonly ok: boolean;
  readonly text: string;
}

/** How far a record can be followed: record, writer log, cluster log, witness. */
export interface RecordProof {
  readonly position: string;
  /** True when every step up to a witness holds. */
  readonly proven: boolean;
  readonly steps: readonly ProofStep[];
}

/** Follows one record from its leaf up to a cosigned checkpoint, and checks each step by its proof. */
export function proveRecord({ writer, tree, cluster, report }: Verified, index: number): RecordProof {
  const id = report.writers[0]?.writer ?? writer?.id ?? '';
  const steps: ProofStep[] = [];
  const add = (ok: boolean, text: string): boolean => {
    steps.push({ ok, text });
    return ok;
  };
  const done = (): RecordProof => ({
    position: `${id}/${index}`,
    proven: steps.length === STEPS && steps.every(({ ok }) => ok),
    steps,
  });
  const leaf = writer?.leaves.hashAt(index);
  if (writer === null || tree === null || leaf === undefined || index >= tree.size) {
    add(false, `record ${index} is not in what was read`);
    return done();
  }
  const altered = report.findings.some(({ verdict, index: at }) => verdict === 'ALTERED' && at === index);
  add(!altered, `record ${index}: meta and sealed units are those of its leaf ${leaf.toString('hex')}`);
  const cosignedSize = cluster?.cosigned?.size ?? 0;
  const head = headOver([...writer.heads.values()], index, cosignedSize);
  if (!add(head !== null, head === null ? 'no head in the cluster log covers it' : headText(head)) || head === null) {
    return done();
  }
  const path = inclusionProof(index, head.head.size, tree.hashAt);
  const included = verifyInclusion(index, head.head.size, leaf, path, head.head.root);
  add(included, `inclusion in the writer's log: ${path.length} hashes lead to ${head.head.root.toString('hex')}`);
  const at = head.clusterIndex;
  const entry = at === null ? null : (cluster?.entries[at] ?? null);
  const checkpoint = cluster?.cosigned ?? cluster?.newest ?? null;
  if (at === null || entry === null || cluster === null || checkpoint === null || at >= checkpoint.size) {
    add(false, 'the head is under no checkpoint of the cluster log');
    return done();
  }
  const up = inclusionProof(at, checkpoint.size, cluster.tree.hashAt);
  const inLog = verifyInclusion(at, checkpoint.size, leafHash(entry), up, checkpoint.root);
  add(
    inLog,
    `inclusion in the cluster log: leaf ${at} of ${checkpoint.size}, ${up.length} hashes lead to ${checkpoint.root.toString('hex')}`,
  );
  const witnesses = checkpoint.cosignatures.map(
    ({ name, timeSeconds }) => `${name} at ${new Date(timeSeconds * 1000).toISOString()}`,
  );
  add(
    witnesses.length > 0,
    witnesses.length > 0
      ? `checkpoint cosigned by ${witnesses.join(', ')}`
      : 'no known witness cosigned the checkpoint',
  );
  return done();
}

const STEPS = 5;

/** The smallest head that covers the record, one under a cosigned checkpoint before others. */
function headOver(heads: readonly SeenHead[], index: number, cosignedSize: number): SeenHead | null {
  let best: SeenHead | null = null;
  const rank = (seen: SeenHead): number => (seen.clusterIndex !== null && seen.clusterIndex < cosignedSize ? 1 : 0);
  for (const seen of heads) {
    if (seen.head.size <= index || seen.signed !== true || seen.clusterIndex === null) {
      continue;
    }
    if (best === null || rank(seen) > rank(best) || (rank(seen) === rank(best) && seen.head.size < best.head.size)) {
      best = seen;
    }
  }
  return best;
}

function headText({ head }: SeenHead): string {
  const by = head.signerKind === 1 ? 'its writer' : `control writer ${head.signerWriterId.toString('hex')}`;
  return `head of size ${head.size}, signed by ${by} at ${new Date(Number(head.timeNs / 1_000_000n)).toISOString()}`;
}

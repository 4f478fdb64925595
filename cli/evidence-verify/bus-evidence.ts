import { TOPICS } from '../../core/bus/topics.ts';
import { ACK_TYPES, decodeAck } from '../../core/ledger/ack.ts';
import { decodeBatch } from '../../core/ledger/batch.ts';
import { decodeCheckpointValue } from '../../core/ledger/checkpoint.ts';
import { CLUSTER_LEAF_TYPES, decodeEpochEntry, decodeHeadsValue } from '../../core/ledger/cluster-leaf.ts';
import { leafHash, sha256 } from '../../core/ledger/hash.ts';
import { decodeHead } from '../../core/ledger/head.ts';
import { LEAF_SIZE } from '../../core/ledger/leaf.ts';
import { readU64 } from '../../core/kernel/bytes.ts';
import { type BusDamage, type BusPartition, busPartitions, type BusRecord, readPartition } from './bus-files.ts';
import { checkClusterEvent } from './check-event.ts';
import { recordProblem } from './check-record.ts';
import { type CheckpointKeys, takeCheckpoint } from './checkpoints.ts';
import { checkCheckpoint, type ClusterLogView } from './cluster-log.ts';
import { type Evidence, problemOf } from './evidence.ts';
import type { Place } from './findings.ts';
import { SOURCES } from './leaf-table.ts';

const KIND = 'bus segment';

export interface BusView {
  readonly partitions: number;
  /** The largest checkpoint that was published. */
  readonly checkpointSize: number;
  /** Messages of topics that carry no records are checked for their checksums only. */
  readonly messages: number;
}

interface Nearest {
  readonly writer: string | null;
  readonly index: number | null;
}

/** Reads the segments of a file bus. Null when there is none in `directory`. */
export function readBus(
  evidence: Evidence,
  directory: string,
  prefix: string,
  cluster: ClusterLogView | null,
  keys: CheckpointKeys,
): BusView | null {
  const partitions = busPartitions(directory);
  if (partitions.length === 0) {
    return null;
  }
  let messages = 0;
  let checkpointSize = 0;
  for (const partition of partitions) {
    const reader = new TopicReader(evidence, partition, cluster, keys);
    readPartition(directory, prefix, partition, {
      onRecord: (record) => {
        messages++;
        reader.take(record);
      },
      onDamage: (damage) => reader.damage(damage),
    });
    checkpointSize = Math.max(checkpointSize, reader.checkpointSize);
  }
  return { partitions: partitions.length, messages, checkpointSize };
}

/** What the messages of one partition say. `#last` is the record that was named last: the nearest one to damage. */
class TopicReader {
  readonly #evidence: Evidence;
  readonly #topic: string;
  readonly #cluster: ClusterLogView | null;
  readonly #keys: CheckpointKeys;
  #last: Nearest = { writer: null, index: null };
  checkpointSize = 0;

  constructor(evidence: Evidence, { topic }: BusPartition, cluster: ClusterLogView | null, keys: CheckpointKeys) {
    this.#evidence = evidence;
    this.#topic = topic;
    this.#cluster = cluster;
    this.#keys = keys;
  }

  take(record: BusRecord): void {
    const place = { kind: KIND, file: record.file, offset: record.valueAt };
    try {
      if (this.#topic === TOPICS.batches.name) {
        this.#evidence.takeBatch(record.value, { source: SOURCES.bus, ...place });
        this.#last = nearestIn(record.value) ?? this.#last;
      } else if (this.#topic === TOPICS.heads.name) {
        this.#head(record, place);
      } else if (this.#topic === TOPICS.checkpoints.name) {
        this.#checkpoint(record.value, place);
      } else if (this.#topic === TOPICS.acks.name) {
        const { type, writerId, index } = decodeAck(record.value);
        const id = writerId.toString('hex');
        if (type === ACK_TYPES.watermark && this.#evidence.wants(id)) {
          const writer = this.#evidence.writer(id);
          writer.watermark = Math.max(writer.watermark, index);
        }
      }
    } catch (error) {
      this.#evidence.findings.add('ALTERED', `message: ${problemOf(error)}`, { ...this.#last, place });
    }
  }

  damage({ file, offset, detail, value }: BusDamage): void {
    const place = { kind: KIND, file, offset };
    const verdict = detail.endsWith('not there') ? 'MISSING' : 'ALTERED';
    const nearest = (this.#topic === TOPICS.batches.name ? changedRecord(this.#evidence, value) : null) ?? this.#last;
    this.#evidence.findings.add(verdict, detail, { ...nearest, place });
  }

  #head({ value, offset }: BusRecord, place: Place): void {
    const known = this.#cluster?.inputs.get(offset);
    if (this.#cluster?.refused.has(offset) === true && known?.equals(sha256(value)) === true) {
      return; // Anybody may publish: what the sequencer refused is evidence of nothing.
    }
    const { type, body } = decodeHeadsValue(value);
    if (known !== undefined && !known.equals(sha256(value))) {
      const detail = `message ${offset} is not the one that the cluster log has a leaf of`;
      this.#evidence.findings.add('ALTERED', detail, { ...nearestInHeads(type, body), place });
      return;
    }
    if (type === CLUSTER_LEAF_TYPES.head) {
      this.#evidence.takeHead(body, place);
    } else if (type === CLUSTER_LEAF_TYPES.epoch) {
      const entry = decodeEpochEntry(body);
      checkClusterEvent(this.#evidence, entry.record, place, this.#evidence.takeEpoch(entry.epoch, place));
    } else {
      checkClusterEvent(this.#evidence, body, place, null);
    }
    this.#last = nearestInHeads(type, body);
  }

  #checkpoint(value: Buffer, place: Place): void {
    const { note } = decodeCheckpointValue(value);
    const checkpoint = takeCheckpoint(this.#evidence, Buffer.from(note, 'utf8'), place, this.#keys);
    // The cluster log was read before: a newer checkpoint than its own says nothing about what it had then.
    this.checkpointSize = Math.max(this.checkpointSize, checkpoint?.size ?? 0);
    if (checkpoint !== null && this.#cluster !== null && checkpoint.size <= this.#cluster.tree.size) {
      checkCheckpoint(this.#evidence, this.#cluster, checkpoint);
    }
  }
}

function nearestIn(batch: Buffer): Nearest | null {
  return batch.length < 34 ? null : { writer: batch.toString('hex', 6, 22), index: readU64(batch, 22) };
}

function nearestInHeads(type: number, body: Buffer): Nearest {
  if (type === CLUSTER_LEAF_TYPES.head) {
    const { writerId, size } = decodeHead(body);
    return { writer: writerId.toString('hex'), index: Math.max(0, size - 1) };
  }
  const record = type === CLUSTER_LEAF_TYPES.epoch ? decodeEpochEntry(body).record : body;
  return { writer: record.toString('hex', 2, 18), index: readU64(record, 18) };
}

/** Which record of a batch was changed, by its commits or by the leaf that other places have; else its first. */
function changedRecord(evidence: Evidence, value: Buffer): Nearest | null {
  try {
    const { writerId, first, records } = decodeBatch(value);
    const id = writerId.toString('hex');
    const known = evidence.writers.get(id);
    for (const [i, record] of records.entries()) {
      const index = first + i;
      const other = known?.leaves.hashAt(index);
      const differs = other !== undefined && !leafHash(record.subarray(0, LEAF_SIZE)).equals(other);
      if (differs || recordProblem(record, writerId, index) !== null) {
        return { writer: id, index };
      }
    }
    return { writer: id, index: first };
  } catch (error) {
    problemOf(error);
    const nearest = value.toString('latin1', 0, 3) === 'CHB' ? nearestIn(value) : null;
    return nearest !== null && nearest.index !== null && nearest.index >= 0 ? nearest : null;
  }
}

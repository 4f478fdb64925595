import { GatewayError } from '../../core/kernel/errors.ts';
import { readU64 } from '../../core/kernel/bytes.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import {
  CLUSTER_LEAF_TYPES,
  decodeEpochEntry,
  decodeHeadsValue,
  encodeClusterLeaf,
  encodeRefusedEntry,
} from '../../core/ledger/cluster-leaf.ts';
import { decodeEpoch, verifyEpochChain, WRITER_ROLES } from '../../core/ledger/epoch.ts';
import { sha256 } from '../../core/ledger/hash.ts';
import { decodeHead, SIGNER_KINDS, verifyHead } from '../../core/ledger/head.ts';
import type { Head } from '../../core/ledger/head.ts';
import { KINDS } from '../../core/ledger/leaf.ts';
import { decodeRecord } from '../../core/ledger/record.ts';
import type { RecordBody } from '../../core/ledger/record.ts';
import { Event } from '../../proto/gen/chaperone/evidence/v1/event.ts';

/** A registered writer, as the sequencer remembers it. JSON, hex. */
export interface RegisteredWriter {
  readonly publicKey: string;
  readonly role: number;
  readonly epochHash: string;
  /** Control writers: what they may recover. */
  readonly found: Readonly<Record<string, { readonly size: number; readonly root: string }>>;
  lastHead: { readonly size: number; readonly root: string; readonly timeNs: string } | null;
}

export type AdmissionState = Record<string, RegisteredWriter>;

const GLOBAL_KINDS: readonly number[] = [
  KINDS['policy.activated'],
  KINDS['config.activated'],
  KINDS['node.enrolled'],
  KINDS['approver.enrolled'],
  KINDS['people.changed'],
  KINDS['key.rotated'],
  KINDS['key.shredded'],
  KINDS['retention.pruned'],
  KINDS['hold.set'],
  KINDS['hold.released'],
];
const UNCHANGED_NS = BigInt(LIMITS.unchangedHeadMs) * 1_000_000n;
const REASON_CHARACTERS_MAX = 200;

/**
 * Decides what becomes of each value of `evidence.heads.v1`: its own leaf, a `refused` leaf with the reason, or none
 * (a head that did not change). Depends on the values and their order alone, never on a clock: a successor that reads
 * the same input makes the same leaves.
 */
export class Admission {
  readonly #clusterCas: readonly (string | Buffer)[];
  readonly #writers: Map<string, RegisteredWriter>;

  constructor(clusterCas: readonly (string | Buffer)[], state: AdmissionState = {}) {
    this.#clusterCas = clusterCas;
    this.#writers = new Map(Object.entries(state));
  }

  get state(): AdmissionState {
    return Object.fromEntries(this.#writers);
  }

  /** The leaf for the value at `offset`, or null. */
  leafOf(value: Buffer, offset: number): Buffer | null {
    let reason: string | null;
    let type: 1 | 2 | 3 = 1;
    let body = value;
    try {
      ({ type, body } = decodeHeadsValue(value));
      reason = this.#judge(type, body);
    } catch (error) {
      reason = malformedReason(error);
    }
    if (reason === UNCHANGED) {
      return null;
    }
    if (reason === null) {
      return encodeClusterLeaf({ type, inputOffset: offset, body });
    }
    const refused = encodeRefusedEntry({ reason: ascii(reason), inputHash: sha256(value) });
    return encodeClusterLeaf({ type: CLUSTER_LEAF_TYPES.refused, inputOffset: offset, body: refused });
  }

  /** Null when it is admitted, else why not. */
  #judge(type: 1 | 2 | 3, body: Buffer): string | null {
    switch (type) {
      case CLUSTER_LEAF_TYPES.epoch:
        return this.#epoch(body);
      case CLUSTER_LEAF_TYPES.head:
        return this.#head(body);
      default:
        return this.#event(body);
    }
  }

  #epoch(body: Buffer): string | null {
    const entry = decodeEpochEntry(body);
    const chain = verifyEpochChain(entry.epoch, this.#clusterCas);
    if (chain !== null) {
      return chain;
    }
    const epoch = decodeEpoch(entry.epoch);
    const record = decodeRecord(entry.record);
    const opening = Event.decode(record.meta).epoch;
    const { leaf } = record;
    if (leaf[1] !== KINDS['epoch.open'] || readU64(leaf, 18) !== 0 || !epoch.writerId.equals(leaf.subarray(2, 18))) {
      return 'leaf 0 is not the opening of this writer';
    }
    if (!commitHolds(record) || opening === undefined || !epoch.publicKey.equals(opening.publicKey)) {
      return 'leaf 0 does not name the certified key';
    }
    const hex = epoch.writerId.toString('hex');
    const epochHash = sha256(entry.epoch).toString('hex');
    const known = this.#writers.get(hex);
    if (known !== undefined && known.epochHash !== epochHash) {
      return 'another certificate for a registered writer';
    }
    const journals = epoch.role === WRITER_ROLES.control ? opening.journals : [];
    this.#writers.set(hex, {
      publicKey: epoch.publicKey.toString('hex'),
      role: epoch.role,
      epochHash,
      found: Object.fromEntries(
        journals.map(({ writerId, size, root }) => [
          writerId.toString('hex'),
          { size: Number(size), root: root.toString('hex') },
        ]),
      ),
      lastHead: known?.lastHead ?? null,
    });
    return null;
  }

  #head(body: Buffer): string | null {
    const head = decodeHead(body);
    const writerHex = head.writerId.toString('hex');
    const writer = this.#writers.get(writerHex);
    const signer = this.#writers.get(head.signerWriterId.toString('hex'));
    if (writer === undefined || signer === undefined) {
      return 'head of a writer that is not registered';
    }
    if (head.signerKind === SIGNER_KINDS.recovery && !mayRecover(signer, head)) {
      return 'recovered head is not in the list of its control writer';
    }
    if (!verifyHead(body, Buffer.from(signer.publicKey, 'hex'))) {
      return 'signature of the head';
    }
    const root = head.root.toString('hex');
    const last = writer.lastHead;
    const unchanged = last !== null && last.size === head.size && last.root === root;
    if (unchanged && head.timeNs - BigInt(last.timeNs) < UNCHANGED_NS) {
      return UNCHANGED;
    }
    // A smaller or a different head is admitted too: signed, it is the proof of a fork.
    writer.lastHead = { size: head.size, root, timeNs: String(head.timeNs) };
    return null;
  }

  #event(body: Buffer): string | null {
    const record = decodeRecord(body);
    if (!this.#writers.has(record.leaf.toString('hex', 2, 18))) {
      return 'event of a writer that is not registered';
    }
    if (record.units.length > 0 || !GLOBAL_KINDS.includes(record.leaf[1] as number)) {
      return 'not a global event';
    }
    return commitHolds(record) ? null : 'meta is not the one of the leaf';
  }
}

const UNCHANGED = 'unchanged';

function mayRecover(signer: RegisteredWriter, head: Head): boolean {
  const tail = signer.found[head.writerId.toString('hex')];
  if (signer.role !== WRITER_ROLES.control || tail === undefined || head.size > tail.size) {
    return false;
  }
  return head.size < tail.size || head.root.toString('hex') === tail.root;
}

function commitHolds({ leaf, salt, meta }: RecordBody): boolean {
  return sha256(salt, meta).compare(leaf, 171, 203) === 0;
}

function malformedReason(error: unknown): string {
  if (error instanceof GatewayError) {
    return error.message;
  }
  if (error instanceof Error && error.name !== 'InvariantError') {
    return 'malformed';
  }
  throw error;
}

function ascii(reason: string): string {
  return reason.replace(/[^\x20-\x7e]/g, '?').slice(0, REASON_CHARACTERS_MAX);
}

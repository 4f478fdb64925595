import { ZERO16, ZERO32 } from '../../kernel/bytes.ts';
import { decodeEpoch, type WriterRole } from '../../ledger/epoch.ts';
import { KINDS } from '../../ledger/leaf.ts';
import { Event } from '../../../proto/gen/chaperone/evidence/v1/event.ts';
import type { RecordInput } from './evidence-writer.ts';

/** What `epoch.open` says beyond the key itself. */
export interface EpochDetails {
  readonly node: string;
  readonly configDigest: Buffer;
  readonly binaryDigest: Buffer;
  readonly bundleDigest: Buffer;
  /** Control writer only: the journals that this start found. */
  readonly journals?: readonly {
    readonly writerId: Buffer;
    readonly size: number;
    readonly root: Buffer;
    readonly state: 'clean' | 'crash' | 'torn';
  }[];
}

export interface Gap {
  readonly code: string;
  /** Index of the first record that is missing; with `count` 0 nothing is, and it only marks a place in the log. */
  readonly first: number;
  readonly count: number;
  /** Facts without PHI. */
  readonly attributes: Readonly<Record<string, string>>;
}

export function epochOpen(role: WriterRole, details: EpochDetails, certificate: Buffer): RecordInput {
  const epoch = decodeEpoch(certificate);
  return systemRecord('epoch.open', {
    configDigest: details.configDigest,
    epoch: {
      role,
      node: details.node,
      publicKey: epoch.publicKey,
      nodeCertificate: epoch.nodeCertificate,
      nodeSignature: epoch.signature,
      configDigest: details.configDigest,
      binaryDigest: details.binaryDigest,
      bundleDigest: details.bundleDigest,
      journals: (details.journals ?? []).map((journal) => ({ ...journal, size: BigInt(journal.size) })),
    },
  });
}

export function epochClose(): RecordInput {
  return systemRecord('epoch.close', {});
}

/** `gap.declared`: says in the log itself that, and where, something is missing or was refused. */
export function gapDeclared(gap: Gap): RecordInput {
  const { code, attributes } = gap;
  return systemRecord('gap.declared', {
    note: { code, text: '', first: BigInt(gap.first), count: BigInt(gap.count), digest: Buffer.alloc(0), attributes },
  });
}

function systemRecord(kind: 'epoch.open' | 'epoch.close' | 'gap.declared', event: Partial<Event>): RecordInput {
  return {
    kind: KINDS[kind],
    sessionId: ZERO16,
    strandSeq: 0,
    strandPrevious: ZERO32,
    tenantTag: ZERO16,
    bundleDigest: ZERO32,
    decision: 0,
    obligations: 0,
    approvalLeafHash: ZERO32,
    meta: Event.encode({ ...Event.decode(Buffer.alloc(0)), ...event }).finish(),
    units: [],
  };
}

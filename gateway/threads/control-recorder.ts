import { ZERO16, ZERO32 } from '../../core/kernel/bytes.ts';
import { DECISIONS, KINDS, tenantTag, type KindName } from '../../core/ledger/leaf.ts';
import type { EvidenceWriter } from '../../core/runtime/writer/evidence-writer.ts';
import { Event, Subject } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import type { ApprovalRecord, ApprovalRecorder, RecordReceipt } from '../approvals/record-queue.ts';

export interface ControlRecorderOptions {
  readonly writer: EvidenceWriter;
  readonly tenant: string;
  readonly configDigest: Buffer;
  readonly bundleDigest: Buffer;
}

/** Records of the control writer: activations, approvals, reviews. None of them carries a sealed unit. */
export class ControlRecorder implements ApprovalRecorder {
  readonly #o: ControlRecorderOptions;
  readonly #tenantTag: Buffer;

  constructor(options: ControlRecorderOptions) {
    this.#o = options;
    this.#tenantTag = tenantTag(options.tenant);
  }

  /** Resolves when the record is durable. */
  record(record: ApprovalRecord): Promise<RecordReceipt> {
    const { connection, requester, approvals, note, script } = record;
    const sessionId = record.sessionId === '' ? ZERO16 : Buffer.from(record.sessionId, 'hex');
    const subject =
      requester === null
        ? undefined
        : Subject.fromPartial({ principalSub: requester.principal, person: requester.person ?? '' });
    return this.#append(record.kind, sessionId, { subject, connection, approvals: [...approvals], note, script });
  }

  /** `config.activated`, `policy.activated` and their like. */
  note(
    kind: KindName,
    code: string,
    digest: Buffer,
    attributes: Readonly<Record<string, string>>,
  ): Promise<RecordReceipt> {
    return this.#append(kind, ZERO16, {
      note: { code, text: '', first: 0n, count: 0n, digest, attributes: { ...attributes } },
    });
  }

  #append(kind: KindName, sessionId: Buffer, parts: Partial<Event>): Promise<RecordReceipt> {
    const { writer, configDigest, bundleDigest } = this.#o;
    const meta = Event.encode(Event.fromPartial({ configDigest, ...parts })).finish();
    const appended = writer.append({
      kind: KINDS[kind],
      sessionId,
      // Records of the control writer about a session are not part of its strands: they are found by its id.
      strandSeq: 0,
      strandPrevious: ZERO32,
      tenantTag: this.#tenantTag,
      bundleDigest,
      decision: DECISIONS.none,
      obligations: 0,
      approvalLeafHash: ZERO32,
      meta,
      units: [],
    });
    return new Promise((resolve, reject) => {
      writer.whenDurable(appended.index, (failure) => {
        if (failure === null) {
          resolve({ writer: writer.writerIdHex, index: appended.index, leafHash: appended.leafHash });
        } else {
          reject(failure);
        }
      });
    });
  }
}

import { assert } from '../../core/kernel/assert.ts';
import { ZERO16, ZERO32 } from '../../core/kernel/bytes.ts';
import type { Clock } from '../../core/kernel/clock.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import { DECISIONS, KINDS, LEAF_SIZE, OBLIGATIONS, tenantTag } from '../../core/ledger/leaf.ts';
import type { Appended, EvidenceWriter, RecordUnit } from '../../core/runtime/writer/evidence-writer.ts';
import { Event, type Approval, type Exchange, type MaskSummary } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import { OriginalsUnit, PayloadUnit, type Original } from '../../proto/gen/chaperone/evidence/v1/unit.ts';
import type { OriginalSpan } from '../contract/mask.ts';
import type { RequestCopy, ResponseCopy } from '../contract/record-copy.ts';
import type { Operation } from '../contract/operation.ts';
import type { Subject } from '../contract/subject.ts';
import type { Decision } from '../contract/verdict.ts';
import { splitRequest } from './split-request.ts';
import { type SessionSealers, Strand } from './strand.ts';
import { subjectMessage } from './subject-meta.ts';

export type OperationOutcome = 'allow' | 'deny' | 'approve';

export interface OperationRecord {
  readonly operation: Operation;
  readonly decision: Decision;
  readonly outcome: OperationOutcome;
  /** Error code of docs/errors.md when refused or held, else empty. */
  readonly code: string;
  /** Keyed digest of the exact target. */
  readonly targetDigest: Buffer;
  readonly fastPath: boolean;
  /** Null on the fast path: the request then rides in the unit of the response. */
  readonly copy: RequestCopy | null;
  readonly approval: { readonly leafHash: Buffer; readonly view: Approval } | null;
  readonly approvalView: Approval | null;
  readonly planDigest: Buffer;
  readonly traceId: string;
}

export interface ResponseRecord {
  readonly operationIndex: number;
  readonly final: boolean;
  readonly aborted: boolean;
  /** Null when nothing of a body or head goes to the agent with this record. */
  readonly copy: ResponseCopy | null;
  /** The request of a fast-path read, in the first unit only. */
  readonly fastRequest: RequestCopy | null;
  readonly exchange: Exchange;
  readonly masks: MaskSummary | undefined;
  readonly planDigest: Buffer;
  readonly unit: { readonly firstByte: number; readonly byteCount: number; readonly part: number };
}

export interface RecorderOptions {
  readonly writer: EvidenceWriter;
  readonly sealers: (sessionId: Buffer) => SessionSealers;
  readonly clock: Clock;
  /** Told the size of what was appended for a subject. */
  readonly charge?: (subject: Subject, bytes: number) => void;
  readonly tenant: string;
  readonly configDigest: Buffer;
  readonly bundleDigest: Buffer;
}

interface Leafing {
  readonly kind: number;
  readonly decision: 0 | 1 | 2 | 3;
  readonly obligations: number;
  readonly approvalLeafHash: Buffer;
}

const ZERO_BYTES = Buffer.alloc(0);
const NO_DECISION = { decision: DECISIONS.none, obligations: 0, approvalLeafHash: ZERO32 } as const;

/**
 * Decides what becomes which record, which unit and which seal. Appending only queues: the caller waits for
 * `writer.whenDurable(index)` before a byte goes out (promise P1).
 *
 * Originals go nowhere but into sealed units; `meta` gets names of classes, kinds and paths only.
 */
export class Recorder {
  readonly writer: EvidenceWriter;
  readonly #options: RecorderOptions;
  readonly #tenantTag: Buffer;
  readonly #bundleDigest: Buffer;

  constructor(options: RecorderOptions) {
    this.writer = options.writer;
    this.#options = options;
    this.#tenantTag = tenantTag(options.tenant);
    this.#bundleDigest = options.bundleDigest;
  }

  /** Begins a strand with `session.open`, which carries the token's claims in its originals. */
  openStrand(sessionId: Buffer, subject: Subject, connection: string, reviewed: boolean): Strand {
    const strand = new Strand(
      sessionId,
      subject,
      connection,
      this.#staticMeta(subject, reviewed, connection),
      reviewed,
      this.#options.sealers(sessionId),
      this.#options.clock.nowMs(),
    );
    const claims = OriginalsUnit.encode({ request: [], response: [], tokenClaims: subject.tokenClaims }).finish();
    const units = [this.#seal(strand, 2, 1, true, ZERO32, claims)];
    this.#append(strand, { kind: KINDS['session.open'], ...NO_DECISION }, strand.staticMeta, units);
    strand.tokenDigest = subject.tokenDigest.toString('latin1');
    return strand;
  }

  closeStrand(strand: Strand, reason: string): Appended | null {
    if (strand.closed) {
      return null;
    }
    strand.closed = true;
    const meta = concat(strand.staticMeta, Event.encode(event({ note: note('session.close', reason) })).finish());
    const appended = this.#append(strand, { kind: KINDS['session.close'], ...NO_DECISION }, meta, []);
    strand.sealers.payload.close();
    strand.sealers.originals.close();
    return appended;
  }

  /** One record for request and decision, after `request.part` records for a request that is too long for it. `reviewed`: whether the script of this subject's run was, at the decision. */
  operation(strand: Strand, record: OperationRecord, subject: Subject, reviewed: boolean): Appended {
    const { decision, operation } = record;
    const tokenDigest = subject.tokenDigest.toString('latin1');
    const newToken = tokenDigest !== strand.tokenDigest;
    if (newToken || reviewed !== strand.reviewed) {
      strand.staticMeta = this.#staticMeta(subject, reviewed, strand.connection);
      strand.reviewed = reviewed;
    }
    const whole = strand.firstUseOf(decision.inputDigest);
    const meta = concat(strand.staticMeta, Event.encode(operationEvent(record, whole)).finish());
    const units: RecordUnit[] = [];
    // A part whose operation does not follow was never forwarded: the operation's own record is what is waited for.
    const copy = record.copy === null ? null : this.#longRequest(strand, record.copy);
    if (copy !== null) {
      const payload = PayloadUnit.encode({ request: copy.request, response: undefined }).finish();
      units.push(this.#seal(strand, 1, 1, true, record.planDigest, payload));
    }
    if (newToken || (copy !== null && copy.originals.length > 0)) {
      const originals = OriginalsUnit.encode({
        request: [...(copy?.originals ?? [])],
        response: [],
        tokenClaims: newToken ? subject.tokenClaims : '',
      }).finish();
      units.push(this.#seal(strand, 2, 1, true, record.planDigest, originals));
      strand.tokenDigest = tokenDigest;
    }
    return this.#append(
      strand,
      {
        kind: KINDS['operation'],
        decision: DECISIONS[record.outcome],
        obligations: obligationBits(record, operation.safe),
        approvalLeafHash: record.approval?.leafHash ?? ZERO32,
      },
      meta,
      units,
    );
  }

  /** A unit of a request that is longer than a record: appended before its `operation`. */
  #requestPart(
    strand: Strand,
    operationIndex: number,
    copy: RequestCopy,
    unit: ResponseRecord['unit'],
    final: boolean,
  ): Appended {
    const meta = concat(
      strand.staticMeta,
      Event.encode(event({ operationIndex: BigInt(operationIndex), unit: unitRange(unit) })).finish(),
    );
    const units = [
      this.#seal(
        strand,
        1,
        1,
        final,
        ZERO32,
        PayloadUnit.encode({ request: copy.request, response: undefined }).finish(),
      ),
    ];
    if (copy.originals.length > 0) {
      const originals = { request: [...copy.originals], response: [], tokenClaims: '' };
      units.push(this.#seal(strand, 2, 1, final, ZERO32, OriginalsUnit.encode(originals).finish()));
    }
    return this.#append(
      strand,
      { kind: KINDS['request.part'], ...NO_DECISION, obligations: final ? OBLIGATIONS.final_unit : 0 },
      meta,
      units,
    );
  }

  /** `response.part` for each unit but the last, `response` for the last. */
  response(strand: Strand, record: ResponseRecord): Appended {
    const meta = concat(
      strand.staticMeta,
      Event.encode(
        event({
          exchange: record.exchange,
          masks: record.masks,
          operationIndex: BigInt(record.operationIndex),
          unit: unitRange(record.unit),
          planDigest: record.planDigest,
        }),
      ).finish(),
    );
    const units: RecordUnit[] = [];
    const direction = record.fastRequest === null ? 2 : 3;
    if (record.copy !== null || record.fastRequest !== null) {
      const payload = PayloadUnit.encode({
        request: record.fastRequest?.request,
        response: record.copy?.response,
      }).finish();
      units.push(this.#seal(strand, 1, direction, record.final, record.planDigest, payload));
      const request = record.fastRequest?.originals ?? [];
      const response = record.copy?.originals ?? [];
      if (request.length > 0 || response.length > 0) {
        const originals = OriginalsUnit.encode({
          request: [...request],
          response: [...response],
          tokenClaims: '',
        }).finish();
        units.push(this.#seal(strand, 2, direction, record.final, record.planDigest, originals));
      }
    }
    const obligations = (record.final ? OBLIGATIONS.final_unit : 0) | (record.aborted ? OBLIGATIONS.aborted : 0);
    const kind = record.final ? KINDS['response'] : KINDS['response.part'];
    return this.#append(strand, { kind, ...NO_DECISION, obligations }, meta, units);
  }

  /** What the kernel took, written after the fact; nobody waits for it. */
  delivery(strand: Strand, operationIndex: number, exchange: Exchange): Appended {
    const meta = concat(
      strand.staticMeta,
      Event.encode(event({ exchange, operationIndex: BigInt(operationIndex) })).finish(),
    );
    const obligations = exchange.complete ? 0 : OBLIGATIONS.aborted;
    return this.#append(strand, { kind: KINDS['delivery'], ...NO_DECISION, obligations }, meta, []);
  }

  /** `schema.unknown`: which paths the catalogue did not know. Names of members only. */
  schemaUnknown(strand: Strand, operationIndex: number, routeId: string, paths: readonly string[]): Appended {
    const meta = concat(
      strand.staticMeta,
      Event.encode(
        event({
          operationIndex: BigInt(operationIndex),
          masks: { profile: '', counts: [], unknownPaths: [...paths], withheld: BigInt(paths.length) },
          note: note('schema.unknown', routeId),
        }),
      ).finish(),
    );
    return this.#append(strand, { kind: KINDS['schema.unknown'], ...NO_DECISION }, meta, []);
  }

  /** A record without a session: `auth.refused`, `wire.refused` with a count. */
  sessionless(
    kind: 'auth.refused' | 'wire.refused',
    code: string,
    attributes: Readonly<Record<string, string>>,
    count: number,
  ): Appended {
    const meta = Event.encode(
      event({
        configDigest: this.#options.configDigest,
        note: { ...note(kind, code), count: BigInt(count), attributes: { ...attributes } },
      }),
    ).finish();
    return this.writer.append({
      kind: KINDS[kind],
      sessionId: ZERO16,
      strandSeq: 0,
      strandPrevious: ZERO32,
      tenantTag: this.#tenantTag,
      bundleDigest: this.#bundleDigest,
      decision: DECISIONS.deny,
      obligations: 0,
      approvalLeafHash: ZERO32,
      meta,
      units: [],
    });
  }

  #staticMeta(subject: Subject, reviewed: boolean, connection: string): Uint8Array {
    const { configDigest } = this.#options;
    return Event.encode(event({ subject: subjectMessage(subject, reviewed), connection, configDigest })).finish();
  }

  /** Appends what does not fit the operation's record; returns what is left for it. */
  #longRequest(strand: Strand, copy: RequestCopy): RequestCopy {
    const pieces = splitRequest(copy);
    const operationIndex = this.writer.nextIndex + pieces.length - 1;
    pieces.slice(0, -1).forEach((piece, part) => {
      const { body, bodyOffset } = piece.request;
      const unit = { firstByte: Number(bodyOffset), byteCount: body.length, part };
      this.#requestPart(strand, operationIndex, piece, unit, false);
    });
    return pieces.at(-1) ?? copy;
  }

  #append(strand: Strand, leafing: Leafing, meta: Uint8Array, units: readonly RecordUnit[]): Appended {
    if (meta.length > LIMITS.metaBytesMax) {
      throw new GatewayError('recorder_unavailable', 'the description of a record is over its limit');
    }
    const appended = this.writer.append({
      kind: leafing.kind,
      sessionId: strand.sessionId,
      strandSeq: strand.seq,
      strandPrevious: strand.previous,
      tenantTag: this.#tenantTag,
      bundleDigest: this.#bundleDigest,
      decision: leafing.decision,
      obligations: leafing.obligations,
      approvalLeafHash: leafing.approvalLeafHash,
      meta,
      units,
    });
    strand.advance(appended.leafHash);
    this.#options.charge?.(
      strand.subject,
      meta.length + units.reduce((sum, unit) => sum + unit.bytes.length, LEAF_SIZE),
    );
    strand.lastUsedMs = this.#options.clock.nowMs();
    return appended;
  }

  #seal(
    strand: Strand,
    unitClass: 1 | 2,
    direction: 1 | 2 | 3,
    final: boolean,
    planDigest: Buffer,
    plaintext: Uint8Array,
  ): RecordUnit {
    assert(!strand.closed, 'a closed strand seals nothing');
    const sealer = unitClass === 1 ? strand.sealers.payload : strand.sealers.originals;
    return sealer.seal({ index: this.writer.nextIndex, direction, final, planDigest, plaintext });
  }
}

/** Turns spans with offsets in the whole stream into originals of one unit whose body begins at `bodyOffset`. */
export function originalsOf(spans: readonly OriginalSpan[], bodyOffset: number): Original[] {
  return spans.map((span) => ({
    offset: span.offset - bodyOffset,
    size: span.size,
    value: span.value,
    class: span.class,
    kind: span.kind,
    path: span.path,
  }));
}

function operationEvent(record: OperationRecord, whole: boolean): Event {
  const { operation, decision } = record;
  const { verdict } = decision;
  return event({
    operation: {
      class: operation.class,
      verb: operation.verb,
      text: operation.text,
      targetDigest: record.targetDigest,
      fingerprint: operation.fingerprint,
      objects: operation.objects.map((object) => ({ type: object.type, id: object.id, labels: [...object.labels] })),
      classes: [...operation.classes],
      kinds: [...operation.kinds],
      egressKinds: [...operation.egress.kinds],
      destination: operation.egress.destination,
      unresolved: operation.unresolved,
      readFastPath: record.fastPath,
    },
    decision: {
      effect: record.outcome,
      code: record.code,
      reasons: verdict.reasons.map((reason) => ({ ...reason })),
      inputDigest: decision.inputDigest,
      input: whole ? decision.input : ZERO_BYTES,
      verdict: decision.verdictJson,
      bundleDigest: decision.bundleDigest,
      catalogueDigest: decision.catalogueDigest,
      engineDigest: decision.engineDigest,
      planDigest: record.planDigest,
      cached: decision.cached,
      evidence: verdict.evidence,
      bundleRevision: BigInt(decision.bundleRevision),
    },
    approvals:
      record.approval !== null ? [record.approval.view] : record.approvalView !== null ? [record.approvalView] : [],
    traceId: record.traceId,
    planDigest: record.planDigest,
  });
}

function obligationBits(record: OperationRecord, safe: boolean): number {
  const { verdict, cached } = record.decision;
  let bits = 0;
  if (verdict.obligations.includes('record_full')) bits |= OBLIGATIONS.record_full;
  if (verdict.obligations.includes('terminate_session')) bits |= OBLIGATIONS.terminate_session;
  if (verdict.evidence === 'replicated') bits |= OBLIGATIONS.replicated;
  if (cached) bits |= OBLIGATIONS.cached_decision;
  if (record.fastPath && safe) bits |= OBLIGATIONS.read_fast_path | OBLIGATIONS.payload_in_response;
  return bits >>> 0;
}

function unitRange(unit: ResponseRecord['unit']): { firstByte: bigint; byteCount: bigint; part: number } {
  return { firstByte: BigInt(unit.firstByte), byteCount: BigInt(unit.byteCount), part: unit.part };
}

function note(code: string, text: string): NonNullable<Event['note']> {
  return { code, text, first: 0n, count: 0n, digest: ZERO_BYTES, attributes: {} };
}

function event(parts: Partial<Event>): Event {
  return {
    subject: undefined,
    connection: '',
    operation: undefined,
    decision: undefined,
    exchange: undefined,
    masks: undefined,
    approvals: [],
    epoch: undefined,
    note: undefined,
    traceId: '',
    configDigest: ZERO_BYTES,
    operationIndex: undefined,
    script: undefined,
    unit: undefined,
    ...parts,
  };
}

function concat(head: Uint8Array, tail: Uint8Array): Uint8Array {
  const out = new Uint8Array(head.length + tail.length);
  out.set(head, 0);
  out.set(tail, head.length);
  return out;
}

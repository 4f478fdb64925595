import { assert } from '../../core/kernel/assert.ts';
import { ZERO32 } from '../../core/kernel/bytes.ts';
import type { Clock } from '../../core/kernel/clock.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import type { Exchange, MaskSummary } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import type { Header } from '../../proto/gen/chaperone/evidence/v1/unit.ts';
import type { BodyMasker, MaskedChunk, MaskPlan, OriginalSpan } from '../contract/mask.ts';
import type { VerdictLimits } from '../contract/verdict.ts';
import type { RequestCopy } from '../contract/record-copy.ts';
import { originalsOf, type Recorder } from '../recorder/recorder.ts';
import type { Strand } from '../recorder/strand.ts';
import type { HeldBytes, Holder } from './held-bytes.ts';

/** Sealed originals of one unit stay well under the 192 KiB of a record. */
const ORIGINALS_PER_UNIT_MAX = 96 * 1024;

/** Where released bytes go, and how the upstream is held back. The lane implements it over one exchange. */
export interface ReleaseSink {
  /** The first release: status and headers, with the body when it is complete. `bodySize` -1 = not known yet. */
  head(bodySize: number): void;
  /** False: the agent is slow; `ResponseRelease.drained` follows. */
  write(bytes: Buffer): boolean;
  end(): void;
  /** Something went wrong after bytes were released: the agent must see a cut. */
  abort(): void;
  /** Something went wrong before any byte was released: a native error. */
  refuse(error: GatewayError): void;
  pauseUpstream(): void;
  resumeUpstream(): void;
  /** Drops the upstream exchange. */
  abortUpstream(): void;
}

export interface ReleaseOptions {
  readonly recorder: Recorder;
  readonly strand: Strand;
  readonly clock: Clock;
  readonly held: HeldBytes;
  readonly sink: ReleaseSink;
  readonly operationIndex: number;
  readonly plan: MaskPlan | null;
  /** Null when the response has no body. */
  readonly masker: BodyMasker | null;
  readonly status: number;
  readonly upstreamStatus: number;
  readonly headers: readonly Header[];
  readonly mediaType: string;
  /** -1 when unknown. Counts upstream bytes. */
  readonly contentLength: number;
  readonly fastRequest: RequestCopy | null;
  readonly limits: VerdictLimits;
  readonly routeId: string;
  readonly requestBytes: number;
  readonly startedMs: number;
  readonly upstreamUs: number;
  /** Calls back when a record has the durability that the verdict asks for. */
  readonly whenCommitted: (index: number, callback: (failure: Error | null) => void) => void;
  /** Rows, masked counts and end state, once. */
  readonly onFinished: (result: {
    readonly masks: MaskSummary | undefined;
    readonly released: number;
    readonly failure: GatewayError | null;
  }) => void;
}

/**
 * Releases one response: masks it as it streams, cuts it into units of at most 64 KiB, gives each unit a record, and
 * hands the bytes to the sink when the group commit that covers the record has returned. This is promise P1.
 *
 * Invariants: bytes reach `sink.write` only from `#onDurable` with no failure; units become durable, and so are
 * released, in the order of their records; after `#done` nothing is released any more.
 */
export class ResponseRelease implements Holder {
  readonly #o: ReleaseOptions;
  #pending: Buffer[] = [];
  #pendingSpans: OriginalSpan[] = [];
  #pendingBytes = 0;
  #pendingOriginals = 0;
  /** Position of the first pending byte in the masked body. */
  #pendingOffset = 0;
  #heldBytes = 0;
  #inFlight = 0;
  #part = 0;
  #released = 0;
  #headReleased = false;
  #finished = false;
  #done = false;
  #flushScheduled = false;
  #upstreamPaused = false;
  #agentSlow = false;
  #failure: GatewayError | null = null;

  constructor(options: ReleaseOptions) {
    this.#o = options;
  }

  get released(): number {
    return this.#released;
  }

  /** Takes upstream bytes; `chunk` is only valid during the call. */
  push(chunk: Buffer): void {
    if (this.#done || this.#finished) {
      return;
    }
    const { masker } = this.#o;
    if (masker === null) {
      this.fail(new GatewayError('upstream_malformed', 'a body where none may be'));
      return;
    }
    let masked: MaskedChunk;
    try {
      masked = masker.push(chunk);
    } catch (error) {
      this.fail(asGatewayError(error));
      return;
    }
    this.#take(masked);
    this.#checkLimits();
    this.#schedule();
    this.#holdBack();
  }

  finish(): void {
    if (this.#done || this.#finished) {
      return;
    }
    const { masker } = this.#o;
    if (masker !== null) {
      try {
        this.#take(masker.finish());
      } catch (error) {
        this.fail(asGatewayError(error));
        return;
      }
      this.#checkLimits();
      if (this.#done) {
        return;
      }
    }
    this.#finished = true;
    this.#flush();
  }

  /** Ends the response early. What was not released yet never will be; the record says why. */
  fail(error: GatewayError): void {
    if (this.#done || this.#failure !== null) {
      return;
    }
    this.#failure = error;
    this.#o.sink.abortUpstream();
    this.#dropPending();
    try {
      this.#record([], [], true, true);
    } catch {
      // The recorder is the failure, or failed as well: there is no record of the end, and nothing more is released.
      this.#stop();
    }
  }

  /** The agent went away: the record of what was released stands, the rest is dropped. */
  agentGone(): void {
    this.#agentSlow = false;
    this.fail(new GatewayError('upstream_truncated', 'the agent closed the connection'));
  }

  drained(): void {
    this.#agentSlow = false;
    this.resumeUpstream();
  }

  resumeUpstream(): void {
    const room = this.#heldBytes < LIMITS.heldBytesPerSessionMax && !this.#o.held.full;
    if (this.#upstreamPaused && !this.#agentSlow && room && !this.#done) {
      this.#upstreamPaused = false;
      this.#o.sink.resumeUpstream();
    }
  }

  #take(masked: MaskedChunk): void {
    const size = masked.bytes.length;
    if (size > 0) {
      this.#pending.push(masked.bytes);
      this.#pendingBytes += size;
      this.#heldBytes += size;
      this.#o.held.add(size);
    }
    for (const span of masked.originals) {
      this.#pendingSpans.push(span);
      this.#pendingOriginals += span.value.length;
    }
  }

  #checkLimits(): void {
    const { limits, masker } = this.#o;
    const total = this.#pendingOffset + this.#pendingBytes;
    if (limits.bytes !== undefined && total > limits.bytes) {
      this.fail(new GatewayError('policy_denied', 'the response is larger than the policy allows'));
    } else if (limits.rows !== undefined && masker !== null && masker.stats().rows > limits.rows) {
      this.fail(new GatewayError('policy_denied', 'the response has more rows than the policy allows'));
    }
  }

  /**
   * A body of known small size is one unit. Otherwise units are cut when 64 KiB are there, or as soon as no commit of
   * this response is in flight: a slow upstream is then released as it comes, a fast one in large units.
   */
  #schedule(): void {
    if (this.#done) {
      return;
    }
    while (this.#pendingBytes >= LIMITS.unitBytesMax || this.#pendingOriginals > ORIGINALS_PER_UNIT_MAX) {
      if (!this.#cutUnit()) {
        return;
      }
    }
    const { contentLength } = this.#o;
    const small = contentLength >= 0 && contentLength <= LIMITS.unitBytesMax;
    if (!small && !this.#flushScheduled && this.#inFlight === 0 && this.#pendingBytes > 0) {
      this.#flushScheduled = true;
      // After the parser's turn: an end in the same turn then makes one `response` instead of a part and an end.
      queueMicrotask(() => {
        this.#flushScheduled = false;
        if (!this.#done && !this.#finished && this.#inFlight === 0 && this.#pendingBytes > 0) {
          this.#emit(this.#pendingBytes, false);
        }
      });
    }
  }

  #flush(): void {
    while (
      !this.#done &&
      (this.#pendingBytes > LIMITS.unitBytesMax || this.#pendingOriginals > ORIGINALS_PER_UNIT_MAX)
    ) {
      if (!this.#cutUnit()) {
        break;
      }
    }
    if (!this.#done) {
      this.#emit(this.#pendingBytes, true);
    }
  }

  /** Cuts one full unit; false when the rest is better left together. */
  #cutUnit(): boolean {
    const size = this.#cutSize();
    if (size === 0) {
      this.fail(new GatewayError('held_bytes_exceeded', 'one masked value is larger than a record'));
      return false;
    }
    if (size === this.#pendingBytes && this.#finished) {
      return false;
    }
    this.#emit(size, false);
    return !this.#done;
  }

  /** Size of the next unit: never inside a replacement, at most 64 KiB of body, and a bound of originals. */
  #cutSize(): number {
    let size = Math.min(this.#pendingBytes, LIMITS.unitBytesMax);
    let originals = 0;
    for (const span of this.#pendingSpans) {
      const start = span.offset - this.#pendingOffset;
      if (start >= size) {
        break;
      }
      originals += span.value.length;
      if (start + span.size > size || originals > ORIGINALS_PER_UNIT_MAX) {
        size = start;
        break;
      }
    }
    return size;
  }

  #emit(size: number, final: boolean): void {
    const bytes = this.#takePending(size);
    const end = this.#pendingOffset + size;
    // A dropped member leaves a replacement of size 0: at the very end it belongs to the last unit.
    const count = this.#pendingSpans.findIndex((span) => span.offset >= end && !(final && span.offset === end));
    const spans = count === -1 ? this.#pendingSpans.splice(0) : this.#pendingSpans.splice(0, count);
    for (const span of spans) {
      this.#pendingOriginals -= span.value.length;
    }
    try {
      this.#record(bytes, spans, final, false);
    } catch (error) {
      this.#unhold(size);
      this.fail(asGatewayError(error));
    }
  }

  #record(bytes: readonly Buffer[], spans: readonly OriginalSpan[], final: boolean, aborted: boolean): void {
    const o = this.#o;
    const body = bytes.length === 1 ? (bytes[0] as Buffer) : Buffer.concat(bytes);
    const first = this.#part === 0;
    const masks = final ? this.#maskSummary() : undefined;
    const hasCopy = !aborted && (first || body.length > 0);
    const appended = o.recorder.response(o.strand, {
      operationIndex: o.operationIndex,
      final,
      aborted,
      copy: hasCopy
        ? {
            response: {
              status: first ? o.status : 0,
              headers: first ? [...o.headers] : [],
              body,
              bodyOffset: BigInt(this.#pendingOffset),
            },
            originals: originalsOf(spans, this.#pendingOffset),
          }
        : null,
      fastRequest: first ? o.fastRequest : null,
      exchange: this.#exchange(body.length, final),
      masks,
      planDigest: o.plan?.digest ?? ZERO32,
      unit: { firstByte: this.#pendingOffset, byteCount: body.length, part: this.#part },
    });
    if (final && masks !== undefined && masks.unknownPaths.length > 0) {
      o.recorder.schemaUnknown(o.strand, o.operationIndex, o.routeId, masks.unknownPaths);
    }
    this.#part++;
    this.#pendingOffset += body.length;
    this.#inFlight++;
    o.whenCommitted(appended.index, (failure) => this.#onDurable(failure, body, final));
  }

  /** The only place from which bytes go to the agent: the record that covers them is on stable storage. */
  #onDurable(failure: Error | null, body: Buffer, final: boolean): void {
    this.#inFlight--;
    this.#unhold(body.length);
    if (this.#done) {
      return;
    }
    if (failure !== null) {
      this.#failure = asGatewayError(failure);
      this.#o.sink.abortUpstream();
      this.#dropPending();
      this.#stop();
      return;
    }
    if (this.#failure !== null) {
      if (final) {
        this.#stop();
      }
      return;
    }
    if (!this.#headReleased) {
      this.#headReleased = true;
      this.#o.sink.head(final ? body.length : -1);
    }
    let fast = true;
    if (body.length > 0) {
      this.#released += body.length;
      fast = this.#o.sink.write(body);
    }
    if (final) {
      this.#stop();
      return;
    }
    this.#agentSlow = !fast;
    this.#schedule();
    this.resumeUpstream();
  }

  #stop(): void {
    if (this.#done) {
      return;
    }
    this.#done = true;
    this.#o.held.forget(this);
    this.#dropPending();
    if (this.#failure === null) {
      this.#o.sink.end();
    } else if (this.#headReleased) {
      this.#o.sink.abort();
    } else {
      this.#o.sink.refuse(this.#failure);
    }
    this.#o.onFinished({ masks: this.#maskSummary(), released: this.#released, failure: this.#failure });
  }

  #holdBack(): void {
    if (this.#upstreamPaused || this.#done) {
      return;
    }
    const over = this.#heldBytes >= LIMITS.heldBytesPerSessionMax;
    if (over || this.#agentSlow || this.#o.held.full) {
      this.#upstreamPaused = true;
      this.#o.sink.pauseUpstream();
      if (this.#o.held.full) {
        this.#o.held.wait(this);
      }
    }
  }

  #takePending(size: number): Buffer[] {
    const out: Buffer[] = [];
    let wanted = size;
    while (wanted > 0) {
      const head = this.#pending[0];
      assert(head !== undefined, 'pending bytes are counted');
      if (head.length <= wanted) {
        out.push(head);
        this.#pending.shift();
        wanted -= head.length;
      } else {
        out.push(head.subarray(0, wanted));
        this.#pending[0] = head.subarray(wanted);
        wanted = 0;
      }
    }
    this.#pendingBytes -= size;
    return out;
  }

  #unhold(size: number): void {
    this.#heldBytes -= size;
    this.#o.held.release(size);
  }

  #dropPending(): void {
    if (this.#pendingBytes > 0) {
      this.#unhold(this.#pendingBytes);
    }
    this.#pending = [];
    this.#pendingSpans = [];
    this.#pendingBytes = 0;
    this.#pendingOriginals = 0;
  }

  #exchange(bodySize: number, final: boolean): Exchange {
    const o = this.#o;
    return {
      status: o.status,
      rows: BigInt(final ? (o.masker?.stats().rows ?? 0) : 0),
      bytes: BigInt(this.#pendingOffset + bodySize),
      requestBytes: BigInt(o.requestBytes),
      mediaType: o.mediaType,
      upstreamStatus: o.upstreamStatus,
      upstreamUs: BigInt(o.upstreamUs),
      totalUs: BigInt(Math.round((o.clock.monotonicMs() - o.startedMs) * 1000)),
      abortReason: this.#failure?.code ?? '',
      deliveredBytes: 0n,
      complete: final && this.#failure === null,
    };
  }

  #maskSummary(): MaskSummary | undefined {
    const { masker, plan } = this.#o;
    if (masker === null) {
      return undefined;
    }
    const stats = masker.stats();
    return {
      profile: plan?.profile ?? '',
      counts: stats.counts.map((entry) => ({ ...entry, count: BigInt(entry.count) })),
      unknownPaths: [...stats.unknownPaths],
      withheld: BigInt(stats.withheld),
    };
  }
}

/** What a caller may see of any failure: unknown ones become `internal`, without their text. */
export function asGatewayError(error: unknown): GatewayError {
  return error instanceof GatewayError ? error : new GatewayError('internal', '', { cause: error });
}

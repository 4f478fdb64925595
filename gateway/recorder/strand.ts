import type { UnitInput } from '../../core/runtime/envelope/unit-sealer.ts';
import type { RecordUnit } from '../../core/runtime/writer/evidence-writer.ts';
import { ZERO32 } from '../../core/kernel/bytes.ts';
import type { Subject } from '../contract/subject.ts';

/** How many policy inputs a strand remembers as recorded, so that a repeated one is named by its digest only. */
const SEEN_INPUTS_MAX = 256;

/** Seals the units of one class for one session; `UnitSealer` over a key pool, or a fake. */
export interface Sealer {
  /** Throws GatewayError `keystore_unavailable` when a key is due and there is none. */
  seal(input: UnitInput): RecordUnit;
  /** Zeroes the key. */
  close(): void;
}

export interface SessionSealers {
  readonly payload: Sealer;
  readonly originals: Sealer;
}

/**
 * One strand = (session, writer): the records of a session that this writer holds, linked by the hash of the previous
 * leaf. Owned by the recorder; a session never outlives it.
 *
 * Invariant: `seq` is the number of records appended, `previous` the leaf hash of the last one (zero before the first).
 */
export class Strand {
  readonly sessionId: Buffer;
  readonly subject: Subject;
  readonly connection: string;
  /**
   * Encoded `Event` with what every record of the strand repeats; protobuf lets it be put before the rest. The recorder
   * makes it anew when a token is refreshed or a review arrives: a record names the token that it was asked with.
   */
  staticMeta: Uint8Array;
  /** Whether `staticMeta` says that the script was reviewed. */
  reviewed: boolean;
  seq = 0;
  previous: Buffer = ZERO32;
  readonly sealers: SessionSealers;
  /** Hex of the token digest whose claims the strand has sealed last. */
  tokenDigest = '';
  lastUsedMs: number;
  openExchanges = 0;
  closed = false;
  readonly #seenInputs = new Set<string>();

  constructor(
    sessionId: Buffer,
    subject: Subject,
    connection: string,
    staticMeta: Uint8Array,
    reviewed: boolean,
    sealers: SessionSealers,
    nowMs: number,
  ) {
    this.sessionId = sessionId;
    this.subject = subject;
    this.connection = connection;
    this.staticMeta = staticMeta;
    this.reviewed = reviewed;
    this.sealers = sealers;
    this.lastUsedMs = nowMs;
  }

  advance(leafHash: Buffer): void {
    this.seq++;
    this.previous = leafHash;
  }

  /** True the first time that an input is seen; the caller then records it whole. */
  firstUseOf(inputDigest: Buffer): boolean {
    const key = inputDigest.toString('latin1');
    if (this.#seenInputs.has(key)) {
      return false;
    }
    if (this.#seenInputs.size >= SEEN_INPUTS_MAX) {
      const oldest = this.#seenInputs.values().next();
      if (oldest.done !== true) {
        this.#seenInputs.delete(oldest.value);
      }
    }
    this.#seenInputs.add(key);
    return true;
  }
}

import type { Clock, Timer } from '../../kernel/clock.ts';
import { GatewayError } from '../../kernel/errors.ts';
import type { CommitPipeline } from './commit-pipeline.ts';
import { gapDeclared } from './epoch-records.ts';
import type { SegmentFiles } from './segment-files.ts';
import type { WriterLimits } from './writer-limits.ts';

export interface OutageOptions {
  readonly clock: Clock;
  readonly limits: WriterLimits;
  readonly files: SegmentFiles;
  readonly pipeline: CommitPipeline;
  readonly onFailure: (failure: GatewayError) => void;
  readonly onRecovered: () => void;
}

/** Room for `gap.declared` and `epoch.close`. */
const LAST_WORDS_BYTES = 4096;

/**
 * From the moment the disk refuses until records are accepted again, or for good.
 *
 *   accepting --refuse--> failed --settle--> settled --heal--> accepting
 *                           \______________heal______________/
 *
 * `settle` writes what is stranded and a `gap.declared` into a segment that exists already: the one prepared ahead, else
 * the reserve. `heal` (full disks only, each `diskRetryMs`) makes a fresh segment and a new reserve, writes there what is
 * still stranded and the end of the outage, and only then accepts. After a failed write or flush of a file other than for
 * space there is no healing: the node is restarted and its journal recovered.
 *
 * Waiters of stranded records were told that they failed, and nothing was released on them. The records may become durable
 * later all the same, with the bodies that they had; `gap.declared` names them as late. A record says what was asked and
 * decided, a `delivery` record what was released, so a late record overstates nothing.
 *
 * Invariant: `failure` is not null from before the first waiter is told until everything appended is durable again.
 */
export class Outage {
  readonly #clock: Clock;
  readonly #limits: WriterLimits;
  readonly #files: SegmentFiles;
  readonly #pipeline: CommitPipeline;
  readonly #onFailure: (failure: GatewayError) => void;
  readonly #onRecovered: () => void;
  #failure: GatewayError | null = null;
  #permanent = false;
  #accounted = false;
  #lateFirst = 0;
  #lateCount = 0;
  #sinceMs = 0;
  #timer: Timer | null = null;
  #busy: Promise<void> = Promise.resolve();
  #stopped = false;
  refusedAppends = 0;

  constructor(options: OutageOptions) {
    this.#clock = options.clock;
    this.#limits = options.limits;
    this.#files = options.files;
    this.#pipeline = options.pipeline;
    this.#onFailure = options.onFailure;
    this.#onRecovered = options.onRecovered;
  }

  get failure(): GatewayError | null {
    return this.#failure;
  }

  /**
   * Stops accepting because of `error`. `permanent`: a file that holds records failed, so this process never trusts this
   * disk again. The caller has stranded what cannot be written and tells its waiters after this call.
   */
  begin(error: unknown, permanent: boolean): GatewayError {
    const first = this.#failure === null;
    if (first || (permanent && !this.#permanent)) {
      this.#failure = diskFailure(error);
      this.#onFailure(this.#failure);
    }
    this.#permanent ||= permanent;
    if (first) {
      this.#accounted = false;
      this.#sinceMs = this.#clock.monotonicMs();
      this.#lateFirst = this.#pipeline.durable;
      this.#lateCount = this.#pipeline.strandedCount;
      this.#run(() => this.#settle());
    }
    return this.#failure as GatewayError;
  }

  /** No more healing. Resolves when what can be settled is. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#busy;
  }

  async #settle(): Promise<void> {
    await this.#pipeline.idle();
    this.#lateCount = Math.max(this.#lateCount, this.#pipeline.strandedCount);
    const ready = this.#files.readySegmentBytes;
    const sizeBytes = ready === 0 ? this.#limits.reserveSegmentBytes : ready;
    if (this.#pipeline.strandedFits(sizeBytes, LAST_WORDS_BYTES)) {
      const { planIndex } = this.#pipeline;
      const segment = ready === 0 ? await this.#files.takeReserve(planIndex) : this.#files.takeNext(planIndex);
      // If we die here the segment is zeros, or was the next anyway; what was stranded was never acknowledged.
      if (segment !== null) {
        this.#pipeline.moveTo(segment);
        this.#pipeline.rewrite();
        this.#account('begin');
        await this.#pipeline.idle();
        // If we die here the journal ends with the account of the outage: recovery reads it like any other record.
      }
    }
    this.#healLater();
  }

  async #heal(): Promise<void> {
    try {
      if (!(await this.#files.hasRoom())) {
        this.#healLater();
        return;
      }
      await this.#files.makeSegment();
      await this.#files.makeReserve();
    } catch {
      this.#healLater(); // The cause is the outage itself, which `failure` shows.
      return;
    }
    const segment = this.#files.takeNext(this.#pipeline.planIndex);
    if (segment === null || this.#stopped) {
      return;
    }
    this.#pipeline.moveTo(segment);
    this.#pipeline.rewrite();
    this.#account('end');
    await this.#pipeline.idle();
    // If we die here the end of the outage is on the disk and nothing was accepted yet.
    if (this.#permanent) {
      return;
    }
    if (this.#pipeline.strandedCount > 0 || !this.#accounted) {
      this.#healLater();
      return;
    }
    this.#failure = null;
    this.#onRecovered();
  }

  /** Appends the account, when everything stranded has its place again. */
  #account(phase: 'begin' | 'end'): void {
    this.#accounted = false;
    if (this.#pipeline.strandedCount > 0 || this.#failure === null) {
      return;
    }
    const { nextIndex: first } = this.#pipeline;
    const attributes = {
      phase,
      late_first: String(this.#lateFirst),
      late_count: String(this.#lateCount),
      refused: String(this.refusedAppends),
      ms: String(Math.round(this.#clock.monotonicMs() - this.#sinceMs)),
    };
    const record = gapDeclared({ code: this.#failure.code, first, count: 0, attributes });
    this.#accounted = this.#pipeline.append(record) !== null;
  }

  #healLater(): void {
    if (!this.#permanent && !this.#stopped) {
      this.#timer = this.#clock.after(this.#limits.diskRetryMs, () => this.#run(() => this.#heal()));
    }
  }

  #run(work: () => Promise<void>): void {
    this.#busy = this.#busy.then(work);
  }
}

/** ENOSPC and EDQUOT mean that room helps; anything else that the disk says does not go away by itself. */
export function isFull(error: unknown): boolean {
  const code = (error as { code?: unknown } | undefined)?.code;
  return code === 'ENOSPC' || code === 'EDQUOT';
}

export function diskFailure(error: unknown): GatewayError {
  const code = (error as { code?: unknown } | undefined)?.code;
  return new GatewayError(isFull(error) ? 'disk_full' : 'disk_failed', typeof code === 'string' ? code : '', {
    cause: error,
  });
}

import type { Clock } from '../../core/kernel/clock.ts';
import type { Exchange } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import type { Subject } from '../contract/subject.ts';
import type { Verdict } from '../contract/verdict.ts';
import type { Recorder } from '../recorder/recorder.ts';
import type { RefusalLog } from '../recorder/refusal-log.ts';
import type { Strand } from '../recorder/strand.ts';
import type { Authoriser, OperationRequest, Permit, Refusal } from './authorise.ts';
import type { HeldBytes } from './held-bytes.ts';
import { ResponseRelease, type ReleaseOptions } from './response-release.ts';
import type { SessionTable } from './session-table.ts';

export interface SessionServiceOptions {
  readonly recorder: Recorder;
  readonly refusals: RefusalLog;
  readonly sessions: SessionTable;
  readonly authoriser: Authoriser;
  readonly held: HeldBytes;
  readonly clock: Clock;
}

type LaneReleaseOptions = Omit<ReleaseOptions, 'recorder' | 'clock' | 'held' | 'whenCommitted'> & {
  readonly verdict: Verdict;
};

/** What a lane calls: open, decide and hold, release, deliver, and refuse before there is a session. */
export class SessionService {
  readonly #o: SessionServiceOptions;

  constructor(options: SessionServiceOptions) {
    this.#o = options;
  }

  /** The open strand of this subject; counts an exchange until `leave`. */
  enter(subject: Subject, connection: string): Strand {
    const strand = this.#o.sessions.enter(subject, connection);
    strand.openExchanges++;
    return strand;
  }

  leave(strand: Strand, terminate: boolean): void {
    strand.openExchanges--;
    if (terminate && strand.openExchanges === 0 && !strand.closed) {
      this.#o.sessions.close(strand, 'terminated by the policy');
    }
  }

  authorise(request: OperationRequest, done: (outcome: Permit | Refusal) => void): void {
    this.#o.authoriser.authorise(request, done);
  }

  release(options: LaneReleaseOptions): ResponseRelease {
    const { recorder, clock, held, authoriser } = this.#o;
    return new ResponseRelease({
      ...options,
      recorder,
      clock,
      held,
      whenCommitted: (index, callback) => authoriser.whenCommitted(options.verdict, index, callback),
    });
  }

  /** What the kernel took. A recorder that fails now loses only this note: everything released is recorded already. */
  delivered(strand: Strand, operationIndex: number, exchange: Exchange): void {
    if (strand.closed || this.#o.recorder.writer.failure !== null) {
      return;
    }
    this.#o.recorder.delivery(strand, operationIndex, exchange);
  }

  refusedCredential(code: string, peer: string, lane: string): void {
    this.#o.refusals.add('auth.refused', code, peer, lane);
  }

  refusedWire(reason: string, peer: string, lane: string): void {
    this.#o.refusals.add('wire.refused', reason, peer, lane);
  }
}

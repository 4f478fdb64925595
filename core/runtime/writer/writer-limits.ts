import { LIMITS } from '../../kernel/limits.ts';

/** The limits that a writer obeys. Defaults are those of `LIMITS`; tests make them small. */
export interface WriterLimits {
  readonly segmentBytes: number;
  readonly reserveSegmentBytes: number;
  readonly groupCommitBytesMax: number;
  readonly writerQueueBytesMax: number;
  readonly diskRetryMs: number;
  readonly batchBytes: number;
  readonly batchMs: number;
  readonly headMs: number;
  readonly unchangedHeadMs: number;
  readonly publishQueueBatchesMax: number;
  readonly publishRetryMs: number;
  readonly publishRetryMaxMs: number;
  readonly publishRefusalsMax: number;
  readonly closePublishMs: number;
}

export function writerLimits(overrides: Partial<WriterLimits> = {}): WriterLimits {
  return { ...LIMITS, ...overrides };
}

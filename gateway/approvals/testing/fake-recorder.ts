import { createHash } from 'node:crypto';
import type { ApprovalRecord, ApprovalRecorder, RecordReceipt } from '../record-queue.ts';

/** Keeps what was recorded. `failure` makes every call reject until it is null again. */
export class FakeRecorder implements ApprovalRecorder {
  readonly records: ApprovalRecord[] = [];
  failure: Error | null = null;
  attempts = 0;

  async record(record: ApprovalRecord): Promise<RecordReceipt> {
    this.attempts += 1;
    if (this.failure !== null) {
      throw this.failure;
    }
    const index = this.records.push(record) - 1;
    return { writer: 'a'.repeat(32), index, leafHash: createHash('sha256').update(String(index)).digest() };
  }

  get kinds(): string[] {
    return this.records.map((record) => record.kind);
  }
}

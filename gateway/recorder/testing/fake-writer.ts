import { GatewayError } from '../../../core/kernel/errors.ts';
import { sha256 } from '../../../core/ledger/hash.ts';
import type { Appended, EvidenceWriter, RecordInput } from '../../../core/runtime/writer/evidence-writer.ts';

/** A writer whose durability the test decides: nothing is durable before `commit`. */
export class FakeWriter implements EvidenceWriter {
  readonly writerId: Buffer = Buffer.alloc(16, 7);
  readonly writerIdHex: string = this.writerId.toString('hex');
  readonly records: RecordInput[] = [];
  readonly #waiters: { index: number; callback: (failure: Error | null) => void }[] = [];
  #durable = 0;
  #published = 0;
  failure: Error | null = null;

  get nextIndex(): number {
    return this.records.length;
  }

  get durable(): number {
    return this.#durable;
  }

  append(record: RecordInput): Appended {
    if (this.failure !== null) {
      throw this.failure;
    }
    const index = this.records.length;
    this.records.push({ ...record, meta: Buffer.from(record.meta) });
    return { index, leafHash: sha256(Buffer.from(String(index))) };
  }

  whenDurable(index: number, callback: (failure: Error | null) => void): void {
    if (this.failure !== null) {
      callback(this.failure);
    } else if (index < this.#durable) {
      callback(null);
    } else {
      this.#waiters.push({ index, callback });
    }
  }

  whenPublished(index: number): Promise<void> {
    return index < this.#published ? Promise.resolve() : Promise.reject(new GatewayError('replicated_unavailable'));
  }

  /** The flush that covers everything appended so far has returned. */
  commit(): void {
    this.#durable = this.records.length;
    const ready = this.#waiters.splice(0);
    for (const { callback } of ready) {
      callback(null);
    }
  }

  publish(): void {
    this.#published = this.#durable;
  }

  /** The flush failed: nobody is told that it worked, and nothing is taken any more. */
  fail(error: Error = new GatewayError('disk_failed')): void {
    this.failure = error;
    for (const { callback } of this.#waiters.splice(0)) {
      callback(error);
    }
  }
}

import type { BusMessage } from '../../core/bus/bus.ts';
import type { Batch } from '../../core/ledger/batch.ts';
import { decodeHead } from '../../core/ledger/head.ts';
import { WRITER_ROLES } from '../../core/ledger/epoch.ts';
import type { RefusalReason } from './check-batch.ts';
import type { FoundTail, WriterLog } from './writer-log.ts';

interface Part {
  readonly message: BusMessage;
  readonly batch: Batch;
}

/** `wait`: kept until the rest of the tail, or the control writer itself, has come. */
export type RecoveryStep =
  | 'wait'
  | { readonly outcome: 'refused'; readonly reason: RefusalReason; readonly messages: readonly BusMessage[] }
  | {
      readonly outcome: 'complete';
      readonly parts: readonly Part[];
      readonly signer: WriterLog['identity']['publicKey'];
    };

/** A journal's tail is what was not published for a moment, so it is small; past this it is refused. */
const WAITING_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Batches of writers whose process has died, published by the control writer of the next start. They are taken only for
 * exactly the size and root that this control writer listed in its own opening record, so all batches up to that size
 * are kept back until the one that reaches it is there: then all are taken or none.
 *
 * Invariant: `#bytes` is the size of all messages that wait.
 */
export class Recovery {
  readonly #logOf: (writerHex: string) => Promise<WriterLog | null>;
  /** Tails that are not complete, by the dead writer. */
  readonly #tails = new Map<string, Part[]>();
  /** Messages that came before the opening of their control writer, by the control writer. */
  readonly #early = new Map<string, BusMessage[]>();
  #bytes = 0;

  constructor(logOf: (writerHex: string) => Promise<WriterLog | null>) {
    this.#logOf = logOf;
  }

  /** Takes one recovered batch of `log`'s writer. Its head decodes and names a control writer as signer. */
  async offer(message: BusMessage, batch: Batch, log: WriterLog): Promise<RecoveryStep> {
    const signerHex = decodeHead(batch.head).signerWriterId.toString('hex');
    const control = await this.#logOf(signerHex);
    if (control === null) {
      return this.#wait(message, () => append(this.#early, signerHex, message));
    }
    const tail = control.identity.role === WRITER_ROLES.control ? control.foundTail(log.idHex) : undefined;
    const end = batch.first + batch.count;
    if (tail === undefined || end > tail.size || (end === tail.size && !batch.rootAfter.equals(tail.root))) {
      return this.#refuse(log.idHex, 'recovery-not-listed');
    }
    if (end < tail.size) {
      return this.#wait(message, () => append(this.#tails, log.idHex, { message, batch }));
    }
    return this.#complete(log, { message, batch }, control, tail);
  }

  /** Messages that waited for this writer to be known. They are offered again. */
  released(writerHex: string): readonly BusMessage[] {
    const messages = this.#early.get(writerHex) ?? [];
    this.#early.delete(writerHex);
    this.#bytes -= sizeOf(messages);
    return messages;
  }

  #complete(log: WriterLog, last: Part, control: WriterLog, tail: FoundTail): RecoveryStep {
    const parts = [...(this.#tails.get(log.idHex) ?? []), last];
    this.#forget(log.idHex);
    const reached = parts.reduce(
      (size, { batch }) => (batch.first <= size ? batch.first + batch.count : size),
      log.size,
    );
    if (reached !== tail.size) {
      return { outcome: 'refused', reason: 'gap', messages: parts.map((part) => part.message) };
    }
    return { outcome: 'complete', parts, signer: control.identity.publicKey };
  }

  #wait(message: BusMessage, keep: () => void): RecoveryStep {
    if (this.#bytes + message.value.length > WAITING_BYTES_MAX) {
      return { outcome: 'refused', reason: 'recovery-too-large', messages: [] };
    }
    this.#bytes += message.value.length;
    keep();
    return 'wait';
  }

  #refuse(writerHex: string, reason: RefusalReason): RecoveryStep {
    return { outcome: 'refused', reason, messages: this.#forget(writerHex) };
  }

  #forget(writerHex: string): BusMessage[] {
    const messages = (this.#tails.get(writerHex) ?? []).map((part) => part.message);
    this.#tails.delete(writerHex);
    this.#bytes -= sizeOf(messages);
    return messages;
  }
}

function append<T>(lists: Map<string, T[]>, key: string, item: T): void {
  const list = lists.get(key) ?? [];
  list.push(item);
  lists.set(key, list);
}

function sizeOf(messages: readonly BusMessage[]): number {
  return messages.reduce((sum, message) => sum + message.value.length, 0);
}

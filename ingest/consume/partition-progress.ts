import type { BusPosition } from '../../core/bus/bus.ts';

interface Partition {
  /** The next offset after the newest that was received. */
  next: number;
  /** Offsets that were received and are not settled. */
  readonly held: Set<number>;
}

/** What was received when a flush began: by partition, the next offset. */
export type Mark = ReadonlyMap<number, number>;

/**
 * Which offset of each partition may be committed: everything before it is archived, known or refused. Batches of a
 * recovered writer can wait for others, so settled offsets may lie behind one that is not.
 *
 * Invariant: a held offset is below `next`, and a committed offset is never above a held one.
 */
export class PartitionProgress {
  readonly #partitions = new Map<number, Partition>();

  /** From now on the message is held, until it is released or stored. */
  received(partition: number, offset: number): void {
    const state = this.#partitions.get(partition) ?? { next: 0, held: new Set() };
    state.next = Math.max(state.next, offset + 1);
    state.held.add(offset);
    this.#partitions.set(partition, state);
  }

  /** The message is known or refused: nothing of it must be stored. */
  release(partition: number, offset: number): void {
    this.#partitions.get(partition)?.held.delete(offset);
  }

  mark(): Mark {
    return new Map([...this.#partitions].map(([partition, { next }]) => [partition, next]));
  }

  /** Settles what a flush stored, and gives the offsets to commit: those of the mark, cut at the first held one. */
  committable(mark: Mark, stored: ReadonlyMap<number, readonly { readonly busOffset: number }[]>): BusPosition[] {
    for (const [partition, batches] of stored) {
      for (const { busOffset } of batches) {
        this.release(partition, busOffset);
      }
    }
    return [...mark].map(([partition, next]) => {
      const held = this.#partitions.get(partition)?.held ?? [];
      return { partition, offset: Math.min(next, ...held) };
    });
  }
}

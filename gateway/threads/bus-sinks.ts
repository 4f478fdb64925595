import type { Bus } from '../../core/bus/bus.ts';
import { TOPICS } from '../../core/bus/topics.ts';
import { CLUSTER_LEAF_TYPES, encodeHeadsValue } from '../../core/ledger/cluster-leaf.ts';
import type { HeadSink } from '../../core/runtime/writer/head-publisher.ts';
import type { BatchSink } from '../../core/runtime/writer/publisher.ts';

/** Batches of any writer of this node onto the bus, keyed by the writer. */
export function batchSink(bus: Bus): BatchSink {
  return {
    publish: async (batch, writerId) => {
      await bus.publish(TOPICS.batches.name, writerId, [batch], { acks: 'all' });
    },
  };
}

/**
 * Heads onto the one partition of the sequencer's input; `heads` keeps the newest of each writer. None goes before
 * `announced`: the sequencer refuses the head of a writer whose opening it has not read, and one that does not change
 * comes again only a minute later.
 */
export function headSink(bus: Bus, heads: Map<string, Buffer>, announced = Promise.resolve()): HeadSink {
  return {
    publish: async (head, writerId) => {
      heads.set(writerId.toString('hex'), head);
      const value = encodeHeadsValue({ type: CLUSTER_LEAF_TYPES.head, body: head });
      await announced;
      await bus.publish(TOPICS.heads.name, writerId, [value], { acks: 'all' });
    },
  };
}

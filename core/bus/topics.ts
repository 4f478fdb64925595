import type { TopicSettings } from './bus.ts';

const DAY_MS = 86_400_000;

/** Every topic of the cluster. `state.approvals` keeps every transition: the first decision by offset wins. */
export const TOPICS = {
  batches: topic('evidence.batches.v1', 12, 'delete', 7 * DAY_MS),
  heads: topic('evidence.heads.v1', 1, 'delete', 30 * DAY_MS),
  acks: topic('evidence.acks.v1', 1, 'compact', 0),
  checkpoints: topic('evidence.checkpoints.v1', 1, 'delete', 30 * DAY_MS),
  approvals: topic('state.approvals.v1', 1, 'delete', 30 * DAY_MS),
  policy: topic('state.policy.v1', 1, 'compact', 0),
  revocations: topic('state.revocations.v1', 1, 'compact', 0),
} as const;

function topic(name: string, partitions: number, cleanup: 'delete' | 'compact', retentionMs: number): TopicSettings {
  return { name, partitions, cleanup, retentionMs, replicationFactor: 3, minInSyncReplicas: 2 };
}

import { LIMITS } from '../../kernel/limits.ts';
import type { Config } from './config-schema.ts';

/** A setting that makes the gateway looser than its default. Shown by `config explain`, recorded at activation. */
export interface RelaxingSwitch {
  readonly path: string;
  readonly value: string;
  readonly meaning: string;
}

export function relaxingSwitches(config: Config): RelaxingSwitch[] {
  const { policy, evidence, approvals, env, demo } = config;
  const all: (RelaxingSwitch & { readonly isOn: boolean })[] = [
    {
      path: 'env',
      value: env,
      meaning: 'keys named INSECURE are accepted, and the development issuer may sign tokens',
      isOn: env === 'demo',
    },
    {
      path: 'policy.allowUnsigned',
      value: String(policy.allowUnsigned),
      meaning: 'a policy bundle without a signature is loaded',
      isOn: policy.allowUnsigned,
    },
    {
      path: 'evidence.fileBusCountsAsReplicated',
      value: String(evidence.fileBusCountsAsReplicated),
      meaning: 'operations that need replicated evidence are served from one disk',
      isOn: evidence.fileBusCountsAsReplicated,
    },
    {
      path: 'evidence.unpublishedMaxMs',
      value: String(evidence.unpublishedMaxMs),
      meaning: 'more evidence than by default may exist on this node’s disk alone',
      isOn: evidence.unpublishedMaxMs > LIMITS.unpublishedMaxMs,
    },
    {
      path: 'approvals.staleMaxMs',
      value: String(approvals.staleMaxMs),
      meaning: 'approvals are acted on from an older state than by default',
      isOn: approvals.staleMaxMs > LIMITS.approvalsStaleMaxMs,
    },
    {
      path: 'approvals.ttlMs',
      value: String(approvals.ttlMs),
      meaning: 'a grant may be used later after it was asked for than by default',
      isOn: approvals.ttlMs > LIMITS.approvalTtlMs,
    },
    {
      path: 'demo.services',
      value: demo.services.map(({ name }) => name).join(', '),
      meaning: 'processes that are no part of the product run beside the roles',
      isOn: demo.services.length > 0,
    },
  ];
  return all.filter(({ isOn }) => isOn).map(({ path, value, meaning }) => ({ path, value, meaning }));
}

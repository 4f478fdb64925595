import type { ConnectionInfo, Operation } from '../contract/operation.ts';
import type { Subject } from '../contract/subject.ts';
import type { Decision, GrantFact } from '../contract/verdict.ts';

/** What the pipeline tells the policy besides the operation. */
export interface DecideInput {
  readonly subject: Subject;
  readonly connection: ConnectionInfo;
  readonly operation: Operation;
  /** A reviewer has signed the script that this run executes. */
  readonly reviewed: boolean;
  /** Verified natively before the policy sees them. */
  readonly grants: readonly GrantFact[];
  readonly remoteAddress: string;
}

/** The policy as the session needs it: synchronous, never throws; a failed evaluation is a `policy_error` denial. */
export interface PolicyPort {
  decide(input: DecideInput): Decision;
}

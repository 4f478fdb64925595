import type { Agent, AgentReply } from './agent.ts';
import type { ChaperoneCommand } from './chaperone-command.ts';
import type { Checks } from './checks.ts';
import type { BreakName } from './demo-options.ts';
import type { Deployment } from './deployment.ts';
import type { EvidenceSql } from './evidence-sql.ts';
import type { Teller } from './teller.ts';
import type { Upstream } from './upstream.ts';

/** What later steps know from earlier ones. */
export interface StoryFacts {
  /** The reply of step 2, byte for byte, with its position. */
  maskedRead: AgentReply | null;
  /** The export that went through. */
  exported: AgentReply | null;
  approvalId: string;
}

/** Everything that a step may use. */
export interface Story {
  readonly root: string;
  readonly dataDir: string;
  readonly configPath: string;
  readonly clinicUrl: string;
  readonly deployment: Deployment;
  readonly chaperone: ChaperoneCommand;
  readonly upstream: Upstream;
  readonly sql: EvidenceSql;
  readonly tell: Teller;
  readonly breaks: BreakName | null;
  readonly facts: StoryFacts;
  /** With the token that `chaperone token <args>` prints. */
  agent(args?: readonly string[]): Promise<{ agent: Agent; token: string }>;
}

export interface Step {
  readonly id: number;
  readonly name: string;
  readonly title: string;
  /** Steps that must have run before. */
  readonly needs: readonly number[];
  /** Returns facts for `--json`. What throws makes the step false. */
  run(story: Story, checks: Checks): Promise<Record<string, unknown>>;
}

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Agent } from '../story/agent.ts';
import type { Checks } from '../story/checks.ts';
import { copyEvidence } from '../story/copy-evidence.ts';
import type { Step, Story } from '../story/story.ts';
import { until } from '../story/until.ts';
import { verifyCopy, verifyLive, verifyUntilGreen, summaryOf } from '../story/verify-evidence.ts';

const AGENTS = 6;
/** The crash comes when this many replies are in hand, with more on the way. */
const REPLIES_BEFORE = 120;
const PATH = '/clinic/patients?limit=3';
const RESTART_MS = 60_000;
const SQL = `SELECT DISTINCT concat(o.writer, '/', toString(o.record_index)) AS position
FROM audit_operations AS o
INNER JOIN audit_exchanges AS e ON e.writer = o.writer AND e.operation_index = o.record_index
WHERE e.record = 'response'`;

export const crashStep: Step = {
  id: 8,
  name: 'crash',
  title: 'The gateway is killed (kill -9) in mid-traffic.',
  needs: [],
  async run(story, checks) {
    const { tell, deployment, dataDir } = story;
    const { agent } = await story.agent();
    const gateway = deployment.pidOf('gateway');
    // `chaperone up` starts it again within a blink; while it is stopped, there is time for a copy in between.
    deployment.suspend(deployment.launcherPid);
    tell.say(`${AGENTS} agents read without a pause …`);
    const traffic = startTraffic(agent);
    await until('replies', 60_000, () => Promise.resolve(traffic.received.size >= REPLIES_BEFORE ? true : null));
    tell.command(`kill -9 ${gateway}`);
    await deployment.kill9(gateway);
    await traffic.ended;
    const { received, broken } = traffic;
    tell.say(`… ${received.size} responses reached them; ${broken()} requests broke.`);
    checks.that(
      'it was in mid-traffic',
      received.size >= REPLIES_BEFORE && broken() > 0,
      'replies and broken requests',
      {
        received: received.size,
        broken: broken(),
      },
    );
    const copy = join(dataDir, 'copy-of-the-crash');
    copyEvidence(dataDir, copy);
    await checkOpenEnded(story, checks, copy);
    rmSync(copy, { recursive: true, force: true });
    deployment.resume(deployment.launcherPid);
    const again = await checkRecovered(story, checks, gateway);
    const missing = await checkReceived(story, checks, received);
    return { received: received.size, broken: broken(), missing, recoverySeconds: again };
  },
};

interface Traffic {
  /** Positions of all responses of which at least the head came. */
  readonly received: ReadonlySet<string>;
  readonly broken: () => number;
  readonly ended: Promise<void>;
}

/** Each agent reads until its connection breaks. */
function startTraffic(agent: Agent): Traffic {
  const received = new Set<string>();
  let broken = 0;
  const read = async (): Promise<void> => {
    for (;;) {
      try {
        const { status, text } = await agent.get(PATH, (evidence) => received.add(evidence));
        if (status !== 200) {
          throw new Error(`${status} ${text}`);
        }
      } catch {
        broken++; // By the crash: that is what this is about.
        return;
      }
    }
  };
  const ended = Promise.all(Array.from({ length: AGENTS }, read)).then(() => undefined);
  return { received, broken: () => broken, ended };
}

async function checkOpenEnded(story: Story, checks: Checks, copy: string): Promise<void> {
  story.tell.say('A copy taken now, before anything is started again:');
  const verified = await verifyCopy(story, copy);
  checks.that(
    'the copy is OPEN-ENDED: nothing says yet where these logs end (exit 9)',
    verified.exit === 9 && verified.verdicts.includes('OPEN-ENDED'),
    'OPEN-ENDED, exit 9',
    `exit ${verified.exit}: ${summaryOf(verified)}`,
  );
}

async function checkRecovered(story: Story, checks: Checks, killed: number): Promise<number> {
  const { deployment, tell } = story;
  const fromMs = performance.now();
  const { admin } = deployment.facts();
  await until('the gateway to be ready again', RESTART_MS, async () => {
    const answer = await fetch(`${admin}/readyz`).catch(() => null);
    return answer?.ok === true && deployment.pidOf('gateway') !== killed ? true : null;
  });
  const seconds = Math.round((performance.now() - fromMs) / 100) / 10;
  tell.say(`\`chaperone up\` has started it again, and it has read its journals (${seconds} s).`);
  const { agent } = await story.agent();
  checks.equal('it serves', (await agent.get(PATH)).status, 200);
  const verified = await verifyUntilGreen(() => verifyLive(story));
  checks.that(
    'RECOVERED: the control writer of the new start vouches for what it found',
    verified.exit === 0 && verified.verdicts.includes('RECOVERED'),
    'RECOVERED, exit 0',
    `exit ${verified.exit}: ${summaryOf(verified)}`,
  );
  return seconds;
}

/** The point of it all: no response without its record. */
async function checkReceived({ sql, tell }: Story, checks: Checks, received: ReadonlySet<string>): Promise<number> {
  tell.command(SQL);
  const missingIn = (rows: readonly { position: string }[]): string[] => {
    const recorded = new Set(rows.map(({ position }) => position));
    return [...received].filter((position) => !recorded.has(position));
  };
  const rows = await sql.rowsOnce<{ position: string }>(SQL, {}, (some) => missingIn(some).length === 0);
  const missing = missingIn(rows);
  checks.that(
    `each of the ${received.size} responses that the agents received has its record`,
    received.size > 0 && missing.length === 0,
    'no response without its record',
    `${missing.length} without: ${missing.slice(0, 5).join(', ')}`,
  );
  return missing.length;
}

import type { AgentReply } from '../story/agent.ts';
import type { Checks } from '../story/checks.ts';
import type { Step, Story } from '../story/story.ts';
import { textTable } from '../story/teller.ts';

interface Played {
  readonly ok: boolean;
  readonly session: { readonly session: string; readonly who: string };
  readonly records: number;
  readonly exchanges: readonly {
    readonly position: string;
    readonly request: { readonly method: string; readonly target: string } | null;
    readonly response: { readonly status: number; readonly body: string } | null;
  }[];
}

interface Question {
  readonly asks: string;
  readonly sql: string;
  /** What must be among the rows for an answer. */
  readonly expected: string;
  readonly answers: (rows: readonly Record<string, unknown>[]) => boolean;
}

export const replayStep: Step = {
  id: 6,
  name: 'replay',
  title: 'An auditor asks afterwards: what did the agent see, who stood behind it, who approved?',
  needs: [2, 4, 5],
  async run(story, checks) {
    const { maskedRead, exported, approvalId } = story.facts;
    if (maskedRead === null || exported === null || maskedRead.status !== 200 || exported.status !== 200) {
      checks.that('there is a read and an export to ask about', false, 'steps 2 and 4 held', 'they did not');
      return {};
    }
    const played = await play(story, checks, maskedRead);
    checkReplayed(checks, played, maskedRead, 'the patient list');
    // Pat's and Dana's agents have sessions of their own; the export may be in either worker's strand of Dana's.
    checkReplayed(checks, await playQuietly(story, exported), exported, 'the export');
    const questions = questionsAbout(exported.evidence, approvalId);
    const answers: Record<string, unknown> = {};
    for (const question of questions) {
      answers[question.asks] = await ask(story, checks, question);
    }
    return { session: played.session.session, records: played.records, sql: questions.map(({ sql }) => sql), answers };
  },
};

async function play({ tell, chaperone }: Story, checks: Checks, reply: AgentReply): Promise<Played> {
  const args = ['sessions', 'play', reply.evidence];
  tell.command(`chaperone ${args.join(' ')}`);
  tell.say('opens the sealed payloads on this machine with the auditor’s key, and shows what the agent saw:');
  const { stdout } = await chaperone.run(args);
  const lines = stdout.split('\n');
  const begin = lines.findIndex((line) => line.includes(`[${reply.evidence}]`));
  tell.output([...lines.slice(0, 2), ...lines.slice(begin, begin + 12)].map((line) => line.slice(0, 120)));
  const { exit, out } = await chaperone.json<Played>(args);
  checks.that(
    'the session plays, each record as its leaf commits to it',
    exit === 0 && out.ok && out.records > 0,
    'exit 0',
    `exit ${exit}, ${out.records} records`,
  );
  return out;
}

async function playQuietly({ chaperone }: Story, reply: AgentReply): Promise<Played> {
  return (await chaperone.json<Played>(['sessions', 'play', reply.evidence])).out;
}

function checkReplayed(checks: Checks, played: Played, reply: AgentReply, what: string): void {
  const exchange = played.exchanges.find(({ position }) => position === reply.evidence);
  const body = exchange?.response?.body ?? '';
  checks.that(
    `${what} is there byte for byte as the agent got it (${reply.text.length} characters)`,
    exchange?.response?.status === reply.status && reply.text.length > 0 && body === reply.text,
    `the ${reply.text.length} characters of the reply`,
    exchange === undefined ? `no exchange ${reply.evidence}` : `${body.length} characters`,
  );
}

async function ask({ tell, sql }: Story, checks: Checks, question: Question): Promise<unknown> {
  tell.say('');
  tell.say(question.asks);
  tell.command(question.sql);
  const rows = await sql.rowsOnce(question.sql, {}, question.answers);
  const head = Object.keys(rows[0] ?? {});
  const cells = rows.map((row) => head.map((name) => cellText(row[name])));
  tell.output(textTable(head, cells, 40));
  checks.that('the rows answer that', question.answers(rows), question.expected, rows);
  return rows;
}

function cellText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** About the export of step 4. The literals are those of this run, so that the text can be pasted into a client. */
function questionsAbout(position: string, approval: string): Question[] {
  const [writer = '', index = ''] = position.split('/');
  if (!/^[0-9a-f]{32}$/.test(writer) || !/^\d+$/.test(index) || !/^[\w-]+$/.test(approval)) {
    throw new Error(`no position and approval to ask about: ${position}, ${approval}`);
  }
  return [
    {
      asks: 'Who was it, through which agent, in which run and commit, and was the script reviewed?',
      sql: `SELECT o.who AS who, o.through_actors AS through, o.repository AS repository, o.run AS run,
  substring(o.commit, 1, 12) AS commit, o.script_reviewed AS script_reviewed, s.reviewer AS reviewer
FROM audit_operations AS o LEFT JOIN audit_scripts AS s ON s.script = o.script AND s.commit = o.commit
WHERE o.writer = '${writer}' AND o.record_index = ${index} AND s.time < o.time`,
      expected: 'dana, coding-agent, run 7041, a script that robin reviewed',
      answers: ([row]) =>
        row?.['who'] === 'dana@demo.invalid' &&
        JSON.stringify(row['through']).includes('coding-agent') &&
        row['run'] === '7041' &&
        row['script_reviewed'] === true &&
        row['reviewer'] === 'robin',
    },
    {
      asks: 'What was asked, what was decided, how much came back?',
      sql: `SELECT o.what AS what, o.decision AS decision, e.status AS status, e.rows AS rows, e.bytes AS bytes
FROM audit_operations AS o
INNER JOIN audit_exchanges AS e ON e.writer = o.writer AND e.operation_index = o.record_index
WHERE o.writer = '${writer}' AND o.record_index = ${index} AND e.record = 'response'`,
      expected: 'the export, allowed, with its rows',
      answers: ([row]) =>
        String(row?.['what']).includes('/export/patients.ndjson') &&
        row?.['decision'] === 'allow' &&
        Number(row['rows']) > 0,
    },
    {
      asks: 'Which fields were masked, how, and by which version of the policy?',
      sql: `SELECT field, class, action, sum(values_count) AS masked, substring(policy, 1, 12) AS policy
FROM audit_masks WHERE (writer, record_index) IN
  (SELECT writer, record_index FROM audit_exchanges WHERE writer = '${writer}' AND operation_index = ${index})
GROUP BY ALL ORDER BY field`,
      expected: 'ssn, phone, email and birthdate, each with the policy',
      answers: (rows) =>
        ['ssn', 'phone', 'email', 'birthdate'].every((name) =>
          rows.some((row) => String(row['field']).endsWith(name) && Number(row['masked']) > 0),
        ) && rows.every((row) => /^[0-9a-f]{12}$/.test(String(row['policy']))),
    },
    {
      asks: 'Who approved it, when, why, and what was shown to them?',
      sql: `SELECT record, requester, state, approver, reason, toString(time) AS time, substring(shown, 1, 12) AS shown
FROM audit_approvals WHERE approval = '${approval}' ORDER BY time, record_index`,
      expected: 'asked by dana, granted by pat, claimed',
      answers: (rows) =>
        ['approval.asked', 'approval.granted', 'approval.claimed'].every((record) =>
          rows.some((row) => row['record'] === record),
        ) &&
        rows.every((row) => row['requester'] === 'dana@demo.invalid') &&
        rows.some((row) => row['approver'] === 'pat' && row['state'] === 'approved'),
    },
    {
      asks: 'Did anything raw leave for a destination that was not allowed?',
      sql: `SELECT who, destination, egress_kinds, decision, code, count() AS attempts
FROM audit_egress WHERE destination = 'analytics' GROUP BY ALL ORDER BY attempts`,
      expected: 'attempts, each refused',
      answers: (rows) => rows.length > 0 && rows.every((row) => row['decision'] === 'deny'),
    },
  ];
}

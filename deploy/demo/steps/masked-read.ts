import { claimsOf, type Agent, type AgentReply } from '../story/agent.ts';
import type { Checks } from '../story/checks.ts';
import type { Step, Story } from '../story/story.ts';
import { textTable } from '../story/teller.ts';
import { until } from '../story/until.ts';
import type { Row } from '../story/upstream.ts';

const PATH = '/patients?limit=10';
/** Columns that say who somebody is (45 CFR 164.514(b)(2)). Their values, as the upstream gives them, are what must not come. */
const IDENTIFYING = [
  'birthdate',
  'deathdate',
  'ssn',
  'drivers',
  'passport',
  'first',
  'last',
  'maiden',
  'birthplace',
  'address',
  'city',
  'county',
  'zip',
  'lat',
  'lon',
  'phone',
  'email',
] as const;
/** What a study needs: must come as it is. */
const CLINICAL = ['id', 'marital', 'race', 'ethnicity', 'gender', 'state', 'healthcare_expenses'] as const;
const SHOWN = ['first', 'ssn', 'birthdate', 'zip', 'phone', 'race', 'gender', 'healthcare_expenses'] as const;
const OBSERVED = ['encounter', 'code', 'description', 'value', 'units', 'type'] as const;

export const maskedReadStep: Step = {
  id: 2,
  name: 'masked-read',
  title: 'An agent in a CI run reads patients through Chaperone: identifiers masked, clinical values intact.',
  needs: [],
  async run(story, checks) {
    const { agent, token } = await story.agent();
    checkToken(story, checks, token);
    const mend = await breakOnPurpose(story, agent);
    try {
      return await readMasked(story, checks, agent);
    } finally {
      await mend();
    }
  },
};

async function readMasked(story: Story, checks: Checks, agent: Agent): Promise<Record<string, unknown>> {
  const { tell, upstream } = story;
  const asIs = await upstream.rows(PATH);
  tell.say('');
  tell.command(`curl -H "Authorization: Bearer $TOKEN" <gateway>/clinic${PATH}`);
  const reply = await agent.get(`/clinic${PATH}`);
  story.facts.maskedRead = reply;
  const isAnswer = checks.that(
    `the reply is 200, and its record is evidence ${reply.evidence}`,
    reply.status === 200 && /^[0-9a-f]{32}\/\d+$/.test(reply.evidence),
    '200 with an evidence header',
    `${reply.status}: ${reply.text}`,
  );
  if (!isAnswer) {
    return { status: reply.status, evidence: reply.evidence };
  }
  const seen = JSON.parse(reply.text) as Row[];
  show(story, asIs, seen);
  const identifiers = identifiersOf(asIs);
  checkPatients(checks, reply, asIs, seen, identifiers);
  const observations = await checkObservations(story, checks, agent, identifiers);
  return {
    status: reply.status,
    evidence: reply.evidence,
    rows: seen.length,
    identifiersChecked: identifiers.size,
    observations,
    seen: seen[0],
    upstream: asIs[0],
  };
}

function checkToken({ tell }: Story, checks: Checks, token: string): void {
  const claims = claimsOf(token);
  const actor = claims['act'] as { sub?: unknown } | undefined;
  tell.command('chaperone token');
  tell.say('The token is signed by the issuer of the CI system. It says who is behind the agent, and what it runs:');
  tell.output([
    `person ${String(claims['sub'])}, agent ${String(actor?.sub)}, repository ${String(claims['repository'])},`,
    `run ${String(claims['run_id'])}, commit ${String(claims['sha'])}`,
  ]);
  checks.that(
    'person, agent, repository, run and commit are in the token',
    [claims['sub'], actor?.sub, claims['repository'], claims['run_id'], claims['sha']].every(
      (claim) => typeof claim === 'string' && claim !== '',
    ),
    'sub, act.sub, repository, run_id and sha',
    claims,
  );
}

function show({ tell }: Story, asIs: readonly Row[], seen: readonly Row[]): void {
  const line = (who: string, row: Row | undefined): string[] => [who, ...SHOWN.map((column) => String(row?.[column]))];
  tell.output(
    textTable(
      ['', ...SHOWN],
      [0, 1, 2].flatMap((i) => [line('clinic', asIs[i]), line('agent', seen[i])]),
      18,
    ),
  );
}

function checkPatients(
  checks: Checks,
  reply: AgentReply,
  asIs: readonly Row[],
  seen: readonly Row[],
  identifiers: ReadonlyMap<string, string>,
): void {
  checks.equal('the agent got as many rows as the clinic has', seen.length, asIs.length);
  const leaked = [...identifiers].filter(([value]) => reply.text.includes(value)).map(([, column]) => column);
  checks.that(
    `none of the ${identifiers.size} identifiers in the clinic’s answer is in the reply`,
    identifiers.size > 50 && leaked.length === 0,
    'no identifier of the upstream anywhere in the reply',
    `${leaked.length} of ${identifiers.size}, of the columns ${[...new Set(leaked)].join(', ')}`,
  );
  const changed = asIs.flatMap((row, i) => CLINICAL.filter((column) => seen[i]?.[column] !== row[column]));
  checks.that(
    `what a study needs is intact: ${CLINICAL.join(', ')}`,
    asIs.length > 0 && changed.length === 0,
    'the values of the clinic',
    `${changed.length} values differ, of ${[...new Set(changed)].join(', ')}`,
  );
}

async function checkObservations(
  { upstream }: Story,
  checks: Checks,
  agent: Agent,
  identifiers: ReadonlyMap<string, string>,
): Promise<number> {
  const path = '/observations';
  const asIs = await upstream.rows(path);
  const reply = await agent.get(`/clinic${path}`);
  const seen = reply.status === 200 ? (JSON.parse(reply.text) as Row[]) : [];
  const changed = asIs.flatMap((row, i) => OBSERVED.filter((column) => seen[i]?.[column] !== row[column]));
  checks.that(
    `${asIs.length} observations: every code, value and unit is intact`,
    asIs.length > 0 && seen.length === asIs.length && changed.length === 0,
    'the values of the clinic',
    `${reply.status}, ${seen.length} rows, ${changed.length} values differ (${[...new Set(changed)].join(', ')})`,
  );
  const answers = asIs.flatMap((row) => (typeof row['answer'] === 'string' ? [row['answer']] : []));
  const shown = seen.filter((row, i) => asIs[i]?.['answer'] !== null && row['answer'] !== '[WITHHELD]');
  checks.that(
    `${answers.length} survey answers, addresses among them, are withheld: no catalogue knows them`,
    answers.length > 0 && shown.length === 0,
    '[WITHHELD]',
    `${shown.length} came`,
  );
  const dates = asIs.map((row) => String(row['date']));
  // Shorter ones might be a code or a measurement by chance.
  const telling = [...dates, ...[...identifiers.keys()].filter((value) => value.length >= 8)];
  const leaked = telling.filter((value) => reply.text.includes(value));
  checks.that(
    'their dates are cut to the year, and no identifier is among them',
    dates.length > 0 && leaked.length === 0,
    'years only',
    `${leaked.length} raw values`,
  );
  return seen.length;
}

/** Every identifying value of the upstream's own answer, with its column. */
function identifiersOf(rows: readonly Row[]): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const row of rows) {
    for (const column of IDENTIFYING) {
      const value = row[column];
      // Shorter ones would be found in any text.
      if (value !== null && value !== undefined && String(value).length >= 4) {
        found.set(String(value), column);
      }
    }
  }
  return found;
}

/** What `--break` asks for, and the way back, so that the later steps tell of themselves. */
async function breakOnPurpose(story: Story, agent: Agent): Promise<() => Promise<void>> {
  const { breaks, upstream, deployment, tell } = story;
  if (breaks === 'upstream-field') {
    await upstream.switch('leak', true);
    return () => upstream.switch('leak', false);
  }
  if (breaks !== 'recorder') {
    return () => Promise.resolve();
  }
  const isServed = async (): Promise<boolean> => (await agent.get(`/clinic${PATH}`)).status === 200;
  tell.say('BREAK: the process that takes the evidence is stopped (SIGSTOP).');
  const bus = deployment.pidOf('bus');
  deployment.suspend(bus);
  // It may answer until its bound has passed; then it must refuse.
  await until('the gateway to refuse while its evidence goes nowhere', 60_000, async () =>
    (await isServed()) ? null : true,
  );
  return async () => {
    deployment.resume(bus);
    await until('the gateway to serve again', 60_000, async () => ((await isServed()) ? true : null));
  };
}

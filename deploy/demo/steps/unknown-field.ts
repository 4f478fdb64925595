import { textTable } from '../story/teller.ts';
import type { Step } from '../story/story.ts';
import type { Row } from '../story/upstream.ts';

const PATH = '/patients?limit=2';
const FIELD = 'genome_marker';
const SQL = `SELECT time, who, connection, field, withheld AS values_withheld
FROM audit_withheld WHERE field LIKE '%genome_marker' ORDER BY time DESC LIMIT 1`;

interface Withheld extends Record<string, unknown> {
  readonly time: string;
  readonly who: string;
  readonly connection: string;
  readonly field: string;
}

export const unknownFieldStep: Step = {
  id: 3,
  name: 'unknown-field',
  title: 'The clinic’s developers add a field that nobody told us of. Unknown is treated as sensitive.',
  needs: [],
  async run({ upstream, tell, sql, ...story }, checks) {
    const { agent } = await story.agent();
    await upstream.switch('extra-field', true);
    const [asIs] = await upstream.rows(PATH);
    const reply = await agent.get(`/clinic${PATH}`);
    await upstream.switch('extra-field', false);
    const seen = reply.status === 200 ? (JSON.parse(reply.text) as Row[])[0] : undefined;
    const raw = String(asIs?.[FIELD]);
    tell.output(
      textTable(
        ['', 'race', FIELD],
        [
          ['clinic', String(asIs?.['race']), raw],
          ['agent', String(seen?.['race']), String(seen?.[FIELD])],
        ],
      ),
    );
    checks.that('the clinic does send it', raw.startsWith('BRCA1:999-'), 'BRCA1:<ssn>', raw);
    checks.equal('the agent sees that it is there, and nothing of it', seen?.[FIELD], '[WITHHELD]');
    checks.that(
      'nor anywhere else in the reply',
      !reply.text.includes(raw),
      `no ${FIELD} of the clinic`,
      'it is there',
    );
    checks.equal('the fields that are known came as ever', seen?.['race'], asIs?.['race']);
    tell.say('The event is a record of its own:');
    tell.command(SQL);
    const [event] = await sql.rowsOnce<Withheld>(SQL, {});
    tell.output([JSON.stringify(event)]);
    checks.that(
      'who got an answer with an unknown field, and which, is in the evidence',
      event !== undefined && event.field.endsWith(FIELD) && event.who !== '' && event.connection === 'clinic',
      `a row that names ${FIELD} on clinic`,
      event,
    );
    return { field: FIELD, seen: seen?.[FIELD], event };
  },
};

import { problemOf } from '../story/agent.ts';
import type { Step } from '../story/story.ts';

const CLEAN = JSON.stringify([{ code: '8302-2', value: 171.2, units: 'cm' }]);

export const egressStep: Step = {
  id: 5,
  name: 'egress',
  title: 'The agent posts rows with raw identifiers to analytics. That destination may not have them.',
  needs: [],
  async run({ upstream, tell, ...story }, checks) {
    const { agent } = await story.agent();
    const [patient] = await upstream.rows('/patients?limit=1');
    const { ssn, phone, email } = patient ?? {};
    const before = await upstream.state();
    const clean = await agent.postJson('/analytics/rows', CLEAN);
    const afterClean = await upstream.state();
    tell.say(`Rows without identifiers go through: ${clean.status} ${clean.text.trim()}`);
    checks.that(
      'analytics takes clean rows, all of their bytes',
      clean.status === 200 && afterClean.receivedBytes - before.receivedBytes === Buffer.byteLength(CLEAN),
      `200, ${Buffer.byteLength(CLEAN)} bytes received`,
      `${clean.status}, ${afterClean.receivedBytes - before.receivedBytes} bytes received: ${clean.text}`,
    );
    const row = { code: '8302-2', value: 171.2, note: `patient ${String(ssn)}, ${String(phone)}, ${String(email)}` };
    const plain = JSON.stringify([row]);
    // The same rows as a clever script would write them: JSON with every digit as an escape.
    const escaped = plain.replace(/\d/g, (digit) => `\\u003${digit}`).replace(/"value":[^,]+/, '"value":171.2');
    const refused: Record<string, unknown>[] = [];
    for (const [how, body] of [
      ['as they are', plain],
      ['with \\u escapes', escaped],
    ] as const) {
      const reply = await agent.postJson('/analytics/rows', body);
      const problem = problemOf(reply);
      tell.say(
        `Rows with identifiers, ${how}: ${reply.status} ${problem?.reasons[0]?.msg ?? reply.text.slice(0, 200)}`,
      );
      checks.that(
        `refused (${how}), with the reason`,
        reply.status === 403 && (problem?.reasons.length ?? 0) > 0,
        '403 with a reason',
        `${reply.status} ${reply.text}`,
      );
      checks.that(
        'the refusal does not repeat the identifiers',
        [ssn, phone, email].every((value) => !reply.text.includes(String(value))),
        'no identifier',
        reply.text,
      );
      refused.push({ how, status: reply.status, code: problem?.code, reasons: problem?.reasons.map(({ id }) => id) });
    }
    const after = await upstream.state();
    checks.equal('not one byte of the refused bodies left', after.receivedBytes, afterClean.receivedBytes);
    checks.equal('and no row arrived', after.received, afterClean.received);
    return { receivedBytes: after.receivedBytes, refused };
  },
};

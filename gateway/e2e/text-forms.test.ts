import { deepEqual, equal, ok } from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { canariesIn, withoutZeros } from './testing/canary-search.ts';
import { jsonAnswer, RawUpstream } from './testing/raw-upstream.ts';
import { WorkerHarness } from './testing/worker-harness.ts';

const SSN = '999-73-4185';
/** The same as JSON escapes of every character. */
const ESCAPED = escaped(SSN);

interface Outgoing {
  readonly name: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string | Buffer;
  /** Of the policy that refuses. */
  readonly reason?: string;
}

/** What must not leave for `analytics`, however it is written. */
const OUTGOING: readonly Outgoing[] = [
  { name: 'an identifier as it is', body: JSON.stringify([{ text: `see ${SSN}` }]) },
  { name: 'an identifier in escapes', body: `[{"text":"see ${ESCAPED}"}]` },
  { name: 'an identifier with one escape in its middle', body: `[{"text":"see 999\\u002d73-4185"}]` },
  { name: 'an identifying member whose name is escaped', body: `[{"${escaped('ssn')}":"x1"}]` },
  { name: 'an identifying member with its name in part escaped', body: `[{"s\\u0073n":"x1"}]` },
  { name: 'an identifier as the name of a member', body: `[{"${SSN}":1}]` },
  { name: 'an identifier deep in members nobody knows', body: `[{"a":{"b":[[{"c":"${ESCAPED}"}]]}}]` },
  { name: 'octets that are not UTF-8', body: Buffer.from([0x5b, 0x22, 0xff, 0xc0, 0x80, 0x22, 0x5d]) },
  {
    name: 'an overlong encoding',
    body: Buffer.concat([Buffer.from('["'), Buffer.from([0xc0, 0xb9]), Buffer.from('"]')]),
  },
  { name: 'UTF-16', body: Buffer.from(`\ufeff[{"text":"${SSN}"}]`, 'utf16le') },
  { name: 'a body that stops in the middle', body: `[{"text":"${SSN}"` },
  { name: 'a body that is compressed', headers: { 'content-encoding': 'gzip' }, body: gzipSync(`[{"text":"${SSN}"}]`) },
  { name: 'a media type that lies', body: `text\n${SSN}\n` },
  {
    name: 'a form with percent escapes',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: 'code=1&text=999%2D73%2D4185',
  },
  {
    name: 'a multipart body',
    headers: { 'content-type': 'multipart/form-data; boundary=b' },
    body: `--b\r\nContent-Disposition: form-data; name="text"\r\n\r\n${SSN}\r\n--b--\r\n`,
  },
  { name: 'CSV with an identifier', headers: { 'content-type': 'text/csv' }, body: `code,text\n1,${SSN}\n` },
  {
    name: 'NDJSON with an identifier in escapes',
    headers: { 'content-type': 'application/x-ndjson' },
    body: `{"code":"1"}\n{"text":"${ESCAPED}"}\n`,
  },
  { name: 'an identifier in a header', headers: { 'x-note': SSN }, body: '[{"code":"1"}]' },
  { name: 'an identifier in the query', path: `/analytics/rows?note=${SSN}`, body: '[{"code":"1"}]' },
  { name: 'an identifier in the query with percent escapes', path: '/analytics/rows?note=999%2D73%2D4185', body: '[]' },
];

/** Values of free text, as JSON source, that an agent must not get. */
const INCOMING: readonly (readonly [string, string])[] = [
  ['an SSN in escapes', `"${ESCAPED}"`],
  ['an SSN with escaped separators', '"ssn 999\\u002d73\\u002D4185."'],
  ['an e-mail address with an escaped at', '"mail canary.person\\u0040example.org now"'],
  ['a phone number with escaped blanks', '"call (617)\\u0020555-0182 today"'],
  ['a date with escaped slashes', '"born 12\\/31\\/1979 in town"'],
  ['an SSN behind a surrogate pair', `"\\ud83d\\ude00 ${ESCAPED}"`],
  ['an SSN between escaped control characters', `"\\u0000\\t${SSN}\\n\\u001f"`],
  ['an SSN after 64 KiB of text', `"${'lorem ipsum '.repeat(5_500)}${SSN}"`],
];
const RAW = /999-?73-?4185|canary\.person|555-0182|1979/;

describe('identifiers in disguise, through a whole worker', () => {
  let upstream: RawUpstream;
  let gateway: WorkerHarness;
  const logged: string[] = [];
  before(async () => {
    upstream = await RawUpstream.start();
    gateway = await WorkerHarness.start({ upstreams: { clinic: upstream.port, analytics: upstream.port } });
  });
  after(async () => {
    await gateway.close();
    await upstream.close();
  });

  for (const { name, path = '/analytics/rows', headers = {}, body, reason = 'egress_identifiers' } of OUTGOING) {
    test(`a request with ${name} does not leave, not one byte`, async () => {
      const earlier = upstream.receivedBytes;
      const response = await gateway.fetch(path, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : new Uint8Array(body),
      });
      const text = await response.text();
      logged.push(text);
      equal(response.status, 403, text);
      const problem = JSON.parse(text) as { code: string; decision_id: string; reasons: { id: string }[] };
      equal(problem.code, 'policy_denied');
      ok(
        problem.reasons.some(({ id }) => id === reason),
        text,
      );
      ok(!RAW.test(text));
      equal(upstream.receivedBytes, earlier);
      const index = Number(problem.decision_id.split('/')[1]);
      const record = (await gateway.records()).find((one) => one.index === index);
      equal(record?.event.decision?.effect, 'deny');
      ok(!RAW.test(record?.payload?.request?.body.toString() ?? ''), 'nor is it in the payload that an auditor opens');
      ok(!RAW.test(record?.payload?.request?.target ?? ''));
    });
  }

  test('a clean row leaves, so that the refusals mean something', async () => {
    upstream.say(jsonAnswer('{"accepted":1}'));
    const body = '[{"code":"\\u0038302-2","value":1}]';
    const response = await gateway.fetch('/analytics/rows', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    });
    equal(response.status, 200, await response.text());
    equal(upstream.seen.at(-1)?.body.toString(), body, 'forwarded as it was sent');
  });

  for (const [name, source] of INCOMING) {
    for (const media of ['application/json', 'application/x-ndjson'] as const) {
      test(`an answer with ${name} is masked (${media})`, async () => {
        const row = `{"id":"n1","text":${source}}`;
        upstream.say(jsonAnswer(media === 'application/json' ? `[${row}]` : `${row}\n`, media));
        const response = await gateway.fetch('/clinic/notes');
        const text = await response.text();
        equal(response.status, 200, text.slice(0, 300));
        const [value] = JSON.parse(media === 'application/json' ? text : `[${text}]`) as { id: string; text: string }[];
        equal(value?.id, 'n1');
        ok(!RAW.test(value?.text ?? '') && !RAW.test(text), text.slice(-200));
      });
    }
  }

  test('a member whose name is escaped is the same member', async () => {
    const names = ['ssn', 'first', 'phone', 'email', 'drivers'];
    const row = names.map((name, i) => `"${escaped(name)}":"canary-value-${i}"`).join(',');
    upstream.say(jsonAnswer(`[{${row},"${escaped('race')}":"white"}]`));
    const text = await (await gateway.fetch('/clinic/patients')).text();
    const [value] = JSON.parse(text) as Record<string, string>[];
    equal(value?.['race'], 'white');
    ok(!text.includes('canary-value'), text);
  });

  test('half of a surrogate pair is not text: masking_failed, and nothing is released', async () => {
    upstream.say(jsonAnswer(`[{"id":"n1","text":"\\ud83d ${SSN} \\udc00"}]`));
    const response = await gateway.fetch('/clinic/notes');
    const text = await response.text();
    equal(response.status, 502);
    equal((JSON.parse(text) as { code: string }).code, 'masking_failed');
    ok(!RAW.test(text));
  });

  test('an identifier as the name of a member is neither released nor noted in clear', async () => {
    upstream.say(jsonAnswer(`[{"id":"n1","${SSN}":"x","by mail canary.person@example.org":{"${ESCAPED}":[1]}}]`));
    const response = await gateway.fetch('/clinic/notes');
    const text = await response.text();
    ok(!RAW.test(text), text);
    ok(!RAW.test(JSON.stringify(JSON.parse(text))), text);
  });

  test('nothing of it is in clear in journal, warnings or metrics', async () => {
    await gateway.drain();
    const places = {
      journal: withoutZeros(await gateway.journalFiles()),
      warnings: gateway.warnings.join('\n'),
      metrics: await gateway.metricsText(),
      errors: logged.join('\n'),
    };
    ok(places.journal.length > 10_000);
    deepEqual(canariesIn([SSN, ESCAPED, '999%2D73%2D4185', 'canary.person', '555-0182', 'canary-value'], places), []);
  });
});

function escaped(text: string): string {
  return Array.from(text, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`).join('');
}

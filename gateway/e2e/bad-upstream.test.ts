import { equal, match, ok } from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { LIMITS } from '../../core/kernel/limits.ts';
import { OBLIGATIONS } from '../../core/ledger/leaf.ts';
import { RawHttpClient, type RawResponse } from '../lanes/http/testing/raw-http-client.ts';
import { BAD_RESPONSES, CUT_RESPONSES } from '../lanes/http/testing/response-cases.ts';
import { QuickClock } from './testing/quick-clock.ts';
import { jsonAnswer, RawUpstream } from './testing/raw-upstream.ts';
import { WorkerHarness } from './testing/worker-harness.ts';

const CANARY = '999-55-1234';
const ROW = { id: 'p1', ssn: CANARY, first: 'Canaria', race: 'white' };
const JSON_BODY = JSON.stringify([ROW]);
const OK = 'HTTP/1.1 200 OK\r\n';
const TYPED = `${OK}Content-Type: application/json\r\n`;
const RAW = /999-55|Canaria/;

interface BadAnswer {
  readonly name: string;
  readonly octets: string | Buffer;
  readonly after?: 'keep' | 'end' | 'reset';
  readonly status?: number;
  readonly code: string;
}

/** Nothing was released when these come: the agent sees a native error. */
const REFUSED: readonly BadAnswer[] = [
  {
    name: 'an answer of known length that ends early',
    octets: `${TYPED}Content-Length: 500\r\n\r\n${JSON_BODY}`,
    after: 'end',
    code: 'upstream_truncated',
  },
  {
    name: 'an answer of known length that is reset',
    octets: `${TYPED}Content-Length: 500\r\n\r\n${JSON_BODY}`,
    after: 'reset',
    code: 'upstream_truncated',
  },
  { name: 'a connection that closes before the answer', octets: '', after: 'end', code: 'upstream_truncated' },
  { name: 'a connection that is reset before the answer', octets: '', after: 'reset', code: 'upstream_truncated' },
  { name: 'garbage', octets: `${CANARY} hello world\r\n\r\n`, code: 'upstream_malformed' },
  { name: 'a TLS hello', octets: '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', code: 'upstream_malformed' },
  {
    name: 'TE and CL together',
    octets: `${TYPED}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\n[1]\r\n0\r\n\r\n`,
    code: 'upstream_malformed',
  },
  {
    name: 'two lengths',
    octets: `${TYPED}Content-Length: ${JSON_BODY.length}\r\nContent-Length: 2\r\n\r\n${JSON_BODY}`,
    code: 'upstream_malformed',
  },
  {
    name: 'a head over the limit of octets',
    octets: `${TYPED}X: ${'y'.repeat(LIMITS.httpHeaderBytesMax)}\r\nContent-Length: 2\r\n\r\n[]`,
    code: 'upstream_malformed',
  },
  {
    name: 'a head over the limit of fields',
    octets: `${TYPED}${'X: y\r\n'.repeat(LIMITS.httpHeadersMax)}Content-Length: 2\r\n\r\n[]`,
    code: 'upstream_malformed',
  },
  {
    name: 'gzip although identity was asked',
    octets: jsonAnswer(gzipSync(JSON_BODY), 'application/json', 'Content-Encoding: gzip\r\n'),
    code: 'content_encoding_refused',
  },
  {
    name: 'an unknown coding',
    octets: jsonAnswer(JSON_BODY, 'application/json', 'Content-Encoding: x-none\r\n'),
    code: 'content_encoding_refused',
  },
  { name: 'gzip that does not say so', octets: jsonAnswer(gzipSync(JSON_BODY)), code: 'masking_failed' },
  { name: 'an unknown media type', octets: jsonAnswer(JSON_BODY, 'application/pdf'), code: 'media_type_unknown' },
  { name: 'HTML', octets: jsonAnswer(JSON_BODY, 'text/html'), code: 'media_type_unknown' },
  {
    name: 'another charset',
    octets: jsonAnswer(JSON_BODY, 'application/json; charset=utf-16'),
    code: 'media_type_unknown',
  },
  {
    name: 'no media type',
    octets: `${OK}Content-Length: ${JSON_BODY.length}\r\n\r\n${JSON_BODY}`,
    code: 'media_type_unknown',
  },
  {
    name: 'a part of the resource (206)',
    octets: `HTTP/1.1 206 Partial Content\r\nContent-Type: application/json\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\n[]`,
    code: 'masking_failed',
  },
  {
    name: 'a Content-Range under 200',
    octets: jsonAnswer(JSON_BODY, 'application/json', 'Content-Range: bytes 0-1/9\r\n'),
    code: 'masking_failed',
  },
  {
    name: 'octets that are not UTF-8',
    octets: jsonAnswer(Buffer.concat([Buffer.from('[{"id":"'), Buffer.from([0xff, 0xc0]), Buffer.from('"}]')])),
    code: 'masking_failed',
  },
  { name: 'JSON that stops in the middle', octets: jsonAnswer(JSON_BODY.slice(0, -2)), code: 'masking_failed' },
  { name: 'two JSON values', octets: jsonAnswer(`${JSON_BODY}${JSON_BODY}`), code: 'masking_failed' },
  { name: 'a media type that lies', octets: jsonAnswer(`ssn,${CANARY}`), code: 'masking_failed' },
  {
    name: 'a value larger than a record can hold',
    octets: jsonAnswer(JSON.stringify([{ ssn: CANARY.repeat(40_000) }])),
    code: 'held_bytes_exceeded',
  },
];

describe('what an upstream may do, through a whole worker', () => {
  let upstream: RawUpstream;
  let gateway: WorkerHarness;
  before(async () => {
    upstream = await RawUpstream.start();
    gateway = await WorkerHarness.start({
      // Five minutes of timeouts in a few seconds.
      clock: new QuickClock(60),
      upstreams: { clinic: upstream.port, analytics: 1 },
    });
  });
  after(async () => {
    await gateway.close();
    await upstream.close();
  });

  for (const { name, octets, after: then = 'keep', status = 502, code } of REFUSED) {
    test(`${name}: ${code}, and nothing of it is released`, async () => {
      upstream.say(octets, then);
      const problem = await refused(gateway, status, code);
      await recordedAsAborted(gateway, problem.decision_id, code);
      await stillServes(gateway, upstream);
    });
  }

  test('an upstream that says nothing: upstream_timeout', async () => {
    upstream.answer = () => undefined;
    const problem = await refused(gateway, 504, 'upstream_timeout');
    await recordedAsAborted(gateway, problem.decision_id, 'upstream_timeout');
    await stillServes(gateway, upstream);
  });

  test('an upstream that stops in the middle and stays: upstream_timeout', async () => {
    upstream.say(`${TYPED}Content-Length: 500\r\n\r\n${JSON_BODY}`);
    const problem = await refused(gateway, 504, 'upstream_timeout');
    await recordedAsAborted(gateway, problem.decision_id, 'upstream_timeout');
    await stillServes(gateway, upstream);
  });

  test('an upstream that nobody listens for: upstream_unreachable', async () => {
    const response = await gateway.fetch('/analytics/rows', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '[{"code":"1","value":1}]',
    });
    equal(response.status, 502);
    const problem = (await response.json()) as Problem;
    equal(problem.code, 'upstream_unreachable');
    await recordedAsAborted(gateway, problem.decision_id, 'upstream_unreachable');
  });

  for (const [what, finish] of [
    ['ends early', 'end'],
    ['is reset', 'reset'],
    ['goes on with bytes that are not UTF-8', 'keep'],
    ['goes on with bad framing', 'keep'],
  ] as const) {
    test(`a long answer that ${what}: the agent sees a cut, and the record says why`, async () => {
      const line = `${JSON.stringify(ROW)}\n`;
      const chunk = (text: string | Buffer): Buffer =>
        Buffer.concat([Buffer.from(`${text.length.toString(16)}\r\n`), Buffer.from(text), Buffer.from('\r\n')]);
      let goOn: () => void = () => undefined;
      upstream.answer = ({ socket }) => {
        socket.write(`${OK}Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n`);
        socket.write(chunk(line.repeat(3_000)));
        goOn = () => {
          if (finish === 'end') {
            socket.end();
          } else if (finish === 'reset') {
            socket.resetAndDestroy();
          } else {
            socket.write(what.includes('UTF-8') ? chunk(Buffer.from([0xff, 0xfe])) : 'zz\r\n');
          }
        };
      };
      const client = await RawHttpClient.connect(gateway.port);
      client.send(request('/clinic/patients.ndjson', gateway));
      await client.readUntil((bytes) => bytes.length > 64 * 1024);
      goOn();
      await client.closed();
      const response: RawResponse = await client.readResponse();
      equal(response.status, 200);
      equal(response.isComplete, false, 'a cut, never a well-formed shorter body');
      ok(!RAW.test(response.body.toString()));
      client.destroy();
      const code =
        finish === 'keep' ? (what.includes('UTF-8') ? 'masking_failed' : 'upstream_malformed') : 'upstream_truncated';
      const position = response.headers.get('evidence') ?? '';
      await recordedAsAborted(gateway, position, code);
      const delivery = await recordOf(gateway, position, 'delivery');
      equal(delivery?.event.exchange?.complete, false);
      ok(Number(delivery?.event.exchange?.deliveredBytes ?? 0n) > 0);
      await stillServes(gateway, upstream);
    });
  }

  test('more rows than the policy allows: a cut, and no row above the limit is released', async () => {
    const rowsMax = 100_000; // Of the default bundle.
    upstream.say(jsonAnswer(`${JSON.stringify({ ssn: CANARY })}\n`.repeat(rowsMax + 2_000), 'application/x-ndjson'));
    const client = await RawHttpClient.connect(gateway.port);
    client.send(request('/clinic/patients.ndjson', gateway));
    await client.closed();
    const response = await client.readResponse();
    client.destroy();
    equal(response.isComplete, false);
    const rows = response.body.toString().split('"ssn"').length - 1;
    ok(rows > rowsMax / 2 && rows <= rowsMax, `${rows} rows`);
    await recordedAsAborted(gateway, response.headers.get('evidence') ?? '', 'policy_denied');
    await stillServes(gateway, upstream);
  });

  test('octets behind the end of an answer are never the answer to the next request', async () => {
    const forged = jsonAnswer('[{"race":"forged"}]').toString('latin1');
    upstream.say(Buffer.concat([jsonAnswer('[{"race":"true"}]'), Buffer.from(forged, 'latin1')]));
    for (let i = 0; i < 3; i++) {
      const response = await gateway.fetch('/clinic/patients?limit=1');
      equal(await response.text(), '[{"race":"true"}]');
    }
  });

  test('no malformed or cut answer of the table is released', async () => {
    for (const { name, bytes } of [...BAD_RESPONSES, ...CUT_RESPONSES]) {
      upstream.say(bytes.replaceAll('abc', '"ab'), 'end');
      const response = await gateway.fetch('/clinic/patients?limit=1');
      equal(response.status, 502, name);
      const { code } = (await response.json()) as Problem;
      match(code, /^(upstream_malformed|upstream_truncated|media_type_unknown)$/, name);
    }
    ok(BAD_RESPONSES.length + CUT_RESPONSES.length > 40);
    await stillServes(gateway, upstream);
  });

  test('an error of the upstream keeps its status, and its text is withheld', async () => {
    for (const status of [400, 404, 500, 503]) {
      const body = JSON.stringify({ error: `patient ${CANARY} Canaria`, detail: [ROW] });
      upstream.say(
        `HTTP/1.1 ${status} Oops\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
      const response = await gateway.fetch('/clinic/patients?limit=1');
      equal(response.status, status);
      ok(!RAW.test(await response.text()));
    }
  });

  test('fields of the answer that nobody declared harmless are not released', async () => {
    const fields = `X-Patient: ${CANARY}\r\nSet-Cookie: id=${CANARY}\r\nETag: "${CANARY}"\r\nLocation: /${CANARY}\r\n`;
    upstream.say(jsonAnswer('[]', 'application/json', fields));
    const client = await RawHttpClient.connect(gateway.port);
    client.send(request('/clinic/patients', gateway));
    await client.readResponse();
    ok(!RAW.test(client.bytes.toString('latin1')));
    client.destroy();
    const response = await gateway.fetch('/clinic/patients');
    ok(![...response.headers].some(([, value]) => RAW.test(value)));
  });
});

interface Problem {
  readonly code: string;
  readonly decision_id: string;
}

function request(target: string, gateway: WorkerHarness): string {
  return `GET ${target} HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer ${gateway.token()}\r\n\r\n`;
}

/** One request whose answer is a native error without a byte of the upstream. */
async function refused(gateway: WorkerHarness, status: number, code: string): Promise<Problem> {
  const response = await gateway.fetch('/clinic/patients?limit=1');
  const text = await response.text();
  equal(response.status, status, text);
  match(response.headers.get('content-type') ?? '', /^application\/problem\+json/);
  ok(!RAW.test(text), 'nothing of the upstream is in the error');
  const problem = JSON.parse(text) as Problem;
  equal(problem.code, code);
  return problem;
}

async function recordOf(gateway: WorkerHarness, position: string, kind: string) {
  const index = Number(position.split('/')[1]);
  return (await gateway.records()).find(
    (record) => record.kind === kind && Number(record.event.operationIndex) === index,
  );
}

async function recordedAsAborted(gateway: WorkerHarness, position: string, code: string): Promise<void> {
  const response = await recordOf(gateway, position, 'response');
  equal(response?.event.exchange?.abortReason, code);
  equal(response?.event.exchange?.complete, false);
  ok(((response?.leaf.obligations ?? 0) & OBLIGATIONS.aborted) !== 0);
  // Also in what is sealed: the agent got nothing with this record.
  equal(response?.payload?.response, undefined);
}

async function stillServes(gateway: WorkerHarness, upstream: RawUpstream): Promise<void> {
  upstream.say(jsonAnswer(JSON_BODY));
  const response = await gateway.fetch('/clinic/patients?limit=1');
  const text = await response.text();
  equal(response.status, 200, text);
  ok(!RAW.test(text) && text.includes('white'));
}

import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { LIMITS } from '../../core/kernel/limits.ts';
import { RawHttpClient } from '../lanes/http/testing/raw-http-client.ts';
import { ACCEPTED_HEADS, REFUSED_BODIES, REFUSED_HEADS } from '../lanes/http/testing/wire-cases.ts';
import { jsonAnswer, RawUpstream } from './testing/raw-upstream.ts';
import { WorkerHarness } from './testing/worker-harness.ts';

/** A record of `operation` for each request that the upstream saw, and none more: nothing was smuggled past the record. */
interface Scene {
  readonly gateway: WorkerHarness;
  readonly upstream: RawUpstream;
}

const PATIENTS = '/clinic/patients?limit=1';

for (const adapter of ['node', 'uws'] as const) {
  describe(`requests that are not well-formed, through a worker on ${adapter}`, () => {
    let upstream: RawUpstream;
    let gateway: WorkerHarness;
    before(async () => {
      upstream = await RawUpstream.start();
      gateway = await WorkerHarness.start({
        adapter,
        upstreams: { clinic: upstream.port, analytics: upstream.port },
      });
    });
    after(async () => {
      await gateway.close();
      await upstream.close();
    });
    test('what is well-formed goes upstream, so that a count of nothing means something', async () => {
      for (const { bytes } of ACCEPTED_HEADS.slice(0, 3)) {
        const earlier = upstream.seen.length;
        const client = await RawHttpClient.connect(gateway.port);
        client.send(armed(bytes, gateway.token()));
        equal((await client.readResponse()).status, 200);
        equal(upstream.seen.length, earlier + 1);
        client.destroy();
      }
    });

    test('an ambiguous head: nothing is forwarded, and nothing behind it is a request', async () => {
      const token = gateway.token();
      const earlier = upstream.receivedBytes;
      for (const { name, bytes } of REFUSED_HEADS) {
        const client = await RawHttpClient.connect(gateway.port);
        client.send(armed(bytes, token) + sentinel(token));
        // A parser that waits for more gets the end instead: what came cannot become a request.
        client.socket.end();
        await client.closed();
        const { status } = await client.readResponse();
        ok(status === 0 || (status >= 400 && status < 600), `${name}: ${status}`);
        equal(client.bytes.length, 0, `${name}: one answer at most`);
        client.destroy();
      }
      equal((await gateway.fetch(PATIENTS)).status, 200, 'the worker serves others');
      equal(upstream.receivedBytes - earlier, bytesOfLast(upstream), 'the upstream saw the good request alone');
    });

    test('a chunked body that a strict parser refuses: nothing behind it is a request', async () => {
      const token = gateway.token();
      for (const { name, bytes } of REFUSED_BODIES) {
        const earlier = upstream.seen.length;
        const client = await RawHttpClient.connect(gateway.port);
        client.send(`${head('POST', '/analytics/rows', token)}${JSON_CHUNKED}\r\n${bytes}${sentinel(token)}`);
        client.socket.end();
        await client.closed();
        client.destroy();
        equal(upstream.seen.slice(earlier).filter((one) => one.method === 'GET').length, 0, name);
        equal(upstream.seen.length, earlier, `${name}: bytes that are not JSON do not leave`);
      }
    });

    for (const [what, framing] of [
      ['of known length', 'Content-Length: 100\r\n\r\n[{"code":"1"'],
      ['in chunks', 'Transfer-Encoding: chunked\r\n\r\n14\r\n[{"code":"1"'],
      ['between chunks', 'Transfer-Encoding: chunked\r\n\r\nc\r\n[{"code":"1"\r\n'],
    ] as const) {
      test(`a request body that ends early, ${what}: nothing is forwarded and nothing is recorded as done`, async () => {
        const earlier = upstream.receivedBytes;
        const operations = await operationCount(gateway);
        const client = await RawHttpClient.connect(gateway.port);
        client.send(`${head('POST', '/analytics/rows', gateway.token())}Content-Type: application/json\r\n${framing}`);
        client.socket.end();
        await client.closed();
        const { status } = await client.readResponse();
        ok(status === 0 || status === 400, `got ${status}`);
        equal(upstream.receivedBytes, earlier);
        equal(await operationCount(gateway), operations);
      });
    }

    test('a body announced over the limit is refused with body_too_large before it is read', async () => {
      const earlier = upstream.receivedBytes;
      const client = await RawHttpClient.connect(gateway.port);
      const size = LIMITS.httpBodyBufferBytesMax + 1;
      client.send(`${head('POST', '/analytics/rows', gateway.token())}${JSON_LENGTH}${size}\r\n\r\n[`);
      await expectProblem(client, 413, 'body_too_large');
      equal(upstream.receivedBytes, earlier);
    });

    test('a body that grows over the limit is refused with body_too_large, and nothing of it was forwarded', async () => {
      const earlier = upstream.receivedBytes;
      const client = await RawHttpClient.connect(gateway.port);
      client.send(`${head('POST', '/analytics/rows', gateway.token())}${JSON_CHUNKED}\r\n`);
      const piece = Buffer.alloc(64 * 1024, ' ');
      for (let sent = 0; sent <= LIMITS.httpBodyBufferBytesMax; sent += piece.length) {
        client.send(`10000\r\n${piece.toString('latin1')}\r\n`);
      }
      await expectProblem(client, 413, 'body_too_large');
      equal(upstream.receivedBytes, earlier);
    });

    test('a body of exactly the limit is forwarded whole', async () => {
      const body = `[{"code":"1","value":${' '.repeat(LIMITS.httpBodyBufferBytesMax - 24)}1}]`;
      equal(body.length, LIMITS.httpBodyBufferBytesMax);
      upstream.say(jsonAnswer('{"accepted":1}'));
      const response = await gateway.fetch('/analytics/rows', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
      });
      equal(response.status, 200, await response.text());
      equal(upstream.seen.at(-1)?.body.toString(), body);
      const index = Number(response.headers.get('evidence')?.split('/')[1]);
      const copies = (await gateway.records()).filter(
        (record) =>
          record.index === index || (record.kind === 'request.part' && Number(record.event.operationIndex) === index),
      );
      ok(copies.length > 10 && copies.at(-1)?.kind === 'operation');
      equal(Buffer.concat(copies.map(({ payload }) => payload?.request?.body ?? Buffer.alloc(0))).toString(), body);
      upstream.say(jsonAnswer('[]'));
    });

    test('the upstream sees exactly one request for each request of the agent over keep-alive', async () => {
      const token = gateway.token();
      const earlier = upstream.seen.length;
      const operations = await operationCount(gateway);
      const client = await RawHttpClient.connect(gateway.port);
      const smuggled = `GET /patients HTTP/1.1\r\nHost: x\r\n\r\n`;
      const bodies = [
        '[]',
        JSON.stringify([{ code: smuggled, value: 1 }]),
        JSON.stringify([{ code: '0\r\n\r\n', value: 2 }]),
      ];
      upstream.say(jsonAnswer('{"accepted":1}'));
      for (const body of bodies) {
        client.send(`${head('POST', '/analytics/rows', token)}${JSON_LENGTH}${body.length}\r\n\r\n${body}`);
        equal((await client.readResponse()).status, 200);
        client.send(`${head('GET', PATIENTS, token)}\r\n`);
        equal((await client.readResponse()).status, 200);
      }
      client.destroy();
      const seen = upstream.seen.slice(earlier);
      deepEqual(
        seen.map((one) => `${one.method} ${one.target} ${one.body.toString()}`),
        bodies.flatMap((body) => [`POST /rows ${body}`, 'GET /patients?limit=1 ']),
      );
      equal(await operationCount(gateway), operations + seen.length);
      upstream.say(jsonAnswer('[]'));
    });

    test('pipelined requests: no more answers than requests, each in order, each with its own record', async () => {
      const token = gateway.token();
      const earlier = upstream.seen.length;
      const operations = await operationCount(gateway);
      const client = await RawHttpClient.connect(gateway.port);
      client.send([1, 2, 3].map((limit) => `${head('GET', `/clinic/patients?limit=${limit}`, token)}\r\n`).join(''));
      let answers = 0;
      if (adapter === 'node') {
        for (; answers < 3; answers++) {
          equal((await client.readResponse()).status, 200);
        }
      } else {
        // This front closes a connection on which a second request comes before the first answer.
        await client.closed();
      }
      client.destroy();
      await gateway.fetch(PATIENTS);
      const targets = upstream.seen.slice(earlier, -1).map((one) => one.target);
      deepEqual(targets, ['/patients?limit=1', '/patients?limit=2', '/patients?limit=3'].slice(0, targets.length));
      ok(targets.length >= answers && targets.length <= 3);
      equal(await operationCount(gateway), operations + targets.length + 1);
    });

    test('hop-by-hop fields, those that Connection names, and credentials do not go upstream', async () => {
      const client = await RawHttpClient.connect(gateway.port);
      const fields = {
        Connection: 'X-Secret-Hop, keep-alive',
        'X-Secret-Hop': 'hop',
        'Keep-Alive': 'timeout=5',
        TE: 'trailers',
        'Proxy-Authorization': 'Basic YWJj',
        Cookie: 'session=canary-cookie',
        Range: 'bytes=0-1',
        'Accept-Encoding': 'gzip',
        'X-Forwarded-For': '10.9.8.7',
        'X-Kept': 'kept',
      };
      client.send(`${head('GET', PATIENTS, gateway.token())}${lines(fields)}\r\n`);
      equal((await client.readResponse()).status, 200);
      const request = upstream.seen.at(-1);
      deepEqual([...(request?.names ?? [])].sort(), ['accept-encoding', 'authorization', 'host', 'x-kept']);
      equal(request?.headers.get('accept-encoding'), 'identity');
      equal(request?.headers.get('authorization'), 'Bearer service', 'the credential of the gateway');
      client.destroy();
    });

    test('CR LF that is percent-encoded in path or query stays encoded, or the route is not known', async () => {
      const earlier = upstream.seen.length;
      const query = 'limit=1%0d%0aX-Injected:%20yes%0d%0a%0d%0aGET%20/patients';
      const response = await gateway.fetch(`/clinic/patients?${query}`);
      equal(response.status, 200);
      equal(upstream.seen.length, earlier + 1, 'one request came of it');
      equal(upstream.seen.at(-1)?.target, `/patients?${query}`);
      equal(upstream.seen.at(-1)?.headers.has('x-injected'), false);
      for (const path of [
        '/clinic/patients%0d%0aX:%20y',
        '/clinic/%2e%2e/patients',
        '/clinic/patients/%2e%2e/%2e%2e',
      ]) {
        const client = await RawHttpClient.connect(gateway.port);
        client.send(`${head('GET', path, gateway.token())}\r\n`);
        const { status } = await client.readResponse();
        client.destroy();
        const last = upstream.seen.at(-1);
        ok(status === 403 || last?.target === path.slice('/clinic'.length), `${path}: ${status} ${last?.target}`);
        ok(!/[\r\n]/.test(last?.target ?? ''));
      }
    });

    test('what the front refused itself is in the records, with a count for each reason', async () => {
      await gateway.drain();
      const refused = (await gateway.records()).filter((record) => record.kind === 'wire.refused');
      const count = refused.reduce((sum, record) => sum + Number(record.event.note?.count ?? 0n), 0);
      // node:http reports all; the native parser refuses some before anything of the gateway runs.
      const reported = adapter === 'node' ? REFUSED_HEADS.length : 40;
      ok(count >= reported, `${count} of ${reported} refusals are recorded`);
      match(await gateway.metricsText(), new RegExp(`chaperone_wire_refused_total\\{lane="http"\\} ${count}\\b`));
      for (const { event } of refused) {
        match(event.note?.text ?? '', /^[a-z_]+$/, 'a fixed word, never bytes of the peer');
        equal(event.note?.attributes['lane'], 'http');
      }
      await everyRequestHasItsRecord({ gateway, upstream });
    });
  });
}

const JSON_LENGTH = 'Content-Type: application/json\r\nContent-Length: ';
const JSON_CHUNKED = 'Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n';

function head(method: string, target: string, token: string): string {
  return `${method} ${target} HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer ${token}\r\n`;
}

function lines(fields: Readonly<Record<string, string>>): string {
  return Object.entries(fields)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('');
}

/** Follows a bad head in the same segment: a good request that would be forwarded, if it were read. */
function sentinel(token: string): string {
  return `${head('GET', PATIENTS, token)}\r\n`;
}

/** The same defect on a request that would be forwarded without it: a good token and a route that exists. */
function armed(bytes: string, token: string): string {
  const lineEnd = bytes.indexOf('\n') + 1;
  if (lineEnd === 0) {
    return bytes;
  }
  const line = bytes.slice(0, lineEnd).replace(/^(\S*) \/a?(?=[^%]|$)/, `$1 ${PATIENTS}`);
  const end = bytes.slice(0, lineEnd).endsWith('\r\n') ? '\r\n' : '\n';
  return `${line}Authorization: Bearer ${token}${end}${bytes.slice(lineEnd)}`;
}

/** Octets of the last request that the upstream saw. */
function bytesOfLast(upstream: RawUpstream): number {
  const last = upstream.seen.at(-1);
  ok(last !== undefined);
  const fields = last.names.reduce((sum, name) => sum + name.length + (last.headers.get(name) ?? '').length + 4, 0);
  return `${last.method} ${last.target} HTTP/1.1\r\n`.length + fields + 2 + last.body.length;
}

async function expectProblem(client: RawHttpClient, status: number, code: string): Promise<void> {
  const response = await client.readResponse();
  equal(response.status, status, response.body.toString());
  equal((JSON.parse(response.body.toString()) as { code: string }).code, code);
  client.socket.end();
  await client.closed();
}

async function operationCount(gateway: WorkerHarness): Promise<number> {
  return (await gateway.records()).filter((record) => record.kind === 'operation').length;
}

async function everyRequestHasItsRecord({ gateway, upstream }: Scene): Promise<void> {
  const records = await gateway.records();
  const indexesOf = (kind: string): Set<number> =>
    new Set(records.filter((one) => one.kind === kind).map((one) => Number(one.event.operationIndex)));
  const answered = indexesOf('response');
  const delivered = indexesOf('delivery');
  const allowed = records.filter((one) => one.kind === 'operation' && one.event.decision?.effect === 'allow');
  ok(upstream.seen.length > 10);
  ok(allowed.length >= upstream.seen.length);
  ok(allowed.filter(({ index }) => answered.has(index)).length <= upstream.seen.length);
  for (const { index } of allowed) {
    ok(answered.has(index) || delivered.has(index), 'what was not answered is recorded as aborted');
  }
}

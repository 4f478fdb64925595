import { deepEqual, equal, ok } from 'node:assert/strict';
import type { Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { SeededRandom } from '../../core/kernel/testing/seeded-random.ts';
import { RawHttpClient, type RawResponse } from '../lanes/http/testing/raw-http-client.ts';
import { canariesIn, withoutZeros } from './testing/canary-search.ts';
import { canaryBody, CanaryMint, type CanaryRoute, canaryRoutes } from './testing/canary-tables.ts';
import { RawUpstream } from './testing/raw-upstream.ts';
import { WorkerHarness } from './testing/worker-harness.ts';

const SEED = Number(process.env['CHAPERONE_TEST_SEED'] ?? Date.now() % 1_000_000);
const RESPONSES = 300 * Number(process.env['CHAPERONE_TEST_SCALE'] ?? 1);
const TYPES = { json: 'application/json', ndjson: 'application/x-ndjson', csv: 'text/csv' } as const;
/** Something is wrong with one answer of so many. */
const BROKEN_ONE_OF = 12;

interface Plan {
  readonly route: CanaryRoute;
  readonly body: Buffer;
  readonly framing: 'length' | 'chunked' | 'close';
  readonly defect: 'none' | 'cut' | 'status' | 'media' | 'encoding';
}

for (const adapter of ['node', 'uws'] as const) {
  describe(`canaries through a whole worker on ${adapter}, seed ${SEED}`, () => {
    const random = new SeededRandom(SEED);
    const mint = new CanaryMint(random);
    const routes = canaryRoutes();
    let upstream: RawUpstream;
    let gateway: WorkerHarness;
    /** Every octet that any agent was given, as it came and with its escapes undone. */
    const received: string[] = [];
    const secrets: string[] = [];
    before(async () => {
      upstream = await RawUpstream.start();
      gateway = await WorkerHarness.start({
        adapter,
        upstreams: { clinic: upstream.port, analytics: upstream.port },
        serviceToken: `${mint.marker}-service`,
      });
    });
    after(async () => {
      await gateway.close();
      await upstream.close();
    });

    test('every route of the clinic is there, with columns that identify', () => {
      ok(routes.length >= 15);
      ok(routes.filter((route) => route.columns.some((column) => column.isPhi)).length >= 12);
      deepEqual([...new Set(routes.map((route) => route.media))].sort(), ['csv', 'json', 'ndjson']);
    });

    test(`${RESPONSES} answers in random pieces: not one canary reaches the agent`, async () => {
      let plan: Plan | null = null;
      upstream.answer = ({ socket }) => {
        if (plan !== null) {
          void sendInPieces(random, socket, plan);
        }
      };
      let client = await RawHttpClient.connect(gateway.port);
      let whole = 0;
      for (let i = 0; i < RESPONSES; i++) {
        plan = planOf(random, mint, routes);
        const cookie = mint.value().replaceAll(/[^ -~]|[\\"]/g, '');
        const token = gateway.token({ jti: `jti-${i >> 5}` });
        secrets.push(cookie.trim(), token.split('.')[2] ?? '');
        client.send(
          `GET /clinic${plan.route.path} HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer ${token}\r\nCookie: s=${cookie}\r\n\r\n`,
        );
        const response = await client.readResponse();
        keep(received, response);
        const isGood = plan.defect === 'none' && response.status === 200 && response.isComplete;
        ok(isGood || plan.defect !== 'none', `seed ${SEED}, answer ${i}: ${response.status}`);
        whole += isGood ? 1 : 0;
        if (client.isClosed || !response.isComplete) {
          client.destroy();
          client = await RawHttpClient.connect(gateway.port);
        }
      }
      client.destroy();
      ok(whole > RESPONSES / 2 && mint.minted > RESPONSES * 10, `${whole} answers, ${mint.minted} canaries`);
      const all = received.join('\n');
      ok(all.includes('plain-'), 'what is not identifying got through');
      equal(all.includes(mint.marker), false, `seed ${SEED}: a canary reached the agent`);
      deepEqual(
        mint.numbers.filter((number) => all.includes(number)),
        [],
        `seed ${SEED}`,
      );
    });

    test('no request of the agent gave its credentials to the upstream', () => {
      ok(upstream.seen.length >= RESPONSES);
      for (const { headers } of upstream.seen) {
        equal(headers.has('cookie'), false);
        equal(headers.get('authorization'), `Bearer ${mint.marker}-service`);
      }
    });

    test('none is in clear in journal, batches, warnings or metrics, nor in hex or base64', async () => {
      await gateway.drain();
      const places = {
        journal: withoutZeros(await gateway.journalFiles()),
        batches: Buffer.concat(gateway.batches),
        warnings: gateway.warnings.join('\n'),
        metrics: await gateway.metricsText(),
        agent: received.join('\n'),
      };
      ok(places.journal.length > 100_000 && places.batches.length > 100_000);
      deepEqual(canariesIn([mint.marker, 'Bearer', ...new Set(secrets.filter((_, i) => i % 20 < 2))], places), []);
      deepEqual(canariesIn(mint.numbers.slice(0, 40), places), []);
    });

    test('the sealed originals have them: they were masked, not lost', async () => {
      const originals = (await gateway.records()).flatMap((record) => record.originals?.response ?? []);
      const withMarker = originals.filter(({ value }) => unescaped(value.toString()).includes(mint.marker));
      ok(withMarker.length > RESPONSES, `${withMarker.length} of ${mint.minted}`);
    });
  });
}

function planOf(random: SeededRandom, mint: CanaryMint, routes: readonly CanaryRoute[]): Plan {
  const route = random.pick(routes);
  return {
    route,
    body: canaryBody(random, mint, route),
    framing: random.pick(['length', 'chunked', 'chunked', 'close']),
    defect: random.below(BROKEN_ONE_OF) > 0 ? 'none' : random.pick(['cut', 'status', 'media', 'encoding']),
  };
}

/** The answer in writes of random sizes: sometimes an octet each, sometimes all at once. */
async function sendInPieces(random: SeededRandom, socket: Socket, plan: Plan): Promise<void> {
  const { route, framing, defect } = plan;
  const body = defect === 'cut' ? plan.body.subarray(0, random.below(plan.body.length)) : plan.body;
  const type = defect === 'media' ? 'application/octet-stream' : TYPES[route.media];
  const frame = {
    length: `Content-Length: ${plan.body.length}\r\n`,
    chunked: 'Transfer-Encoding: chunked\r\n',
    close: '',
  };
  const status = defect === 'status' ? '500 Canary' : '200 OK';
  const coding = defect === 'encoding' ? 'Content-Encoding: br\r\n' : '';
  const head = `HTTP/1.1 ${status}\r\nContent-Type: ${type}\r\n${coding}${frame[framing]}\r\n`;
  const sizeMax = random.pick([1, 2, 7, 100, 5_000, 1_000_000]);
  // Octet by octet takes its time: only the beginning and the end go so.
  const octets = sizeMax < 7 ? 400 : Infinity;
  const pieces: Buffer[] = [Buffer.from(head)];
  for (let at = 0, count = 0; at < body.length; count++) {
    const isMiddle = count > octets && body.length - at > octets;
    const size = isMiddle ? body.length - at - octets : 1 + random.below(sizeMax);
    const piece = body.subarray(at, at + size);
    at += piece.length;
    pieces.push(framing === 'chunked' ? chunkOf(piece) : piece);
  }
  if (framing === 'chunked' && defect !== 'cut') {
    pieces.push(Buffer.from('0\r\n\r\n'));
  }
  for (const piece of pieces) {
    if (socket.destroyed) {
      return;
    }
    socket.write(piece);
    if (random.below(4) === 0) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  if (framing === 'close' || defect === 'cut') {
    socket.end();
  }
}

function chunkOf(piece: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n')]);
}

function keep(received: string[], response: RawResponse): void {
  const text = response.body.toString();
  received.push([...response.headers].join('\n'), text, unescaped(text));
}

function unescaped(text: string): string {
  return text.replaceAll(/\\u([0-9a-fA-F]{4})/g, (_match, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

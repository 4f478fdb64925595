import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LIMITS } from '../../core/kernel/limits.ts';
import { decodeBatch } from '../../core/ledger/batch.ts';
import { QuickClock } from './testing/quick-clock.ts';
import { jsonAnswer, RawUpstream } from './testing/raw-upstream.ts';
import { DEMO_RUN, type HarnessOptions, WorkerHarness } from './testing/worker-harness.ts';

interface Scene {
  readonly gateway: WorkerHarness;
  readonly upstream: RawUpstream;
  /** One read of patients in the session of run `run`. */
  readonly read: (run?: number) => Promise<{ readonly status: number; readonly code: string; readonly text: string }>;
}

const BODY = '[{"ssn":"999-61-0001","race":"white"}]';

async function withWorker(options: Partial<HarnessOptions>, body: (scene: Scene) => Promise<void>): Promise<void> {
  const upstream = await RawUpstream.start();
  const upstreams = { clinic: upstream.port, analytics: upstream.port };
  const gateway = await WorkerHarness.start({ upstreams, ...options });
  upstream.say(jsonAnswer(BODY));
  const read: Scene['read'] = async (run = 0) => {
    const token = gateway.token({ run: { ...DEMO_RUN, runId: String(run) } });
    const response = await gateway.fetch('/clinic/patients', { token });
    const text = await response.text();
    const code = response.status === 200 ? '' : (JSON.parse(text) as { code: string }).code;
    ok(!text.includes('999-61'));
    return { status: response.status, code, text };
  };
  try {
    await body({ gateway, upstream, read });
  } finally {
    await gateway.close();
    await upstream.close();
  }
}

/** Asks until the answer is of that kind: the number of tries bounds it, not a time. */
async function until(read: () => Promise<{ status: number; code: string }>, status: number): Promise<string> {
  for (let i = 0; i < 20_000; i++) {
    const answer = await read();
    if (answer.status === status) {
      return answer.code;
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  throw new Error(`never answered ${status}`);
}

describe('outages around a worker', () => {
  test('the key store is down: stored keys serve on, then keystore_unavailable, and it recovers by itself', () =>
    withWorker({ clock: new QuickClock(20) }, async ({ gateway, upstream, read }) => {
      equal((await read(0)).status, 200);
      gateway.keyStore.down = true;
      let served = 0;
      let refused = '';
      for (let run = 1; refused === '' && run <= 2 * LIMITS.keyPoolSize; run++) {
        const { status, code } = await read(run);
        served += status === 200 ? 1 : 0;
        refused = status === 200 ? '' : `${status} ${code}`;
      }
      equal(refused, '503 keystore_unavailable');
      ok(served >= LIMITS.keyPoolSize / 2, `${served} sessions had keys`);
      equal((await read(0)).status, 200, 'a session that has its keys goes on');
      const earlier = upstream.receivedBytes;
      const write = await gateway.fetch('/analytics/rows', {
        method: 'POST',
        token: gateway.token({ run: { ...DEMO_RUN, runId: 'unseen' } }),
        headers: { 'content-type': 'application/json' },
        body: '[{"code":"1"}]',
      });
      equal(write.status, 503);
      equal(((await write.json()) as { code: string }).code, 'keystore_unavailable');
      equal(upstream.receivedBytes, earlier, 'a write that cannot be sealed does not leave');
      gateway.keyStore.down = false;
      equal(await until(() => read(10_000), 200), '');
      const units = (await gateway.records()).filter((record) => record.payload !== null).length;
      ok(units >= served, 'every unit opens with a key that the store has');
    }));

  test('the bus is down: serves until too much waits, then evidence_backlog; what waited arrives without a gap', () =>
    withWorker({ clock: new QuickClock(60) }, async ({ gateway, upstream, read }) => {
      equal((await read()).status, 200);
      gateway.switches.busDown = true;
      equal((await read()).status, 200, 'a short outage is nobody’s business');
      equal(await until(read, 503), 'evidence_backlog');
      const earlier = upstream.receivedBytes;
      equal((await read()).code, 'evidence_backlog');
      equal(upstream.receivedBytes, earlier, 'nothing is forwarded any more');
      const { durable } = gateway.worker.writer.status;
      gateway.switches.busDown = false;
      equal(await until(read, 200), '');
      while (gateway.worker.writer.status.publisher.published < durable) {
        await new Promise((resolve) => setImmediate(resolve));
      }
      const batches = gateway.batches.map((bytes) => decodeBatch(bytes));
      const covered = new Set(
        batches.flatMap(({ first, count }) => Array.from({ length: count }, (_, i) => first + i)),
      );
      deepEqual(
        Array.from({ length: durable }, (_, index) => index).filter((index) => !covered.has(index)),
        [],
      );
    }));

  for (const adapter of ['node', 'uws'] as const) {
    test(`an agent on ${adapter} that does not read: few bytes are held, the upstream waits, nothing is lost`, () =>
      withWorker({ adapter }, async ({ gateway, upstream }) => {
        const rows = 80_000;
        const line = `${JSON.stringify({ id: 'p1', ssn: '999-61-0001', race: 'w'.repeat(250) })}\n`;
        const bytes = Buffer.from(line.repeat(rows));
        upstream.say(jsonAnswer(bytes, 'application/x-ndjson'));
        const response = await gateway.fetch('/clinic/patients.ndjson');
        equal(response.status, 200);
        const reader = response.body?.getReader();
        ok(reader !== undefined);
        const socket = upstream.seen.at(-1)?.socket;
        ok(socket !== undefined);
        // Everything that moves without the agent has moved when it has not moved for many turns.
        let last = -1;
        for (let still = 0; still < 300; still = socket.bytesWritten - socket.writableLength === last ? still + 1 : 0) {
          last = socket.bytesWritten - socket.writableLength;
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
        ok(socket.writableLength > bytes.length / 4, `${socket.writableLength} of ${bytes.length} wait upstream`);
        while (gateway.metrics.read('chaperone_durable_records') === 0) {
          await new Promise((resolve) => setTimeout(resolve, 1)); // The metrics are written each second.
        }
        ok(heldBytes(gateway) <= LIMITS.heldBytesPerSessionMax + 256 * 1024, `${heldBytes(gateway)} held`);
        let received = 0;
        let newlines = 0;
        for (let read = await reader.read(); !read.done; read = await reader.read()) {
          received += read.value.length;
          newlines += count(read.value, 0x0a);
        }
        ok(received > 0);
        equal(newlines, rows, 'every row arrived');
      }));

    test(`an agent on ${adapter} that leaves in the middle: upstream dropped, delivery recorded as aborted`, () =>
      withWorker({ adapter }, async ({ gateway, upstream, read }) => {
        const line = `${JSON.stringify({ id: 'p1', ssn: '999-61-0001', race: 'white' })}\n`;
        let gone: Promise<void> = Promise.resolve();
        upstream.answer = ({ socket }) => {
          gone = new Promise((resolve) => socket.once('close', () => resolve()));
          socket.write('HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n');
          socket.write(line.repeat(20_000));
        };
        const abort = new AbortController();
        const response = await gateway.fetch('/clinic/patients.ndjson', { signal: abort.signal });
        const first = await response.body?.getReader().read();
        const received = first?.value?.length ?? 0;
        ok(received > 0);
        abort.abort();
        await gone;
        upstream.say(jsonAnswer(BODY));
        equal((await read()).status, 200);
        const index = Number((response.headers.get('evidence') ?? '').split('/')[1]);
        const mine = (await gateway.records()).filter((record) => Number(record.event.operationIndex) === index);
        const delivery = mine.find((record) => record.kind === 'delivery')?.event.exchange;
        match(delivery?.abortReason ?? '', /upstream_truncated|the agent closed the connection/);
        equal(delivery?.complete, false);
        const delivered = Number(delivery?.deliveredBytes ?? 0n);
        const recorded = mine.reduce((sum, record) => sum + (record.payload?.response?.body.length ?? 0), 0);
        ok(received <= delivered && delivered <= recorded, `${received} <= ${delivered} <= ${recorded}`);
      }));

    test(`an agent on ${adapter} that leaves before the answer: recorded, and nothing is kept waiting`, () =>
      withWorker({ adapter }, async ({ gateway, upstream, read }) => {
        let gone: Promise<void> = Promise.resolve();
        const asked = new Promise<void>((resolve) => {
          upstream.answer = ({ socket }) => {
            gone = new Promise((closed) => socket.once('close', () => closed()));
            resolve();
          };
        });
        const abort = new AbortController();
        const response = gateway
          .fetch('/clinic/patients', { signal: abort.signal })
          .catch((error: Error) => error.name);
        await asked;
        abort.abort();
        await gone;
        equal(await response, 'AbortError');
        upstream.say(jsonAnswer(BODY));
        equal((await read()).status, 200);
        const deliveries = (await gateway.records()).filter((record) => record.kind === 'delivery');
        equal(deliveries[0]?.event.exchange?.complete, false);
        equal(Number(deliveries[0]?.event.exchange?.deliveredBytes ?? 0n), 0);
      }));
  }
});

function heldBytes(gateway: WorkerHarness): number {
  return gateway.metrics.read('chaperone_held_bytes');
}

function count(bytes: Uint8Array, octet: number): number {
  let found = 0;
  for (const one of bytes) {
    found += one === octet ? 1 : 0;
  }
  return found;
}

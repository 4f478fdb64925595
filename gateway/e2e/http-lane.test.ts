import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { startClinic, type Clinic } from '../../deploy/demo/clinic-service.ts';
import { DEMO_RUN, WorkerHarness } from './testing/worker-harness.ts';

/** Identifiers of the demo tables: none of them may ever reach an agent. */
const RAW = [/999-\d\d-\d{4}/, /@example\.com/, /\(\d{3}\) 555-\d{4}/, /Mosciski/, /Stamm Lock/];

for (const adapter of ['node', 'uws'] as const) {
  describe(`a worker on ${adapter}`, () => {
    let clinic: Clinic;
    let gateway: WorkerHarness;
    before(async () => {
      clinic = await startClinic({ host: '127.0.0.1', clinicPort: 0, analyticsPort: 0, serviceToken: 'service' });
      gateway = await WorkerHarness.start({
        adapter,
        upstreams: { clinic: clinic.clinicPort, analytics: clinic.analyticsPort },
      });
    });
    after(async () => {
      await gateway.close();
      await clinic.close();
    });

    test('a patient list comes masked, with its position, and the record gives the upstream bytes back', async () => {
      const response = await gateway.fetch('/clinic/patients?limit=2');
      const text = await response.text();
      equal(response.status, 200, text);
      for (const raw of RAW) {
        equal(raw.test(text), false, `${raw} in the reply`);
      }
      const rows = JSON.parse(text) as Record<string, unknown>[];
      equal(rows.length, 2);
      equal(rows[0]?.['race'], 'white');
      match(response.headers.get('evidence') ?? '', /^[0-9a-f]{32}\/\d+$/);
      const [, index] = (response.headers.get('evidence') ?? '').split('/');
      const records = await gateway.records();
      const operation = records.find((record) => record.index === Number(index));
      equal(operation?.kind, 'operation');
      equal(operation?.event.decision?.effect, 'allow');
      const reply = records.find(
        (record) => record.kind === 'response' && Number(record.event.operationIndex) === Number(index),
      );
      equal(reply?.payload?.response?.body.toString(), text);
      ok((reply?.originals?.response.length ?? 0) > 4);
      ok(reply?.originals?.response.some((original) => /999-/.test(original.value.toString())));
      ok((reply?.event.masks?.counts.length ?? 0) > 4);
      const meta = JSON.stringify(reply?.event, (_key, value: unknown) =>
        typeof value === 'bigint' ? String(value) : value,
      );
      equal(/999-|Mosciski/.test(meta), false);
    });

    for (const [path, type] of [
      ['/clinic/encounters.ndjson', 'application/x-ndjson'],
      ['/clinic/observations.csv', 'text/csv'],
      ['/clinic/claims', 'application/json'],
      ['/clinic/notes', 'application/json'],
    ] as const) {
      test(`${path} comes as ${type} without raw identifiers`, async () => {
        const response = await gateway.fetch(path);
        const text = await response.text();
        equal(response.status, 200, text.slice(0, 500));
        match(response.headers.get('content-type') ?? '', new RegExp(`^${type}`));
        ok(text.length > 100);
        for (const raw of RAW) {
          equal(raw.test(text), false, `${raw} in the reply`);
        }
      });
    }

    test('a field that the catalogue does not know is withheld and noted', async () => {
      await fetch(`http://127.0.0.1:${clinic.clinicPort}/_demo/extra-field`, { method: 'PUT' });
      const response = await gateway.fetch('/clinic/patients?limit=1');
      await fetch(`http://127.0.0.1:${clinic.clinicPort}/_demo/extra-field?on=false`, { method: 'PUT' });
      const [row] = (await response.json()) as Record<string, unknown>[];
      equal(row?.['genome_marker'], '[WITHHELD]');
      const records = await gateway.records();
      const noted = records.filter((record) => record.kind === 'schema.unknown');
      deepEqual(noted.at(-1)?.event.masks?.unknownPaths, ['[].genome_marker']);
    });

    test('identifiers do not leave for a destination that may not have them, not one byte', async () => {
      const before = (await (await fetch(`http://127.0.0.1:${clinic.clinicPort}/_demo/state`)).json()) as Record<
        string,
        unknown
      >;
      const response = await gateway.fetch('/analytics/rows', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify([{ code: '8302-2', value: 1, note: 'patient 999-17-5017' }]),
      });
      const problem = (await response.json()) as Record<string, unknown>;
      equal(response.status, 403, JSON.stringify(problem));
      const afterwards = (await (await fetch(`http://127.0.0.1:${clinic.clinicPort}/_demo/state`)).json()) as Record<
        string,
        unknown
      >;
      equal(afterwards['receivedBytes'], before['receivedBytes']);
      equal(JSON.stringify(problem).includes('999-17'), false);
    });

    for (const [what, token, code, status] of [
      ['no token', null, 'auth_missing', 401],
      ['an expired token', { nowMs: Date.now() - 3_600_000, ttlMs: 1_000 }, 'auth_expired', 401],
      ['a token for somebody else', { audience: 'other' }, 'auth_audience', 401],
    ] as const) {
      test(`${what} is refused with ${code}`, async () => {
        const response = await gateway.fetch('/clinic/patients', {
          token: token === null ? null : gateway.token(token),
        });
        equal(response.status, status);
        equal(((await response.json()) as { code: string }).code, code);
      });
    }

    test('records of one session name the token and the script that each request came with', async () => {
      for (const scriptDigest of ['cd'.repeat(32), 'ef'.repeat(32)]) {
        const token = gateway.token({ run: { ...DEMO_RUN, runId: '901', scriptDigest } });
        const response = await gateway.fetch('/clinic/patients?limit=1', { token });
        equal(response.status, 200, await response.text());
        const [, index] = (response.headers.get('evidence') ?? '').split('/');
        const record = (await gateway.records()).find((one) => one.index === Number(index));
        equal(record?.event.subject?.ci?.scriptDigest, scriptDigest);
        const digest = createHash('sha256').update(token).digest('hex');
        equal(Buffer.from(record?.event.subject?.tokenDigest ?? []).toString('hex'), digest);
      }
    });

    test('a route that the catalogue does not know is refused and recorded', async () => {
      const response = await gateway.fetch('/clinic/secrets');
      equal(response.status, 403);
      const problem = (await response.json()) as { decision_id: string };
      const index = Number(problem.decision_id.split('/')[1]);
      const record = (await gateway.records()).find((one) => one.index === index);
      equal(record?.event.operation?.unresolved, true);
      equal(record?.event.decision?.effect, 'deny');
    });

    test('an upstream that is not there gives a native error, and its record', async () => {
      const response = await gateway.fetch('/clinic/patients/none');
      ok(response.status >= 400);
      const text = await response.text();
      equal(/not found/.test(text), false, 'even the error text of an upstream is withheld');
    });

    test('a HEAD request has no body and no original length', async () => {
      const response = await gateway.fetch('/clinic/patients', { method: 'HEAD' });
      equal(response.status, 200);
      ok([null, '0'].includes(response.headers.get('content-length')), String(response.headers.get('content-length')));
    });
  });
}

import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { packageRoot } from '../../core/runtime/package-root.ts';
import { generateDemoData } from '../../tools/demo-data/generate.ts';
import { startClinic } from './clinic-service.ts';

test('the generated tables are what is committed', () => {
  const dir = join(packageRoot(), 'deploy', 'demo', 'data');
  const { contacts, notes } = generateDemoData(dir);
  equal(readFileSync(join(dir, 'contacts.csv'), 'utf8'), contacts);
  equal(readFileSync(join(dir, 'notes.csv'), 'utf8'), notes);
});

test('the service speaks JSON, NDJSON and CSV, and only to who has its token', async () => {
  const clinic = await startClinic({ host: '127.0.0.1', clinicPort: 0, analyticsPort: 0, serviceToken: 't' });
  const base = `http://127.0.0.1:${clinic.clinicPort}`;
  const headers = { authorization: 'Bearer t' };
  try {
    equal((await fetch(`${base}/patients`)).status, 401);
    const patients = (await (await fetch(`${base}/patients?limit=3`, { headers })).json()) as Record<string, unknown>[];
    equal(patients.length, 3);
    match(String(patients[0]?.['ssn']), /^999-/);
    match(String(patients[0]?.['phone']), /555/);
    equal(typeof patients[0]?.['lat'], 'number');
    const ndjson = await (await fetch(`${base}/export/patients.ndjson`, { headers })).text();
    equal(ndjson.trim().split('\n').length, 27);
    const csv = await (await fetch(`${base}/observations.csv`, { headers })).text();
    match(csv, /^date,patient,encounter,/);
    const observations = (await (await fetch(`${base}/observations`, { headers })).json()) as Record<string, unknown>[];
    const answered = observations.filter((row) => row['answer'] !== null);
    ok(answered.length > 50 && answered.length < observations.length);
    ok(
      observations.every((row) => (row['value'] === null) !== (row['answer'] === null)),
      'what a person answered is never a measured value',
    );
    await fetch(`${base}/_demo/extra-field`, { method: 'PUT' });
    const one = (await (await fetch(`${base}/patients/${String(patients[0]?.['id'])}`, { headers })).json()) as Record<
      string,
      unknown
    >;
    ok('genome_marker' in one);
    const notes = (await (
      await fetch(`${base}/patients/${String(patients[0]?.['id'])}/notes`, { headers })
    ).json()) as Record<string, unknown>[];
    ok(
      notes.length > 0 &&
        notes.every((note) => String(note['text']).length > 0 && !String(note['text']).startsWith('"')),
    );
  } finally {
    await clinic.close();
  }
});

test('the sink counts what arrives', async () => {
  const clinic = await startClinic({ host: '127.0.0.1', clinicPort: 0, analyticsPort: 0, serviceToken: 't' });
  try {
    const url = `http://127.0.0.1:${clinic.analyticsPort}/rows`;
    const response = await fetch(url, {
      method: 'POST',
      headers: { authorization: 'Bearer t' },
      body: '[{"a":1},{"a":2}]',
    });
    deepEqual(await response.json(), { accepted: 2 });
    const state = (await (await fetch(`http://127.0.0.1:${clinic.clinicPort}/_demo/received`)).json()) as Record<
      string,
      unknown
    >;
    equal(state['received'], 2);
    equal(state['receivedBytes'], 17);
  } finally {
    await clinic.close();
  }
});

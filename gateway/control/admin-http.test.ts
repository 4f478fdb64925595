import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { startAdminHttp, type Readiness } from './admin-http.ts';

test('readiness tells every reason, liveness does not depend on it', async () => {
  let readiness: Readiness = { ready: false, reasons: ['recorder: disk_full', 'draining'] };
  const admin = await startAdminHttp({
    host: '127.0.0.1',
    port: 0,
    readiness: () => readiness,
    metrics: () => Promise.resolve({ contentType: 'text/plain', text: 'm 1\n' }),
  });
  const base = `http://127.0.0.1:${admin.port}`;
  try {
    equal((await fetch(`${base}/livez`)).status, 200);
    const notReady = await fetch(`${base}/readyz`);
    equal(notReady.status, 503);
    deepEqual(await notReady.json(), { ready: false, reasons: ['recorder: disk_full', 'draining'] });
    readiness = { ready: true, reasons: [] };
    equal((await fetch(`${base}/readyz`)).status, 200);
    equal(await (await fetch(`${base}/metrics`)).text(), 'm 1\n');
    equal((await fetch(`${base}/livez`, { method: 'POST' })).status, 405);
    equal((await fetch(`${base}/secret`)).status, 404);
  } finally {
    await admin.close();
  }
});

test('metrics that cannot be rendered give no detail', async () => {
  const admin = await startAdminHttp({
    host: '127.0.0.1',
    port: 0,
    readiness: () => ({ ready: true, reasons: [] }),
    metrics: () => Promise.reject(new Error('canary-4711')),
  });
  try {
    const response = await fetch(`http://127.0.0.1:${admin.port}/metrics`);
    equal(response.status, 500);
    equal((await response.text()).includes('canary'), false);
  } finally {
    await admin.close();
  }
});

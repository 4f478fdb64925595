import { deepEqual, rejects } from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { LIMITS } from '../../../core/kernel/limits.ts';
import { httpListenerContract } from '../../lanes/http/http-listener-contract.ts';
import type { HttpExchange } from '../../lanes/http/http-listener.ts';
import { RawHttpClient } from '../../lanes/http/testing/raw-http-client.ts';
import { loadUws } from './load-uws.ts';
import { createUwsListen, uwsHeaderBytes } from './uws-listener.ts';

// The native parser reads it when it is loaded; on the main thread of a test this still reaches the environment.
process.env['UWS_HTTP_MAX_HEADERS_SIZE'] = String(uwsHeaderBytes(LIMITS.httpHeaderBytesMax));
const loaded = loadUws();

// What the native parser of the build for Node 20 was measured to do; each is a `Limit:` of UwsListener.
const SILENT = [
  'bare LF after a field',
  'bare LF in a value',
  'bare CR in a value',
  'obs-fold by a space',
  'obs-fold by a tab',
  'a folded first line',
  'a space before the colon',
  'a tab before the colon',
  'a space before the colon of TE',
  'a bad octet in a name',
  'a field without a colon',
  'NUL in a value',
  'NUL in a name',
  'a control octet in a value',
];
const CLOSED_BY_PARSER = [
  'TE and CL',
  'CL and TE',
  'bare LF everywhere',
  'no Host',
  'an absolute-form of another authority',
  'an absolute-form of another port',
  'an absolute-form with user info',
  'an absolute-form of another scheme',
  'an asterisk-form',
  'an authority-form',
  'HTTP/1.0',
  'HTTP/1.2',
  'HTTP/2.0',
  'a lower-case version',
  'no version',
  'the HTTP/2 preface',
  'a TLS hello',
  'an octet above 0x7f in the method',
  'a space in the target',
  'a tab in the target',
  'NUL in the target',
  'a control octet in the target',
];

if (loaded.kind === 'absent') {
  test('the contract suite of the listener', { skip: `${loaded.why}; npm install brings it` }, () => undefined);
} else {
  httpListenerContract('uWebSockets.js', createUwsListen(loaded.uws), {
    unreported: [...SILENT, ...CLOSED_BY_PARSER],
    silent: SILENT,
    lenientBodies: [
      'bare LF',
      'a space before the size',
      'an empty size',
      'more data than the size',
      'no line end after the data',
      'junk for the last line end',
    ],
    cutsPipelining: true,
    needsWholeRequestLine: true,
    continuesEarly: true,
  });
}

if (loaded.kind === 'loaded') {
  const listen = createUwsListen(loaded.uws);
  const options = { host: '127.0.0.1', port: 0, headersMax: 20, idleTimeoutMs: 1_000, sharedPort: true };
  const handlers = { onRequest: (exchange: HttpExchange) => exchange.abort(), onRefused: () => undefined };

  test('refuses to listen when the native parser would decide about large heads', () => {
    const headerBytesMax = LIMITS.httpHeaderBytesMax + 1;
    return rejects(async () => await listen({ ...options, headerBytesMax }, handlers), {
      code: 'config_invalid',
      message: /UWS_HTTP_MAX_HEADERS_SIZE must be at least 40961/,
    });
  });

  test('listens on one port from several worker threads, and each of them serves', async () => {
    const port = await freePort();
    const workers = [await startWorker(port), await startWorker(port), await startWorker(port)];
    try {
      const served = new Set<string>();
      // The kernel spreads by a hash of the client's port: with 3 threads, 200 connections miss one in 1 of 10^35 runs.
      for (let i = 0; i < 200 && served.size < workers.length; i++) {
        const client = await RawHttpClient.connect(port);
        client.send('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
        served.add((await client.readResponse()).body.toString());
        client.destroy();
      }
      deepEqual([...served].sort(), workers.map(({ threadId }) => String(threadId)).sort());
    } finally {
      await Promise.all(workers.map((worker) => worker.stop()));
    }
  });
}

async function startWorker(port: number): Promise<{ readonly threadId: number; stop(): Promise<void> }> {
  const file = `./testing/listening-worker${import.meta.url.slice(-3)}`;
  const worker = new Worker(new URL(file, import.meta.url), { workerData: port });
  const [started] = (await once(worker, 'message')) as [{ threadId: number }];
  const stop = async (): Promise<void> => {
    const gone = once(worker, 'exit');
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    worker.postMessage('stop');
    await gone;
  };
  return { threadId: started.threadId, stop };
}

/** Sharing needs a port that everybody names, so this one is found, freed, and hopefully still free. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

import { parentPort, threadId, workerData } from 'node:worker_threads';
import { loadUws } from '../load-uws.ts';
import { createUwsListen } from '../uws-listener.ts';

/** A worker thread that listens on the port of `workerData` and answers with its thread id. */
const loaded = loadUws();
if (loaded.kind === 'absent' || parentPort === null) {
  throw new Error('started without uWebSockets.js, or not as a worker');
}
const listener = await createUwsListen(loaded.uws)(
  {
    host: '127.0.0.1',
    port: Number(workerData),
    headerBytesMax: 4_096,
    headersMax: 20,
    idleTimeoutMs: 1_000,
    sharedPort: true,
  },
  {
    onRequest: (exchange) => exchange.respond(200, [], Buffer.from(String(threadId))),
    onRefused: () => undefined,
  },
);
// A thread that holds sockets of uWS cannot be terminated: it closes them and lets its loop end.
parentPort.on('message', () => {
  void listener.close().then(() => parentPort?.close());
});
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
parentPort.postMessage({ threadId });

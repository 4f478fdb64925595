import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { loadUws } from '../../gateway/adapters/uws/load-uws.ts';
import { serveParent } from './child.ts';

/** The upstream of every case: 2 KB of JSON to any GET. It runs in its own process, so that nobody pays for it. */
const BODY = Buffer.from(
  JSON.stringify({
    resourceType: 'Bundle',
    entry: Array.from({ length: 13 }, (_, i) => ({
      resource: { resourceType: 'Observation', id: `obs-${1000 + i}`, status: 'final', value: 71.5 + i, unit: 'mmHg' },
      note: 'no remarkable finding at the visit in ward',
    })),
  }).padEnd(2048, ' '),
);

const loaded = loadUws();
if (loaded.kind === 'loaded') {
  const { uws } = loaded;
  uws
    .App()
    .any('/*', (response) => {
      response.writeStatus('200 OK');
      response.writeHeader('content-type', 'application/json');
      response.writeHeader('cache-control', 'no-store');
      response.end(BODY);
    })
    .listen('127.0.0.1', 0, 1, (socket) => {
      if (socket === false) {
        throw new Error('the origin cannot listen');
      }
      serveParent({ port: uws.us_socket_local_port(socket) }, () => ({}));
    });
} else {
  const server = createServer((_request, response) => {
    response.writeHead(200, {
      'content-type': 'application/json',
      'cache-control': 'no-store',
      'content-length': BODY.length,
    });
    response.end(BODY);
  });
  server.keepAliveTimeout = 60_000;
  server.listen(0, '127.0.0.1', () => serveParent({ port: (server.address() as AddressInfo).port }, () => ({})));
}

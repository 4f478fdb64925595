import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { loadClinicTables } from '../../deploy/demo/clinic-tables.ts';
import { loadUws } from '../../gateway/adapters/uws/load-uws.ts';
import { serveParent } from './child.ts';

/** The upstream of every case: 2 KB of JSON to any GET, patients as the catalogue of the default bundle knows them. */
const BODY = Buffer.from(JSON.stringify(loadClinicTables().patients.slice(0, 3)).padEnd(2048, ' '));

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

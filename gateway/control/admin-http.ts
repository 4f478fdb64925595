import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Why a node is not ready, in fixed words; empty when it is. */
export interface Readiness {
  readonly ready: boolean;
  readonly reasons: readonly string[];
}

export interface AdminHttpOptions {
  readonly host: string;
  readonly port: number;
  readonly readiness: () => Readiness;
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>;
}

export interface AdminHttp {
  readonly port: number;
  close(): Promise<void>;
}

/**
 * `/livez` answers as long as the event loop turns, `/readyz` tells whether a load balancer should send traffic and, if
 * not, every reason, `/metrics` is Prometheus text. Nothing here shows payload, people or configuration.
 */
export function startAdminHttp(options: AdminHttpOptions): Promise<AdminHttp> {
  const server = createServer(
    { requestTimeout: 10_000, headersTimeout: 5_000, keepAliveTimeout: 5_000 },
    (request, response) => {
      void answer(options, request, response);
    },
  );
  server.maxConnections = 128;
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, () => {
      server.off('error', reject);
      resolve({ port: (server.address() as AddressInfo).port, close: () => closeServer(server) });
    });
  });
}

async function answer(options: AdminHttpOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = (request.url ?? '').split('?', 1)[0];
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    send(response, 405, 'text/plain; charset=utf-8', 'only GET and HEAD\n');
  } else if (path === '/livez') {
    send(response, 200, 'text/plain; charset=utf-8', 'ok\n');
  } else if (path === '/readyz') {
    const { ready, reasons } = options.readiness();
    send(response, ready ? 200 : 503, 'application/json', `${JSON.stringify({ ready, reasons })}\n`);
  } else if (path === '/metrics') {
    try {
      const { contentType, text } = await options.metrics();
      send(response, 200, contentType, text);
    } catch {
      send(response, 500, 'text/plain; charset=utf-8', 'the metrics could not be rendered\n');
    }
  } else {
    send(response, 404, 'text/plain; charset=utf-8', 'known paths: /livez /readyz /metrics\n');
  }
}

function send(response: ServerResponse, status: number, contentType: string, body: string): void {
  response.writeHead(status, {
    'content-type': contentType,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
  });
  response.end(body);
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

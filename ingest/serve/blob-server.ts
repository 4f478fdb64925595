import { timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { sha256 } from '../../core/ledger/hash.ts';
import { isBlobName } from '../archive/blob-store.ts';
import type { BlobStore } from '../archive/blob-store.ts';

export interface BlobServerOptions {
  /** Served under `/<mount>/…`: `archive` and `log`. */
  readonly mounts: Readonly<Record<string, BlobStore>>;
  /** Bearer token: the archive holds no clear payload, but its metadata is not for other users of the machine. */
  readonly secret: string;
  /** JSON resources by path. */
  readonly resources?: Readonly<Record<string, (query: URLSearchParams) => Promise<unknown>>>;
  readonly port?: number;
}

export interface BlobServer {
  readonly port: number;
  close(): Promise<void>;
}

const SECRET_CHARACTERS_MIN = 16;
const RANGE = /^bytes=(\d{1,15})-(\d{0,15})$/;

/**
 * Objects and tiles over HTTP, read-only, loopback only: `GET /<mount>/<name>` (with `Range`) and
 * `GET /<mount>/?prefix=<folder>/` for a JSON list of names.
 */
export async function startBlobServer(options: BlobServerOptions): Promise<BlobServer> {
  if (options.secret.length < SECRET_CHARACTERS_MIN) {
    throw new RangeError(`the secret of the archive server has at least ${SECRET_CHARACTERS_MIN} characters`);
  }
  const server = createServer((request, response) => {
    respond(options, request, response).catch(() => {
      if (!response.headersSent) {
        response.writeHead(500);
      }
      response.end();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function respond(options: BlobServerOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return end(response, 405);
  }
  const given = sha256(Buffer.from(request.headers.authorization ?? ''));
  if (!timingSafeEqual(given, sha256(Buffer.from(`Bearer ${options.secret}`)))) {
    return end(response, 401);
  }
  const url = new URL(request.url ?? '/', 'http://loopback');
  const resource = options.resources?.[url.pathname];
  if (resource !== undefined) {
    return endJson(response, await resource(url.searchParams));
  }
  const [, mount, name] = /^\/([a-z]+)\/(.*)$/.exec(url.pathname) ?? [];
  const blobs = mount === undefined ? undefined : options.mounts[mount];
  if (blobs === undefined || name === undefined) {
    return end(response, 404);
  }
  if (name === '') {
    const prefix = url.searchParams.get('prefix') ?? '';
    const valid = prefix === '' || (prefix.endsWith('/') && isBlobName(prefix.slice(0, -1)));
    return valid ? endJson(response, await blobs.list(prefix)) : end(response, 400);
  }
  const bytes = isBlobName(name) ? await blobs.read(name) : null;
  return bytes === null ? end(response, 404) : endBytes(request, response, bytes);
}

function endBytes(request: IncomingMessage, response: ServerResponse, bytes: Buffer): void {
  const range = RANGE.exec(request.headers.range ?? '');
  if (range === null) {
    response.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Length': bytes.length });
    response.end(bytes);
    return;
  }
  const first = Number(range[1]);
  const last = Math.min(range[2] === '' ? Infinity : Number(range[2]), bytes.length - 1);
  if (first > last) {
    response.writeHead(416, { 'Content-Range': `bytes */${bytes.length}` }).end();
    return;
  }
  response.writeHead(206, {
    'Content-Type': 'application/octet-stream',
    'Content-Length': last - first + 1,
    'Content-Range': `bytes ${first}-${last}/${bytes.length}`,
  });
  response.end(bytes.subarray(first, last + 1));
}

function endJson(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify(value));
}

function end(response: ServerResponse, status: number): void {
  response.writeHead(status).end();
}

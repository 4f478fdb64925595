import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, ListenOptions, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { assert } from '../../../core/kernel/assert.ts';
import { GatewayError } from '../../../core/kernel/errors.ts';
import { LIMITS } from '../../../core/kernel/limits.ts';
import type {
  HttpHeader,
  HttpListener,
  HttpListenerHandlers,
  HttpListenerOptions,
} from '../../lanes/http/http-listener.ts';
import { checkRequestHead, originFormOf, REFUSALS, type Refusal } from '../http-head/request-head-rules.ts';
import { NodeHttpExchange } from './node-http-exchange.ts';

/** Whether several workers can listen on one port through this adapter: `reusePort` came with Node 22.12. */
export const NODE_HTTP_SHARES_PORT = canReusePort(process.versions.node);

/**
 * `ListenHttp` over node:http, for systems that cannot load uWebSockets.js. llhttp runs strict; what it still lets
 * through (two Hosts, bad Hosts, HTTP/1.0 and 2.0, TE with an empty value next to CL, absolute-form) is refused by the
 * same `checkRequestHead` that the other adapter uses, over the raw header list.
 *
 * Limit: on Node < 22.12 it cannot share a port: the node listens on port + worker index (00 section 4).
 */
export async function listenNodeHttp(
  options: HttpListenerOptions,
  handlers: HttpListenerHandlers,
): Promise<HttpListener> {
  if (options.sharedPort && !NODE_HTTP_SHARES_PORT) {
    throw new GatewayError('config_invalid', 'node:http cannot share a port between workers before Node 22.12');
  }
  const listener = new NodeHttpListener(options, handlers);
  await listener.listen();
  return listener;
}

/** Our own rule must be the one that decides at the limit, so the parser gets some room above it. */
const PARSER_HEADER_ROOM_BYTES = 8 * 1024;

class NodeHttpListener implements HttpListener {
  readonly #options: HttpListenerOptions;
  readonly #handlers: HttpListenerHandlers;
  readonly #server: Server;
  /** Connections on which nothing more is read as a request: one was refused, or its answer closes. */
  readonly #closing = new WeakSet<Duplex>();
  readonly #openExchanges = new WeakMap<Duplex, number>();
  readonly #sockets = new Set<Socket>();
  #isDraining = false;
  #closed: Promise<void> | null = null;

  constructor(options: HttpListenerOptions, handlers: HttpListenerHandlers) {
    this.#options = options;
    this.#handlers = handlers;
    this.#server = createServer({
      insecureHTTPParser: false,
      requireHostHeader: false, // Ours: it answers without telling anyone.
      maxHeaderSize: options.headerBytesMax + PARSER_HEADER_ROOM_BYTES,
      headersTimeout: LIMITS.httpHeaderTimeoutMs,
      keepAliveTimeout: options.idleTimeoutMs,
    });
    this.#server.maxHeadersCount = 0; // A limit here would drop fields silently; ours refuses.
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    const onRequest = (request: IncomingMessage, response: ServerResponse) => this.#onRequest(request, response);
    this.#server.on('request', onRequest);
    this.#server.on('checkContinue', onRequest);
    this.#server.on('checkExpectation', onRequest);
    this.#server.on('upgrade', (_request, socket) => this.#refuseSocket(socket, 'upgrade'));
    this.#server.on('connect', (_request, socket) => this.#refuseSocket(socket, 'method_refused'));
    this.#server.on('clientError', (error, socket) => this.#onClientError(error, socket));
  }

  listen(): Promise<void> {
    const { host, port, sharedPort } = this.#options;
    const where: ListenOptions & { reusePort?: boolean } = sharedPort
      ? { host, port, reusePort: true }
      : { host, port, exclusive: true };
    return new Promise((resolve, reject) => {
      const onError = (cause: Error) =>
        reject(new GatewayError('config_invalid', `cannot listen on ${host} port ${port}`, { cause }));
      this.#server.once('error', onError);
      this.#server.listen(where, () => {
        this.#server.off('error', onError);
        resolve();
      });
    });
  }

  get port(): number {
    return (this.#server.address() as AddressInfo | null)?.port ?? 0;
  }

  get openConnections(): number {
    return this.#sockets.size;
  }

  stopAccepting(): void {
    this.#isDraining = true;
    // `close` of the server ends when its last connection did.
    this.#closed ??= new Promise((resolve) => this.#server.close(() => resolve()));
  }

  async close(): Promise<void> {
    this.stopAccepting();
    const gone = [...this.#sockets].map((socket) => once(socket, 'close'));
    this.#server.closeAllConnections();
    await Promise.all([this.#closed, ...gone]);
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    if (this.#closing.has(socket)) {
      return;
    }
    const method = request.method ?? '';
    const headers = headerList(request.rawHeaders);
    const target = targetOf(request.url ?? '', headers);
    if (request.httpVersion !== '1.1' || target === null) {
      this.#refuse(request, response, target === null ? 'absolute_form' : 'version');
      return;
    }
    const separator = target.indexOf('?');
    const path = separator === -1 ? target : target.slice(0, separator);
    const query = separator === -1 ? '' : target.slice(separator + 1);
    const facts = checkRequestHead(method, path, query, headers, this.#options);
    if (typeof facts === 'string') {
      this.#refuse(request, response, facts);
      return;
    }
    if (facts.close) {
      this.#closing.add(socket);
    }
    this.#openExchanges.set(socket, (this.#openExchanges.get(socket) ?? 0) + 1);
    response.once('close', () => this.#openExchanges.set(socket, (this.#openExchanges.get(socket) ?? 1) - 1));
    const head = {
      method,
      path,
      query,
      host: facts.host,
      headers,
      contentLength: facts.contentLength,
      remoteAddress: socket.remoteAddress ?? '',
    };
    const exchange = new NodeHttpExchange(request, response, head, facts.expectContinue, () => {
      if (this.#isDraining) {
        this.#closing.add(socket);
      }
      return this.#closing.has(socket);
    });
    this.#handlers.onRequest(exchange);
    exchange.afterRequest();
  }

  #refuse(request: IncomingMessage, response: ServerResponse, refusal: Refusal): void {
    this.#closing.add(request.socket);
    this.#handlers.onRefused(refusal, request.socket.remoteAddress ?? '');
    const { status, text } = REFUSALS[refusal];
    response.shouldKeepAlive = false;
    response.writeHead(status, text, { 'content-length': '0' });
    response.end();
  }

  #refuseSocket(socket: Duplex, refusal: Refusal): void {
    assert('remoteAddress' in socket, 'a plain listener has plain sockets');
    if (this.#closing.has(socket)) {
      return;
    }
    this.#closing.add(socket);
    this.#handlers.onRefused(refusal, (socket as Socket).remoteAddress ?? '');
    if ((this.#openExchanges.get(socket) ?? 0) > 0 || !socket.writable) {
      socket.destroy(); // Its answer would be taken for the one of the open exchange.
      return;
    }
    const { status, text } = REFUSALS[refusal];
    socket.end(`HTTP/1.1 ${status} ${text}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`, () => socket.destroy());
  }

  #onClientError(error: Error, socket: Duplex): void {
    const code = 'code' in error ? String(error.code) : '';
    if (code.startsWith('HPE_')) {
      this.#refuseSocket(socket, code === 'HPE_HEADER_OVERFLOW' ? 'header_bytes' : 'parser');
    } else {
      socket.destroy(); // Reset by the peer, or too slow: nobody was refused anything.
    }
  }
}

function headerList(raw: readonly string[]): HttpHeader[] {
  const headers: HttpHeader[] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    headers.push({ name: (raw[i] ?? '').toLowerCase(), value: raw[i + 1] ?? '' });
  }
  return headers;
}

/** Origin-form target; null for an absolute-form one that names another authority than Host. */
function targetOf(url: string, headers: readonly HttpHeader[]): string | null {
  if (url.startsWith('/') || url === '*') {
    return url;
  }
  return originFormOf(url, headers.find(({ name }) => name === 'host')?.value ?? '');
}

function canReusePort(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > 22 || (major === 22 && minor >= 12);
}

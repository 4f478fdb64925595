import { assert } from '../../../core/kernel/assert.ts';
import { GatewayError } from '../../../core/kernel/errors.ts';
import type {
  HttpHeader,
  HttpListener,
  HttpListenerHandlers,
  HttpListenerOptions,
  ListenHttp,
} from '../../lanes/http/http-listener.ts';
import { checkRequestHead, REFUSALS, type Refusal } from '../http-head/request-head-rules.ts';
import { UwsExchange } from './uws-exchange.ts';
import type { UwsApp, UwsListenSocket, UwsModule, UwsRequest, UwsResponse } from './uws-native.ts';

/**
 * What the launcher must set `UWS_HTTP_MAX_HEADERS_SIZE` to before the process starts: the native parser reads it once,
 * when it is loaded. The room above `headerBytesMax` lets our own rule decide, with a 431, for what is just too large.
 */
export function uwsHeaderBytes(headerBytesMax: number): number {
  return headerBytesMax + 8 * 1024;
}

/**
 * `ListenHttp` over uWebSockets.js.
 *
 * The native parser shows no raw bytes. What it refuses itself (measured, see docs/decisions/0005-http-front.md): TE with
 * CL, no Host, HTTP/1.0 and other versions, absolute-form and asterisk-form targets, control octets in the target: 400 or
 * 505 and close. Bare LF, obs-fold, white space before a colon, NUL and other control octets in fields, more than 98
 * fields: it waits for more bytes that cannot help and closes after its 10 s. Everything else that must be refused is
 * refused here, by `checkRequestHead`, before a body byte is read.
 *
 * Limit: what the native parser refuses is not reported by `onRefused`: nothing of ours runs then.
 * Limit: its parser of chunked bodies is lenient (bare LF, junk after a chunk; extensions end up in the body). So an
 * answer to a chunked request always closes the connection, and nothing behind such a body is read as a request.
 * Limit: a field with an empty name hides the fields behind it from us. Balancers drop or refuse such a request.
 * Limit: it answers `Expect: 100-continue` itself, before the handler runs.
 * Limit: a request that arrives while the one before it is still open (pipelining) closes the connection.
 * Limit: a request line that comes in more than one TCP segment is refused (505) by the build for Node 20; a longer target
 *   than about 1,400 octets can be. Upstream repaired that in September 2024.
 * Limit: `sharedPort` needs a port number: with port 0 every listener gets one of its own.
 * Limit: times are fixed: 10 s idle, 10 s without progress of a body in either direction; `idleTimeoutMs` is not used.
 */
export function createUwsListen(uws: UwsModule): ListenHttp {
  return (options, handlers) => UwsListener.listen(uws, options, handlers);
}

const LISTEN_SHARED = 0;
const LISTEN_EXCLUSIVE = 1;

class UwsListener implements HttpListener {
  readonly #uws: UwsModule;
  readonly #app: UwsApp;
  readonly #options: HttpListenerOptions;
  readonly #handlers: HttpListenerHandlers;
  #listenSocket: UwsListenSocket | null = null;
  #port = 0;
  #connections = 0;
  #isDraining = false;
  #collected: HttpHeader[] = [];
  readonly #collect = (name: string, value: string): void => {
    this.#collected.push({ name, value });
  };

  static listen(uws: UwsModule, options: HttpListenerOptions, handlers: HttpListenerHandlers): Promise<HttpListener> {
    assertHeaderSize(options.headerBytesMax);
    const listener = new UwsListener(uws, options, handlers);
    return new Promise((resolve, reject) => {
      const flags = options.sharedPort ? LISTEN_SHARED : LISTEN_EXCLUSIVE;
      listener.#app.listen(options.host, options.port, flags, (socket) => {
        if (socket === false) {
          reject(new GatewayError('config_invalid', `cannot listen on ${options.host} port ${options.port}`));
          return;
        }
        listener.#listenSocket = socket;
        listener.#port = uws.us_socket_local_port(socket);
        resolve(listener);
      });
    });
  }

  readonly #readDraining = (): boolean => this.#isDraining;

  constructor(uws: UwsModule, options: HttpListenerOptions, handlers: HttpListenerHandlers) {
    this.#uws = uws;
    this.#options = options;
    this.#handlers = handlers;
    this.#app = uws.App();
    this.#app.filter((_response, count) => {
      this.#connections += count;
    });
    this.#app.any('/*', (response, request) => this.#onRequest(response, request));
  }

  get port(): number {
    return this.#port;
  }

  get openConnections(): number {
    return this.#connections;
  }

  /** Answers from now on close their connections, so that keep-alive clients move to another node. */
  stopAccepting(): void {
    this.#isDraining = true;
    if (this.#listenSocket !== null) {
      this.#uws.us_listen_socket_close(this.#listenSocket);
      this.#listenSocket = null;
    }
  }

  close(): Promise<void> {
    this.stopAccepting();
    this.#app.close();
    assert(this.#connections === 0, 'closing the app closed its connections');
    return Promise.resolve();
  }

  #onRequest(response: UwsResponse, request: UwsRequest): void {
    const headers: HttpHeader[] = [];
    this.#collected = headers;
    request.forEach(this.#collect);
    const line = {
      method: request.getCaseSensitiveMethod(),
      path: request.getUrl(),
      query: request.getQuery() ?? '',
    };
    const facts = checkRequestHead(line.method, line.path, line.query, headers, this.#options);
    if (typeof facts === 'string') {
      this.#refuse(response, facts);
      return;
    }
    const exchange = new UwsExchange(response, line, headers, facts, this.#readDraining);
    this.#handlers.onRequest(exchange);
    exchange.afterRequest();
  }

  /**
   * Answers after the parser is done with this segment. While no answer was given, a request that the same bytes hold
   * makes the parser close the connection; an answer now would let it go on to parse what follows.
   */
  #refuse(response: UwsResponse, refusal: Refusal): void {
    this.#handlers.onRefused(refusal, Buffer.from(response.getRemoteAddressAsText()).toString('latin1'));
    let isOpen = true;
    response.onAborted(() => {
      isOpen = false;
    });
    setImmediate(() => {
      if (isOpen) {
        const { status, text } = REFUSALS[refusal];
        response.cork(() => {
          response.writeStatus(`${status} ${text}`);
          response.end('', true);
        });
      }
    });
  }
}

function assertHeaderSize(headerBytesMax: number): void {
  const wanted = uwsHeaderBytes(headerBytesMax);
  if (!(Number(process.env['UWS_HTTP_MAX_HEADERS_SIZE']) >= wanted)) {
    throw new GatewayError(
      'config_invalid',
      `the environment variable UWS_HTTP_MAX_HEADERS_SIZE must be at least ${wanted} before the process starts; ` +
        'start the node with `chaperone up`, which sets it',
    );
  }
}

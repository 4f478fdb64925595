import type { ConnectionInfo } from '../../contract/operation.ts';
import type { HttpHeader } from './http-listener.ts';
import type { HttpUpstream } from './http-upstream.ts';

/** One upstream that agents reach through this gateway. */
export interface HttpConnection {
  readonly info: ConnectionInfo;
  /** SHA-256 of the connection's configuration, without secrets. */
  readonly digest: Buffer;
  /** Exact host (lower case, without port), null when any host will do. */
  readonly host: string | null;
  /** `/clinic`: cut off before the catalogue and the upstream see the path. Empty when the whole path belongs to it. */
  readonly pathPrefix: string;
  readonly upstream: HttpUpstream;
  /** `Host` of upstream requests. */
  readonly upstreamHost: string;
  /** The gateway's own credential; agents never hold one. */
  readonly credential: HttpHeader | null;
}

export interface MatchedConnection {
  readonly connection: HttpConnection;
  /** Path below the connection, beginning with `/`. */
  readonly path: string;
}

/** Finds the connection of a request: the most specific host first, then the longest prefix. */
export class HttpConnections {
  readonly #connections: readonly HttpConnection[];

  constructor(connections: readonly HttpConnection[]) {
    this.#connections = [...connections].sort(
      (a, b) => Number(b.host !== null) - Number(a.host !== null) || b.pathPrefix.length - a.pathPrefix.length,
    );
  }

  match(host: string, path: string): MatchedConnection | undefined {
    const name = hostName(host);
    for (const connection of this.#connections) {
      if (connection.host !== null && connection.host !== name) {
        continue;
      }
      const { pathPrefix } = connection;
      if (pathPrefix === '') {
        return { connection, path };
      }
      if (path.startsWith(pathPrefix) && (path.length === pathPrefix.length || path[pathPrefix.length] === '/')) {
        return { connection, path: path.length === pathPrefix.length ? '/' : path.slice(pathPrefix.length) };
      }
    }
    return undefined;
  }
}

function hostName(host: string): string {
  const lower = host.toLowerCase();
  if (lower.startsWith('[')) {
    return lower.slice(0, lower.indexOf(']') + 1);
  }
  const colon = lower.indexOf(':');
  return colon === -1 ? lower : lower.slice(0, colon);
}

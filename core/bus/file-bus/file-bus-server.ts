import { chmod, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { isMainThread } from 'node:worker_threads';
import { GatewayError } from '../../kernel/errors.ts';
import { FileBusConnection } from './file-bus-connection.ts';
import type { FileBusStore } from './file-bus-store.ts';

const SOCKET_PATH_BYTES_MAX = 100;

/** Serves a store on a Unix socket of mode 0600. */
export class FileBusServer {
  readonly #server: Server;
  readonly #socketPath: string;
  readonly #connections: Set<FileBusConnection>;

  private constructor(server: Server, socketPath: string, connections: Set<FileBusConnection>) {
    this.#server = server;
    this.#socketPath = socketPath;
    this.#connections = connections;
  }

  /** Throws `bus_unavailable` when something else listens on `socketPath`; takes the place of a dead one. */
  static async listen(store: FileBusStore, socketPath: string): Promise<FileBusServer> {
    if (Buffer.byteLength(socketPath) > SOCKET_PATH_BYTES_MAX) {
      throw new GatewayError('bus_misconfigured', `a socket path has at most ${SOCKET_PATH_BYTES_MAX} bytes`);
    }
    if (await isServed(socketPath)) {
      throw new GatewayError('bus_unavailable', 'another process listens on the socket');
    }
    await rm(socketPath, { force: true });
    const connections = new Set<FileBusConnection>();
    const server = createServer((socket) => accept(store, socket, connections));
    await listenPrivately(server, socketPath);
    return new FileBusServer(server, socketPath, connections);
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    await Promise.all([...this.#connections].map((connection) => connection.close()));
    await closed;
    await rm(this.#socketPath, { force: true });
  }
}

function accept(store: FileBusStore, socket: Socket, connections: Set<FileBusConnection>): void {
  const connection = new FileBusConnection(store, socket);
  connections.add(connection);
  const forget = (): void => void connections.delete(connection);
  connection.done.then(forget, forget);
}

async function listenPrivately(server: Server, socketPath: string): Promise<void> {
  // The socket is created inside `listen`, so the mask holds for exactly that call. Worker threads cannot set it: there
  // the directory's mode must protect the moment until `chmod`.
  const mask = isMainThread ? process.umask(0o177) : null;
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(socketPath, resolve);
      if (mask !== null) {
        process.umask(mask);
      }
    });
  } catch (error) {
    throw new GatewayError('bus_unavailable', 'cannot listen on the socket', { cause: error });
  }
  await chmod(socketPath, 0o600);
  // A connection that could not be accepted (out of descriptors) is the client's loss: it reconnects.
  server.on('error', () => undefined);
}

function isServed(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(socketPath);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
}

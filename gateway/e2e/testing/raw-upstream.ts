import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** One request as its octets came; nothing is interpreted but the framing that the gateway itself writes. */
export interface SeenRequest {
  readonly method: string;
  readonly target: string;
  /** Names in lower case; of equal names the last. */
  readonly headers: ReadonlyMap<string, string>;
  readonly names: readonly string[];
  readonly body: Buffer;
  readonly socket: Socket;
}

/**
 * An upstream that counts every octet and every request, and answers with whatever octets a test wants. Requests are
 * framed by Content-Length alone: that is all that the gateway may send.
 */
export class RawUpstream {
  readonly seen: SeenRequest[] = [];
  /** Octets of anything that ever arrived. */
  receivedBytes = 0;
  answer: (request: SeenRequest) => void = (request) => request.socket.write(jsonAnswer('[]'));
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket) => this.#accept(socket));
  }

  static async start(): Promise<RawUpstream> {
    const server = createServer({ noDelay: true });
    const upstream = new RawUpstream(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return upstream;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Answers every request with these octets, and then `after`. */
  say(octets: string | Buffer, after: 'keep' | 'end' | 'reset' = 'keep'): void {
    const bytes = typeof octets === 'string' ? Buffer.from(octets, 'latin1') : octets;
    this.answer = ({ socket }) => {
      if (after === 'reset') {
        socket.write(bytes, () => socket.resetAndDestroy());
      } else if (after === 'end') {
        socket.end(bytes);
      } else {
        socket.write(bytes);
      }
    };
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) {
      socket.destroy();
    }
    this.#server.close();
    await once(this.#server, 'close');
  }

  #accept(socket: Socket): void {
    let buffered: Buffer = Buffer.alloc(0);
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('data', (chunk: Buffer) => {
      this.receivedBytes += chunk.length;
      buffered = Buffer.concat([buffered, chunk]);
      for (let taken = takeRequest(buffered, socket); taken !== null; taken = takeRequest(buffered, socket)) {
        buffered = buffered.subarray(taken.size);
        this.seen.push(taken.request);
        this.answer(taken.request);
      }
    });
  }
}

/** A whole answer of known length. */
export function jsonAnswer(body: string | Buffer, contentType = 'application/json', fields = ''): Buffer {
  const bytes = Buffer.from(body);
  const head = `HTTP/1.1 200 OK\r\nContent-Type: ${contentType}\r\n${fields}Content-Length: ${bytes.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head, 'latin1'), bytes]);
}

function takeRequest(bytes: Buffer, socket: Socket): { readonly request: SeenRequest; readonly size: number } | null {
  const headEnd = bytes.indexOf('\r\n\r\n');
  if (headEnd === -1) {
    return null;
  }
  const [line = '', ...fields] = bytes.toString('latin1', 0, headEnd).split('\r\n');
  const [method = '', target = ''] = line.split(' ');
  const pairs = fields.map((field): [string, string] => {
    const colon = field.indexOf(':');
    return [field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim()];
  });
  const headers = new Map(pairs);
  const size = headEnd + 4 + Number(headers.get('content-length') ?? 0);
  if (bytes.length < size) {
    return null;
  }
  const body = Buffer.from(bytes.subarray(headEnd + 4, size));
  return { request: { method, target, headers, names: pairs.map(([name]) => name), body, socket }, size };
}

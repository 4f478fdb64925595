import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** One connection that the code under test made, as raw bytes. */
export class OriginConnection {
  readonly socket: Socket;
  #received: Buffer[] = [];
  #isClosed = false;
  #wake: (() => void)[] = [];

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#received.push(chunk);
      this.#notify();
    });
    // A reset is one way for the client to close.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#isClosed = true;
      this.#notify();
    });
  }

  /** What came so far and was not taken, as Latin-1. */
  get text(): string {
    return Buffer.concat(this.#received).toString('latin1');
  }

  get size(): number {
    return this.#received.reduce((sum, { length }) => sum + length, 0);
  }

  /** Takes everything up to and with `end`. In a big body `end` is looked for only where it may be the last there is. */
  async take(end: string): Promise<string> {
    for (;;) {
      const last = Buffer.concat(this.#received.slice(-2)).toString('latin1');
      if (this.size < 1_000_000 || last.endsWith(end.slice(-4))) {
        const { text } = this;
        const at = text.indexOf(end);
        if (at !== -1) {
          this.#received = [Buffer.from(text.slice(at + end.length), 'latin1')];
          return text.slice(0, at + end.length);
        }
      }
      if (this.#isClosed) {
        throw new Error(`the client closed before ${JSON.stringify(end)}`);
      }
      await this.#next();
    }
  }

  async takeHead(): Promise<string> {
    return await this.take('\r\n\r\n');
  }

  async closed(): Promise<void> {
    while (!this.#isClosed) {
      await this.#next();
    }
  }

  send(bytes: string | Buffer): void {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  }

  /** One octet a write, each in its own turn. */
  async sendOctets(bytes: string): Promise<void> {
    for (const octet of Buffer.from(bytes, 'latin1')) {
      if (this.socket.destroyed) {
        return;
      }
      this.socket.write(Buffer.from([octet]));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  end(bytes: string | Buffer = ''): void {
    this.socket.end(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }

  #next(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  #notify(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) {
      wake();
    }
  }
}

/** An upstream that does exactly what the test says, connection by connection. */
export class FakeOrigin {
  readonly #server: Server;
  readonly #connections: OriginConnection[] = [];
  #waiting: OriginConnection[] = [];
  #takers: ((connection: OriginConnection) => void)[] = [];

  static async start(): Promise<FakeOrigin> {
    const server = createServer({ allowHalfOpen: false, noDelay: true });
    const origin = new FakeOrigin(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return origin;
  }

  constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket) => {
      const connection = new OriginConnection(socket);
      this.#connections.push(connection);
      const taker = this.#takers.shift();
      if (taker === undefined) {
        this.#waiting.push(connection);
      } else {
        taker(connection);
      }
    });
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Connections since the start. */
  get connectionCount(): number {
    return this.#connections.length;
  }

  next(): Promise<OriginConnection> {
    const connection = this.#waiting.shift();
    return connection === undefined
      ? new Promise((resolve) => this.#takers.push(resolve))
      : Promise.resolve(connection);
  }

  async stop(): Promise<void> {
    for (const { socket } of this.#connections) {
      socket.destroy();
    }
    if (this.#server.listening) {
      this.#server.close();
      await once(this.#server, 'close');
    }
  }
}

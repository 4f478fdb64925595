import { connect, type Socket } from 'node:net';

export interface RawResponse {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
  /** False when the connection ended before the framing said that the body is whole. */
  readonly isComplete: boolean;
}

/**
 * A client of bytes for tests: sends exactly what it is told and keeps everything that comes back. Waiting is by events
 * only. The decoder is slow and simple on purpose: it is the oracle of the listeners.
 */
export class RawHttpClient {
  readonly socket: Socket;
  #received: Buffer[] = [];
  #isClosed = false;
  #wake: (() => void)[] = [];

  static connect(port: number, host = '127.0.0.1'): Promise<RawHttpClient> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host, noDelay: true, allowHalfOpen: true });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new RawHttpClient(socket));
      });
    });
  }

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#received.push(chunk);
      this.#notify();
    });
    // A reset is one way to close: what matters to a test is in `bytes`.
    socket.on('error', () => this.#markClosed());
    socket.on('close', () => this.#markClosed());
    socket.on('end', () => this.#markClosed());
  }

  get bytes(): Buffer {
    const all = Buffer.concat(this.#received);
    this.#received = [all];
    return all;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  send(data: string | Buffer): void {
    if (data.length > 0) {
      this.socket.write(typeof data === 'string' ? Buffer.from(data, 'latin1') : data);
    }
  }

  /** The first `wholeSize` octets in one write, the others in a write each, in turns of their own. */
  async sendOctets(data: string, wholeSize = 0): Promise<void> {
    this.send(data.slice(0, wholeSize));
    for (const octet of Buffer.from(data.slice(wholeSize), 'latin1')) {
      if (this.socket.destroyed || !this.socket.writable) {
        return;
      }
      this.socket.write(Buffer.from([octet]));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** The peer closed or cut the connection. */
  async closed(): Promise<void> {
    while (!this.#isClosed) {
      await this.#next();
    }
  }

  async readUntil(isEnough: (bytes: Buffer) => boolean): Promise<Buffer> {
    while (!isEnough(this.bytes) && !this.#isClosed) {
      await this.#next();
    }
    return this.bytes;
  }

  /** Takes the next response off the front of what was received; interim ones (1xx) are taken as responses too. */
  async readResponse(method = 'GET'): Promise<RawResponse> {
    for (;;) {
      const decoded = decodeResponse(this.bytes, method, this.#isClosed);
      if ('response' in decoded) {
        this.#received = [this.bytes.subarray(decoded.size)];
        return decoded.response;
      }
      // Decoding starts over each time: a big body is let in to its end first.
      do {
        await this.#next();
      } while (!this.#isClosed && !this.#mayHold(decoded));
    }
  }

  destroy(): void {
    this.socket.destroy();
  }

  #mayHold({ size, end }: Missing): boolean {
    const received = this.#received.reduce((sum, { length }) => sum + length, 0);
    return received >= size && Buffer.concat(this.#received.slice(-2)).toString('latin1').endsWith(end);
  }

  #next(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  #markClosed(): void {
    this.#isClosed = true;
    this.#notify();
  }

  #notify(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) {
      wake();
    }
  }
}

interface Decoded {
  readonly response: RawResponse;
  readonly size: number;
}

/** What must be there before another try can do better: that many octets, with this at their end. */
interface Missing {
  readonly size: number;
  readonly end: string;
}

function decodeResponse(bytes: Buffer, method: string, isClosed: boolean): Decoded | Missing {
  const headEnd = bytes.indexOf('\r\n\r\n');
  if (headEnd === -1) {
    const cut = { status: 0, headers: new Map<string, string>(), body: bytes, isComplete: false };
    return isClosed ? { response: cut, size: bytes.length } : { size: bytes.length + 1, end: '' };
  }
  const [line = '', ...fields] = bytes.toString('latin1', 0, headEnd).split('\r\n');
  const status = Number(/^HTTP\/1\.1 ([0-9]{3}) /.exec(line)?.[1] ?? 0);
  const headers = new Map(fields.map((f) => [f.slice(0, f.indexOf(':')).toLowerCase(), f.slice(f.indexOf(':') + 2)]));
  const rest = bytes.subarray(headEnd + 4);
  const isChunked = headers.get('transfer-encoding') === 'chunked';
  const length = headers.get('content-length');
  let body: Buffer | null = null;
  let bodySize = 0;
  if (method === 'HEAD' || status < 200 || status === 204 || status === 304) {
    body = Buffer.alloc(0);
  } else if (isChunked) {
    [body, bodySize] = decodeChunked(rest);
  } else if (length !== undefined) {
    bodySize = Number(length);
    body = rest.length >= bodySize ? rest.subarray(0, bodySize) : null;
  } else if (isClosed) {
    [body, bodySize] = [rest, rest.length];
  }
  if (body !== null) {
    return { response: { status, headers, body, isComplete: true }, size: headEnd + 4 + bodySize };
  }
  if (isClosed) {
    return { response: { status, headers, body: rest, isComplete: false }, size: bytes.length };
  }
  return { size: Math.max(bytes.length + 1, headEnd + 4 + bodySize), end: isChunked ? '0\r\n\r\n' : '' };
}

function decodeChunked(bytes: Buffer): [Buffer | null, number] {
  const parts: Buffer[] = [];
  let offset = 0;
  for (;;) {
    const lineEnd = bytes.indexOf('\r\n', offset);
    if (lineEnd === -1) {
      return [null, 0];
    }
    const size = Number.parseInt(bytes.toString('latin1', offset, lineEnd), 16);
    const end = lineEnd + 2 + size + 2;
    if (bytes.length < end) {
      return [null, 0];
    }
    if (size === 0) {
      return [Buffer.concat(parts), end];
    }
    parts.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size));
    offset = end;
  }
}

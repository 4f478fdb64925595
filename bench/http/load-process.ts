import { connect, type Socket } from 'node:net';
import { serveParent } from './child.ts';

/** What the parent asks for: that many GETs, each connection sending its next one when it has the answer. */
export interface LoadOrder {
  readonly port: number;
  readonly connections: number;
  readonly requests: number;
  readonly token: string;
}

export interface LoadReport {
  readonly requests: number;
  readonly elapsedMs: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

const TARGET = '/clinic/patients';

/** The same request for every case; who does not look at the token passes it on. */
function requestOf(token: string): Buffer {
  const lines = [
    `GET ${TARGET} HTTP/1.1`,
    'Host: clinic.test',
    'User-Agent: bench/1',
    'Accept: application/json',
    `Authorization: Bearer ${token}`,
    'X-Request-Name: nightly-table-refresh',
    '\r\n',
  ];
  return Buffer.from(lines.join('\r\n'));
}

const OK = Buffer.from('HTTP/1.1 200 ');

serveParent({}, (order) => load(order as LoadOrder));

async function load(order: LoadOrder): Promise<LoadReport> {
  const latencies = new Float64Array(order.requests);
  const progress = { sent: 0, done: 0 };
  const startMs = performance.now();
  await Promise.all(Array.from({ length: order.connections }, () => drive(order, latencies, progress)));
  const elapsedMs = performance.now() - startMs;
  const sorted = latencies.subarray(0, progress.done).sort();
  const at = (q: number): number => (sorted[Math.floor((sorted.length - 1) * q)] ?? NaN) * 1000;
  return { requests: progress.done, elapsedMs, p50Us: at(0.5), p99Us: at(0.99) };
}

function drive(order: LoadOrder, latencies: Float64Array, progress: { sent: number; done: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    let sentMs = 0;
    let received = 0;
    /** Of the whole message; the heads of two answers differ in the position of their record. */
    let messageSize = 0;
    const request = requestOf(order.token);
    const socket: Socket = connect({
      port: order.port,
      host: '127.0.0.1',
      noDelay: true,
      onread: {
        buffer: Buffer.allocUnsafeSlow(64 * 1024),
        callback: (size, buffer) => {
          const bytes = buffer as Buffer;
          if (received === 0 && !bytes.subarray(0, OK.length).equals(OK)) {
            reject(new Error(`the answer was ${bytes.toString('latin1', 0, Math.min(size, 60))}`));
            return false;
          }
          messageSize ||= sizeOf(bytes.subarray(0, size));
          received += size;
          if (messageSize > 0 && received >= messageSize) {
            finishOne();
          }
          return true;
        },
      },
    });
    socket.on('connect', () => sendNext());
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the connection was closed')));

    const sendNext = (): void => {
      if (progress.sent === order.requests) {
        socket.removeAllListeners('close');
        socket.destroy();
        resolve();
        return;
      }
      progress.sent++;
      received = 0;
      messageSize = 0;
      sentMs = performance.now();
      socket.write(request);
    };
    const finishOne = (): void => {
      if (received !== messageSize) {
        reject(new Error('an answer was longer than it said'));
        return;
      }
      latencies[progress.done++] = performance.now() - sentMs;
      sendNext();
    };
  });
}

/** 0 while the head is not complete. */
function sizeOf(bytes: Buffer): number {
  const headEnd = bytes.indexOf('\r\n\r\n');
  if (headEnd === -1) {
    return 0;
  }
  const length = /\r\ncontent-length: ([0-9]+)/i.exec(bytes.toString('latin1', 0, headEnd))?.[1];
  if (length === undefined) {
    throw new Error('an answer without Content-Length cannot be counted');
  }
  return headEnd + 4 + Number(length);
}

import { createServer } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Witness } from './witness.ts';
import type { WitnessOptions } from './witness.ts';

export interface RunningWitness {
  readonly port: number;
  close(): Promise<void>;
}

const REQUEST_BYTES_MAX = 64 * 1024;

/** The witness over HTTP on loopback: `POST /add-checkpoint`. Its answers are signatures; it has nothing to hide. */
export async function startWitness(options: WitnessOptions & { readonly port?: number }): Promise<RunningWitness> {
  const witness = new Witness(options);
  const server = createServer((request, response) => {
    void (async () => {
      try {
        if (request.method !== 'POST' || request.url !== '/add-checkpoint') {
          response.writeHead(404).end();
          return;
        }
        const body = await readBody(request);
        if (body === null) {
          response.writeHead(413, { Connection: 'close' }).end();
          return;
        }
        const reply = await witness.addCheckpoint(body);
        response.writeHead(reply.status, { 'Content-Type': reply.contentType }).end(reply.body);
      } catch {
        // The state could not be stored: no cosignature.
        response.writeHead(500).end();
      }
    })();
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
        server.closeIdleConnections();
      }),
  };
}

async function readBody(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > REQUEST_BYTES_MAX) {
      return null;
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

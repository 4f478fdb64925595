import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { loadClinicTables, toCsv, toNdjson, type Row } from './clinic-tables.ts';

/**
 * The upstreams of the demo: an internal clinical service (patients, encounters, observations, claims, notes as JSON,
 * NDJSON and CSV) and an analytics sink that takes rows. They know nothing of the gateway but its service token.
 *
 * What the demo changes, it changes here and directly: `PUT /_demo/extra-field` makes the service send a member that no
 * catalogue knows, `PUT /_demo/leak` puts identifiers into a member that is declared harmless, `GET /_demo/received`
 * tells what arrived. The gateway has no route for them.
 */
export interface ClinicOptions {
  readonly host: string;
  readonly clinicPort: number;
  readonly analyticsPort: number;
  /** Requests without `authorization: Bearer <token>` are refused. */
  readonly serviceToken: string;
}

export interface Clinic {
  readonly clinicPort: number;
  readonly analyticsPort: number;
  close(): Promise<void>;
}

interface State {
  extraField: boolean;
  leak: boolean;
  received: number;
  receivedBytes: number;
  requests: number;
}

const BODY_BYTES_MAX = 16 * 1024 * 1024;

export async function startClinic(options: ClinicOptions): Promise<Clinic> {
  const state: State = { extraField: false, leak: false, received: 0, receivedBytes: 0, requests: 0 };
  const tables = loadClinicTables();
  const clinic = createServer((request, response) => answerClinic(options, state, tables, request, response));
  const analytics = createServer((request, response) => answerAnalytics(options, state, request, response));
  const clinicPort = await listen(clinic, options.host, options.clinicPort);
  const analyticsPort = await listen(analytics, options.host, options.analyticsPort);
  return {
    clinicPort,
    analyticsPort,
    close: async () => {
      await Promise.all([clinic, analytics].map(closeServer));
    },
  };
}

function answerClinic(
  options: ClinicOptions,
  state: State,
  tables: ReturnType<typeof loadClinicTables>,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const url = new URL(request.url ?? '/', 'http://clinic');
  if (demoControl(state, request, url, response)) {
    return;
  }
  if (!authorised(options, request)) {
    sendJson(response, 401, { error: 'service token required' });
    return;
  }
  state.requests++;
  const path = decodeURIComponent(url.pathname);
  const patients = tables.patients.map((row) => decorated(state, row));
  const one = /^\/patients\/([^/]+)(\/notes)?$/.exec(path);
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    sendJson(response, 405, { error: 'read only' });
  } else if (one !== null && one[2] === undefined) {
    const found = patients.find((row) => row['id'] === one[1]);
    sendJson(response, found === undefined ? 404 : 200, found ?? { error: 'not found' });
  } else if (one !== null) {
    sendJson(
      response,
      200,
      tables.notes.filter((row) => row['patient'] === one[1]),
    );
  } else if (path === '/export/patients.ndjson') {
    send(response, 200, 'application/x-ndjson', toNdjson(patients));
  } else {
    sendTable(response, path, { ...tables, patients }, Number(url.searchParams.get('limit') ?? 'NaN'));
  }
}

function sendTable(
  response: ServerResponse,
  path: string,
  tables: Readonly<Record<string, readonly Row[]>>,
  limit: number,
): void {
  const [, name = '', extension = ''] = /^\/([a-z]+)(?:\.(csv|ndjson))?$/.exec(path) ?? [];
  const table = tables[name];
  if (table === undefined) {
    sendJson(response, 404, { error: 'not found' });
    return;
  }
  const rows = Number.isInteger(limit) && limit >= 0 ? table.slice(0, limit) : table;
  if (extension === 'csv') {
    send(response, 200, 'text/csv', toCsv(rows));
  } else if (extension === 'ndjson') {
    send(response, 200, 'application/x-ndjson', toNdjson(rows));
  } else {
    sendJson(response, 200, rows);
  }
}

function answerAnalytics(
  options: ClinicOptions,
  state: State,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  if (!authorised(options, request)) {
    sendJson(response, 401, { error: 'service token required' });
    return;
  }
  let size = 0;
  const chunks: Buffer[] = [];
  // Counted as it comes: the demo proves with it that no byte of a refused body left the gateway.
  request.on('data', (chunk: Buffer) => {
    state.receivedBytes += chunk.length;
    size += chunk.length;
    if (size <= BODY_BYTES_MAX) {
      chunks.push(chunk);
    }
  });
  request.on('end', () => {
    if (request.method !== 'POST' || request.url !== '/rows' || size > BODY_BYTES_MAX) {
      sendJson(response, 404, { error: 'only POST /rows' });
      return;
    }
    const rows = parseRows(Buffer.concat(chunks).toString('utf8'));
    if (rows === null) {
      sendJson(response, 400, { error: 'not JSON' });
      return;
    }
    state.received += rows.length;
    sendJson(response, 200, { accepted: rows.length });
  });
}

function parseRows(text: string): unknown[] | null {
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? value : [value];
  } catch {
    return null;
  }
}

function demoControl(state: State, request: IncomingMessage, url: URL, response: ServerResponse): boolean {
  if (!url.pathname.startsWith('/_demo/')) {
    return false;
  }
  const on = url.searchParams.get('on') !== 'false';
  if (request.method === 'PUT' && url.pathname === '/_demo/extra-field') {
    state.extraField = on;
  } else if (request.method === 'PUT' && url.pathname === '/_demo/leak') {
    state.leak = on;
  } else if (request.method !== 'GET') {
    sendJson(response, 404, { error: 'not found' });
    return true;
  }
  sendJson(response, 200, { ...state });
  return true;
}

function decorated(state: State, row: Row): Row {
  return {
    ...row,
    ...(state.extraField ? { genome_marker: `BRCA1:${String(row['ssn'])}` } : {}),
    ...(state.leak ? { gender: row['ssn'] ?? null } : {}),
  };
}

function authorised(options: ClinicOptions, request: IncomingMessage): boolean {
  return request.headers.authorization === `Bearer ${options.serviceToken}`;
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  send(response, status, 'application/json', JSON.stringify(value));
}

function send(response: ServerResponse, status: number, contentType: string, body: string): void {
  response.writeHead(status, { 'content-type': contentType, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => resolve((server.address() as AddressInfo).port));
  });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

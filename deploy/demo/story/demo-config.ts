import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';

export interface DemoConfig {
  readonly path: string;
  /** The port of the shipped file -> the one of this run. */
  readonly ports: ReadonlyMap<number, number>;
  readonly clinicUrl: string;
  readonly analyticsUrl: string;
  /** What the clinic asks of its callers; agents never have it. */
  readonly serviceToken: string;
}

export interface DemoConfigOptions {
  /** Of the repository. */
  readonly root: string;
  readonly dataDir: string;
  readonly unpublishedMaxMs?: number;
}

/** Ports of the shipped file, in the order in which they get a free one. */
const LISTENERS = [8080, 9090, 9091, 9092, 9093, 9094] as const;
const CLINIC_PORT = 8081;
const ANALYTICS_PORT = 8082;

/**
 * `deploy/demo/chaperone.yaml` with free ports and absolute paths, written into the data directory: the run collides with
 * no other demo, and its data can be looked at afterwards with the same file.
 */
export async function writeDemoConfig({ root, dataDir, unpublishedMaxMs }: DemoConfigOptions): Promise<DemoConfig> {
  const folder = join(root, 'deploy', 'demo');
  let text = readFileSync(join(folder, 'chaperone.yaml'), 'utf8');
  const fixed = [...LISTENERS, CLINIC_PORT, ANALYTICS_PORT];
  const free = await freePorts(fixed.length);
  const ports = new Map(fixed.map((port, i) => [port, free[i] ?? 0]));
  for (const [port, own] of ports) {
    text = replaced(text, new RegExp(`\\b${port}\\b`, 'g'), String(own));
  }
  text = replaced(text, /(?<=: |: file:|- )keys(?=[/\s])/g, join(folder, 'keys'));
  text = replaced(text, /^( *dataDir:).*$/m, `$1 ${dataDir}`);
  text = replaced(text, /\.\.\/\.\.\//g, `${root}/`);
  if (unpublishedMaxMs !== undefined) {
    text = replaced(text, /^evidence:\n/m, `evidence:\n  unpublishedMaxMs: ${unpublishedMaxMs}\n`);
  }
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const path = join(dataDir, 'chaperone.yaml');
  writeFileSync(path, text, { mode: 0o600 });
  const at = (port: number): string => `http://127.0.0.1:${ports.get(port) ?? 0}`;
  return {
    path,
    ports,
    clinicUrl: at(CLINIC_PORT),
    analyticsUrl: at(ANALYTICS_PORT),
    serviceToken: tokenOf(join(folder, 'keys', 'clinic-token.INSECURE.txt')),
  };
}

/** The file holds the whole header value, or the bare token. */
function tokenOf(path: string): string {
  return readFileSync(path, 'utf8')
    .trim()
    .replace(/^Bearer /, '');
}

/** A replacement that found nothing means that the shipped file has changed: say so, do not run something else. */
function replaced(text: string, pattern: RegExp, by: string): string {
  const result = text.replace(pattern, by);
  if (result === text) {
    throw new Error(`deploy/demo/chaperone.yaml has no ${pattern.source} any more`);
  }
  return result;
}

/** All are held until the last is known, so that none comes twice. Somebody else may take one in between: then `up` says so. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(0, '127.0.0.1', resolve);
      });
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
